"""The table on which a placement is worked out: which node holds which shard, loads against quotas.

Nodes and zones are small indexes here (positions in the sorted node list). `Board` keeps the rules
of placement: no node twice in a shard, zones within their bounds. Loads may pass quotas while the
work is going on; `balance` ends that by moving replicas along the cheapest chains.

A *swap* replaces node a by node b in one shard. It is free if a is fresh there (it does not hold
the shard today), and else costs one moved replica.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from quorumcache.ring.shares import ZoneBounds


class Swap(NamedTuple):
    """Node `joining` takes the place of node `leaving` in `shard`."""

    shard: int
    leaving: int
    joining: int


class Board:
    """Replica sets being worked out. Changed only through `add`, `drop` and `swap`."""

    __slots__ = (
        "_bounds",
        "_changes",
        "_extras",
        "_extras_max",
        "_present",
        "_zone_counts",
        "_zones",
        "fresh",
        "loads",
        "members",
        "quotas",
        "shards",
    )

    def __init__(
        self,
        zones: Sequence[int],
        bounds: ZoneBounds,
        replication: int,
        quotas: Sequence[int],
        present: Sequence[Sequence[int]],
    ) -> None:
        """Starts from `present`, whose replica sets may break the rules: see `extra_members`."""
        count = len(zones)
        self._zones = zones
        self._bounds = bounds
        self._extras_max = replication - sum(bounds.low)
        self._present = present
        self.quotas = quotas
        self.loads = [0] * count
        self.members: list[list[int]] = [[] for _ in present]
        # Dicts without values: sets that iterate in insertion order, alike in every process.
        self.shards: list[dict[int, None]] = [{} for _ in range(count)]
        self.fresh: list[dict[int, None]] = [{} for _ in range(count)]
        self._zone_counts = [[0] * len(bounds.low) for _ in present]
        # Per shard: replicas above `low`, summed over the zones. At most _extras_max when legal.
        self._extras = [0] * len(present)
        self._changes = [0] * len(present)  # replicas of the shard that already move
        for shard, replicas in enumerate(present):
            for node in replicas:
                self.add(shard, node)

    def add(self, shard: int, node: int) -> None:
        """`node` becomes a member of `shard`."""
        zone = self._zones[node]
        counts = self._zone_counts[shard]
        self._extras[shard] += counts[zone] >= self._bounds.low[zone]
        counts[zone] += 1
        self.members[shard].append(node)
        self.shards[node][shard] = None
        if node not in self._present[shard]:
            self.fresh[node][shard] = None
        self.loads[node] += 1

    def drop(self, shard: int, node: int) -> None:
        """`node` is no longer a member of `shard`."""
        zone = self._zones[node]
        counts = self._zone_counts[shard]
        counts[zone] -= 1
        self._extras[shard] -= counts[zone] >= self._bounds.low[zone]
        self.members[shard].remove(node)
        del self.shards[node][shard]
        if self.fresh[node].pop(shard, self) is self:
            self._changes[shard] += 1
        self.loads[node] -= 1

    def extra_members(self, shard: int) -> list[int]:
        """Members of which one must go to bring `shard` within the zone bounds; maybe none."""
        counts = self._zone_counts[shard]
        for limits, broken in (
            (self._bounds.high, any(map(int.__gt__, counts, self._bounds.high))),
            (self._bounds.low, self._extras[shard] > self._extras_max),
        ):
            if broken:
                zones = self._zones
                return [i for i in self.members[shard] if counts[zones[i]] > limits[zones[i]]]
        return []

    def can_add(self, shard: int, node: int) -> bool:
        """True if `node` may become a further member of `shard`."""
        zone = self._zones[node]
        count = self._zone_counts[shard][zone]
        if count >= self._bounds.low[zone] and (
            count >= self._bounds.high[zone] or self._extras[shard] >= self._extras_max
        ):
            return False
        return node not in self.members[shard]

    def can_swap(self, shard: int, leaving: int, joining: int) -> bool:
        """True if `joining` may take the place of the member `leaving` in the complete `shard`."""
        if joining in self.members[shard]:
            return False
        old, new = self._zones[leaving], self._zones[joining]
        if old == new:
            return True
        counts = self._zone_counts[shard]
        return counts[old] > self._bounds.low[old] and counts[new] < self._bounds.high[new]

    def swap(self, swap: Swap) -> None:
        """Carries out a swap that `can_swap` allows; the newcomer takes the leaver's position."""
        members = self.members[swap.shard]
        position = members.index(swap.leaving)
        self.drop(swap.shard, swap.leaving)
        self.add(swap.shard, swap.joining)
        members.insert(position, members.pop())

    def balance(self) -> None:
        """Swaps until no node is above its quota. All shards are complete and within the bounds."""
        for node in range(len(self.loads)):
            while self.loads[node] > self.quotas[node]:
                path = self._path(node)
                assert path is not None, "quotas from `shares.quotas` can always be reached"
                for swap in path:
                    assert self.can_swap(*swap)
                    self.swap(swap)

    def _path(self, start: int) -> list[Swap] | None:
        """Cheapest chain of swaps that takes one replica from `start` to a node below its quota.

        Breadth first by cost: the nodes that free swaps reach, then those one paid swap further.
        """
        into: dict[int, Swap] = {}  # how a visited node got the surplus replica
        unvisited = [node for node in range(len(self.loads)) if node != start]
        frontier = [start]
        while frontier:
            for node in frontier:  # grows while it is walked
                unvisited, found = self._reach(node, self.fresh[node], unvisited, into, frontier)
                if found is not None:
                    return _chain(into, start, found)
            for node in frontier:
                direct = self._best_direct(node, unvisited)
                if direct is not None:
                    into[direct.joining] = direct
                    return _chain(into, start, direct.joining)
            reached: list[int] = []
            for node in frontier:
                unvisited, _ = self._reach(node, self.shards[node], unvisited, into, reached)
            frontier = reached
        return None

    def _reach(
        self,
        node: int,
        shards: dict[int, None],
        unvisited: list[int],
        into: dict[int, Swap],
        reached: list[int],
    ) -> tuple[list[int], int | None]:
        """Visits what one swap in `shards` reaches; stops at a node below its quota."""
        for shard in shards:
            if not unvisited:
                break
            rest: list[int] = []
            for other in unvisited:
                if self.can_swap(shard, node, other):
                    into[other] = Swap(shard, node, other)
                    if self.loads[other] < self.quotas[other]:
                        return unvisited, other
                    reached.append(other)
                else:
                    rest.append(other)
            unvisited = rest
        return unvisited, None

    def _best_direct(self, node: int, unvisited: Sequence[int]) -> Swap | None:
        """A swap from `node` to the neediest node possible, in the least disturbed shard."""
        loads, quotas = self.loads, self.quotas
        needy = [other for other in unvisited if loads[other] < quotas[other]]
        needy.sort(key=lambda other: (loads[other] - quotas[other], other))
        for other in needy:
            best: Swap | None = None
            best_cost = 0
            for shard in self.shards[node]:
                if self.can_swap(shard, node, other):
                    # Shards that already change, or would lose their first replica, come last.
                    cost = 2 * self._changes[shard] + (self._present[shard][0] == node)
                    if best is None or cost < best_cost:
                        best, best_cost = Swap(shard, node, other), cost
                        if cost == 0:
                            break
            if best is not None:
                return best
        return None


def _chain(into: dict[int, Swap], start: int, end: int) -> list[Swap]:
    """The swaps from `start` to `end`, the last one first: each makes room for the one before."""
    swaps: list[Swap] = []
    node = end
    while node != start:
        swaps.append(into[node])
        node = into[node].leaving
    return swaps
