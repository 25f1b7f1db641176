"""What a replica has promised is on its disk, whatever it was doing: host, housekeeper, group, Raft
and log together, on a disk that loses power.

Two walks. In the first a group of one takes writes without a pause while snapshots are made in
pieces: a crash at any moment loses nothing that was answered. In the second a follower is sent
snapshots and entries, often in one turn: what it acknowledged to the leader is there after a crash.
"""

from __future__ import annotations

import asyncio
from random import Random
from types import SimpleNamespace
from typing import Any

import msgpack
import pytest

from quorumcache.node.consensus.api import ConsensusConfig
from quorumcache.node.consensus.raft import Raft
from quorumcache.node.consensus.raft.messages import (
    Append,
    AppendReply,
    SnapshotChunk,
    SnapshotReply,
)
from quorumcache.node.consensus.runs import pack_run
from quorumcache.node.consensus.values import (
    Configuration,
    Entry,
    EntryKind,
    HardState,
    SnapshotMeta,
)
from quorumcache.node.housekeeping.housekeeper import Housekeeper
from quorumcache.node.inbox import deliver_consensus
from quorumcache.node.peers.consensus_items import decode_message, encode_message
from quorumcache.node.peers.consensus_transport import ConsensusTransport
from quorumcache.node.peers.items import BUNDLE, BUNDLE_HELD
from quorumcache.node.peers.proofs import OWN_FORM
from quorumcache.node.replica.group import ReplicaGroup
from quorumcache.node.replica.host import ReplicaHost
from quorumcache.node.replica.memory_room import MemoryRoom
from quorumcache.node.state_machine import Command, encode_batch
from quorumcache.node.storage.snapshots import SnapshotStore
from quorumcache.node.store.commands import OP_SET
from quorumcache.node.store.store import ShardStore
from quorumcache.node.telemetry.counters import Counters
from quorumcache.node.wal import Wal
from tests.simulation.loop import VirtualLoop
from tests.support.fake_disk import FakeDisk, Nothing
from tests.support.housekeeping import fitness
from tests.support.item_tables import item_of
from tests.support.scripted_log import LoopClock

GROUP = 1
SEEDS = range(12)


