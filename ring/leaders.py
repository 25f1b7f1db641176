"""Preferred leaders: one replica of each shard, so that leaderships per weight are balanced.

A node's share is `shard_count` in proportion to its weight, but no more than its share of the
replicas. A leadership moves along chains: a hands a shard to another of its replicas b, b hands one
to c, and so on. Where no chain is left the balance is the best that the replica sets allow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from math import ceil, floor

from quorumcache.ring.shares import fill_level


def choose_leaders(
    replica_sets: Sequence[Sequence[int]],
    present: Sequence[Sequence[int]],
    weights: Sequence[Fraction],
    shares: Sequence[Fraction],
) -> list[int]:
    """The preferred leader of each shard, an index into `weights`.

    A present leader (first of its set in `present`) stays while the balance allows it. `shares`:
    the fair share of replicas of each node.
    """
    board = _Leaders(replica_sets, len(weights))
    level = fill_level(weights, shares, len(replica_sets))
    wanted = [min(level * weight, share) for weight, share in zip(weights, shares, strict=True)]
    low = [floor(share) for share in wanted]
    high = [ceil(share) for share in wanted]
    open_shards: list[int] = []
    for shard, members in enumerate(replica_sets):
        if present[shard] and present[shard][0] in members:
            board.lead(shard, present[shard][0])
        else:
            open_shards.append(shard)
    for shard in open_shards:
        counts = board.counts
        board.lead(
            shard,
            min(replica_sets[shard], key=lambda node: ((counts[node] + 1) / wanted[node], node)),
        )
    counts = board.counts
    for node in range(len(weights)):
        while counts[node] > high[node] and board.give(node, lambda n: counts[n] < high[n]):
            pass
    for node in range(len(weights)):
        while counts[node] < low[node] and board.take(node, lambda n: counts[n] > low[n]):
            pass
    return board.leaders


class _Leaders:
    """Which node leads which shard. Invariant: counts[node] == len(led[node])."""

    __slots__ = ("_held", "_sets", "counts", "leaders", "led")

    def __init__(self, replica_sets: Sequence[Sequence[int]], count: int) -> None:
        self._sets = replica_sets
        self._held: list[list[int]] = [[] for _ in range(count)]
        for shard, members in enumerate(replica_sets):
            for node in members:
                self._held[node].append(shard)
        self.leaders = [-1] * len(replica_sets)
        self.led: list[dict[int, None]] = [{} for _ in range(count)]
        self.counts = [0] * count

    def lead(self, shard: int, node: int) -> None:
        """`node`, a member of `shard`, becomes its leader."""
        old = self.leaders[shard]
        if old >= 0:
            del self.led[old][shard]
            self.counts[old] -= 1
        self.leaders[shard] = node
        self.led[node][shard] = None
        self.counts[node] += 1

    def give(self, start: int, is_end: Callable[[int], bool]) -> bool:
        """Moves one leadership from `start`, by the shortest chain, to a node that `is_end`."""
        came: dict[int, tuple[int, int]] = {start: (-1, -1)}  # node: (from whom, which shard)
        queue = [start]
        for node in queue:
            for shard in self.led[node]:
                for other in self._sets[shard]:
                    if other not in came:
                        came[other] = (node, shard)
                        queue.append(other)
                        if is_end(other):
                            while other != start:
                                giver, moved = came[other]
                                self.lead(moved, other)
                                other = giver
                            return True
        return False

    def take(self, start: int, is_end: Callable[[int], bool]) -> bool:
        """Moves one leadership to `start`, by the shortest chain, from a node that `is_end`."""
        came: dict[int, tuple[int, int]] = {start: (-1, -1)}  # node: (to whom, which shard)
        queue = [start]
        for node in queue:
            for shard in self._held[node]:
                other = self.leaders[shard]
                if other not in came:
                    came[other] = (node, shard)
                    queue.append(other)
                    if is_end(other):
                        while other != start:
                            taker, moved = came[other]
                            self.lead(moved, taker)
                            other = taker
                        return True
        return False
