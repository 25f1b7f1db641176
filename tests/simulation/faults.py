"""The kinds of fault: how often each one is drawn, with which parameters, and what is valid.

`draw_faults` draws all of a run's faults at once, from one generator, before anything runs.
`nemesis.py` says what each kind does. `who` is a node's name or "leader": a node that leads
something when the fault begins, number `pick` of them. `seconds` is how long it lasts. What a file
may say of them is in `fault_checks.py`.

Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, NamedTuple

from tests.simulation.schedule import Fault

CLOCK_DRIFT_PPM = 4_975
"""The most by which one clock may be off: two that are off by as much in opposite directions
differ in rate by 1.004975 / 0.995025, which is the last step below the 10,000 ppm of a lease."""

LEAPS_MS = (-3_600_000, 3_600_000, 315_360_000_000)
"""An hour back, an hour ahead, ten years ahead."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Who is there: names of nodes and of the hosts of clients."""

    nodes: tuple[str, ...]
    clients: tuple[str, ...]

    @property
    def hosts(self) -> tuple[str, ...]:
        return self.nodes + self.clients


Draw = Callable[[Random, Shape], dict[str, Any]]


class Kind(NamedTuple):
    weight: int
    draw: Draw


def _node(random: Random, shape: Shape) -> dict[str, Any]:
    return {"who": random.choice(shape.nodes)}


def _leader(random: Random, _: Shape) -> dict[str, Any]:
    return {"who": "leader", "pick": random.randrange(1000)}


def _seconds(random: Random, low: float, high: float) -> dict[str, Any]:
    return {"seconds": round(random.uniform(low, high), 3)}


def _down(random: Random) -> dict[str, Any]:
    """How long a node stays away: a moment, longer than an election, or much longer."""
    return _seconds(random, *random.choice(((0.0, 0.1), (0.1, 0.8), (0.8, 3.0))))


def _pause(random: Random) -> dict[str, Any]:
    return {"seconds": random.choice((0.05, 0.2, 0.35, 0.6, 1.5, 5.0))}


def _some_nodes(random: Random, shape: Shape) -> list[str]:
    """Two nodes or more, or the only one."""
    count = random.randint(min(2, len(shape.nodes)), len(shape.nodes))
    return random.sample(shape.nodes, count)


# -- network: every one ends by itself after `seconds`


def _cut(random: Random) -> dict[str, Any]:
    return {"bytes": random.choice(("hold", "lose")), **_seconds(random, 0.1, 3.0)}


def _isolate(random: Random, shape: Shape, who: dict[str, Any]) -> dict[str, Any]:
    """One node on its own; a client or two may be on its side."""
    away = [name for name in shape.clients if random.random() < 0.5]
    return {**who, "clients": away, **_cut(random)}


def _split(random: Random, shape: Shape) -> dict[str, Any]:
    """All hosts, clients too, fall into two halves."""
    hosts = random.sample(shape.hosts, len(shape.hosts))
    cut = random.randrange(1, len(hosts)) if len(hosts) > 1 else 0
    return {"side": hosts[:cut], "others": hosts[cut:], **_cut(random)}


def _one_way(random: Random, shape: Shape) -> dict[str, Any]:
    """One node can only speak, or only listen, or one link is half dead."""
    names = random.sample(shape.nodes, len(shape.nodes))
    side, others = names[:1], names[1:] or list(shape.clients)
    if random.random() < 0.4:
        others = others[:1]
    if random.random() < 0.5:
        side, others = others, side
    return {"side": side, "others": others, **_cut(random)}


def _bridge(random: Random, shape: Shape) -> dict[str, Any]:
    """Two halves that only one node sees both of."""
    names = random.sample(shape.nodes, len(shape.nodes))
    middle = len(names) // 2
    return {"side": names[:middle], "others": names[middle + 1 :], **_cut(random)}


