"""Which changes of the cluster, when, and to whom: a list drawn from a seed. Pure.

They come beside the faults of `schedule.py` and have the same form. `seconds` is how long the
middle of a change lasts (moves are paused, a node is away, until a node is killed); the change
itself ends when the cluster has carried it out.
"""

from __future__ import annotations

from random import Random

from tests.chaos.schedule import LOSS_PERCENT, Deck, Fault

SPARES = 3
"""Nodes beside the founders, which may join."""

LOSSY = "lossy"
RECEIVER, STEERING, COMPLETING = "receiver", "steering", "completing"
WHO = (RECEIVER, STEERING, COMPLETING)
STEPS = ("copying", "voting", "leaving")

CHANGES: dict[str, tuple[str, ...]] = {
    "join": ("calm", "killed", "named", "lossy"),
    "drain": ("calm", "killed", "cancelled"),
    "lose": ("removed", "replaced", "away"),
    "replication": ("five",),
    "moves": ("paused", "cancelled"),
    "directory": ("leader",),
    "moving": tuple(f"{who}-{step}" for who in WHO for step in STEPS),
}
"""Kind -> variants.

Join: a node with an empty disk; `killed` is killed -9 meanwhile and started again; `named` the
same as soon as the map names it; `lossy` loses packets on all its links meanwhile. Drain: the node
has to end by itself with status 0; `killed` as above; `cancelled` stays. Lose: killed for good;
`removed` by force, and its disk, started again, is refused; `replaced` by an empty disk under its
name; `away` for longer than `dead-after-ms` and then started again. Replication: five, and three
again. Moves: paused and resumed, or cancelled. Directory: its leader is killed -9 and started
again. Moving: the same, when a move has come to this step, of a node that receives a replica, of
the leader of the group, which steers the move, or of the directory's leader, which completes it.
"""
SHARES = {"moving": 3, "join": 2}
"""How often a kind comes while each other one comes once; the others once."""

FIRST_AT_S = 0.5
BETWEEN_S = (0.5, 3.0)
SECONDS = (0.2, 3.0)
JOINS_FIRST = 2
"""With three founders hardly anything else is possible before."""


def draw_changes(seed: int, seconds: float, nodes: int, *, number: int = 1) -> list[Fault]:
    """The changes of `seconds`, numbered from `number`; the same for the same arguments.

    `node` counts over founders and spares; what it means is looked up in the running cluster.
    """
    random = Random(f"changes {seed}/{seconds}/{nodes}")
    kinds = Deck(tuple(kind for kind in CHANGES for _ in range(SHARES.get(kind, 1))), random)
    variants = {kind: Deck(CHANGES[kind], random) for kind in CHANGES}
    changes: list[Fault] = []
    at_s = FIRST_AT_S
    while at_s <= seconds or not changes:
        kind = "join" if len(changes) < JOINS_FIRST else kinds.deal()
        variant = variants[kind].deal()
        changes.append(
            Fault(
                number + len(changes),
                kind,
                variant,
                round(at_s, 2),
                round(random.uniform(*SECONDS), 2),
                random.randrange(nodes + SPARES),
                random.choice(LOSS_PERCENT) if variant == LOSSY else 0,
            )
        )
        at_s += random.uniform(*BETWEEN_S)
    return changes
