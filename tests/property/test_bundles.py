"""Goal: a replica that takes entries and acknowledgements from bundles knows, and promises, exactly
what one knows that is told the same in messages.

Method: two copies of a replica are told the same at random: one by messages, the other by `follow`,
`acknowledged` and `take_committed` wherever these take it. After every step both have the same log,
commit index, term, leader and promise of votes, and have applied and acknowledged the same.
"""

from __future__ import annotations

import os
from random import Random
from typing import Any

import pytest

from quorumcache.node.consensus.raft.messages import Append, AppendReply, Heartbeat, Vote
from quorumcache.node.consensus.values import Entry, EntryKind, Role
from tests.support.raft_solo import Solo

SEEDS = int(os.environ.get("RAFT_SEEDS", "40"))


class Copy(Solo):
    """A replica and what it has let out."""

    def __init__(self, *, is_short: bool) -> None:
        super().__init__(replica=1, term=1, voted_for=2)
        self.is_short = is_short
        self.promised: list[tuple[int, int, int]] = []
        """(leader, term, index) of each acknowledgement, in order."""
        self.stored: list[Entry] = []
        self.taken = 0

    def store(self, entries: list[Entry]) -> None:
        if entries:
            del self.stored[entries[0].index - 1 :]
            self.stored += entries

    def settle(self) -> None:
        """The disk is done, and the shell has acted on everything."""
        while self.raft.has_ready():
            ready = self.ready()
            self.store(ready.entries)
            self.persist(ready)
            for to, message in ready.messages_after_append:
                if isinstance(message, AppendReply) and not message.reject:
                    self.promised.append((to, message.term, message.match_index))

    def append(self, sender: int, m: Append) -> None:
        raft = self.raft
        entries = list(m.entries)
        if self.is_short and entries and all(entry.term == m.term for entry in entries):
            fields = m.term, m.prev_index, m.prev_term, m.commit_index
            if raft.follow(sender, *fields, entries):
                self.taken += 1
                self.store(entries)
                self.promised.append((sender, m.term, raft.last_index))
                while committed := raft.take_committed():  # Of many, a part at a time.
                    self.applied += committed
                assert not raft.has_ready(), "the usual case leaves nothing to do"
                return
        self.step(sender, m)
        self.settle()

    def match(self, sender: int, term: int, index: int) -> None:
        if self.is_short:
            self.raft.acknowledged(sender, term, index)
            self.applied += self.raft.take_committed()
        else:
            self.step(sender, AppendReply(term, index, False, 0, 0))
        self.settle()

    def knows(self) -> tuple[Any, ...]:
        raft = self.raft
        return (
            *(raft.role, raft.term, raft.leader_id, raft.voted_for, raft.commit_index),
            *(raft.heard_tick, raft.heard_commit_index, raft.emitted_index),
            *(raft.log.entries, raft.log.bytes, raft.log.unstable_index, self.stored),
            *(self.applied, self.promised, raft.uncommitted_bytes),
            [p.status() for p in raft.members.values()],
        )


def entries_after(index: int, terms: list[int]) -> tuple[Entry, ...]:
    return tuple(
        Entry(at, term, int(EntryKind.NORMAL), b"%d %d" % (at, term))
        for at, term in enumerate(terms, index + 1)
    )


