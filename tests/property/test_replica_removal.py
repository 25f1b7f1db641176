"""A replica is removed, and the power fails at each step: it is whole then, or it is no voter.

What runs is the production start (`DurableState`), host, housekeeper, log, snapshots and births.
The group has one voter, which has voted for itself and answered writes: with a birth that names it,
but without its log, it would vote again in the same terms. After a crash the next start is crashed
as well, while it goes on with the removal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from quorumcache.node.cluster_time import ClusterTime
from quorumcache.node.consensus.api import ConsensusConfig
from quorumcache.node.consensus.raft.messages import Append
from quorumcache.node.consensus.values import Configuration, Entry, EntryKind
from quorumcache.node.founding.durable_state import DurableState
from quorumcache.node.housekeeping.housekeeper import Housekeeper
from quorumcache.node.peers.consensus_transport import ConsensusTransport
from quorumcache.node.peers.proofs import OWN_FORM
from quorumcache.node.replica.group import ReplicaGroup
from quorumcache.node.replica.host import ReplicaHost
from quorumcache.node.replica.memory_room import MemoryRoom
from quorumcache.node.replica.removal import ReplicaRemover
from quorumcache.node.replica.starter import ReplicaStarter
from quorumcache.node.settings.config import NodeConfig
from quorumcache.node.state_machine import Result
from quorumcache.node.storage.founding_record import propose
from quorumcache.node.store.commands import OP_SET
from quorumcache.node.store.store import ShardStore
from quorumcache.node.telemetry.counters import Counters
from tests.simulation.loop import VirtualLoop
from tests.support.fake_disk import FakeDisk, Nothing, Survival
from tests.support.founding import founder
from tests.support.housekeeping import fitness
from tests.support.scripted_log import LoopClock

GROUP = 1
VOTER = Configuration((1,))
EMPTY = Configuration(())
CONFIG = NodeConfig(name="a", data_dir="d", shards=1, snapshot_bytes_min=1 << 16)
SNAPSHOT = f"d/snapshots/{GROUP:06d}.snapshot"
STEPS_MAX = 60


class Life:
    """A process on this disk, from its start on."""

    def __init__(self, loop: VirtualLoop, disk: FakeDisk) -> None:
        self.loop, self.disk = loop, disk
        self.fatal: list[BaseException] = []
        clock: Any = LoopClock(loop)
        time = ClusterTime(clock)
        durable = self.durable = DurableState(
            CONFIG,
            disk.mount(),
            clock=clock,
            random=Random(1),
            loop=loop,
            time=time,
            incarnation=1,
        )
        if durable.member is None:
            own = founder("a", 1, disk=durable.identity.disk_id)
            durable.accept(propose(Random(1), [own], CONFIG.fixed_settings))
        self.state = durable.local_state
        durable.wal.on_failed = self.fatal.append
        peers: Any = self
        self.transport = ConsensusTransport(peers)
        self.host = ReplicaHost(
            loop=loop,
            clock=clock,
            wal=durable.wal,
            snapshots=durable.snapshots,
            transport=self.transport,
            counters=Counters(),
            tick_ms=10,
            on_leader_change=lambda group_id: None,
            on_fatal=self.fatal.append,
            give_back=lambda: None,
            time=time,
        )
        time.bridge()
        self.keeper = Housekeeper(
            node_id=1,
            config=CONFIG,
            host=self.host,
            wal=durable.wal,
            snapshots=durable.snapshots,
            counters=self.host.counters,
            preferred_leader=lambda group_id: 1,
            stand_in=lambda group_id: 0,
            is_up=lambda node_id: True,
            fitness=fitness(clock),
            memory=MemoryRoom(CONFIG.memory_bytes),
        )
        self.remover = ReplicaRemover(
            host=self.host,
            local_state=self.state,
            forget=self.keeper.forget,
            on_fatal=self.fatal.append,
        )

    def start_group(self) -> ReplicaGroup:
        """As a map that places the group here makes its follower do, once its birth is stored."""
        starter = ReplicaStarter(
            ConsensusConfig(replica_id=1),
            host=self.host,
            random=Random(1),
            life=1,
            recovered=self.durable.recovered,
            snapshots=self.durable.snapshots_found,
            new_store=ShardStore,
            promised=self.state.promised,
        )
        birth = self.state.births[GROUP]
        return starter.start(GROUP, birth, ShardStore(), stands=True)

    async def until_a_crash(self, work: Callable[[], Any]) -> bool:
        """Do `work`. False: the power failed."""
        generation = self.disk.generation
        task = asyncio.ensure_future(work())
        while self.disk.generation == generation:
            done, _ = await asyncio.wait([task], timeout=0.001)
            if done:
                break
        self.host.stop()
        if self.disk.generation == generation:
            task.result()
            assert not self.fatal
            return True
        task.cancel()
        return False

    def send_packed(self, node_id: int, packed: bytes) -> bool:
        return True

    def send_again(self, node_id: int, packed: bytes) -> None:
        pass

    def form_of(self, node_id: int) -> int:
        return OWN_FORM

    def flush(self) -> None:
        pass


class Answers:
    def __init__(self) -> None:
        self.count = 0

    def on_result(self, result: Result) -> None:
        self.count += 1

    def on_refused(self, why: str) -> None:
        pass

    on_lost = on_refused  # type: ignore[assignment]


def crash_at(disk: FakeDisk, step: int) -> None:
    """The power fails before this step from now on."""
    left = step

    def before(name: str, path: str) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            disk.before_step = None
            disk.crash()

    disk.before_step = before


def write(group: ReplicaGroup, answers: Answers, number: int) -> None:
    data = b" 0 5000\r\n" + bytes(5000) + b"\r\n"
    group.submit((0, 0, 0, OP_SET, b"k%d" % number, data, 0), 5000, answers)


async def live(life: Life) -> int:
    """Elected alone, some writes in a snapshot and some behind it. How many were answered."""
    await life.state.add_births({GROUP: VOTER})
    group = life.start_group()
    answers = Answers()
    for number in range(40):
        await asyncio.sleep(0.001)
        write(group, answers, number)
        if number == 25:
            await asyncio.sleep(0.01)
            await life.keeper.snapshots.take_due()
            assert life.disk.exists(SNAPSHOT)
    await asyncio.sleep(0.01)
    assert answers.count >= 39
    return answers.count


async def leave(life: Life, case: str) -> None:
    """Remove the replica while writes, and a snapshot of its own, are under way."""
    group = life.host.groups[GROUP]
    saving = None
    if case != "quiet":
        for number in range(30):
            write(group, Answers(), number)
        await asyncio.sleep(0.0003)
    if case == "snapshot":
        group.log_bytes_since_snapshot += 1 << 20
        saving = asyncio.ensure_future(life.keeper.snapshots.take_due())
        for _ in range(3):
            await asyncio.sleep(0)
    await life.remover.remove(GROUP)
    if saving is not None:
        await saving


def check(life: Life, answered: int) -> str:
    """What a start has found."""
    state, durable = life.state, life.durable
    if GROUP in state.leaving:
        assert GROUP not in state.births
        assert GROUP not in durable.recovered
        assert GROUP not in durable.snapshots_found
        assert state.promised[GROUP].term > 0
        return "leaving"
    found = durable.recovered.get(GROUP)
    if state.births[GROUP] == EMPTY:
        assert found is None
        assert not life.disk.exists(SNAPSHOT)
        assert state.promised[GROUP].term > 0
        return "gone"
    assert state.births[GROUP] == VOTER
    assert found is not None, "a voter that has forgotten its votes"
    assert found.hard_state.term > 0
    group = life.start_group()
    assert group.log.last_index >= answered + 1
    return "whole"


async def come_again(loop: VirtualLoop, disk: FakeDisk, life: Life) -> None:
    """The group comes again: born empty, it does not stand, and keeps what a leader sends."""
    if GROUP in life.state.leaving:
        await life.remover.finish()
    group = life.start_group()
    assert group.log.configuration == EMPTY
    assert group.applied_index == 0
    assert group.log.term == life.state.promised[GROUP].term
    entry = Entry(1, 9, int(EntryKind.NOOP), b"")
    life.host.step(2, GROUP, Append(9, 0, 0, 0, (entry,)), True)
    await asyncio.sleep(0.1)
    assert not group.is_leader
    life.host.stop()
    assert not life.fatal
    disk.crash()
    again = Life(loop, disk)
    found = again.durable.recovered[GROUP]
    assert (found.hard_state.term, found.entries) == (9, [entry])
    assert GROUP not in again.durable.snapshots_found
    again.host.stop()


def survivals(seed: int) -> Survival:
    return Survival(Random(seed)) if seed else Nothing()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("case", ["quiet", "writes", "snapshot"])
def test_a_crash_at_any_step_leaves_a_whole_replica_or_no_voter(case: str, seed: int) -> None:
    seen: dict[str, int] = {}

    async def one(loop: VirtualLoop, step: int) -> bool:
        """Crash before the `step`-th step of the removal. True: there were fewer."""
        disk = FakeDisk(loop, Random(seed), survival=survivals(seed), delay=lambda random: 0.0001)
        life = Life(loop, disk)
        answered = await live(life)
        crash_at(disk, step)
        is_through = await life.until_a_crash(lambda: leave(life, case))
        disk.before_step = None
        disk.crash()
        after = Life(loop, disk)
        what = check(after, answered)
        seen[what] = seen.get(what, 0) + 1
        if is_through:
            assert what == "gone"
        if what == "leaving":  # Its power fails, too.
            crash_at(disk, step % 12)
            await after.until_a_crash(after.remover.finish)
            disk.before_step = None
            disk.crash()
            after = Life(loop, disk)
            what = check(after, answered)
            assert what != "whole", "what was leaving has come back"
        if what != "whole":
            await come_again(loop, disk, after)
        after.host.stop()
        disk.crash()
        return is_through

    for step in range(STEPS_MAX):
        loop = VirtualLoop()
        if loop.run_until_complete(one(loop, step)):
            break
    else:
        raise AssertionError("the removal does not end")
    assert set(seen) == {"whole", "leaving", "gone"}, seen
