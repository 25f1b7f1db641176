"""A node: everything of one process, put together.

Start: lock the data directory, recover the log and the snapshots if it is a member's, bind the
listeners. A node that is new founds its cluster first, together with the others. Then it meets its
peers, joins the group of the directory once the founding is complete, and, as soon as a cluster
map is known, the groups of the shards that the map places here. Stop: hand leaderships over,
answer what is under way, close. Everything it touches is handed in (loop, clock, disk,
randomness), so a whole cluster also runs inside one simulated process.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Mapping
from random import Random
from typing import TYPE_CHECKING, Any

from quorumcache.node.admin.health_log import HealthLog
from quorumcache.node.admin.server import AdminServer
from quorumcache.node.admin.stats import stats_reply
from quorumcache.node.admin.status import health_problems, health_warnings
from quorumcache.node.alarms import Alarms
from quorumcache.node.clients.cluster_words import ClusterWords
from quorumcache.node.clients.context import ClientContext
from quorumcache.node.clients.server import MemcachedServer
from quorumcache.node.cluster_time import ClusterTime
from quorumcache.node.config import ITEM_BYTES_LIMIT, NodeConfig
from quorumcache.node.consensus.api import APPEND_BYTES_MAX, ConsensusConfig
from quorumcache.node.consensus.raft import Raft
from quorumcache.node.consensus.values import Configuration, HardState, SnapshotMeta
from quorumcache.node.directory.follower import MapFollower
from quorumcache.node.directory.starts import REPORT_MS
from quorumcache.node.directory.state import DirectoryState
from quorumcache.node.directory.steward import Steward
from quorumcache.node.errors import ConfigError, NodeError, PeerFrameError, StartupError
from quorumcache.node.founding.introduction import info_of, own_hello, own_info, peer_specs
from quorumcache.node.founding.phase import FoundingPhase
from quorumcache.node.founding.progress import FoundingProgress
from quorumcache.node.housekeeping.data_dir_watch import DataDirWatch
from quorumcache.node.housekeeping.disk_keeper import DiskKeeper
from quorumcache.node.housekeeping.housekeeper import Housekeeper
from quorumcache.node.housekeeping.limits import LimitWatch
from quorumcache.node.housekeeping.peer_watch import FOUNDING, log_alarm, look
from quorumcache.node.housekeeping.timekeeper import Timekeeper
from quorumcache.node.inbox import deliver, deliver_consensus
from quorumcache.node.node_storage import NodeStorage
from quorumcache.node.operations.coordinator import Coordinator
from quorumcache.node.operations.leaders import Leaders
from quorumcache.node.operations.serving import REPLY_BYTES_MAX, Serving
from quorumcache.node.peers.codec import FRAME_BYTES_MAX, Hello
from quorumcache.node.peers.consensus_items import DATAGRAM_KINDS, VOTE_KIND
from quorumcache.node.peers.consensus_transport import ConsensusTransport
from quorumcache.node.peers.founding_frames import Blank
from quorumcache.node.peers.items import (
    FOUNDED,
    MAP_EPOCH,
    MAP_REQUEST,
    TIME,
)
from quorumcache.node.peers.listener import PeerListener
from quorumcache.node.peers.network import PeerNetwork
from quorumcache.node.peers.switch import PeerSwitch
from quorumcache.node.replica.group import BATCH_BYTES_MAX, ENTRY_BYTES_MAX, ReplicaGroup
from quorumcache.node.replica.handover import hand_over
from quorumcache.node.replica.host import ReplicaHost
from quorumcache.node.state_machine import DIRECTORY_GROUP_ID, StateMachine
from quorumcache.node.storage.disk import DiskSpace
from quorumcache.node.storage.founding_record import propose
from quorumcache.node.store.store import ShardStore
from quorumcache.node.system.tasks import Tasks
from quorumcache.node.telemetry.counters import Counters
from quorumcache.node.telemetry.logs import event, get_logger
from quorumcache.node.telemetry.timings import Timings
from quorumcache.node.wal.memory import MemoryWal
from quorumcache.ring import ClusterMap, MapError, NodeInfo
from quorumcache.ring.address import parse_addresses

if TYPE_CHECKING:
    from quorumcache.node.clock import Clock
    from quorumcache.node.storage.disk import Disk

log = get_logger("node")

assert BATCH_BYTES_MAX + 2 * ITEM_BYTES_LIMIT <= ENTRY_BYTES_MAX
assert ENTRY_BYTES_MAX + APPEND_BYTES_MAX <= FRAME_BYTES_MAX * 3 // 4
assert REPLY_BYTES_MAX + 2 * ITEM_BYTES_LIMIT <= FRAME_BYTES_MAX // 2
# An item is at most twice its limit long, whatever is packed around it. So every entry, append and
# answer fits a frame.

FOUNDING_GRACE_NS = 2_000_000_000
"""So long may a founding take before it is an alarm that it is not complete."""

SWEEP_MS = 50
"""Time between two sweeps of held operations and deadlines."""

ADOPT_RETRY_SECONDS = 1.0
"""Pause before a map for which the disk had no room is stored again."""

ELECTION_STAGGER_MS = 30
"""Distance between the elections of two replicas that saw their leader go: the first can win."""


class Node:
    """One process of the cluster: `start`, then `stop`, or `abort` to leave as a crash would."""

    def __init__(
        self,
        config: NodeConfig,
        *,
        clock: Clock,
        disk: Disk | None,
        random: Random,
        loop: asyncio.AbstractEventLoop,
        consensus_bounds: Mapping[str, int] | None = None,
    ) -> None:
        """`consensus_bounds` replaces bounds of `ConsensusConfig`, by name: a simulation draws
        small ones, so that windows and batches fill up.
        """
        config.validate()
        self.config = config
        self.consensus_bounds = dict(consensus_bounds or {})
        self.clock = clock
        self.disk = disk if config.data_dir else None
        self.random = random
        self.loop = loop
        self.node_id = 0
        """From the founding record; 0 while this node is new."""
        self.cluster_id = ""
        """Likewise; "" while this node is new."""
        self.counters = Counters()
        self.timings = Timings()
        self.alarms = Alarms(log_alarm)
        """What is wrong right now, for `/health`, `/status`, `/metrics` and the log."""
        self._own_tasks: list[asyncio.Task[None]] = []
        self.tasks = Tasks(loop, alarms=self.alarms, counters=self.counters, fatal=self._fatal)
        self.started_ns = clock.monotonic_ns()
        self.time = ClusterTime(clock)
        self.listen_address = ""
        self.peer_address = ""
        self.http_address = ""
        self.map: ClusterMap | None = None
        """The newest cluster map this node knows."""
        self.failed: asyncio.Future[BaseException] = loop.create_future()
        """Resolved with the reason when the node cannot go on; the process has to end."""
        self.known: dict[int, NodeInfo] = {}
        """What nodes told of themselves when they connected, by node id; this one included."""
        self.incarnation = random.getrandbits(63)
        self._leaders_changed = asyncio.Event()
        self._sweep_countdown = 0
        self._report_countdown = 0
        self._limits = LimitWatch(
            self.alarms,
            self.counters,
            memory_bytes=config.memory_bytes,
            connections_max=config.connections_max,
        )
        self._steward: Steward | None = None
        self._admin: AdminServer | None = None
        self._stopping = False
        self._founding_waited = ""

        self.founding: FoundingProgress | None = None
        """None while this node is new."""
        self.follower: MapFollower | None = None
        """Likewise."""
        self._switch = PeerSwitch()
        self._listener = PeerListener(loop)
        self._phase: FoundingPhase | None = None
        self.transport = ConsensusTransport(self._switch)
        self.host = ReplicaHost(
            loop=loop,
            clock=clock,
            wal=MemoryWal(loop),
            snapshots=None,
            transport=self.transport,
            counters=self.counters,
            tick_ms=config.tick_ms,
            on_leader_change=self._leader_changed,
            on_fatal=self._fatal,
            time=self.time,
            item_bytes_max=config.item_bytes_max,
        )
        self.timekeeper = Timekeeper(self.time, self.alarms, self._switch, self._others)
        self.disk_keeper: DiskKeeper | None = None
        """None while this node is new, and where nothing is kept."""
        self._data_dir_watch: DataDirWatch | None = None
        """While there is no keeper yet."""
        self.peers: PeerNetwork | None = None
        self.coordinator: Coordinator
        self.server: MemcachedServer
        self.housekeeper: Housekeeper
        self._health_log: HealthLog
        self.storage = NodeStorage(
            config,
            self.disk,
            clock=clock,
            random=random,
            loop=loop,
            time=self.time,
            incarnation=self.incarnation,
        )
        if self.storage.member is not None:
            self._become_member()
        elif self.disk is not None:
            self._data_dir_watch = DataDirWatch(
                clock=clock,
                disk=self.disk,
                host=self.host,
                files=self.storage.files_when_new,
                on_lost=self._fatal,
            )

    @property
    def disk_id(self) -> str:
        """Random id of the data directory; of this process where nothing is kept."""
        return self.storage.identity.disk_id

    def _become_member(self) -> None:
        """The storage is a member's: so is this node."""
        storage = self.storage
        assert storage.member is not None
        self.node_id = storage.identity.node_id
        self.cluster_id = storage.identity.cluster_id
        storage.wal.on_full = self._disk_refused
        storage.wal.on_failed = self._fatal
        storage.wal.observe_sync = self.timings.sync_seconds.observe
        self.host.wal = storage.wal
        self.host.snapshots = storage.snapshots
        if storage.disk is not None and storage.plan is not None:
            self.disk_keeper = DiskKeeper(
                config=self.config,
                clock=self.clock,
                disk=storage.disk,
                plan=storage.plan,
                wal=storage.wal,
                host=self.host,
                alarms=self.alarms,
                counters=self.counters,
                on_lost=self._fatal,
            )
        self.founding = FoundingProgress(
            storage.member,
            disk=storage.disk,
            directory=storage.directory,
            on_complete=self._founded,
            on_failed=self._fatal,
        )
        self.follower = MapFollower(
            founding=self.founding,
            local_state=storage.local_state,
            host=self.host,
            on_map=self._map_learned,
            start_replica=self._start_replica,
            on_started=self._started,
            on_fatal=self._fatal,
            send=self._switch.send,
            alarms=self.alarms,
        )

    # -- start -------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen, join, and begin to serve. Raises NodeError or OSError with what is wrong.

        A node that is new returns once it listens; its founding goes on in the background.
        """
        config = self.config
        self.coordinator = Coordinator(
            Serving(
                node_id=self.node_id,
                host=self.host,
                peers=self._switch,
                clock=self.clock,
                counters=self.counters,
                memory_bytes=config.memory_bytes,
            ),
            Leaders(
                self.node_id,
                self.host.groups,
                self._switch,
                self.preferred_leader_of_group,
                self.replicas_of_group,
            ),
            random=self.random,
            timings=self.timings,
            timeout_ms=config.request_timeout_ms,
        )
        self.server = self._new_server()
        self.listen_address = await self.server.start(parse_addresses(config.listen))
        if config.http:
            self._admin = AdminServer(self, self.loop, self.tasks)
            self.http_address = await self._admin.start(parse_addresses(config.http))
        self._health_log = HealthLog(self)
        if self.founding is None and not config.is_alone:
            self.peer_address = await self._listener.start(config.peer)
            phase = self._phase = self._new_phase()
            self._listener.accept = phase.accept
            self._own_tasks.append(self.tasks.end("founding", lambda: self._found(phase)))
        else:
            if self.founding is None:
                founders = [self._own_info()]
                self.storage.accept(propose(self.random, founders, config.fixed_settings))
                self._become_member()
            await self._join()
        self.host.start_ticking([self._every_tick])

    def _new_server(self) -> MemcachedServer:
        config = self.config
        words = ClusterWords(
            self,
            shards=config.shards,
            groups=self.host.groups,
            leader_node=self.coordinator.leader_node,
            health=lambda: (health_problems(self), health_warnings(self)),
        )
        context = ClientContext(
            loop=self.loop,
            monotonic_ns=self.clock.monotonic_ns,
            coordinator=self.coordinator,
            counters=self.counters,
            groups=self.host.groups,
            shards=config.shards,
            item_bytes_max=config.item_bytes_max,
            stats=lambda args: stats_reply(self, args),
            cluster=words.reply,
            moved_line=words.moved_line,
        )
        return MemcachedServer(
            context,
            connections_max=config.connections_max,
            slow_client_ms=config.slow_client_ms,
            idle_timeout_ms=config.idle_timeout_ms,
        )

    def _new_phase(self) -> FoundingPhase:
        return FoundingPhase(
            loop=self.loop,
            random=Random(self.random.getrandbits(64)),
            own=Blank(self._own_info(), self.config.founding_settings),
            fixed_settings=self.config.fixed_settings,
            members=self.config.members,
            on_waiting=self._founding_waits,
        )

    def _founding_waits(self, why: str) -> None:
        waited_ns = self.clock.monotonic_ns() - self.started_ns
        if waited_ns > FOUNDING_GRACE_NS:
            self.alarms.raise_alarm(FOUNDING, f"node {self.config.name} is new and {why}")
        if why != self._founding_waited:
            self._founding_waited = why
            event(log, "info", "founding_waits", why=why)

    async def _found(self, phase: FoundingPhase) -> None:
        """Become a member as soon as there is a founding record, and join."""
        try:
            self.storage.accept(await phase.run())
            self._become_member()
            phase.close()
            await self._join()
        except Exception as error:
            self._fatal(error)

    async def _join(self) -> None:
        """As a member: meet the peers, start what the disk remembers, and follow the map."""
        assert self.founding is not None
        assert self.follower is not None
        self.coordinator.use_node_id(self.node_id)
        if self.storage.map_found is not None:
            self.follower.arrived(self.storage.map_found)
        await self._start_peers()
        self.housekeeper = Housekeeper(
            node_id=self.node_id,
            config=self.config,
            host=self.host,
            wal=self.storage.wal,
            snapshots=self.storage.snapshots,
            counters=self.counters,
            preferred_leader=self.preferred_leader_of_group,
            is_up=self._switch.is_up,
        )
        if self.disk_keeper is not None:
            self.disk_keeper.start()
        self._own_tasks.append(self.tasks.restart("housekeeper", self.housekeeper.run))
        if self.founding.is_complete:
            self._start_directory()
            await self.follower.adopt()
        self._own_tasks.append(self.tasks.end("map follower", self.follower.follow))

    def _founded(self) -> None:
        """All founders have accepted, and this is stored: group 0 may start."""
        event(log, "info", "founding_complete", cluster=self.cluster_id)
        if self.peers is not None:
            self.peers.set_founded()
            self.peers.send_to_all((FOUNDED, 1))
            self.host.flush_soon()
        self._start_directory()

    def _start_directory(self) -> None:
        if self._steward is not None:
            return  # The founding was completed while `_join` met the peers.
        assert self.founding is not None
        record = self.founding.record
        voters = record.directory_voters
        if self.node_id not in voters:
            return
        assert self.follower is not None
        state = DirectoryState(self.follower.arrived)
        birth = self.storage.local_state.births[DIRECTORY_GROUP_ID]
        group = self._new_group(DIRECTORY_GROUP_ID, birth, state)
        self._steward = Steward(record=record, group=group, state=state, known=self.known)
        if voters[0] == self.node_id:
            group.log.campaign()
            self.host.mark_dirty(group)

    def _own_info(self) -> NodeInfo:
        return own_info(
            *(self.config, self.node_id or 1, self.disk_id),
            *(self.listen_address, self.http_address),
        )

    async def _start_peers(self) -> None:
        config = self.config
        info = self._own_info()
        self.known[self.node_id] = info
        assert self.founding is not None
        others = peer_specs(config, self.founding, self.map, self.known)
        if not others:
            return
        if not config.peer:
            raise ConfigError(
                "peer",
                f"a cluster of {len(others) + 1} nodes needs an address that the others reach",
            )
        epoch = self.map.epoch if self.map is not None else 0
        hello = own_hello(
            *(config, info, self.founding, self.incarnation, self.storage.starts, epoch)
        )
        self.peers = PeerNetwork(
            self.loop,
            self.clock,
            self.random,
            hello=hello,
            listen_address=config.peer,
            peers=others,
            handler=self,
            counters=self.counters,
            tasks=self.tasks,
            listener=self._listener,
            starts=self.storage.peer_starts,
        )
        self._switch.network = self.peers
        # From here on without the detour of the switch: this is on every message's way.
        self.transport.peers = self.peers
        self.coordinator.use_peers(self.peers)
        self.peer_address = await self.peers.start()

    def _update_peers(self) -> None:
        if self.peers is not None and self.founding is not None:
            self.peers.update_peers(peer_specs(self.config, self.founding, self.map, self.known))

    def _new_group(
        self, group_id: int, birth: Configuration, machine: StateMachine
    ) -> ReplicaGroup:
        """This node's replica of a group, from what the disk remembers of it."""
        config = self.config
        found = self.storage.snapshots_found.pop(group_id, None)
        recovered = self.storage.recovered.pop(group_id, None)
        if found is not None:
            machine.restore(found.data)
            self.time.found(machine.last_now_ms, machine.last_wall_ms)
            meta = found.meta
        else:
            meta = SnapshotMeta(0, 0, birth)
        raft = Raft(
            ConsensusConfig(
                replica_id=self.node_id,
                tick_ms=config.tick_ms,
                heartbeat_ticks=config.heartbeat_ticks,
                election_ticks=config.election_ticks,
                stagger_ticks=max(1, ELECTION_STAGGER_MS // config.tick_ms),
                **self.consensus_bounds,
            ),
            Random(self.random.getrandbits(64)),
            configuration=meta.configuration,
            hard_state=recovered.hard_state if recovered is not None else HardState(0, 0),
            entries=recovered.entries if recovered is not None else (),
            snapshot=meta if found is not None else None,
            applied_index=meta.last_index,
            life=self.incarnation,
        )
        group = ReplicaGroup(group_id, raft, machine, self.host, meta)
        self.host.add_group(group)
        return group

    # -- the cluster map -----------------------------------------------------------------

    def _map_learned(self, cluster_map: ClusterMap) -> None:
        """The follower has a newer map."""
        self.map = cluster_map
        if self.peers is not None:
            self.peers.set_map_epoch(cluster_map.epoch)
            self._update_peers()
            self.peers.send_to_all((MAP_EPOCH, cluster_map.epoch))
            self.host.flush_soon()

    def _started(self, bits: int) -> None:
        """Groups have started; the steward of a node that votes in the directory keeps it."""
        if self._steward is not None:
            self._steward.started(bits)

    def _start_replica(self, group_id: int, birth: Configuration, stands: bool) -> None:
        machine = ShardStore()
        group = self._new_group(group_id, birth, machine)
        if stands:
            group.log.campaign()
            self.host.mark_dirty(group)

    def preferred_leader_of_group(self, group_id: int) -> int:
        """Node that should lead a shard's group; 0 while there is no map."""
        if self.map is None or group_id == DIRECTORY_GROUP_ID:
            return 0
        return self.map.preferred_leader(group_id - 1)

    def replicas_of_group(self, group_id: int) -> tuple[int, ...]:
        """Nodes with a replica of a shard's group, as the map has it; none without a map."""
        if self.map is None or group_id == DIRECTORY_GROUP_ID:
            return ()
        return self.map.replica_sets[group_id - 1]

    def name_of(self, node_id: int) -> str:
        """A node's name, by the map, or by the founding record before there is one."""
        nodes: tuple[NodeInfo, ...] = ()
        if self.map is not None:
            nodes = self.map.nodes
        elif self.founding is not None:
            nodes = self.founding.record.founders
        return next((n.name for n in nodes if n.node_id == node_id), str(node_id))

    def _others(self) -> list[int]:
        """The other nodes that this one has heard of."""
        return [node_id for node_id in self.known if node_id != self.node_id]

    def client_address_of(self, node_id: int) -> str:
        """Where clients reach a node; "" if that is not known."""
        info = self.known.get(node_id)
        if info is not None:
            return info.client_address
        if self.map is None:
            return ""
        try:
            return self.map.node(node_id).client_address
        except MapError:
            return ""

    # -- what the peers bring ------------------------------------------------------------

    def on_peer_items(self, node_id: int, items: tuple[tuple[Any, ...], ...]) -> None:
        """One frame from a peer."""
        deliver(node_id, items, self.host, self.transport, self.coordinator, self.on_rare_item)

    def on_rare_item(self, node_id: int, item: tuple[Any, ...]) -> None:
        """An item of `RARE_KINDS`."""
        if item[0] == TIME:
            self.timekeeper.heard(node_id, item)
        else:
            assert self.follower is not None
            self.follower.on_item(node_id, item)

    def on_peer_datagram(self, node_id: int, items: tuple[tuple[Any, ...], ...]) -> None:
        """Consensus, and nothing else: all other items count on coming once and in order.

        A vote may make this node a leader, so it has to come behind the time that its voter told
        (`Timekeeper`). While this node does not know the time, only the connection keeps that
        order: the vote comes there, too.
        """
        for item in items:
            kind = item[0]
            if type(kind) is not int or kind not in DATAGRAM_KINDS:
                raise PeerFrameError(f"an item of the kind {kind!r:.60} came as a datagram")
            if kind == VOTE_KIND and not self.time.is_settled:
                continue
            deliver_consensus(node_id, item, self.host, self.transport)

    def on_peer_hello(self, node_id: int, hello: Hello) -> None:
        """A peer told of itself."""
        assert self.founding is not None
        before = self.known.get(node_id)
        self.known[node_id] = info_of(hello)
        if self.known[node_id] != before:
            self._update_peers()
        self.founding.accepted(node_id, is_complete=hello.is_founded)
        assert self.follower is not None
        self.follower.heard_of(node_id, hello.map_epoch)

    def on_newer_map(self) -> None:
        """A stranger has a newer map than this node: ask all peers for theirs."""
        if self.peers is not None and self.follower is not None:
            self.peers.send_to_all((MAP_REQUEST, self.follower.epoch))
            self.host.flush_soon()

    def on_blank(self, blank: Blank) -> bytes:
        """A new node asks for the founding record."""
        assert self.founding is not None
        return self.founding.answer(blank)

    def on_peer_up(self, node_id: int) -> None:
        """The connection to a peer is ready."""
        self.timekeeper.peer_up(node_id)  # Before anything that could make the peer a leader.
        event(log, "info", "peer_up", peer=node_id)
        assert self.follower is not None
        self.follower.ask(node_id)
        self.coordinator.peer_up(node_id)

    def on_peer_down(self, node_id: int, why: str) -> None:
        """The connection to a peer, or from it, is gone."""
        event(log, "info", "peer_down", peer=node_id, why=why)
        if self._stopping:
            return
        if self.peers is None or not self.peers.is_heard(node_id):
            # Otherwise it may still vote for us, and its clock has to count if we come to lead.
            self.time.lost(node_id)
        self.coordinator.peer_down(node_id)
        self.host.peer_unreachable(node_id)

    def on_refused(self, node_id: int, why: str) -> None:
        """A peer and this node do not fit together; logged and counted where it was found."""

    # -- what time brings ----------------------------------------------------------------

    def _every_tick(self) -> None:
        if self.disk_keeper is not None:
            self.disk_keeper.tick()
        elif self._data_dir_watch is not None:
            self._data_dir_watch.tick()
        self._sweep_countdown -= 1
        if self._sweep_countdown > 0:
            return
        self._sweep_countdown = max(1, SWEEP_MS // self.config.tick_ms)
        self.coordinator.sweep()
        self.server.sweep()
        self.timekeeper.sweep()
        now_ns = self.clock.monotonic_ns()
        self._limits.look(now_ns, self.host.bytes_used)
        self._health_log.look(now_ns)
        if self._steward is not None:
            self._steward.tick()
        self._report_countdown -= 1
        if self._report_countdown <= 0:
            self._report_countdown = REPORT_MS // SWEEP_MS
            if self.follower is not None:
                self.follower.report_started()
        if self.founding is not None:
            is_late = self.clock.monotonic_ns() - self.started_ns > FOUNDING_GRACE_NS
            if self.storage.peer_starts is not None:
                self.storage.peer_starts.store_if_due()
            look(self.alarms, self.founding, self.peers, is_late=is_late)

    def _leader_changed(self, group_id: int) -> None:
        self.coordinator.leader_changed(group_id)
        self._leaders_changed.set()

    def _disk_refused(self, refused: bool) -> None:
        assert self.disk_keeper is not None
        self.disk_keeper.refused(refused)

    def _fatal(self, error: BaseException) -> None:
        """Nothing may be promised any more."""
        self.host.stop()
        self.storage.failed(error)
        self.server.abort()
        self._close_listener()
        if self.peers is not None:
            self.peers.abort()
        if not self.failed.done():
            self.failed.set_result(error)

    # -- what observers read --------------------------------------------------------------

    @property
    def connections(self) -> Iterable[Any]:
        """Client connections, for `stats conns`."""
        return self.server.connections.values()

    @property
    def disk_waiting_since_ns(self) -> int:
        """Since when the disk owes an answer to a write or a sync; 0 while it owes none."""
        return self.disk_keeper.waiting_since_ns if self.disk_keeper is not None else 0

    @property
    def disk_space(self) -> DiskSpace:
        """Of the file system of the data directory; zeros while it is not known."""
        return self.disk_keeper.space if self.disk_keeper is not None else DiskSpace(0, 0)

    def peers_up(self) -> Mapping[int, bool]:
        """Other nodes, and whether this one has a connection to them."""
        if self.peers is None:
            return {}
        return {node_id: self.peers.is_up(node_id) for node_id in self.peers.node_ids}

    def peers_apart(self) -> Mapping[int, str]:
        """Other nodes that refuse this one, or that this one refuses, and why."""
        return self.peers.why_apart() if self.peers is not None else {}

    @property
    def is_serving(self) -> bool:
        """There is a map, and every shard replicated here has a leader."""
        return self.map is not None and all(group.leader_id for group in self.host.groups.values())

    async def wait_serving(self, seconds: float) -> bool:
        """Wait until `is_serving`; False if that took longer, or the node failed."""
        deadline = self.loop.time() + seconds
        while not self.is_serving:
            left = deadline - self.loop.time()
            if left <= 0 or self.failed.done():
                return False
            self._leaders_changed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._leaders_changed.wait(), left)
        return True

    # -- stop ------------------------------------------------------------------------------

    async def stop(self) -> None:
        """Hand leaderships over, answer what is under way, close everything."""
        if self._stopping:
            return
        self._stopping = True
        self.alarms.raise_alarm("stopping", "the node is stopping: it takes no new clients")
        deadline = self.loop.time() + self.config.stop_timeout_ms / 1000
        self.server.stop_accepting()
        for task in self._own_tasks:
            task.cancel()
        if not self.failed.done():
            if self.peers is not None:
                await hand_over(
                    self.node_id,
                    self.host.groups.values,
                    is_up=self.peers.is_up,
                    transfer=self.housekeeper.leadership.transfer,
                    deadline=deadline,
                    pause_seconds=self.config.heartbeat_ms / 1000,
                )
            self.server.close()
            await self.server.wait_empty(deadline - self.loop.time())
        self.server.abort()
        if self._admin is not None:
            await self._admin.close()
        self._close_listener()
        if self.peers is not None:
            await self.peers.stop()
        self.host.stop()
        self.tasks.cancel()
        await self.tasks.wait()
        if not self.failed.done():
            await self.storage.wal.close()
        if self.disk is not None:
            self.disk.close()

    def _close_listener(self) -> None:
        self._listener.close()
        if self._phase is not None:
            self._phase.close()

    def abort(self) -> None:
        """Leave at once, as a crash would."""
        self._stopping = True
        self.tasks.cancel()
        self.host.stop()
        self.server.abort()
        self._close_listener()
        if self.peers is not None:
            self.peers.abort()


__all__ = ["Node", "NodeError", "StartupError"]
