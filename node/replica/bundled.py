"""Entries that travel in bundles, and one answer for all of them: groups need no `Ready` for that.

What a busy group does most takes the short way here, in the order of `host.py`.

At the leader: a new command becomes an entry, goes to the log of the node with those of all other
groups (`followed`), and into the bundles for the other nodes. When the log is durable the group
counts it (`led`). An answer to a bundle counts for all groups of the bundle, and what is committed
is applied at once.

At the others: a leader's entries go to the log, too, what is committed is applied at once, and when
the log is durable one answer tells the leader so for all groups of the bundle (`owed`).

What is not usual is a `Ready`, or is stepped as a message, marks its group dirty, and is answered
by itself.
"""

from __future__ import annotations

from typing import Final

from quorumcache.node.consensus.runs import Run
from quorumcache.node.consensus.transport import Held, Transport
from quorumcache.node.consensus.values import Entry, Message
from quorumcache.node.replica.group import GroupHost, ReplicaGroup
from quorumcache.node.replica.turn_bounds import TurnBounds
from quorumcache.node.telemetry.counters import Counters
from quorumcache.node.wal.format import WalRecord

_new: Final = tuple.__new__  # see consensus/raft/proposals.py

Led = tuple[ReplicaGroup, Message]
"""A group that leads, and what its log returned for a command (`ReplicatedLog.extend`)."""


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
    """Entries of this turn that no `Ready` holds; they stand in the log before those that one of
    the same group holds."""
    led: list[Led]
    """Those of them that groups of this node proposed."""
    owed: list[OwedAnswer]
    """For those that came from other nodes."""
    bounds: TurnBounds
    """What all groups have done since the last turn began."""

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

    # -- what this node proposes -----------------------------------------------------------------

    def propose(self, group: ReplicaGroup) -> bool:
        """Let the commands and reads that wait for a group go into its log: called in a turn.

        True if a `Ready` may be due: not if all commands took the short way, which does not start
        otherwise and leaves nothing.
        """
        self._apply_committed(group)  # It would need a `Ready`.
        before = len(self.led)
        has_reads = len(group.reads_queued) > 0
        proposed = group.propose_pending()
        self.counters.proposals += proposed
        return has_reads or not proposed or proposed > len(self.led) - before

    def extended(self, group: ReplicaGroup, run: Message) -> None:
        """The group's log has taken a command the short way."""
        self.followed.append(_new(WalRecord, (group.group_id, None, run[4])))
        self.led.append((group, run))
        group.unpersisted += 1
        self.transport.send_run(group.group_id, group.log.followers, run)

    def led_durable(self, led: list[Led]) -> None:
        """These commands are on disk: their groups count their own copy."""
        for group, run in led:
            if group.is_removed:
                continue
            group.unpersisted -= 1
            if group.log.persisted(run[1] + 1, run[0]):
                self.advance(group)

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
            if self._apply_committed(group):
                group.update_freshness()
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

    def is_learner(self, group_id: int, node_id: int) -> bool:
        """Whether the replica of a node learns in this node's configuration of a group."""
        group = self.groups.get(group_id)
        return group is not None and node_id in group.log.configuration.learners

    def acknowledged(self, node_id: int, held: list[Held]) -> None:
        """A node says what it holds durably."""
        if self.disk_trouble or self.stopped:
            return
        try:
            for group_id, term, match_index in held:
                group = self.groups.get(group_id)
                if group is not None and group.log.acknowledged(node_id, term, match_index):
                    self.advance(group)
        except BaseException as error:
            self.fail(error)
            raise

    def advance(self, group: ReplicaGroup) -> None:
        """Something was taken in: apply what is committed now, and have a turn if more is due."""
        if group.dirty:
            return
        log = group.log
        if self._apply_committed(group) and not group.led_term:
            group.update_freshness()
        if log.has_ready():
            self.mark_dirty(group)
        elif log.lease_until_ns:
            group.update_lease()

    def _apply_committed(self, group: ReplicaGroup) -> bool:
        """Apply what is committed and needs no `Ready`, the first of it if that is much, nothing
        if a lot was applied in this turn. Whether it was anything."""
        if self.bounds.is_spent:
            if self.is_behind(group):
                self.mark_dirty(group)
            return False
        committed = group.log.take_committed()
        if not committed:
            return False
        self.apply(group, committed)
        return True

    def is_behind(self, group: ReplicaGroup) -> bool:
        """More is committed than the group has applied."""
        return group.log.commit_index > group.applied_index

    def apply(self, group: ReplicaGroup, committed: list[Entry]) -> None:
        """Apply what its log has handed out, and have another turn if there is more."""
        before = group.log_bytes_since_snapshot
        self.counters.entries_applied += len(committed)
        group.apply(committed)
        self.bounds.applied(len(committed), group.log_bytes_since_snapshot - before)
        if self.is_behind(group):
            self.mark_dirty(group)  # The others come first.

    def settle(self, group: ReplicaGroup) -> None:
        """A turn is through with a group: how far its state may be read."""
        if group.log.lease_until_ns or group.lease_until_ns:
            group.update_lease()
        if not group.led_term:
            group.update_freshness()
