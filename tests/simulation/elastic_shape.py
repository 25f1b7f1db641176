"""What an elastic cluster is drawn as: its founders, the nodes that may join it later, and the
settings that decide how fast it heals.

Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

from tests.simulation.schedule import SPARES
from tests.simulation.shape import ClusterShape

ZONES = ("z0", "z1", "z2")
FOUNDERS = (3, 3, 3, 3, 3, 4, 5, 1, 2)
REPLICATIONS = (3, 3, 3, 3, 3, 1, 5, 2)
SHARDS = (1, 2, 2, 4, 8)
WEIGHTS = (1.0, 1.0, 1.0, 2.0, 0.5, 0.0)
"""Of a node that joins; 0: a gateway."""
DEAD_AFTER_MS = (1_000, 2_000, 4_000, 20_000)
DRAIN_TIMEOUTS_MS = (300, 2_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spare:
    """A machine that may join as this node."""

    name: str
    zone: str
    weight: float


def draw_elastic_shape(random: Random, *, nodes: int = 0, shards: int = 0) -> ClusterShape:
    """The founders. `nodes` and `shards` 0: drawn."""
    drawn, replication = random.choice(FOUNDERS), random.choice(REPLICATIONS)
    drawn_shards, zone_count = random.choice(SHARDS), random.choice((0, 0, 0, 2, 3))
    nodes = nodes or drawn
    zones = tuple(f"z{number % zone_count}" if zone_count else "" for number in range(nodes))
    return ClusterShape(
        nodes=nodes, replication=replication, shards=shards or drawn_shards, zones=zones
    )


def draw_spares(random: Random, founders: ClusterShape) -> tuple[Spare, ...]:
    zoned = bool(founders.zones[0])
    return tuple(
        Spare(
            name=name,
            zone=random.choice(ZONES) if zoned else "",
            weight=random.choice(WEIGHTS),
        )
        for name in spare_names(founders.nodes)
    )


def spare_names(founders: int) -> tuple[str, ...]:
    """They are numbered on."""
    return tuple(f"n{number}" for number in range(founders + 1, founders + SPARES + 1))


def draw_elastic_settings(random: Random) -> dict[str, Any]:
    """Settings by the names of `NodeConfig`; most are those of the founding only, and the map's
    later.
    """
    return {
        "dead_after_ms": random.choice(DEAD_AFTER_MS),
        "drain_timeout_ms": random.choice(DRAIN_TIMEOUTS_MS),
        "move_bytes_per_s": random.choice((64 << 10, 1 << 20, 64 << 20)),
    }
