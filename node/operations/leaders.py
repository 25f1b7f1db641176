"""Where a group's leader is, as far as this node knows, and by which way it can be reached.

A node with a replica of the group knows from its log. One without a replica, or one that is cut off
from the leader, asks the live replicas in turn (`questions`, answered by `told`): as long as
operations wait for the group, once per sweep. The answers carry the term, so that an old one is not
believed.

A replica that a move takes away hears nothing any more once its group has let it go, until the map
says that the move is over. What it knows counts less than what others say, and they are asked as if
there was none here.

Nothing is sent to a node that is not up. A leader that is up for another node only is reached
through that node: one extra hop, since what a relay passes on may not be relayed again.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from quorumcache.node.replica.group import ReplicaGroup

UNKNOWN: Final = 0
"""Instead of a node id."""

ASK_NS: Final = 100_000_000
"""Time between two rounds of questions."""

ASK_LATE_NS: Final = 500_000_000
"""A group with a replica here is asked for after so long: its log usually knows sooner."""

GROUPS_ASKED_MAX: Final = 8192
"""Groups in one question: more than a cluster has shards."""


class UpOrDown(Protocol):
    """The peer network, as far as this file needs it."""

    def is_up(self, node_id: int) -> bool: ...


class Hint:
    """What another node said of a group: `leader` of `term`; `via` is the node that said so."""

    __slots__ = ("leader", "term", "via")

    def __init__(self, leader: int, term: int, via: int) -> None:
        self.leader = leader
        self.term = term
        self.via = via


class Leaders:
    """See the module docstring."""

    def __init__(
        self,
        node_id: int,
        groups: Mapping[int, ReplicaGroup],
        peers: UpOrDown,
        preferred_leader: Callable[[int], int],
        replicas: Callable[[int], Sequence[int]],
        leaving: Container[int] = (),
    ) -> None:
        """`leaving`: groups that a move under way takes away from this node."""
        self.node_id = node_id
        self.groups = groups
        self.peers = peers
        self.preferred_leader = preferred_leader
        self.replicas = replicas
        self.leaving = leaving
        self._hints: dict[int, Hint] = {}
        """Leaders by hearsay."""
        self.avoided: dict[int, None] = {}
        """Nodes that are up and left a forward without an answer: a relay is preferred until they
        are heard again."""
        self._next_ask_ns = 0
        self._missed: dict[int, int] = {}
        """Groups whose leader is wanted, and since when."""
        self._turn = 0
        """Counts rounds of questions, so that the replicas are asked in turn."""

    def _replica(self, group_id: int) -> ReplicaGroup | None:
        """The replica here, unless its group has let it go, or is about to."""
        group = self.groups.get(group_id)
        if group is not None and group_id in self.leaving and not group.is_leader:
            return None
        return group

    def node_of(self, group_id: int) -> int:
        """Node that leads the group as far as this node knows, up or not; 0 = unknown."""
        group = self._replica(group_id)
        if group is not None:
            if group.is_leader:
                return self.node_id
            if group.leader_id:
                return group.leader_id
        hint = self._hints.get(group_id)
        if hint is not None:
            return hint.leader
        likely = self._likely(group_id) if group is None else []
        return likely[0] if likely else UNKNOWN

    def way_to(self, group_id: int) -> tuple[int, bool]:
        """Node to send an operation to, and whether it has to relay it; (0, False) = none is
        known."""
        is_up = self.peers.is_up
        group = self._replica(group_id)
        hint = self._hints.get(group_id)
        if hint is not None and group is not None and group.term > hint.term:
            del self._hints[group_id]
            hint = None
        if (
            self.avoided
            and hint is not None
            and hint.leader in self.avoided
            and hint.via != hint.leader
            and is_up(hint.via)
        ):
            return hint.via, True
        known = group.leader_id if group is not None else UNKNOWN
        if known not in (UNKNOWN, self.node_id) and is_up(known):
            return known, False
        if hint is not None and hint.leader != self.node_id:
            if is_up(hint.leader):
                return hint.leader, False
            if hint.via != hint.leader and is_up(hint.via):
                return hint.via, True
        elif group is None:
            for likely in self._likely(group_id):
                if is_up(likely):
                    return likely, False
        return UNKNOWN, False

    def _likely(self, group_id: int) -> list[int]:
        """Who leads a group in which this node has no say (any more), the likeliest first: the
        leader by a replica here that a move takes away, and the one that the map prefers. Never
        this node, which the map may prefer until the move is over.
        """
        leaving = self.groups.get(group_id)
        last_known = leaving.leader_id if leaving is not None else UNKNOWN
        known = (last_known, self.preferred_leader(group_id))
        return [node_id for node_id in known if node_id not in (UNKNOWN, self.node_id)]

    # -- what other nodes say --------------------------------------------------------------

    def refused(self, group_id: int, node_id: int, leader: int) -> None:
        """A node refused an operation of the group, and named its leader, or 0."""
        hint = self._hints.get(group_id)
        if hint is not None and node_id in (hint.leader, hint.via):
            del self._hints[group_id]
            hint = None
        if (
            hint is None
            and self._replica(group_id) is None
            and leader not in (UNKNOWN, node_id, self.node_id)
            and self.peers.is_up(leader)
        ):
            self._hints[group_id] = Hint(leader, 0, leader)

    def told(self, node_id: int, reports: Iterable[tuple[int, int, int]]) -> list[int]:
        """A node's answer to a question: (group_id, leader, term) each. The groups whose leader is
        to be tried now."""
        changed: list[int] = []
        for group_id, leader, term in reports:
            if leader in (UNKNOWN, self.node_id):
                continue
            group = self._replica(group_id)
            if group is not None and term < group.term:
                continue
            known = self._hints.get(group_id)
            if known is not None and term < known.term:
                continue
            if group is None and not self.replicas(group_id):
                continue  # Not asked for: there is no such group.
            before = self.way_to(group_id)
            self._hints[group_id] = Hint(leader, term, node_id)
            if self.way_to(group_id) != before:
                changed.append(group_id)
        return changed

    def heard(self, node_id: int) -> None:
        """A node answered."""
        self.avoided.pop(node_id, None)

    def peer_down(self, node_id: int) -> None:
        """What leads to this node, or through it, is no way any more."""
        self.avoided.pop(node_id, None)
        gone = [g for g, hint in self._hints.items() if node_id in (hint.leader, hint.via)]
        for group_id in gone:
            del self._hints[group_id]

    # -- asking ------------------------------------------------------------------------------

    def questions(self, group_ids: Iterable[int], now_ns: int) -> dict[int, list[int]]:
        """Which node to ask for the leaders of which groups: a live replica of each, in turn.

        `group_ids`: those that operations wait for. None are asked for too often.
        """
        asked: dict[int, list[int]] = {}
        if now_ns < self._next_ask_ns:
            return asked
        self._next_ask_ns = now_ns + ASK_NS
        self._missed = {g: self._missed.get(g, now_ns) for g in group_ids}
        self._turn += 1
        for group_id, since_ns in self._missed.items():
            if now_ns - since_ns < ASK_LATE_NS and self._replica(group_id) is not None:
                continue
            live = [n for n in self.replicas(group_id) if n != self.node_id and self.peers.is_up(n)]
            if not live:
                continue
            groups = asked.setdefault(live[(self._turn + group_id) % len(live)], [])
            if len(groups) < GROUPS_ASKED_MAX:
                groups.append(group_id)
        return asked

    def answer(self, group_ids: Iterable[Any]) -> tuple[tuple[int, int, int], ...]:
        """What this node's replicas know: (group_id, leader, term), for leaders that this node has
        a connection to."""
        reports = []
        for group_id in group_ids:
            group = self.groups.get(group_id)
            if group is None:
                continue
            leader = self.node_id if group.is_leader else group.leader_id
            if leader not in (UNKNOWN, self.node_id) and not self.peers.is_up(leader):
                leader = UNKNOWN
            reports.append((group_id, leader, group.term))
        return tuple(reports)
