"""What a seed's cluster looks like: how many nodes, in which zones, how often everything is there.

Also what has to be true of it when some of its nodes are gone for good.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from random import Random

NODE_COUNTS = (3,) * 9 + (1, 2, 4, 4, 5, 5, 5, 6, 7, 8, 9)
REPLICATIONS = (3,) * 6 + (1, 2, 2, 4, 5, 5)
SHARDS = (1, 2, 4, 4, 16)
SHARDS_OF_MANY_NODES = (1, 2, 4, 8)
"""Every shard's replicas tick on every node that holds one: many of both cost too much."""
MANY_NODES = 6

DEAD = ("killed", "powered off", "paused", "cut off")
"""How a node may be gone for good."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterShape:
    """`zones`: one for each node, "" for none."""

    nodes: int
    replication: int
    shards: int
    zones: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"n{number}" for number in range(1, self.nodes + 1))

    @property
    def replication_effective(self) -> int:
        return min(self.replication, self.nodes)

    def describe(self) -> str:
        zones = f" in {len({*self.zones})} zones" if self.zones[0] else ""
        return f"{self.nodes} nodes{zones}, replication {self.replication}, {self.shards} shards"


def draw_shape(random: Random, *, nodes: int = 0, shards: int = 0) -> ClusterShape:
    """`nodes` and `shards` 0: drawn. What is given does not change what else is drawn."""
    drawn_nodes = random.choice(NODE_COUNTS)
    replication = random.choice(REPLICATIONS)
    few, many = random.choice(SHARDS), random.choice(SHARDS_OF_MANY_NODES)
    zone_count = random.choice((0, 0, 0, 2, 3))
    nodes = nodes or drawn_nodes
    zones = tuple(f"z{number % zone_count}" if zone_count else "" for number in range(nodes))
    return ClusterShape(
        nodes=nodes,
        replication=replication,
        shards=shards or (many if nodes >= MANY_NODES else few),
        zones=zones,
    )


def draw_dead(random: Random, shape: ClusterShape) -> tuple[tuple[str, str], ...]:
    """(node, how) of those that are gone for good at the end; () in most seeds.

    Never so many that a shard could lose its majority, wherever its replicas are.
    """
    wanted = random.random() < 0.4
    most = (shape.replication_effective - 1) // 2
    count = min(most, random.choice((1, 1, 2)))
    names = random.sample(shape.names, shape.nodes)
    how = [random.choice(DEAD) for _ in range(2)]
    return tuple(zip(names[:count], how, strict=False)) if wanted else ()


def has_majorities(replica_sets: Iterable[Sequence[int]], dead: Collection[int]) -> bool:
    """Does every shard still have more than half of its replicas?"""
    return all(
        2 * sum(node not in dead for node in replicas) > len(replicas) for replicas in replica_sets
    )
