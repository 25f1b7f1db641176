"""A model of a cluster whose groups follow the map's moves, for tests of the maps.

A group is a configuration and the nodes that have its data. Its leader acts on whatever map it
knows, which may be an old one, and what it reports may be late: so what the maps promise must hold
whatever the order of things. `Broken` is raised by the rules that all maps must keep.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from random import Random

from quorumcache.node.consensus.values import Configuration
from quorumcache.node.replica.steering import next_step
from quorumcache.ring import ClusterMap, ClusterView, GroupReport, Move, NodeInfo, place
from quorumcache.ring.changes import Changed, change, join
from quorumcache.ring.directory_set import directory_size
from quorumcache.ring.moves import next_map
from tests.support.clusters import make_node

TICK_MS = 500
DEAD_AFTER_MS = 2000
MAPS_KNOWN = 4
"""A leader's map is one of the last so many."""

BOUNDS = {"in all": 8, "into one node": 2, "out of one node": 2}


class Broken(AssertionError):
    """A rule is broken."""


@dataclass
class Group:
    """What a group's log has committed, and the nodes with its data."""

    voters: list[int]
    learners: list[int] = field(default_factory=list)
    decision: int = 0
    copied: set[int] = field(default_factory=set)
    reports: list[GroupReport] = field(default_factory=list)


def founded(
    nodes: list[NodeInfo], shard_count: int, replication: int, directory: tuple[int, ...]
) -> ClusterMap:
    """The map of form 2 of a cluster in which every group has started."""
    return ClusterMap(
        epoch=1,
        cluster_id="cluster-a",
        shard_count=shard_count,
        replication=replication,
        nodes=tuple(nodes),
        replica_sets=place(nodes, shard_count, replication),
        started=(1 << shard_count) - 1,
        settings=(("dead_after_ms", str(DEAD_AFTER_MS)), ("shards", str(shard_count))),
        form=2,
        directory=directory,
    )


