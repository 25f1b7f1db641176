"""Goal: a replica that hears heartbeats, and answers to its own, with those of other groups knows
and promises exactly what one knows that is told the same in messages; and what its leader sends so
is what it would send in messages.

Method: two copies of a replica are told the same at random: one by messages, the other by
`hear_beat` and `beat_answered` wherever these take it. After every step both have the same log,
commit index, term, leader, freshness and promise of votes, and have given the same answers.
"""

from __future__ import annotations

import os
from random import Random
from typing import Any

import pytest

from quorumcache.node.consensus.api import BEAT_COMMITS, BEAT_ODD, BeatSink
from quorumcache.node.consensus.raft.messages import (
    Append,
    Heartbeat,
    HeartbeatReply,
    TimeoutNow,
    Vote,
)
from quorumcache.node.consensus.staleness import make_stamp
from quorumcache.node.consensus.values import Entry, EntryKind, Role
from tests.support.raft_solo import TICK_NS, Solo

SEEDS = int(os.environ.get("RAFT_SEEDS", "40"))


class Sink(BeatSink):
    """Takes heartbeats to these replicas."""

    def __init__(self, *takes: int) -> None:
        self.takes = takes
        self.beats: list[tuple[int, Heartbeat]] = []

    def beat(
        self,
        to: int,
        term: int,
        commit_index: int,
        sent_ns: int,
        read_context: int,
        stamp: int,
        fresh_index: int,
    ) -> bool:
        if to not in self.takes:
            return False
        beat = Heartbeat(term, commit_index, sent_ns, read_context, stamp, fresh_index)
        self.beats.append((to, beat))
        return True


class Copy(Solo):
    """A replica and what it has let out."""

    def __init__(self, *, is_short: bool) -> None:
        super().__init__(replica=1, term=1, voted_for=2)
        self.is_short = is_short
        self.sink = Sink(2, 3)
        if is_short:
            self.raft.send_beats_by(self.sink)
        self.out: list[tuple[int, Any]] = []
        self.reads: list[Any] = []
        self.taken = 0

    def settle(self) -> None:
        """The disk is done, and the shell has acted on everything. Heartbeats come first, since
        they leave without a Ready."""
        rest = []
        beats: list[tuple[int, Any]] = []
        while self.raft.has_ready():
            ready = self.ready()
            self.reads += [*ready.read_states, *ready.failed_reads]
            self.persist(ready)
            for to, message in (*ready.messages, *ready.messages_after_append):
                (beats if isinstance(message, Heartbeat) else rest).append((to, message))
        self.out += [*self.sink.beats, *beats, *rest]
        self.sink.beats.clear()

    def hear(self, sender: int, m: Heartbeat) -> None:
        raft = self.raft
        if self.is_short:
            told = m.commit_index, m.stamp, m.fresh_index
            was_ready = raft.has_ready()
            heard = raft.hear_beat(sender, m.term, *told)
            if heard != BEAT_ODD:
                self.taken += 1
                stamp = raft.clock_stamp()
                self.out.append((sender, HeartbeatReply(m.term, m.sent_ns, m.read_context, stamp)))
                self.applied += raft.take_committed()
                if heard != BEAT_COMMITS:
                    assert raft.has_ready() == was_ready, "nothing but the answer"
                self.settle()
                return
        self.step(sender, m)
        self.settle()

    def answered(self, sender: int, m: HeartbeatReply) -> None:
        if self.is_short:
            self.raft.beat_answered(sender, m.term, m.sent_ns, m.read_context, m.stamp)
        else:
            self.step(sender, m)
        self.settle()

    def knows(self) -> tuple[Any, ...]:
        raft = self.raft
        return (
            *(raft.role, raft.term, raft.leader_id, raft.voted_for, raft.commit_index),
            *(raft.heard_tick, raft.heard_commit_index, raft.emitted_index, raft.deadline_tick),
            *(raft.lease_until_ns, raft.fresh_ns(raft.commit_index), raft.now_ns),
            *(raft.log.entries, self.applied, self.out, self.reads),
            [(p.status(), p.stamp, p.echo_ns, p.echo_round) for p in raft.members.values()],
        )