def walk_of_a_follower(seed: int) -> int:
    """Nodes 2 and 3 lead in turns; messages are repeated, late, and from old terms. How often the
    short way was taken."""
    random = Random(seed)
    copies = Copy(is_short=False), Copy(is_short=True)
    log: list[int] = [1]
    """The terms of the leader's entries."""
    committed, term = 0, 1
    late: list[tuple[int, Any]] = []
    for _ in range(250):
        if random.random() < 0.02:
            term += 1
            del log[random.randint(committed, len(log)) :]
        leader = 2 + term % 2
        log += [term] * random.choice((0, 1, 1, 2))
        last = min(copies[0].raft.last_index, len(log))
        start = random.choice((last, last, last, random.randint(0, len(log))))
        entries = entries_after(start, log[start : start + random.randint(0, 3)])
        message: Any = Append(
            term, start, log[start - 1] if start else 0, random.randint(0, committed), entries
        )
        what = random.random()
        if what < 0.1:
            message = Heartbeat(term, 0, random.randint(1, 9), 0)
        elif what < 0.12:
            term += 1
            leader, message = 2 + term % 2, Vote(term, len(log), log[-1] if log else 0, True)
        elif what < 0.3 and late:
            leader, message = random.choice(late)
        late.append((leader, message))
        ticks = random.choice((0, 0, 1))
        for copy in copies:
            if isinstance(message, Append):
                copy.append(leader, message)
            else:
                copy.step(leader, message)
                copy.settle()
            copy.tick(ticks)
        assert copies[0].knows() == copies[1].knows()
        held = [index for _, told, index in copies[0].promised if told == term]
        if held and log[max(held) - 1 : max(held)] == [term]:
            committed = max(committed, *held)
    return copies[1].taken


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_follower_is_told_the_same_by_bundles_and_by_messages(seed: int) -> None:
    walk_of_a_follower(seed)


def test_the_walks_do_take_the_short_way() -> None:
    assert sum(map(walk_of_a_follower, range(5))) > 50


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_leader_is_told_the_same_by_answers_and_by_messages(seed: int) -> None:
    """Acknowledgements of members, of others, late ones and those of an earlier term."""
    random = Random(seed)
    copies = Copy(is_short=False), Copy(is_short=True)
    for copy in copies:
        copy.become_leader()
        copy.settle()
    start = copies[0].raft.last_index
    for number in range(120):
        propose = random.random() < 0.5
        raft = copies[0].raft
        index = random.randint(0, raft.last_index)
        term = raft.term - (random.random() < 0.1)
        sender = random.choice((2, 3, 3, 9))
        steps_down = random.random() < 0.005
        for copy in copies:
            if propose and copy.raft.role is Role.LEADER:
                copy.raft.propose(b"%d" % number)
                copy.settle()
            copy.match(sender, term, index)
            if steps_down:
                copy.raft.step_down()
                copy.settle()
        assert copies[0].knows() == copies[1].knows()
    assert copies[1].raft.commit_index > start or copies[1].raft.role is not Role.LEADER


def test_what_no_ready_has_handed_out_is_not_given_to_be_applied() -> None:
    """It would be applied, and might be in a snapshot, before the log has it."""
    solo = Solo()
    raft = solo.lead()
    before = raft.commit_index
    raft.propose(b"x")
    raft.commit_index += 1
    assert raft.take_committed() == []
    assert [entry.index for entry in solo.ready().committed_entries] == [before + 1]


def test_a_replica_whose_term_is_not_written_does_not_follow_without_a_ready() -> None:
    """Its acknowledgement could be durable before the term in which it was given."""
    solo = Solo(term=1)
    entry = Entry(1, 2, int(EntryKind.NORMAL), b"x")
    solo.step(2, Heartbeat(2, 0, 5, 0))
    assert not solo.raft.follow(2, 2, 0, 0, 0, [entry])
    solo.flush()
    assert solo.raft.follow(2, 2, 0, 0, 0, [entry])
    fresh = Solo()
    fresh.step(2, Heartbeat(2, 0, 5, 0))
    assert not fresh.raft.follow(2, 2, 0, 0, 0, [entry])
    fresh.ready()
    assert not fresh.raft.follow(2, 2, 0, 0, 0, [entry]), "handed out, and not durable"


def test_a_replica_that_installs_a_snapshot_neither_applies_nor_follows() -> None:
    solo = Solo(term=1, terms=(1, 1))
    solo.step(2, Heartbeat(1, 0, 5, 0))
    solo.flush()
    solo.raft.commit_index = 2
    solo.raft.installing = solo.raft.snapshot_meta(1)
    assert solo.raft.take_committed() == []
    entry = Entry(3, 1, int(EntryKind.NORMAL), b"x")
    assert not solo.raft.follow(2, 1, 2, 1, 0, [entry]), "it would be written before the snapshot"
    solo.raft.installing = None
    assert solo.raft.take_committed()
    assert solo.raft.follow(2, 1, 2, 1, 0, [entry])