def _flapping(random: Random, shape: Shape) -> dict[str, Any]:
    """A cut that comes and goes, about as fast as elections or faster."""
    parameters = random.choice((_split, _one_way))(random, shape)
    return {**parameters, "period_ms": random.choice((40, 150, 400, 900))}


def _slow_links(random: Random, shape: Shape) -> dict[str, Any]:
    extra_ms = random.choice((5, 40, 150))
    return {"host": random.choice(shape.hosts), "extra_ms": extra_ms, **_seconds(random, 0.2, 2.0)}


def _narrow_links(random: Random, shape: Shape) -> dict[str, Any]:
    rate = random.choice((20_000, 100_000, 1_000_000))
    host = random.choice(shape.hosts)
    return {"host": host, "bytes_per_second": rate, **_seconds(random, 0.3, 3.0)}


def _stutter(random: Random, shape: Shape) -> dict[str, Any]:
    """A slow peer: it runs for a moment, then stands for a moment, over and over."""
    run_ms, stand_ms = random.choice(((5, 20), (10, 90), (50, 50), (20, 250)))
    return {
        **_node(random, shape),
        "run_ms": run_ms,
        "stand_ms": stand_ms,
        **_seconds(random, 0.5, 3.0),
    }


def _foreign(random: Random) -> dict[str, Any]:
    """A directory that is not what its node left lasts longer than an election."""
    return _seconds(random, 1.0, 3.0)


PARTS_OF_A_DIRECTORY = (
    "log",
    "births",
    "map",
    "identity",
    "note",
    "newest_segment",
    "membership",
    "starts",
)

WAYS_TO_FORGET = (
    *("all", "all", "all but the disk id", "log", "newest_segment"),
    *("births", "identity", "membership", "snapshots"),
)
"""What a directory may lack so that its node has to be refused. With nothing but the disk id it is
what it was before the founding."""

