"""Leaders of one node that share a window to each other node, under random faults.

Goal: whatever becomes of a leader, of a member or of a snapshot, the window counts what is under
way and nothing else: a place that is lost would keep a node from its snapshots for good. No more
snapshots than SNAPSHOTS_MAX are sent to the voters of a node at a time, and none that is stuck
keeps the others from theirs. Method: a random walk of real leaders, with members and a shell that
the test plays, and a sum over all leaders after each step. Then some groups are stuck, and the
others must arrive; then all must. `CATCH_UP_SEEDS=1000 pytest ...` walks further.
"""

from __future__ import annotations

import os
from random import Random
from typing import Final

import pytest

from quorumcache.node.consensus.api import Ready
from quorumcache.node.consensus.catch_up import SNAPSHOTS_MAX, CatchUpWindows
from quorumcache.node.consensus.errors import ConsensusError
from quorumcache.node.consensus.progress import Progress
from quorumcache.node.consensus.raft.messages import (
    Append,
    AppendReply,
    Heartbeat,
    HeartbeatReply,
    RaftMessage,
    SnapshotChunk,
    SnapshotReply,
)
from quorumcache.node.consensus.raft.snapshots import REPEAT_DOUBLINGS_MAX
from quorumcache.node.consensus.values import Configuration, Role, SnapshotSource
from tests.support.raft_solo import Solo

SEEDS = int(os.environ.get("CATCH_UP_SEEDS", "30"))
STEPS: Final = 2_000
GROUPS: Final = 6
WATCHED: Final = (3, 4)
"""Members whose node may be away; 2 always answers."""
ELECTION_TICKS: Final = 6
STUCK_TICKS: Final = ELECTION_TICKS << (REPEAT_DOUBLINGS_MAX + 1)
"""After so long a snapshot that leads nowhere no longer counts."""
MOODS: Final = ("fine", "fine", "silent", "mute", "busy", "flaps")
CONFIGURATIONS: Final = (
    Configuration((1, 2, 3)),
    Configuration((1, 2, 3), (4,)),
    Configuration((1, 2, 3, 4)),
    Configuration((1, 2), (3, 4)),
    Configuration((1, 2, 4), (3,)),
)
SETTINGS: Final = {
    "heartbeat_ticks": 2,
    "election_ticks": ELECTION_TICKS,
    "catch_up_bytes_max": 64,
    "snapshot_chunk_bytes": 40,
    "append_bytes_max": 60,
}


class Slow:
    """The budget of learners: a little now and then."""

    def take(self, wanted: int, now_ns: int, doublings: int = 0) -> int:
        return min(wanted, 7)

    def give_back(self, size: int, doublings: int = 0) -> None:
        pass


class Member:
    """Another replica, as its leader sees it."""

    def __init__(self) -> None:
        self.holds = 0
        self.incoming = (0, 0)
        """The index of a snapshot, and how much of it is here."""
        self.installing = 0
        self.mood = "fine"
        self.flaps = 0

    def answer(self, m: RaftMessage) -> RaftMessage | None:
        if self.mood == "silent":
            return None
        if isinstance(m, Heartbeat):
            self.flaps += 1
            if self.mood == "flaps" and self.flaps % 40 < 6:
                return None
            return HeartbeatReply(m.term, m.sent_ns, m.read_context)
        if isinstance(m, Append):
            if m.prev_index > self.holds:
                return AppendReply(m.term, m.prev_index, True, self.holds, 0)
            end = m.prev_index + len(m.entries)
            self.holds = max(self.holds, end)
            return AppendReply(m.term, end, False, 0, 0)
        if isinstance(m, SnapshotChunk) and self.mood not in ("mute", "flaps"):
            return self._chunk(m)
        return None

    def _chunk(self, m: SnapshotChunk) -> SnapshotReply:
        total = m.total_bytes
        if self.holds >= m.last_index:
            return SnapshotReply(m.term, m.last_index, total, True)
        index, size = self.incoming
        if index != m.last_index:
            size = 0
        if m.offset == size:
            size += len(m.data)
        self.incoming = (m.last_index, size)
        if size < total or self.mood == "busy":
            return SnapshotReply(m.term, m.last_index, size, False)
        self.holds = m.last_index
        return SnapshotReply(m.term, m.last_index, total, True)


