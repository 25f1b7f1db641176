"""Which waiting moves start now: never more at once than the bounds allow, the most urgent first.

A move starts only where it can end: its group has a majority that is heard, before and after, and
each node that gets a replica is heard and has room on its disk. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from quorumcache.ring.cluster_view import ClusterView
from quorumcache.ring.draft import Draft
from quorumcache.ring.move import DIRECTORY_GROUP, WAITING, Move
from quorumcache.ring.node_info import DOWN, LOST

MOVES_MAX: Final = 5
"""Moves under way in the whole cluster. What is copied competes with the clients' requests: on a
machine with two processors for five nodes, more of them made the slowest percent three times as
slow."""

MOVES_IN_MAX: Final = 2
"""Moves that bring a replica to one node: one copies while the next one is being prepared."""

MOVES_OUT_MAX: Final = 2
"""Moves that copy from one node. The preferred leader of a group sends."""


class Slots:
    """Counts the moves under way against the bounds."""

    __slots__ = ("_incoming", "_outgoing", "_total")

    def __init__(self, moves: Sequence[Move]) -> None:
        self._total = 0
        self._incoming: dict[int, int] = {}
        self._outgoing: dict[int, int] = {}
        for move in moves:
            self.take(move)

    @property
    def is_full(self) -> bool:
        """Whether no further move may start, whatever it is."""
        return self._total >= MOVES_MAX

    def has_room(self, move: Move) -> bool:
        """Whether this move may start. One that copies nothing only counts in all."""
        if self.is_full:
            return False
        if not move.added:
            return True
        return self._outgoing.get(sender(move), 0) < MOVES_OUT_MAX and all(
            self._incoming.get(node_id, 0) < MOVES_IN_MAX for node_id in move.added
        )

    def take(self, move: Move) -> None:
        """This move is under way."""
        self._total += 1
        if not move.added:
            return
        self._outgoing[sender(move)] = self._outgoing.get(sender(move), 0) + 1
        for node_id in move.added:
            self._incoming[node_id] = self._incoming.get(node_id, 0) + 1


def sender(move: Move) -> int:
    """The node that copies the data to new replicas, as far as the map decides it."""
    return next((node_id for node_id in move.target if node_id in move.origin), move.origin[0])


def start_moves(draft: Draft, view: ClusterView) -> None:
    """Start as many waiting moves as the bounds allow."""
    if draft.is_paused:
        return
    waiting = [move for move in draft.moves.values() if move.decided == WAITING]
    if not waiting:
        return
    going = [m for m in draft.moves.values() if m.decided != WAITING and gets_on(m, view)]
    # Groups that can perhaps write nothing have places of their own, where they hold up nobody:
    # draining the others may be what makes room on the disks that they wait for.
    slots = Slots([move for move in going if has_room_to_decide(move, view)])
    doubtful = Slots([move for move in going if not has_room_to_decide(move, view)])
    least = min(draft.replication, len(draft.placeable()))
    for _, move in sorted((_urgency(draft, move, least), move) for move in waiting):
        places = slots if has_room_to_decide(move, view) else doubtful
        if places.has_room(move) and _can_end(draft, view, move):
            places.take(move)
            draft.start(move)


def gets_on(move: Move, view: ClusterView) -> bool:
    """Whether a move that has started goes on. One that does not keeps nobody else from healing.

    Its group needs a majority: of the voters that were last reported, since a move that was aimed
    anew comes from all nodes that may have been tried. And a node whose disk is full gets no copy;
    nor does it write what counts as its own, so no old replica goes before it has room again.
    """
    report = view.reports.get(move.group_id)
    if not view.hears_majority(move.origin if report is None else report.voters):
        return False
    if not any(node_id in view.full_ms for node_id in move.target):
        return True
    voters = () if report is None else report.voters
    return any(n not in view.full_ms and n not in voters for n in move.added)


def has_room_to_decide(move: Move, view: ClusterView) -> bool:
    """Whether most voters of the group are heard and have room on their disks. Otherwise it decides
    nothing, unless their logs have room ahead: that may be so for a while, and is not known here.
    """
    if not view.full_ms:
        return True
    report = view.reports.get(move.group_id)
    voters = move.origin if report is None else report.voters
    able = sum(n in view.heard and n not in view.full_ms for n in voters)
    return 2 * able > len(voters)


def _urgency(draft: Draft, move: Move, least: int) -> tuple[int, int, int]:
    """The least is the most urgent: groups with the fewest replicas that are not gone; then those
    that get a replica; last those that only lose one.
    """
    states = [draft.nodes[node_id].state for node_id in move.origin]
    living = sum(state not in (DOWN, LOST) for state in states)
    is_whole = living == len(states) and (living >= least or move.group_id == DIRECTORY_GROUP)
    return (int(is_whole), 0 if is_whole else living, int(not move.added))


def _can_end(draft: Draft, view: ClusterView, move: Move) -> bool:
    """Whether the group can come to its target now, and work there.

    A group that has not started has committed nothing yet: a new replica of it could not be born
    empty, and knows nothing of its voters.
    """
    is_started = move.group_id == DIRECTORY_GROUP or draft.base.is_started(move.group_id - 1)
    return (
        is_started
        and view.hears_majority(move.origin)
        and view.hears_majority(move.target)
        and view.count_heard(move.added) == len(move.added)
        and not any(node_id in view.full_ms for node_id in move.added)
    )