KINDS: dict[str, Kind] = {
    # processes
    "kill": Kind(6, lambda r, s: {**_node(r, s), **_down(r)}),
    "kill_leader": Kind(4, lambda r, s: {**_leader(r, s), **_down(r)}),
    "kill_some": Kind(2, lambda r, s: {"nodes": _some_nodes(r, s), **_down(r)}),
    "power_cut": Kind(3, lambda r, s: {**_node(r, s), **_down(r)}),
    "power_cut_all": Kind(
        2,
        lambda r, s: {
            "nodes": r.sample(s.nodes, len(s.nodes)),
            "stagger_ms": r.choice((0, 50, 500)),
            **_down(r),
        },
    ),
    "restart_gracefully": Kind(2, lambda r, s: {**_node(r, s), **_seconds(r, 0.05, 1.0)}),
    "kill_after_events": Kind(
        3,
        lambda r, s: {
            **(_leader(r, s) if r.random() < 0.5 else _node(r, s)),
            "events": r.choice((r.randint(1, 20), r.randint(1, 400))),
            "power": r.random() < 0.5,
            **_down(r),
        },
    ),
    "kill_after_sends": Kind(
        3,
        lambda r, s: {
            **(_leader(r, s) if r.random() < 0.5 else _node(r, s)),
            "sends": r.choice((r.randint(1, 8), r.randint(1, 100))),
            "power": r.random() < 0.5,
            **_down(r),
        },
    ),
    "kill_in_disk_step": Kind(
        4,
        lambda r, s: {
            **_node(r, s),
            "steps": r.choice((r.randint(1, 6), r.randint(1, 60))),
            "power": r.random() < 0.7,
            **_down(r),
        },
    ),
    "kill_during_start": Kind(
        2,
        lambda r, s: {
            **_node(r, s),
            "steps": r.randint(1, 12),
            "power": r.random() < 0.7,
            **_down(r),
        },
    ),
    "change_settings": Kind(
        2,
        lambda r, s: {
            "graceful": r.random() < 0.5,
            "item_bytes_max": r.choice((2 << 10, 8 << 10, 64 << 10)),
            "segment_bytes_max": r.choice((4 << 10, 64 << 10, 1 << 20)),
            "snapshot_bytes_min": r.choice((512, 4 << 10, 256 << 10)),
            "session_idle_ms": r.choice((1_000, 60_000, 3_600_000)),
        },
    ),
    "pause": Kind(4, lambda r, s: {**_node(r, s), **_pause(r)}),
    "pause_leader": Kind(4, lambda r, s: {**_leader(r, s), **_pause(r)}),
    "pause_some": Kind(2, lambda r, s: {"nodes": _some_nodes(r, s), **_pause(r)}),
    "stutter": Kind(2, _stutter),
    # the network
    "isolate": Kind(5, lambda r, s: _isolate(r, s, _node(r, s))),
    "isolate_leader": Kind(4, lambda r, s: _isolate(r, s, _leader(r, s))),
    "split": Kind(3, _split),
    "one_way": Kind(5, _one_way),
    "bridge": Kind(3, _bridge),
    "flapping": Kind(3, _flapping),
    "cut_clients": Kind(1, lambda r, s: {**_node(r, s), **_cut(r)}),
    "slow_links": Kind(2, _slow_links),
    "narrow_links": Kind(2, _narrow_links),
    "reset_connections": Kind(
        3, lambda r, s: {"draw": r.randrange(1 << 30), "percent": r.choice((5, 15, 100))}
    ),
    # disks
    "slow_disk": Kind(
        2,
        lambda r, s: {
            **_node(r, s),
            "factor": r.choice((10, 100, 1000)),
            **_seconds(r, 0.2, 2.0),
        },
    ),
    "stuck_disk": Kind(2, lambda r, s: {**_node(r, s), **_seconds(r, 0.5, 4.0)}),
    "full_disk": Kind(1, lambda r, s: {**_node(r, s), **_seconds(r, 0.2, 2.0)}),
    "crowded_disk": Kind(1, lambda r, s: {**_node(r, s), **_seconds(r, 0.5, 4.0)}),
    "no_descriptors": Kind(1, lambda r, s: {**_node(r, s), **_seconds(r, 0.2, 2.0)}),
    "full_disk_in_snapshot": Kind(2, lambda r, s: {**_node(r, s), **_seconds(r, 0.2, 2.0)}),
    "failing_disk": Kind(1, lambda r, s: {**_node(r, s), **_seconds(r, 1.0, 3.0)}),
    "bit_rot": Kind(
        2,
        lambda r, s: {
            **_node(r, s),
            "draw": r.randrange(1 << 30),
            "power": r.random() < 0.5,
            **_seconds(r, 0.1, 1.5),
        },
    ),
    # what was set up
    "change_own_settings": Kind(
        2,
        lambda r, s: {
            **_node(r, s),
            "draw": r.randrange(1 << 30),
            "power": r.random() < 0.3,
            **_seconds(r, 0.05, 1.0),
        },
    ),
    "roll_settings": Kind(
        1,
        lambda r, s: {
            "nodes": r.sample(s.nodes, len(s.nodes)),
            "draw": r.randrange(1 << 30),
            **_seconds(r, 0.05, 0.3),
        },
    ),
    "change_all_settings": Kind(
        2,
        lambda r, s: {
            "draw": r.randrange(1 << 30),
            "gracefully": r.random() < 0.5,
            **_seconds(r, 0.05, 1.0),
        },
    ),
    "wipe_directory": Kind(1, lambda r, s: {**_node(r, s), **_foreign(r)}),
    "swap_directories": Kind(
        1, lambda r, s: {"nodes": r.sample(s.nodes, min(2, len(s.nodes))), **_foreign(r)}
    ),
    "half_directory": Kind(
        1, lambda r, s: {**_node(r, s), "lost": r.choice(PARTS_OF_A_DIRECTORY), **_foreign(r)}
    ),
    "stolen_name": Kind(1, lambda r, s: {**_node(r, s), **_foreign(r)}),
    # clocks
    "wall_jump": Kind(
        2,
        lambda r, s: {
            **_node(r, s),
            "by_ms": r.choice((*LEAPS_MS, -700, -30, 30, 700)),
        },
    ),
    "wall_glitch": Kind(
        3,
        lambda r, s: {
            **(_leader(r, s) if r.random() < 0.5 else _node(r, s)),
            "by_ms": r.choice(LEAPS_MS),
            "seconds": round(r.choice((0.1, 1.5, 10.0)) * r.uniform(0.5, 1.0), 3),
        },
    ),
    "clock_rate": Kind(
        2, lambda r, s: {**_node(r, s), "ppm": r.randint(-CLOCK_DRIFT_PPM, CLOCK_DRIFT_PPM)}
    ),
    "clocks_apart": Kind(
        2,
        lambda r, s: {
            **(_leader(r, s) if r.random() < 0.7 else _node(r, s)),
            "slow": r.random() < 0.7,
        },
    ),
    # drawn by `draw_misfortunes` only
    "set_back_directory": Kind(
        0,
        lambda r, s: {
            **_node(r, s),
            "lost": r.choice(("all but the disk id", "snapshots")),
            **_foreign(r),
        },
    ),
    "restored_directory": Kind(0, lambda r, s: {**_node(r, s), **_foreign(r)}),
    "restored_copy_decides": Kind(
        0, lambda r, s: {"nodes": r.sample(s.nodes, len(s.nodes)), **_foreign(r)}
    ),
    "lost_disk_decides": Kind(
        0,
        lambda r, s: {
            "nodes": r.sample(s.nodes, len(s.nodes)),
            "lost": r.choice(WAYS_TO_FORGET),
            **_foreign(r),
        },
    ),
}

