"""Several nodes whose groups move, on a virtual loop: all that lasts and decides is the product's.

Of a node there is what `member.py` puts together for replicas: disk, log, snapshots, births, host,
starter, remover, housekeeper, follower of the map and mover. The links between nodes keep the order
of what was sent, and lose all of it when one side dies. The directory is the test's: it makes maps
of what the movers report, by the rule of the map's moves, and tells them late.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from random import Random
from typing import Any

from quorumcache.node.alarms import Alarms
from quorumcache.node.cluster_time import ClusterTime
from quorumcache.node.consensus.api import ConsensusConfig
from quorumcache.node.consensus.values import Configuration
from quorumcache.node.directory.follower import MapFollower
from quorumcache.node.directory.mover import Mover
from quorumcache.node.directory.state import DirectoryState
from quorumcache.node.founding.durable_state import DurableState
from quorumcache.node.founding.progress import FoundingProgress
from quorumcache.node.housekeeping.housekeeper import Housekeeper
from quorumcache.node.inbox import deliver_consensus
from quorumcache.node.peers.codec import pack_item, unpack_payload
from quorumcache.node.peers.consensus_transport import ConsensusTransport
from quorumcache.node.peers.items import CONSENSUS_KINDS
from quorumcache.node.peers.proofs import OWN_FORM
from quorumcache.node.replica.group import ReplicaGroup
from quorumcache.node.replica.host import ReplicaHost
from quorumcache.node.replica.memory_room import MemoryRoom
from quorumcache.node.replica.removal import ReplicaRemover
from quorumcache.node.replica.starter import ReplicaStarter
from quorumcache.node.settings.config import NodeConfig
from quorumcache.node.state_machine import Command, Result
from quorumcache.node.storage.founding_record import FoundingRecord, propose
from quorumcache.node.store.store import ShardStore
from quorumcache.node.telemetry.counters import Counters
from quorumcache.ring import ClusterMap
from quorumcache.ring.move import Move
from tests.simulation.loop import VirtualLoop
from tests.support.fake_disk import FakeDisk, Survival
from tests.support.founding import founder
from tests.support.housekeeping import fitness
from tests.support.scripted_log import LoopClock

CONFIG = NodeConfig(name="a", data_dir="d", shards=1, snapshot_bytes_min=1 << 16)
NAMES = "abcdefghi"
LINK_SECONDS = 0.001
SWEEP_SECONDS = 0.05


class MovingNode:
    """One process of a node, from its start to its end."""

    def __init__(self, world: MovingNodes, node_id: int, disk: FakeDisk) -> None:
        self.world, self.node_id, self.disk = world, node_id, disk
        self.is_up = True
        loop = self.loop = world.loop
        clock: Any = LoopClock(loop)
        time = ClusterTime(clock)
        self.durable = DurableState(
            replace(CONFIG, name=NAMES[node_id - 1]),
            disk.mount(),
            clock=clock,
            random=Random(world.random.getrandbits(32)),
            loop=loop,
            time=time,
            incarnation=world.random.getrandbits(32),
        )
        self.tasks: list[asyncio.Task[None]] = []
        self.time, self.clock = time, clock

    def begin(self) -> None:
        """As a member: with what the disk holds."""
        durable, loop = self.durable, self.loop
        assert durable.member is not None
        self.state = durable.local_state
        durable.wal.on_failed = self._fatal
        peers: Any = self
        self.transport = ConsensusTransport(peers)
        host = self.host = ReplicaHost(
            loop=loop,
            clock=self.clock,
            wal=durable.wal,
            snapshots=durable.snapshots,
            transport=self.transport,
            counters=Counters(),
            tick_ms=10,
            on_leader_change=lambda group_id: None,
            on_fatal=self._fatal,
            give_back=lambda: None,
            time=self.time,
        )
        self.time.bridge()
        self.founding = FoundingProgress(
            durable.member,
            disk=durable.disk,
            directory=durable.directory,
            on_complete=lambda: None,
            on_failed=self._fatal,
        )
        self.starter = ReplicaStarter(
            ConsensusConfig(replica_id=self.node_id, **self.world.bounds),
            host=host,
            random=Random(self.world.random.getrandbits(32)),
            life=self.world.random.getrandbits(32),
            recovered=durable.recovered,
            snapshots=durable.snapshots_found,
            new_store=ShardStore,
            promised=self.state.promised,
        )
        self.keeper = Housekeeper(
            node_id=self.node_id,
            config=CONFIG,
            host=host,
            wal=durable.wal,
            snapshots=durable.snapshots,
            counters=host.counters,
            preferred_leader=self._preferred_leader,
            stand_in=lambda group_id: 0,
            is_up=self.world.is_up,
            fitness=fitness(self.clock),
            memory=MemoryRoom(CONFIG.memory_bytes),
        )
        self.remover = ReplicaRemover(
            host=host, local_state=self.state, forget=self._forget, on_fatal=self._fatal
        )
        self.follower = MapFollower(
            founding=self.founding,
            local_state=self.state,
            host=host,
            on_map=lambda cluster_map: None,
            start_replica=self._start_replica,
            on_started=lambda bits: None,
            on_fatal=self._fatal,
            send=lambda node_id, item: self.send_packed(node_id, pack_item(item)),
            alarms=Alarms(),
            remembered=self.starter.remembered,
            remove_replica=self.remover.remove,
        )
        self.mover = Mover(
            node_id=self.node_id,
            election_ms=CONFIG.election_ms,
            host=host,
            newest_map=lambda: self.follower.map,
            adopted=self.follower.adopted_by,
            is_up=self.world.is_up,
            may_lead=lambda node_id: True,
            transfer=self.keeper.leadership.transfer,
            on_reached=lambda: None,
            on_bug=lambda text, error: self._fatal(error),
        )
        for other in self.world.nodes:
            self.founding.accepted(other, is_complete=True)
        if durable.map_found is not None:
            self.follower.arrived(durable.map_found)
        host.start_ticking([])
        for work in (self.keeper.run, self.follower.follow, self._let_go, self._sweep):
            self.tasks.append(loop.create_task(work()))

    async def _let_go(self) -> None:
        await self.remover.finish()
        await self.follower.let_go()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            self.mover.tick()
            self.follower.tell_adopted()

    def end(self) -> None:
        """The process is gone, and with it what the disk had not synced."""
        self.is_up = False
        self.host.stop()
        for task in self.tasks:
            task.cancel()
        self.disk.crash()

    def _fatal(self, error: BaseException) -> None:
        if self.is_up:
            self.world.fatal.append((self.node_id, error))

    def _start_replica(self, group_id: int, birth: Configuration, stands: bool) -> None:
        machine: Any = DirectoryState(lambda cluster_map: None) if group_id == 0 else ShardStore()
        self.starter.start(group_id, birth, machine, stands=stands)

    def _preferred_leader(self, group_id: int) -> int:
        cluster_map = self.follower.map
        return cluster_map.replica_set(group_id)[0] if cluster_map is not None else 0

    def _forget(self, group_id: int) -> None:
        self.keeper.forget(group_id)
        self.starter.forget(group_id)

    # -- links -----------------------------------------------------------------------------

    def send_packed(self, node_id: int, packed: bytes) -> bool:
        return self.world.send(self, node_id, packed)

    def send_again(self, node_id: int, packed: bytes) -> None:
        """No datagrams here."""

    def form_of(self, node_id: int) -> int:
        return OWN_FORM

    def flush(self) -> None:
        """Everything is on its way already."""

    def receive(self, sender: int, packed: bytes) -> None:
        (item,) = unpack_payload(b"\x91" + packed)
        if item[0] < CONSENSUS_KINDS:
            deliver_consensus(sender, item, self.host, self.transport)
        else:
            self.follower.on_item(sender, item)


class MovingNodes:
    """`directory`: the newest map, as the test's directory has decided it."""

    def __init__(self, seed: int, count: int, replicas: tuple[int, ...], **bounds: int) -> None:
        self.random = Random(seed)
        self.loop = VirtualLoop()
        self.bounds = bounds
        self.fatal: list[tuple[int, BaseException]] = []
        self.nodes: dict[int, MovingNode] = {}
        disks = {
            node_id: FakeDisk(
                self.loop,
                Random(seed + node_id),
                survival=Survival(Random(seed - node_id)),
                delay=lambda random: 0.0001 + random.random() * 0.002,
            )
            for node_id in range(1, count + 1)
        }
        self.nodes = {node_id: MovingNode(self, node_id, disk) for node_id, disk in disks.items()}
        self.record = self._found()
        first = self.record.first_map()
        self.directory = replace(
            first,
            form=2,
            directory=self.record.directory_voters,
            replica_sets=(replicas,),
            founding_sets=(replicas,),
        )
        self.history: list[tuple[Configuration, int]] = []
        """What leaders reported of the group that moves, each once, and who led then."""
        self.on_report: Callable[[int], None] = lambda count: None
        """Hears of each new report: how many there are by now."""

    def _found(self) -> FoundingRecord:
        infos = [
            founder(NAMES[node_id - 1], node_id, disk=node.durable.identity.disk_id)
            for node_id, node in self.nodes.items()
        ]
        return propose(Random(1), infos, CONFIG.fixed_settings)

    def is_up(self, node_id: int) -> bool:
        node = self.nodes.get(node_id)
        return node is not None and node.is_up

    # -- links -----------------------------------------------------------------------------

    def send(self, sender: MovingNode, to: int, packed: bytes) -> bool:
        receiver = self.nodes.get(to)
        if receiver is None or not receiver.is_up:
            return False
        self.loop.call_later(LINK_SECONDS, self._deliver, sender, receiver, packed)
        return True

    def _deliver(self, sender: MovingNode, receiver: MovingNode, packed: bytes) -> None:
        if sender.is_up and receiver.is_up:
            receiver.receive(sender.node_id, packed)

    # -- lives -----------------------------------------------------------------------------

    def start(self) -> None:
        """Everybody accepts the record and hears of the first map."""
        for node in self.nodes.values():
            node.durable.accept(self.record)
            node.begin()
        self.announce(self.directory)

    def crash(self, node_id: int) -> None:
        self.nodes[node_id].end()
        for node in self.nodes.values():
            if node.is_up:
                node.host.peer_unreachable(node_id)

    def restart(self, node_id: int) -> None:
        disk = self.nodes[node_id].disk
        node = self.nodes[node_id] = MovingNode(self, node_id, disk)
        node.begin()

    def stop(self) -> None:
        for node in self.nodes.values():
            if node.is_up:
                node.end()

    # -- the directory ---------------------------------------------------------------------

    def announce(self, cluster_map: ClusterMap) -> None:
        """Every node hears of it sooner or later."""
        self.directory = cluster_map
        for node_id in self.nodes:
            self.loop.call_later(self.random.random() * 0.3, self._tell, node_id, cluster_map)

    def _tell(self, node_id: int, cluster_map: ClusterMap) -> None:
        node = self.nodes[node_id]
        if node.is_up:
            node.follower.arrived(cluster_map)

    def move(self, group_id: int, target: tuple[int, ...]) -> None:
        """Start a move. If one is under way, the group turns to this target; until it is there, all
        nodes keep their replicas that may be voters by now.
        """
        present = self.directory
        epoch = present.epoch + 1
        origin = present.replica_set(group_id)
        move = Move(group_id, origin, target, epoch)
        moves = tuple(m for m in present.moves if m.group_id != group_id)
        self._place(group_id, move.replica_set, tuple(sorted((*moves, move))))

    def _place(self, group_id: int, nodes: tuple[int, ...], moves: tuple[Move, ...]) -> None:
        present = self.directory
        if group_id == 0:
            placed = replace(present, epoch=present.epoch + 1, directory=nodes, moves=moves)
        else:
            sets = (*present.replica_sets[: group_id - 1], nodes, *present.replica_sets[group_id:])
            placed = replace(present, epoch=present.epoch + 1, replica_sets=sets, moves=moves)
        self.announce(placed)

    async def direct(self) -> None:
        """Complete what is reported, and remind everybody of the newest map."""
        reminder = 0
        while True:
            await asyncio.sleep(0.02)
            for node in [node for node in self.nodes.values() if node.is_up]:
                for report in node.mover.reports():
                    self._take(node.node_id, report)
            for node in self.nodes.values():
                if node.is_up and self.directory.started != 1 and 1 in node.host.groups:
                    group = node.host.groups[1]
                    if group.is_leader and group.applied_index >= group.log.term_start_index > 0:
                        self.announce(self.directory.with_started((0,)))
            reminder += 1
            if reminder % 25 == 0:
                self._tell(self.random.choice(list(self.nodes)), self.directory)

    def _take(self, node_id: int, report: Any) -> None:
        seen = Configuration(report.voters, report.learners, (), report.decision)
        if not self.history or self.history[-1][0] != seen:
            self.history.append((seen, node_id))
            self.on_report(len(self.history))
        move = self.directory.move_of(report.group_id)
        if (
            move is not None
            and report.decision == move.decided
            and set(report.voters) == set(move.target)
            and not report.learners
        ):
            rest = tuple(m for m in self.directory.moves if m is not move)
            self._place(report.group_id, move.target, rest)

    # -- what tests ask --------------------------------------------------------------------

    def leader(self, group_id: int) -> ReplicaGroup | None:
        """The leader of the newest term."""
        led = [
            node.host.groups[group_id]
            for node in self.nodes.values()
            if node.is_up and group_id in node.host.groups
        ]
        leaders = [group for group in led if group.is_leader]
        return max(leaders, key=lambda group: group.term, default=None)

    async def until(self, holds: Callable[[], Any], seconds: float = 60) -> None:
        """Wait for something, for so long by the loop's time."""
        end = self.loop.time() + seconds
        while not holds():
            assert not self.fatal, self.fatal
            assert self.loop.time() < end, (self.directory.moves, self.history[-3:])
            await asyncio.sleep(0.02)

    def is_moved(self, group_id: int, target: Iterable[int]) -> bool:
        """The map says so, the nodes that are up have it so, and nothing is left elsewhere."""
        wanted = set(target)
        if set(self.directory.replica_set(group_id)) != wanted or self.directory.moves:
            return False
        for node_id, node in self.nodes.items():
            has = group_id in node.host.groups
            if not node.is_up or has != (node_id in wanted) or node.state.leaving:
                return False
        return True


class Answer:
    """Waits for one command. `what`: its result, or that it may be executed later or never."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.what: asyncio.Future[Result | None] = loop.create_future()

    def on_result(self, result: Result) -> None:
        if not self.what.done():
            self.what.set_result(result)

    def on_refused(self, why: str) -> None:
        if not self.what.done():
            self.what.set_result(None)

    def on_lost(self) -> None:
        self.on_refused("lost")


async def execute(world: MovingNodes, group_id: int, command: Command) -> Result:
    """Have a command executed, however often it has to be sent."""
    while True:
        group = world.leader(group_id)
        if group is not None:
            answer = Answer(world.loop)
            group.submit(command, 100, answer)
            with suppress(TimeoutError):
                result = await asyncio.wait_for(answer.what, 0.5)
                if result is not None:
                    return result
        await asyncio.sleep(0.02)
