"""Heartbeats of many groups that come together, and their answers: no message for each.

A tick passes through here to all groups. What their leaders have to say then goes to the transport
without a turn (`GroupBeats`). What comes is taken in by `hear_beat` and `beat_answered`; what is
not usual is stepped as a message, and answered by itself.
"""

from __future__ import annotations

from quorumcache.node.consensus.api import BEAT_COMMITS, BEAT_ODD, BeatSink
from quorumcache.node.consensus.transport import BEAT_FIELDS, BEATS_PER_ITEM, Transport
from quorumcache.node.consensus.values import Index, ReplicaId, Term
from quorumcache.node.replica.bundled import BundleHost


class GroupBeats(BeatSink):
    """Takes those of one group."""

    __slots__ = ("_group_id", "_transport")

    def __init__(self, group_id: int, transport: Transport) -> None:
        self._group_id = group_id
        self._transport = transport

    def beat(
        self,
        to: ReplicaId,
        term: Term,
        commit_index: Index,
        sent_ns: int,
        read_context: int,
        stamp: int,
        fresh_index: Index,
    ) -> bool:
        return self._transport.beat(
            self._group_id, to, term, commit_index, sent_ns, read_context, stamp, fresh_index
        )


class BeatHost(BundleHost):
    """The part of a host that is about ticks and heartbeats."""

    def flush_now(self) -> None:
        """Have the peers' frames sent at once, unless they will be soon."""
        raise NotImplementedError

    def pass_tick(self, now_ns: int) -> None:
        """A tick, for all groups."""
        is_due = False
        for group in self.groups.values():
            log = group.log
            if not log.tick(now_ns):
                continue
            is_due = True
            if group.dirty:
                continue
            if log.has_ready():
                self.mark_dirty(group)
            elif group.led_term and log.lease_until_ns > group.lease_until_ns:
                group.update_lease()  # Alone: no answer of anybody else renews it.
        if is_due:
            self.flush_now()

    def take_beats(
        self,
        node_id: int,
        life: int,
        number: int,
        sent_ns: int,
        stamp: int,
        is_copied: bool,
        fields: tuple[int, ...],
    ) -> None:
        """Take in the heartbeats of many groups that a node sent together, and answer them.
        `is_copied`: twice, and so they are to be answered."""
        if self.disk_trouble or self.stopped:
            return  # As for messages: no leader is answered.
        own_stamp = -1
        but: list[int] = []
        for position in range(len(fields) // BEAT_FIELDS):
            at = position * BEAT_FIELDS
            group_id, term, commit_index = fields[at], fields[at + 1], fields[at + 2]
            fresh_index = commit_index + fields[at + 4] if stamp else 0
            group = self.groups.get(group_id)
            if group is None:
                but.append(position)
                continue
            log = group.log
            try:
                heard = log.hear_beat(node_id, term, commit_index, stamp, fresh_index)
                if heard == BEAT_COMMITS:
                    self.advance(group)
                if heard != BEAT_ODD and stamp and not group.led_term:
                    group.update_freshness()
            except BaseException as error:
                self.fail(error)
                raise
            if heard == BEAT_ODD:
                but.append(position)
                context = fields[at + 3]
                message = self.transport.message_of_beat(
                    term, commit_index, sent_ns, context, stamp, fresh_index
                )
                self.step(node_id, group_id, message, False)
            elif own_stamp < 0:
                own_stamp = log.clock_stamp()
        if own_stamp >= 0:
            self.transport.answer_beats(node_id, life, number, own_stamp, but, is_copied)
            if len(fields) < BEATS_PER_ITEM * BEAT_FIELDS:
                self.flush_now()
            else:
                self.flush_soon()  # More of them may be in the same frame.

    def beats_heard(
        self, node_id: int, sent_ns: int, stamp: int, fields: list[int], but: tuple[int, ...]
    ) -> None:
        """A node has heard the heartbeats that this one sent it in `fields`, but those at these
        positions. `stamp`: of its clock."""
        if self.disk_trouble or self.stopped:
            return
        for position in range(len(fields) // BEAT_FIELDS):
            at = position * BEAT_FIELDS
            group = self.groups.get(fields[at])
            if group is None or (but and position in but):
                continue
            log = group.log
            try:
                log.beat_answered(node_id, fields[at + 1], sent_ns, fields[at + 3], stamp)
                if group.dirty:
                    continue
                if log.has_ready():
                    self.mark_dirty(group)
                elif log.lease_until_ns != group.lease_until_ns:
                    group.update_lease()
            except BaseException as error:
                self.fail(error)
                raise