DEFAULT_WEIGHTS = {name: kind.weight for name, kind in KINDS.items()}


MISFORTUNES = {
    "lost_disk_decides": 6,
    "set_back_directory": 2,
    "restored_directory": 1,
    "restored_copy_decides": 3,
    "wipe_directory": 1,
    "swap_directories": 1,
    "half_directory": 1,
    "stolen_name": 1,
    "no_descriptors": 2,
    "full_disk": 1,
    "failing_disk": 1,
}
"""What is rare among the faults of a mixture, because it has to be: how often each one is drawn."""

MISFORTUNE_CHANCE = 0.4
"""In so many runs one of them happens besides."""


def draw_misfortunes(random: Random, shape: Shape, *, seconds: float) -> tuple[Fault, ...]:
    """One in some runs, none in the others, in the first half of so many seconds.

    By a generator of its own: what the mixture holds does not depend on it.
    """
    if random.random() >= MISFORTUNE_CHANCE:
        return ()
    name = random.choices(list(MISFORTUNES), list(MISFORTUNES.values()))[0]
    at_ms = int(random.uniform(0.1, 0.5) * seconds * 1000)
    return (Fault(at_ms, name, KINDS[name].draw(random, shape)),)


def draw_weights(weights: dict[str, int], random: Random) -> dict[str, int]:
    """The faults of one seed: some kinds not at all, some often.

    A mixture of everything, always the same, rarely does one thing twice in a row, and most bugs
    need that.
    """
    drawn = {name: weight * random.choice((0, 0, 1, 4)) for name, weight in weights.items()}
    return drawn if any(drawn.values()) else weights


def draw_faults(
    random: Random,
    shape: Shape,
    weights: dict[str, int],
    *,
    seconds: float,
    calm_seconds: float,
    kinds: Mapping[str, Kind] = KINDS,
) -> tuple[Fault, ...]:
    """Faults for so many seconds, `calm_seconds` apart on average."""
    names, numbers = list(weights), list(weights.values())
    faults = []
    at = random.expovariate(1 / calm_seconds)
    while at < seconds:
        name = random.choices(names, numbers)[0]
        faults.append(Fault(int(at * 1000), name, kinds[name].draw(random, shape)))
        at += random.expovariate(1 / calm_seconds)
    return tuple(faults)
