"""Entries that come in bundles, and one answer for all of them: groups need no turn for that.

What a busy group does most takes the short way here: a leader's new entries go to the log of the
node with those of all other groups (`followed`), what is committed is applied at once, and when the
log is durable one answer tells the leader so for all groups of the bundle (`owed`). The order is
that of `host.py`. What is not usual is stepped as a message, marks its group dirty, and is answered
by itself.
"""

from __future__ import annotations

from quorumcache.node.consensus.runs import Run
from quorumcache.node.consensus.transport import Transport
from quorumcache.node.consensus.values import Message
from quorumcache.node.replica.group import GroupHost, ReplicaGroup
from quorumcache.node.telemetry.counters import Counters
from quorumcache.node.wal.format import WalRecord

_new = tuple.__new__  # see consensus/raft/proposals.py


class OwedAnswer:
    """What the sender of a bundle is to be told once the log is durable."""

    __slots__ = ("but", "groups", "life", "node_id", "number")

    def __init__(self, node_id: int, life: int, number: int) -> None:
        self.node_id = node_id
        self.life = life
        self.number = number
        self.groups: list[ReplicaGroup | None] = []
        """By the position of their run; None where it was not taken here."""
        self.but: list[int] = []
        """Positions of the runs that the answer does not stand for."""


class BundleHost(GroupHost):
    """The part of a host that is about bundles."""

    groups: dict[int, ReplicaGroup]
    counters: Counters
    transport: Transport
    disk_trouble: str
    log_is_behind: bool
    stopped: bool
    followed: list[WalRecord]
    """Entries that were taken in this turn; they stand in the log before those of dirty groups."""
    owed: list[OwedAnswer]
    """For these entries."""

    def turn_soon(self) -> None:
        """Have a turn at the end of this turn of the loop."""
        raise NotImplementedError

    def flush_soon(self) -> None:
        """Have the peers' frames sent at the end of this turn."""
        raise NotImplementedError

    def step(self, node_id: int, group_id: int, message: Message, grows_log: bool) -> None:
        """See `ReplicaHost.step`."""
        raise NotImplementedError

    def fail(self, error: BaseException) -> None:
        """This node has to end."""
        raise NotImplementedError

    # -- a leader's entries ----------------------------------------------------------------

    def take_bundle(self, node_id: int, life: int, number: int, runs: list[Run]) -> None:
        """Take in the entries of many groups that a node sent together."""
        owed = OwedAnswer(node_id, life, number)
        groups = owed.groups
        for run in runs:
            group = self._follow(node_id, run)
            if group is None:
                owed.but.append(len(groups))
                self.step(node_id, run[0], self.transport.message_of(run), True)
            groups.append(group)
        if len(owed.but) < len(groups):
            self.owed.append(owed)
            self.turn_soon()

    def _follow(self, node_id: int, run: Run) -> ReplicaGroup | None:
        """Take a run in if it is the usual case; None: it has to be stepped."""
        group_id, term, prev_index, prev_term, commit_index, entries = run
        group = self.groups.get(group_id)
        if group is None or group.dirty or self.disk_trouble or self.log_is_behind or self.stopped:
            return None
        try:
            if not group.log.follow(node_id, term, prev_index, prev_term, commit_index, entries):
                return None
            self.followed.append(_new(WalRecord, (group_id, None, entries)))
            group.unpersisted += 1
            self.advance(group)
        except BaseException as error:
            self.fail(error)
            raise
        return group

    def bundles_durable(self, owed: list[OwedAnswer], tick: int) -> None:
        """All runs that these bundles brought are on disk: say so."""
        for answer in owed:
            for position, group in enumerate(answer.groups):
                if group is None:
                    continue
                if group.is_removed:
                    answer.but.append(position)  # It promises nothing any more.
                else:
                    group.unpersisted -= 1
            self.transport.answer_bundle(
                answer.node_id, answer.life, answer.number, answer.but, tick
            )
        self.flush_soon()

    # -- a leader's acknowledgements -----------------------------------------------------------

    def acknowledged(self, node_id: int, group_id: int, term: int, match_index: int) -> None:
        """A node holds durably what the leader of `term` has of a group up to `match_index`."""
        group = self.groups.get(group_id)
        if group is None or self.disk_trouble or self.stopped:
            return
        try:
            group.log.acknowledged(node_id, term, match_index)
            self.advance(group)
        except BaseException as error:
            self.fail(error)
            raise

    def advance(self, group: ReplicaGroup) -> None:
        """Something was taken in: apply what is committed now, and have a turn if more is due."""
        if group.dirty:
            return
        log = group.log
        committed = log.take_committed()
        if committed:
            self.counters.entries_applied += len(committed)
            group.apply(committed)
            if group.led_term:
                self.flush_soon()  # Answers that go to other nodes.
            else:
                group.update_freshness()
        if log.has_ready():
            self.mark_dirty(group)
        elif log.lease_until_ns:
            group.update_lease()