def walk_of_a_follower(seed: int) -> int:
    """Nodes 2 and 3 lead in turns; messages are repeated, late, and from old terms. How often the
    short way was taken."""
    random = Random(seed)
    copies = Copy(is_short=False), Copy(is_short=True)
    term, length = 1, 0
    late: list[tuple[int, Any]] = []
    for _ in range(250):
        leader = 2 + term % 2
        raft = copies[0].raft
        stamp = random.choice((0, 9, make_stamp(raft.freshness.life, raft.now_ns)))
        committed = random.randint(0, min(length, raft.last_index))
        fresh_index = random.randint(committed, length) if stamp else 0
        message: Any = Heartbeat(term, committed, random.randint(1, 99), 0, stamp, fresh_index)
        what = random.random()
        if what < 0.2:
            entry = Entry(length + 1, term, int(EntryKind.NORMAL), b"%d" % length)
            terms = [each.term for each in raft.log.entries]
            if raft.last_index == length:
                length += 1
                prev = terms[-1] if terms else 0
                message = Append(term, length - 1, prev, committed, (entry,))
        elif what < 0.23:
            term += 1
            leader, message = 2 + term % 2, Vote(term, length, 99, True)
        elif what < 0.24:
            leader, message = 2 + term % 2, TimeoutNow(term)
        elif what < 0.35 and late:
            leader, message = random.choice(late)
        late.append((leader, message))
        ticks = random.choice((0, 0, 1, 1, 30))
        for copy in copies:
            if isinstance(message, Heartbeat):
                copy.hear(leader, message)
            else:
                copy.step(leader, message)
                copy.settle()
            copy.tick(ticks)
            copy.settle()
        assert copies[0].knows() == copies[1].knows()
        if copies[0].raft.role is not Role.FOLLOWER:
            term = max(term, copies[0].raft.term) + 1
    return copies[1].taken


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_follower_is_told_the_same_together_and_by_messages(seed: int) -> None:
    walk_of_a_follower(seed)


def test_the_walks_do_take_the_short_way() -> None:
    assert sum(map(walk_of_a_follower, range(5))) > 50


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_leader_tells_and_is_told_the_same_together_and_by_messages(seed: int) -> None:
    """Answers of members, of others, late ones and those of an earlier term; reads on the way."""
    random = Random(seed)
    copies = Copy(is_short=False), Copy(is_short=True)
    for copy in copies:
        copy.lead()
        copy.settle()
        copy.sink.beats.clear()
        copy.out.clear()
    asked: list[HeartbeatReply] = []
    for context in range(150):
        raft = copies[0].raft
        asked += [
            HeartbeatReply(m.term, m.sent_ns, m.read_context, random.choice((0, 7, 1 << 63)))
            for _, m in copies[0].out[-9:]
            if isinstance(m, Heartbeat)
        ]
        reply = random.choice(asked[-6:] if random.random() < 0.9 else asked) if asked else None
        if reply is not None and random.random() < 0.1:
            reply = reply._replace(term=reply.term - 1)
        sender, ticks = random.choice((2, 3, 3, 9)), random.choice((0, 1, 1, 2))
        reads, steps_down = random.random() < 0.2, random.random() < 0.01
        moves = random.random() < 0.01
        for copy in copies:
            if copy.raft.role is Role.LEADER:
                if reads:
                    copy.raft.request_read(context, copy.now_ns + TICK_NS // 2)
                if moves:
                    copy.raft.transfer_leadership(2)
            copy.settle()
            if reply is not None:
                copy.answered(sender, reply)
            if steps_down:
                copy.raft.step_down()
            copy.settle()
            copy.tick(ticks)
            copy.settle()
        assert copies[0].knows() == copies[1].knows()
        if raft.role is not Role.LEADER:
            return


def test_a_heartbeat_that_nobody_takes_is_a_message() -> None:
    solo = Solo()
    solo.lead()
    sink = Sink(3)
    solo.raft.send_beats_by(sink)
    while not sink.beats:
        solo.tick()
    messages = solo.sent(Heartbeat)
    assert messages == [(2, beat) for _, beat in sink.beats]


def test_heartbeats_of_a_term_that_is_not_durable_wait_for_it() -> None:
    """Their answers would give a lease in a term of which a restart knows nothing."""
    solo = Solo(voters=(1,), learners=(2,))
    sink = Sink(2)
    solo.raft.send_beats_by(sink)
    solo.time_out()
    assert solo.raft.role is Role.LEADER
    assert sink.beats == []
    ready = solo.ready()
    assert not any(isinstance(message, Heartbeat) for _, message in ready.messages)
    assert any(isinstance(message, Heartbeat) for _, message in ready.messages_after_append)


def test_a_replica_without_durable_state_does_not_answer_at_once() -> None:
    """If it restarted it would not keep the promise that its answer makes."""
    fresh = Solo()
    fresh.step(2, Heartbeat(2, 0, 5, 0))
    assert fresh.raft.hear_beat(2, 2, 0, 0, 0) == BEAT_ODD
    fresh.flush()
    assert fresh.raft.hear_beat(2, 2, 0, 0, 0) != BEAT_ODD


def test_a_tick_says_whether_anything_was_due() -> None:
    solo = Solo()
    raft = solo.lead()
    for _ in range(20):
        solo.flush()
        solo.now_ns += TICK_NS
        is_due = raft.ticks + 1 >= raft.deadline_tick
        assert raft.tick(solo.now_ns) is is_due
        assert is_due or not raft.has_ready()