class MovingWorld:
    """The cluster: `map` is the newest one, `alive` the nodes that are up."""

    def __init__(self, first: ClusterMap, rng: Random) -> None:
        self.rng = rng
        self.map = first
        self.history = [first]
        self.alive = {node.node_id for node in first.nodes}
        self.silent_ms: dict[int, int] = {}
        self.heard_ms = dict.fromkeys(self.alive, 60_000)
        self.full_ms: dict[int, int] = {}
        """Nodes whose disk is full, and for how long: they store no map and no copy."""
        self.groups = {
            group_id: Group(list(members), copied=set(members))
            for group_id, members in enumerate((first.directory, *first.replica_sets))
        }

    # -- the directory -----------------------------------------------------------------------

    def view(self, *, late: bool = False) -> ClusterView:
        """What the directory's leader knows. `late`: reports may be old ones."""
        reports = {}
        for group_id, group in self.groups.items():
            if group.reports:
                reports[group_id] = (
                    self.rng.choice(group.reports[-3:]) if late else group.reports[-1]
                )
        return ClusterView(
            heard=frozenset(n.node_id for n in self.map.nodes if n.node_id in self.alive),
            silent_ms=dict(self.silent_ms),
            heard_ms=dict(self.heard_ms),
            reports=reports,
            bytes=dict.fromkeys(self.groups, 1000),
            full_ms={n: ms for n, ms in self.full_ms.items() if n in self.alive},
        )

    def ask(self, *words: str) -> Changed:
        """An operator's change; `ChangeRefused` changes nothing."""
        changed = change(self.map, words, self.view())
        self._accept(changed.map, self.view())
        self._check_wanted()
        return changed

    def join(self, name: str, zone: str = "", weight: float = 1.0) -> NodeInfo:
        """A node that joins, and is up."""
        node_id = self.map.next_node_id
        info = replace(make_node(node_id, zone, weight), name=name, disk_id=f"{node_id:032x}")
        self._accept(join(self.map, info, self.view()).map, self.view())
        self.alive.add(node_id)
        return self.map.node(node_id)

    def tick(self, *, late: bool = False) -> bool:
        """Half a second passes, and the directory looks; whether it has made a new map."""
        for node in self.map.nodes:
            if node.node_id in self.alive:
                self.silent_ms.pop(node.node_id, None)
                self.heard_ms[node.node_id] = self.heard_ms.get(node.node_id, 0) + TICK_MS
            else:
                self.heard_ms.pop(node.node_id, None)
                self.silent_ms[node.node_id] = self.silent_ms.get(node.node_id, 0) + TICK_MS
        for node_id in self.full_ms:
            self.full_ms[node_id] += TICK_MS
        view = self.view(late=late)
        new = next_map(self.map, view)
        if new is None:
            return False
        self._accept(new, view)
        self._check_wanted()
        return True

    def _check_wanted(self) -> None:
        """The directory leaves no group with too few replicas on nodes that may have them."""
        fit = {node.node_id for node in self.map.nodes if node.is_placeable}
        if self.map.change.startswith("replace"):
            return  # A replica waits for its successor.
        for group_id in range(1, self.map.shard_count + 1):
            move = self.map.move_of(group_id)
            wanted = move.target if move is not None else self.map.replica_set(group_id)
            if len(fit.intersection(wanted)) != min(self.map.replication, len(fit)) and fit:
                raise Broken(f"group {group_id} is to have {wanted}, of {sorted(fit)}")

    def _accept(self, new: ClusterMap, view: ClusterView) -> None:
        old = self.map
        if new is old:
            return
        if new.epoch != old.epoch + 1:
            raise Broken(f"epoch {new.epoch} follows {old.epoch}")
        if ClusterMap.from_bytes(new.to_bytes()) != new:
            raise Broken("the map is not what its bytes say")
        self._check_bounds(old, new, view)
        self.map = new
        self.history.append(new)
        for group_id in self.groups:
            self._check_members(group_id)

    def _check_bounds(self, old: ClusterMap, new: ClusterMap, view: ClusterView) -> None:
        waited = {m.group_id for m in new.moves if not _is_started(old.move_of(m.group_id))}
        all_under_way = [m for m in new.moves if m.decided and _gets_on(m, view)]
        for has_room in (True, False):
            under_way = [m for m in all_under_way if _has_room(m, view) == has_room]
            self._check_bounds_of(under_way, old, new, waited)
        for move in new.moves:
            is_begun = move.group_id in waited and move.decided == new.epoch
            if is_begun and any(node_id in view.full_ms for node_id in move.added):
                raise Broken(f"a move starts to a node whose disk is full: {move}")

    def _check_bounds_of(
        self, under_way: list[Move], old: ClusterMap, new: ClusterMap, waited: set[int]
    ) -> None:
        """Moves that hold places for each other."""
        begun = [m for m in under_way if m.group_id in waited and m.decided == new.epoch]
        if begun and old.is_paused:
            raise Broken("a move starts while moves are paused")
        if begun and len(under_way) > BOUNDS["in all"]:
            raise Broken(f"{len(under_way)} moves at once")
        for move in begun:
            for node_id in move.added:
                if sum(node_id in m.added for m in under_way) > BOUNDS["into one node"]:
                    raise Broken(f"too many moves bring replicas to node {node_id}")
            leader = move.replica_set[0]
            senders = sum(m.replica_set[0] == leader and bool(m.added) for m in under_way)
            if move.added and senders > BOUNDS["out of one node"]:
                raise Broken(f"too many moves copy from node {leader}")

    # -- groups ------------------------------------------------------------------------------

    def step_group(self, group_id: int, known: ClusterMap | None = None) -> bool:
        """The group's leader does the next thing that the map it knows asks for, and reports."""
        known = known or self.map
        group = self.groups[group_id]
        if 2 * len(self.alive.intersection(group.voters)) <= len(group.voters):
            return False
        move = known.move_of(group_id)
        did = False
        if move is not None and move.decided and move.decided >= group.decision:
            did = self._follow(group, move, known)
        self._check_members(group_id)
        group.reports.append(
            GroupReport(
                *(group_id, 1, group.decision, tuple(group.voters), tuple(group.learners)),
                *(500, 1000),
            )
        )
        return did

    def _follow(self, group: Group, move: Move, known: ClusterMap) -> bool:
        """A step by the rules of the nodes. A learner that is up gets the data, then votes."""
        able = self.alive - self.full_ms.keys()
        fresh = [n for n in group.learners if n in able and n not in group.copied]
        if fresh:
            group.copied.add(fresh[0])
        members = (*group.voters, *group.learners)
        ready = [
            n
            for n in sorted(self.alive)
            if n in group.copied or (n not in members and n not in self.full_ms)
        ]
        leaders = [n for n in group.voters if n in self.alive]
        before = Configuration(
            tuple(group.voters), learners=tuple(group.learners), decision=group.decision
        )
        after = next_step(before, move.target, move.decided, ready, self.rng.choice(leaders))
        if after is None:
            return bool(fresh)
        rest = [n for n in after.voters if n in self.alive]
        if 2 * len(rest) <= len(after.voters):
            return False  # It is not committed.
        if len(after.voters) < len(group.voters):
            self._check_removal(group, after.voters, known)
        group.voters, group.learners = list(after.voters), list(after.learners)
        group.decision = after.decision
        group.copied.intersection_update((*after.voters, *after.learners))
        return True

    def _check_removal(self, group: Group, rest: Sequence[int], known: ClusterMap) -> None:
        """No group falls below what was possible since the leader's map."""
        maps = self.history[self.history.index(known) :]
        counts = [sum(node.is_placeable for node in m.nodes) for m in maps]
        if group is self.groups[0]:
            least = min(map(directory_size, counts))
        else:
            least = min(min(m.replication, n) for m, n in zip(maps, counts, strict=True))
        if len(group.copied.intersection(rest)) < least:
            raise Broken(f"{rest} are left with {group.copied}, at least {least} were possible")

    def _check_members(self, group_id: int) -> None:
        """Whoever the map does not place a group on may remove its replica at any moment."""
        group = self.groups[group_id]
        held = self.map.replica_set(group_id)
        for node_id in (*group.voters, *group.learners):
            if node_id not in held:
                raise Broken(f"group {group_id} counts on node {node_id}, the map says {held}")

    def step_all(self, *, late: bool = False) -> None:
        """Each group takes a step, some by an old map if `late`."""
        for group_id in self.groups:
            known = self.rng.choice(self.history[-MAPS_KNOWN:]) if late else self.map
            self.step_group(group_id, known)

    def settle(self, ticks_max: int = 3000) -> None:
        """All that is left to do happens, without disturbance."""
        quiet = 0
        for _ in range(ticks_max):
            self.step_all()
            quiet = 0 if self.tick() or self.map.moves else quiet + 1
            # Long enough for every silence and return to count.
            if quiet > 30:
                return
        raise Broken(f"no end of it: {self.map.moves[:3]}, change {self.map.change!r}")


def _is_started(move: Move | None) -> bool:
    return move is not None and move.decided > 0


def _gets_on(move: Move, view: ClusterView) -> bool:
    """Whether a move that has started can go on, as far as is known: it counts against the bounds
    then.
    """
    report = view.reports.get(move.group_id)
    voters = set(move.origin if report is None else report.voters)
    can_decide = 2 * len(view.heard & voters) > len(voters)
    full = view.full_ms.keys()
    has_copies_left = set(move.added) - full - (voters if report is not None else set())
    return can_decide and (full.isdisjoint(move.target) or bool(has_copies_left))


def _has_room(move: Move, view: ClusterView) -> bool:
    """Whether most voters of the group can write, as far as is known."""
    report = view.reports.get(move.group_id)
    voters = set(move.origin if report is None else report.voters)
    return 2 * len((view.heard - view.full_ms.keys()) & voters) > len(voters)
