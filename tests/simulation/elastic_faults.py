"""What happens to an elastic cluster: what its operator asks for, and what becomes of its machines.

The kinds, how often each one is drawn, and with which parameters; `nemesis_elastic.py` says what
each does. They come beside the faults of `faults.py`. `who` is a node's name, founder or spare;
what does not apply to it at that moment is left out.

Pure.
"""

from __future__ import annotations

from random import Random

from tests.simulation.faults import DEFAULT_WEIGHTS, KINDS, Kind, Shape, draw_faults, draw_weights
from tests.simulation.schedule import Fault, in_order

FACTORS = (1, 3, 3, 3, 5)
NODE_WEIGHTS = (0.0, 0.5, 1.0, 2.0, 4.0)
ZONES = ("z0", "z1", "z2")
ENDS_OF_LOST = ("replace", "replace", "remove", "heal")
"""What is done about a machine that is lost: a new one under its name, it is removed by force, or
nothing: the cluster rebuilds its replicas by itself."""
LIMITS = (
    ("dead-after-ms", 1_000),
    ("dead-after-ms", 5_000),
    ("max-item-size", 8 << 10),
    ("max-item-size", 64 << 10),
    ("move-rate", 256 << 10),
)


def _any(random: Random, shape: Shape) -> dict[str, str]:
    return {"who": random.choice(shape.nodes)}


def _late(random: Random, shape: Shape) -> dict[str, str]:
    """Mostly one that is not there at the start."""
    return {"who": random.choice(shape.nodes[-3:] if random.random() < 0.8 else shape.nodes)}


def _via(random: Random) -> dict[str, int]:
    """Which node is asked."""
    return {"pick": random.randrange(1000)}


def _for(random: Random, low: float, high: float) -> dict[str, float]:
    return {"seconds": round(random.uniform(low, high), 3)}


ELASTIC_KINDS: dict[str, Kind] = {
    # asked for by an operator
    "join": Kind(8, lambda r, s: {**_late(r, s), **_via(r)}),
    "drain": Kind(5, lambda r, s: {**_any(r, s), **_via(r)}),
    "change_factor": Kind(4, lambda r, s: {"factor": r.choice(FACTORS), **_via(r)}),
    "change_weight": Kind(
        2, lambda r, s: {**_any(r, s), "weight": r.choice(NODE_WEIGHTS), **_via(r)}
    ),
    "change_zone": Kind(1, lambda r, s: {**_any(r, s), "zone": r.choice(ZONES), **_via(r)}),
    "change_limit": Kind(2, lambda r, s: {"limit": r.randrange(len(LIMITS)), **_via(r)}),
    "rebalance": Kind(1, lambda r, s: _via(r)),
    "change_moves": Kind(
        5, lambda r, s: {"do": r.choice(("cancel", "cancel", "pause", "resume")), **_via(r)}
    ),
    "try_without_doing": Kind(1, lambda r, s: {**_any(r, s), **_via(r)}),
    # of machines
    "be_away": Kind(4, lambda r, s: {**_any(r, s), **_for(r, 1.5, 6.0)}),
    "lose_machine": Kind(
        4,
        lambda r, s: {**_any(r, s), "then": r.choice(ENDS_OF_LOST), **_for(r, 0.1, 2.0), **_via(r)},
    ),
    "remove_and_return": Kind(3, lambda r, s: {**_any(r, s), **_for(r, 0.5, 3.0), **_via(r)}),
    "change_address": Kind(
        3, lambda r, s: {**_any(r, s), "power": r.random() < 0.5, **_for(r, 0.05, 1.0)}
    ),
    "kill_directory_leader": Kind(5, lambda r, s: {"power": r.random() < 0.5, **_for(r, 0.1, 2.0)}),
    "catch_a_change": Kind(
        5,
        lambda r, s: {
            "how": r.choice(("kill", "cut")),
            "skip": r.randint(0, 5),
            **_for(r, 0.2, 2.5),
        },
    ),
    "kill_while_joining": Kind(
        4,
        lambda r, s: {
            **_late(r, s),
            "steps": r.choice((r.randint(1, 8), r.randint(1, 60))),
            "power": r.random() < 0.6,
            **_for(r, 0.05, 1.0),
            **_via(r),
        },
    ),
    "join_with_a_copy": Kind(
        2, lambda r, s: {**_late(r, s), "of": r.choice(s.nodes), **_for(r, 0.5, 2.0), **_via(r)}
    ),
    "return_of_one_that_left": Kind(2, lambda r, s: {**_via(r), **_for(r, 0.5, 2.0)}),
}
ALL_KINDS = {**KINDS, **ELASTIC_KINDS}
ELASTIC_WEIGHTS = {name: kind.weight for name, kind in ELASTIC_KINDS.items()}


def draw_elastic_faults(
    random: Random, shape: Shape, *, seconds: float, weights: dict[str, int] | None = None
) -> tuple[Fault, ...]:
    """All of one run. Ordinary faults come beside the changes, in some runs few of them."""
    ordinary = draw_faults(
        random,
        shape,
        draw_weights(DEFAULT_WEIGHTS if weights is None else weights, random),
        seconds=seconds,
        calm_seconds=random.choice((0.5, 1.5, 1_000.0)),
    )
    changes = draw_faults(
        random,
        shape,
        draw_weights(ELASTIC_WEIGHTS, random),
        seconds=seconds,
        calm_seconds=random.choice((0.3, 0.6, 1.2)),
        kinds=ALL_KINDS,
    )
    joins = draw_faults(
        random, shape, {"join": 1}, seconds=seconds / 2, calm_seconds=1.5, kinds=ALL_KINDS
    )
    return in_order((*ordinary, *changes, *joins))