class Life:
    """One life of a replica, from its start to a crash. `voters` are its group."""

    def __init__(self, loop: VirtualLoop, disk: FakeDisk, voters: tuple[int, ...]) -> None:
        self.fatal: list[BaseException] = []
        self.sent: list[Any] = []
        self.bundles: dict[int, int] = {}
        """Index of the last entry of each bundle that came, by number."""
        self.held: list[int] = []
        """Of those that were answered."""
        clock: Any = LoopClock(loop)
        mounted = disk.mount()
        snapshots = SnapshotStore(mounted, "d/snapshots")
        found = snapshots.load_all()
        wal, recovered = Wal.open(
            mounted,
            "d/wal",
            cluster_id="c",
            node_id=1,
            snapshots={group: snapshot.meta for group, snapshot in found.items()},
            segment_bytes_max=1 << 20,
            wal_bytes_max=2 << 20,
            clock=clock,
            loop=loop,
        )
        wal.on_failed = self.fatal.append
        for group in wal.orphan_snapshots:  # As a node does (`DurableState`).
            del found[group]
            snapshots.delete(group, lambda error: None)
        peers: Any = self
        self.transport = ConsensusTransport(peers)
        self.host = ReplicaHost(
            loop=loop,
            clock=clock,
            wal=wal,
            snapshots=snapshots,
            transport=self.transport,
            counters=Counters(),
            tick_ms=10,
            on_leader_change=lambda group: None,
            on_fatal=self.fatal.append,
            give_back=lambda: None,
        )
        store = ShardStore()
        meta = SnapshotMeta(0, 0, Configuration(voters))
        if GROUP in found:
            store.restore(found[GROUP].data)
            meta = found[GROUP].meta
        state = recovered.get(GROUP)
        self.recovered_index = max(
            meta.last_index, state.entries[-1].index if state and state.entries else 0
        )
        self.recovered_entries = list(state.entries) if state else []
        raft = Raft(
            ConsensusConfig(replica_id=1),
            Random(1),
            configuration=meta.configuration,
            hard_state=state.hard_state if state else HardState(0, 0),
            entries=state.entries if state else (),
            snapshot=meta if GROUP in found else None,
            applied_index=meta.last_index,
        )
        self.store = store
        self.group = ReplicaGroup(GROUP, raft, store, self.host, meta)
        self.host.add_group(self.group)
        config: Any = SimpleNamespace(
            node_id=1,
            session_idle_ms=60_000,
            snapshot_bytes_min=300_000,
            log_memory_bytes=0,
            election_ms=300,
        )
        self.keeper = Housekeeper(
            config=config,
            node_id=1,
            host=self.host,
            wal=wal,
            snapshots=snapshots,
            counters=self.host.counters,
            preferred_leader=lambda group: 1,
            stand_in=lambda group_id: 0,
            is_up=lambda node: True,
            interval=0.003,
            fitness=fitness(clock),
            memory=MemoryRoom(1 << 30),
        )
        self.host.time.bridge()
        self.host.start_ticking([])

    def send_packed(self, node_id: int, packed: bytes) -> bool:
        item = msgpack.unpackb(packed, use_list=False)
        if item[0] == BUNDLE_HELD:
            if not item[3]:
                self.held.append(self.bundles[item[2]])
        elif len(item) == 3:
            self.sent.append(decode_message(item))
        return True

    def take_append(self, message: Append, *, in_bundle: bool) -> None:
        """Node 2 sends it, by itself or in a bundle."""
        item: tuple[Any, ...] = encode_message(GROUP, message)
        run = pack_run(GROUP, message)
        if in_bundle and run:
            number = len(self.bundles) + 1
            self.bundles[number] = message.prev_index + len(message.entries)
            item = (BUNDLE, 9, number, run)
        deliver_consensus(2, item, self.host, self.transport)

    def send_again(self, node_id: int, packed: bytes) -> None:
        """The copy for a datagram."""

    def form_of(self, node_id: int) -> int:
        return OWN_FORM

    def flush(self) -> None:
        pass


class Written:
    """Waiter of one write: notes that it was answered."""

    def __init__(self, answered: dict[bytes, int], key: bytes, number: int) -> None:
        self.answered, self.key, self.number = answered, key, number

    def on_result(self, result: Any) -> None:
        self.answered[self.key] = self.number

    def on_refused(self, why: str) -> None:
        pass

    def on_lost(self) -> None:
        pass


def set_to(key: bytes, number: int, size: int = 40_000) -> Command:
    value = b"%09d" % number + b"x" * size
    return (0, 0, 0, OP_SET, key, b" 0 %d\r\n%b\r\n" % (len(value), value), 0)


def number_in(item: bytes) -> int:
    return int(item[item.index(b"\r\n") + 2 :][:9])


async def written_until_a_crash(
    loop: VirtualLoop, disk: FakeDisk, random: Random, answered: dict[bytes, int], first: int
) -> int:
    """A life of a group of one: it starts, is checked, and takes writes. The next number."""
    life = Life(loop, disk, (1,))
    life.group.log.campaign()
    life.host.mark_dirty(life.group)
    log = life.group.log
    await asyncio.sleep(2.0)
    assert life.group.is_leader
    assert life.group.applied_index == log.last_index
    for key, number in answered.items():
        assert key in life.store.items, (key, number)
        assert number_in(item_of(life.store.items, key)) >= number, key
    keeping = asyncio.ensure_future(life.keeper.run())
    number = first
    for _ in range(random.randint(50, 250)):
        number += 1
        key = b"k%d" % random.randrange(40)
        life.group.submit(set_to(key, number), 40_000, Written(answered, key, number))
        await asyncio.sleep(random.choice((0, 0, 0, 0.0001, 0.001)))
    assert life.fatal == []
    life.host.stop()
    keeping.cancel()
    disk.crash()
    return number


