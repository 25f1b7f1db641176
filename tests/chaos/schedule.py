"""Which faults, when, for how long and against whom: a list drawn from a seed. Pure.

Only what has to be looked up in the running cluster stays open: "leader" is whoever leads the most
shards when the fault begins, "any" is a node that the schedule has drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

KINDS = ("kill", "pause", "partition", "loss", "slow", "disk", "restart")
"""What `--faults` takes, in this order."""

VARIANTS: dict[str, tuple[str, ...]] = {
    "kill": ("leader", "any", "all"),
    "pause": ("leader", "any", "all"),
    "partition": ("cut-off", "isolate", "deaf", "mute", "bridge", "flapping"),
    "loss": ("one", "all"),
    "slow": ("any",),
    "disk": ("leader", "any"),
    "restart": ("leader", "any"),
}
"""Kind -> variants.

Kill, pause, disk and restart: against whom. Partitions: `cut-off`, a node does not reach the other
nodes but still its clients; `isolate`, nor its clients; `deaf`, it hears no other node, but they
hear it; `mute`, the reverse; `bridge`, two nodes do not reach each other, a third reaches both;
`flapping`, a cut-off that comes and goes. Loss: on the links of one node, or of all.
"""

LOSS_PERCENT = (5, 10, 20, 30)
RATES_KBIT = (256, 512, 2000)
FIRST_AT_S = 1.0
CALM_S = (0.3, 1.5)
"""Between the end of a fault and the next one."""
OVERLAP = 0.3
"""Share of faults that begin while the one before is still there."""
FLAP_S = (0.2, 0.9)


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. Times are seconds, `at_s` counts from the begin of the fault phase.

    `node`: index of the node that is meant unless the variant is "leader". `amount`: percent of
    packets lost, or kbit/s (`slow`); 0 for all that lose nothing. `flaps`: of a flapping
    partition, seconds from the begin at which it changes sides (whole, cut, whole, ...), ascending.
    """

    number: int
    kind: str
    variant: str
    at_s: float
    seconds: float
    node: int
    amount: int = 0
    flaps: tuple[float, ...] = ()

    @property
    def name(self) -> str:
        """`kind variant`: what the report groups by."""
        return f"{self.kind} {self.variant}"

    def describe(self) -> str:
        """One line for the reader of a schedule."""
        amount = f", {self.amount_text}" if self.amount else ""
        return (
            f"{self.at_s:7.2f} s  for {self.seconds:4.1f} s  {self.name} (node {self.node}{amount})"
        )

    @property
    def amount_text(self) -> str:
        """With its unit; "" when it has none."""
        unit = "kbit/s" if self.kind == "slow" else "%"
        return f"{self.amount} {unit}" if self.amount else ""


def draw(seed: int, seconds: float, nodes: int, kinds: Sequence[str] = KINDS) -> list[Fault]:
    """The schedule of `seconds` with `nodes` nodes; the same for the same arguments.

    Every kind comes once before any comes again, and so do the variants of a kind. All faults have
    ended when `seconds` have passed, except that a list is never empty. Raises ValueError for a
    kind that there is not, or that this number of nodes cannot have.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise ValueError(f"there is no fault {kind!r}: choose from {', '.join(KINDS)}")
    if not kinds:
        raise ValueError(f"no faults: choose from {', '.join(KINDS)}")
    if nodes < 3:
        raise ValueError(f"{nodes} nodes: at least 3, or every fault takes the majority")
    random = Random(f"{seed}/{seconds}/{nodes}/{','.join(kinds)}")
    kind_deck = Deck(tuple(kinds), random)
    variant_decks = {kind: Deck(VARIANTS[kind], random) for kind in kinds}
    faults: list[Fault] = []
    at_s = FIRST_AT_S
    while True:
        kind = kind_deck.deal()
        variant = variant_decks[kind].deal()
        fault = _draw_one(len(faults) + 1, kind, variant, at_s, nodes, random)
        if faults and fault.at_s + fault.seconds > seconds:
            return faults
        faults.append(fault)
        if random.random() < OVERLAP:
            at_s += random.uniform(0.1, 0.9) * fault.seconds
        else:
            at_s += fault.seconds + random.uniform(*CALM_S)


class Deck:
    """Deals all cards in random order, then shuffles again."""

    def __init__(self, cards: tuple[str, ...], random: Random) -> None:
        self._cards = cards
        self._random = random
        self._left: list[str] = []

    def deal(self) -> str:
        if not self._left:
            self._left = self._random.sample(self._cards, len(self._cards))
        return self._left.pop()


def _draw_one(
    number: int, kind: str, variant: str, at_s: float, nodes: int, random: Random
) -> Fault:
    # A moment, longer than a lease and an election, longer than a connection stays without a word.
    low, high = random.choice(((0.3, 1.0), (1.0, 2.5), (2.5, 5.0)))
    seconds = random.uniform(low, high)
    amount = 0
    flaps: list[float] = []
    if kind == "loss":
        amount = random.choice(LOSS_PERCENT)
    elif kind == "slow":
        amount = random.choice(RATES_KBIT)
    elif kind == "disk":
        seconds = max(seconds, 2.0)  # a node looks for space once in a while
    elif variant == "flapping":
        seconds = max(seconds, 3.0)
        at = random.uniform(*FLAP_S)
        while at < seconds:
            flaps.append(round(at, 2))
            at += random.uniform(*FLAP_S)
    return Fault(
        number,
        kind,
        variant,
        round(at_s, 2),
        round(seconds, 2),
        random.randrange(nodes),
        amount,
        tuple(flaps),
    )