class Group(Solo):
    """A replica of a group of its own, which leads most of the time."""

    def __init__(self, number: int, windows: CatchUpWindows) -> None:
        super().__init__(seed=number, **SETTINGS)
        self.raft.pace_learners(Slow())
        self.raft.share_catch_up(windows)
        self.others = {2: Member(), 3: Member(), 4: Member()}
        self.under_way: list[tuple[int, RaftMessage]] = []
        self.wanted: list[int] = []
        self.lead(2)
        self._know()
        self.take()

    def _know(self) -> None:
        """`lead` has acknowledged in the name of the others."""
        for number, member in self.others.items():
            p = self.raft.members.get(number)
            held = p.match_index if p is not None else 0
            member.holds = held or min(member.holds, self.raft.commit_index)

    def ready(self) -> Ready:
        ready = super().ready()
        self.wanted += ready.snapshot_wanted
        return ready

    def take(self) -> None:
        """Take what is to be sent; 2 answers at once."""
        raft = self.raft
        while raft.has_ready():
            for to, message in self.flush():
                if isinstance(message, SnapshotChunk):
                    self._check(raft.members.get(to), message)
                if to != 2:
                    self.under_way.append((to, message))
                elif (reply := self.others[2].answer(message)) is not None:
                    self.step(2, reply)

    def _check(self, p: Progress | None, m: SnapshotChunk) -> None:
        if m.data and p is not None and not p.is_learner and p.snapshot is not None:
            is_given_up = p.snapshot_repeats > REPEAT_DOUBLINGS_MAX
            assert p.has_place or is_given_up, "a snapshot is sent that nobody counts"

    def deliver(self, position: int) -> None:
        to, message = self.under_way.pop(position)
        reply = self.others[to].answer(message) if to in self.others else None
        if reply is not None and message[0] == self.raft.term:
            self.step(to, reply)
        self.take()

    def provide(self, to: int, size: int) -> None:
        raft = self.raft
        meta = raft.snapshot_meta(raft.emitted_index)
        raft.provide_snapshot(to, SnapshotSource(meta, [b"s" * size]))
        self.take()

    def write(self) -> None:
        if self.raft.role is Role.LEADER:
            self.raft.propose(b"x" * 10)
            self.take()

    def lead_again(self) -> None:
        if self.raft.role is not Role.LEADER:
            self.under_way.clear()
            voters = [v for v in self.raft.configuration.voters if v != 1]
            self.lead(*voters[: (len(voters) + 1) // 2])
            self._know()
        self.take()


class World:
    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.windows = CatchUpWindows()
        self.groups = [Group(number, self.windows) for number in range(GROUPS)]

    def check(self) -> None:
        for node in WATCHED:
            members = [g.raft.members[node] for g in self.groups if node in g.raft.members]
            window = self.windows.of(node)
            assert window.snapshots == sum(p.has_place for p in members) <= SNAPSHOTS_MAX
            assert window.under_way == sum(p.held_bytes for p in members)

    def tick(self, count: int = 1) -> None:
        for group in self.groups:
            group.tick(count)
            group.take()

    def step(self) -> None:
        """One thing that may happen."""
        random = self.random
        group = random.choice(self.groups)
        raft = group.raft
        node = random.choice(WATCHED)
        kind = random.randrange(100)
        if kind < 30:
            self.tick(random.choice((1, 1, 2, ELECTION_TICKS)))
        elif kind < 70 and group.under_way:
            position = random.randrange(min(4, len(group.under_way)))
            if kind < 66:
                group.deliver(position)
            else:
                del group.under_way[position]
        elif kind < 78 and group.wanted:
            to = group.wanted.pop(0)
            if kind < 76:
                group.provide(to, random.choice((0, 30, 300)))
        elif kind < 84:
            group.write()
        elif kind < 88:
            raft.compact(raft.commit_index)
        elif kind < 90:
            raft.peer_unreachable(node)
        elif kind < 94:
            group.others[node].mood = random.choice(MOODS)
        elif kind < 96:
            raft.step_down()
            group.take()
        elif kind < 98:
            self.change(group, random.choice(CONFIGURATIONS))
        else:
            group.lead_again()

    def change(self, group: Group, configuration: Configuration) -> None:
        try:
            group.raft.change_membership(configuration)
        except ConsensusError:
            return
        group.take()

    def calm(self, stuck: set[int], never_provided: set[int], ticks_max: int) -> None:
        """Let time pass without a fault until all but those that are stuck have arrived."""
        for group in self.groups:
            group.lead_again()
            for member in group.others.values():
                member.mood = "fine"
        for number in stuck:
            for node in WATCHED:
                self.groups[number].others[node].mood = self.random.choice(("mute", "flaps"))
        goal = [g for n, g in enumerate(self.groups) if n not in stuck | never_provided]
        for _ in range(ticks_max):
            self.tick()
            for number, group in enumerate(self.groups):
                group.lead_again()
                for _ in range(100):
                    if number not in never_provided and group.wanted:
                        group.provide(group.wanted.pop(0), 90)
                    if not group.under_way:
                        break
                    group.deliver(0)
                    self.check()
            if all(self.has_arrived(g) for g in goal):
                return
        raise AssertionError([g.raft.progress() for g in goal if not self.has_arrived(g)])

    @staticmethod
    def has_arrived(group: Group) -> bool:
        raft = group.raft
        return all(p.match_index == raft.last_index and not p.is_behind for p in raft.peers)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_the_window_counts_what_is_under_way_and_all_groups_arrive(seed: int) -> None:
    world = World(seed)
    for _ in range(STEPS):
        world.step()
        world.check()
    for group in world.groups:
        group.lead_again()
        for _ in range(3):
            group.write()
        group.raft.compact(group.raft.commit_index)
    numbers = list(range(GROUPS))
    world.random.shuffle(numbers)
    world.calm(set(numbers[:2]), set(numbers[2:4]), 5 * STUCK_TICKS)
    world.calm(set(), set(), 2 * STUCK_TICKS)
    for node in WATCHED:
        window = world.windows.of(node)
        assert (window.snapshots, window.under_way) == (0, 0)
