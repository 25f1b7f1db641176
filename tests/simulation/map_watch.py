"""What may be true of cluster maps, whoever knows them; looked at every few milliseconds.

- There is one map of each epoch, and no node goes back to an older one.
- A node id belongs to one disk, for ever.
- Never more moves at once than the bounds say.
- A node that the map has let go promises nothing to those who know.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from tests.simulation.checkers import InvariantViolation

if TYPE_CHECKING:
    from quorumcache.ring import ClusterMap
    from quorumcache.ring.move import Move
    from tests.simulation.cluster import SimulatedNode
    from tests.simulation.elastic_world import ElasticWorld

MOVES_MAX = 5
MOVES_OF_A_NODE_MAX = 2
"""That bring a replica to a node, and likewise that copy from one. All these are of moves that get
on: one whose group has no majority, or whose targets have no room, keeps nobody else from moving.
"""
LATE_NS = 1_000_000_000
"""A link to a node that has gone is closed by then."""
LEFT_NS = 10_000_000_000
"""A map that was decided is known somewhere by then, unless nobody is up."""
VOTE_REPLY, APPEND_REPLY = 3, 5


class MapWatch:
    """See the module. `newest`: the newest map that any node has ever known."""

    def __init__(self, world: ElasticWorld) -> None:
        self.newest: ClusterMap | None = None
        self._world = world
        self._by_epoch: dict[int, ClusterMap] = {}
        self._disks: dict[int, str] = {}
        self._known: dict[str, tuple[int, Any, int]] = {}
        """By node: its incarnation, the map it knows, and since when."""
        self._left: dict[int, int] = {}
        """Nodes that have ended because they are in the map no more, and when."""
        self._chains: dict[int, list[Move]] = {}
        """By group: the move that has started, and what it was aimed at since."""
        self.moves_most = 0
        self.completed = 0
        """Moves that came to their end."""

    def on_left(self, node_id: int) -> None:
        """A node ends and says that the map has it no more."""
        self._left.setdefault(node_id, self._world.loop.now_ns)

    def _check_left(self) -> None:
        """It may have been told before anybody has adopted the map that says so."""
        for node_id, since_ns in self._left.items():
            late = self._world.loop.now_ns - since_ns > LEFT_NS
            if (
                late
                and self.newest is not None
                and any(info.node_id == node_id for info in self.newest.nodes)
            ):
                raise InvariantViolation(
                    f"node {node_id} has left, and is in map {self.newest.epoch}",
                    rule="a node leaves that the map has",
                )

    def look(self) -> None:
        self._check_left()
        for simulated in self._world.nodes:
            node = simulated.node
            if node is None or simulated.process.is_dead or not simulated.has_own_directory:
                continue
            found = node.map
            incarnation, known, _ = self._known.get(simulated.name, (0, None, 0))
            if found is None or (found is known and incarnation == simulated.incarnation):
                continue
            if incarnation == simulated.incarnation and found.epoch < known.epoch:
                raise InvariantViolation(
                    f"{simulated.name} goes back from map {known.epoch} to {found.epoch}",
                    rule="a map goes back",
                )
            now_ns = self._world.loop.now_ns
            self._known[simulated.name] = (simulated.incarnation, found, now_ns)
            self._take(simulated, found)

    def _take(self, simulated: SimulatedNode, found: ClusterMap) -> None:
        same = self._by_epoch.setdefault(found.epoch, found)
        if same is not found and same != found:
            raise InvariantViolation(
                f"{simulated.name} has another map of epoch {found.epoch}: {found} and {same}",
                rule="two maps of one epoch",
            )
        if same is found:
            self._check(found)
            if self.newest is None or found.epoch > self.newest.epoch:
                self._tell(self.newest, found)
                self.newest = found

    def _tell(self, before: ClusterMap | None, now: ClusterMap) -> None:
        """One line of the story."""
        moves = [
            f"group {m.group_id} {'+'.join(map(str, m.origin))}>{'+'.join(map(str, m.target))}"
            f"{'' if m.decided else ' waits'}"
            for m in now.moves
        ]
        nodes = [f"{n.node_id}={n.name}:{n.state}" for n in now.nodes]
        self._world.trace.tell(
            f"map {now.epoch}: {' '.join(nodes)}; {now.change or 'no change'}; "
            f"{', '.join(moves) or 'no moves'}"
        )
        if before is not None:
            left = {move.group_id for move in now.moves}
            self.completed += sum(m.decided > 0 and m.group_id not in left for m in before.moves)

    def _check(self, found: ClusterMap) -> None:
        for info in found.nodes:
            disk = self._disks.setdefault(info.node_id, info.disk_id)
            if disk != info.disk_id:
                raise InvariantViolation(
                    f"map {found.epoch} gives node id {info.node_id} of disk {disk} to {info}",
                    rule="a node id is used again",
                )
        unsteady = self._world.unsteady_nodes()
        started = [move for move in found.moves if move.decided and _gets_on(move, unsteady)]
        self.moves_most = max(self.moves_most, len(started))
        # One that has started and is aimed anew, because a node has died or gone, holds its place.
        aimed = self._aimed_anew(started)
        counted = [move for move in started if move not in aimed]
        into: Counter[int] = Counter(node for move in counted for node in move.added)
        # The preferred leader copies.
        out: Counter[int] = Counter(move.replica_set[0] for move in counted if move.added)
        most = max([*into.values(), *out.values()], default=0)
        if len(started) > MOVES_MAX or most > MOVES_OF_A_NODE_MAX:
            raise InvariantViolation(
                f"map {found.epoch} has {len(started)} moves at once, {most} of a node: {started}",
                rule="too many moves at once",
            )

    def _aimed_anew(self, started: list[Move]) -> set[Move]:
        """Those of which the map before had another target, and had begun to go there."""
        for move in started:
            chain = self._chains.setdefault(move.group_id, [])
            if move not in chain:
                before = self.newest.move_of(move.group_id) if self.newest is not None else None
                self._chains[move.group_id] = (
                    [*chain, move] if before is not None and before.decided else [move]
                )
        return {
            move for move in started if self._chains[move.group_id].index(move) and move.decided
        }

    def on_promise(self, node: SimulatedNode, receiver: SimulatedNode, item: Any) -> None:
        """A promise leaves a node."""
        kind, group_id, message = item
        is_granted = (kind == VOTE_REPLY and message[1]) or (
            kind == APPEND_REPLY and not message[2]
        )
        if not is_granted or receiver.node is None:
            return
        incarnation, known, since_ns = self._known.get(receiver.name, (0, None, 0))
        if known is None or incarnation != receiver.incarnation:
            return
        if node.node_id >= known.next_node_id or not known.next_node_id:
            return
        if any(info.node_id == node.node_id for info in known.nodes):
            return
        if self._world.loop.now_ns - since_ns > LATE_NS:
            raise InvariantViolation(
                f"group {group_id}: node {node.node_id}, which map {known.epoch} does not have, "
                f"promises {item} to {receiver.name}",
                rule="a node outside the map decides",
            )


def _gets_on(move: Move, unsteady: frozenset[int]) -> bool:
    """Whether it certainly does, however far it has come."""
    least = min(len(move.origin), len(move.target))
    troubled = unsteady.intersection((*move.origin, *move.target))
    return 2 * len(troubled) < least and unsteady.isdisjoint(move.added)