@pytest.mark.parametrize("seed", SEEDS)
def test_a_crash_while_snapshots_are_made_loses_nothing_that_was_answered(seed: int) -> None:
    random = Random(seed)
    loop = VirtualLoop()
    step_s = random.choice((0.0, 0.0001, 0.0005))
    disk = FakeDisk(
        loop, random, survival=Nothing(), delay=lambda r: r.choice((0.0, step_s)) if step_s else 0.0
    )
    answered: dict[bytes, int] = {}

    async def main() -> None:
        number = 0
        for _ in range(4):
            number = await written_until_a_crash(loop, disk, random, answered, number)
        assert len(answered) > 30

    loop.run_until_complete(main())


# -- a follower --------------------------------------------------------------------------------


class Leader:
    """Node 2 of three, which leads term 5: its log, and its state at every index."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.voters = Configuration((1, 2, 3))
        self.entries: list[Entry] = []
        self.states: list[bytes] = []
        store = ShardStore()
        for index in range(1, 60):
            command = set_to(b"k%d" % (index % 7), index, 20)
            self.entries.append(
                Entry(index, 5, int(EntryKind.NORMAL), encode_batch(1000 + index, [command]))
            )
            store.apply(index, 1000 + index, [command])
            self.states.append(b"".join(store.encode_view(store.view())))

    def append(self, after: int, count: int) -> Append:
        term = 5 if after else 0
        entries = tuple(self.entries[after : after + count])
        commit = min(after, self.random.randrange(60))
        return Append(5, after, term, commit, entries)

    def snapshot(self, index: int) -> list[SnapshotChunk]:
        """In as many pieces as it is restored in."""
        data = self.states[index - 1]
        size = self.random.choice((len(data), 100, 40))
        return [
            SnapshotChunk(5, index, 5, self.voters, at, len(data), data[at : at + size])
            for at in range(0, len(data), size)
        ]


async def led_until_a_crash(
    loop: VirtualLoop, disk: FakeDisk, leader: Leader, promised: int
) -> int:
    """A life of a follower: checked, then led for some turns. The highest index it promised."""
    random = leader.random
    life = Life(loop, disk, (1, 2, 3))
    assert life.recovered_index >= promised, "it acknowledged what it has not written"
    for entry in life.recovered_entries:
        assert entry == leader.entries[entry.index - 1]
    for _ in range(random.randint(1, 6)):
        last = life.group.log.last_index
        messages: list[Any] = []
        if random.random() < 0.3 and last < 50:
            # In the turn in which the snapshot comes that is to replace it, perhaps.
            messages.append(leader.append(last, random.randint(1, 4)))
        if random.random() < 0.5 and last < 50:
            index = last + random.randint(1, 4)
            messages += leader.snapshot(index)
            last = index
        if random.random() < 0.8:
            messages.append(leader.append(last, random.randint(1, 4)))
        for message in messages:
            if isinstance(message, Append):
                life.take_append(message, in_bundle=random.random() < 0.5)
            else:
                deliver_consensus(2, encode_message(GROUP, message), life.host, life.transport)
        await asyncio.sleep(random.choice((0.0, 0.001, 0.02)))
    promised = max(promised, *life.held, 0)
    for message in life.sent:
        if isinstance(message, AppendReply) and not message.reject:
            promised = max(promised, message.match_index)
        elif isinstance(message, SnapshotReply) and message.done:
            promised = max(promised, message.last_index)
    assert life.fatal == []
    life.host.stop()
    disk.crash()
    return promised


@pytest.mark.parametrize("seed", SEEDS)
def test_a_follower_has_written_what_it_acknowledged(seed: int) -> None:
    random = Random(seed)
    loop = VirtualLoop()
    step_s = random.choice((0.0, 0.0005))
    disk = FakeDisk(loop, random, survival=Nothing(), delay=lambda r: step_s)

    async def main() -> None:
        leader, promised = Leader(random), 0
        for _ in range(12):
            promised = await led_until_a_crash(loop, disk, leader, promised)
        assert promised > 10

    loop.run_until_complete(main())
