"""A node: everything of one process, put together.

Start: lock the data directory, recover the log and the snapshots, bind the listeners, join the
group of the directory, and, as soon as a cluster map is known, the groups of the shards that
the map places here. Stop: hand leaderships over, answer what is under way, close. Everything it
touches is handed in (loop, clock, disk, randomness), so a whole cluster also runs inside one
simulated process.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Mapping
from random import Random
from typing import TYPE_CHECKING, Any

from node.admin import AdminServer
from node.alarms import Alarm, Alarms
from node.cluster_time import ClusterTime
from node.config import ITEM_BYTES_LIMIT, NodeConfig, parse_addresses
from node.consensus.api import (
    APPEND_BYTES_MAX,
    Configuration,
    ConsensusConfig,
    HardState,
    Role,
    Snapshot,
    SnapshotMeta,
)
from node.consensus.raft import Raft
from node.coordinator import Coordinator
from node.counters import Counters
from node.directory.state import DirectoryState
from node.directory.steward import Steward
from node.disk import DiskSpace
from node.disk_keeper import DiskKeeper
from node.disk_space import plan_space
from node.errors import DiskRefused, NodeError, PeerError, PeerFrameError, StartupError
from node.group import BATCH_BYTES_MAX, ENTRY_BYTES_MAX, ReplicaGroup, StateMachine
from node.health_log import HealthLog
from node.host import ReplicaHost
from node.housekeeper import Housekeeper
from node.limits import LimitWatch
from node.local_state import LocalState
from node.logs import event, get_logger
from node.peer_codec import FRAME_BYTES_MAX, PROTOCOL_VERSION
from node.peer_items import CONSENSUS_KINDS, MAP_REPLY, MAP_REQUEST, TIME, check_map_item
from node.peers import Hello, PeerNetwork
from node.server import MemcachedServer
from node.serving import REPLY_BYTES_MAX
from node.store.store import ShardStore
from node.tasks import Tasks
from node.timekeeper import Timekeeper, find_times
from node.timings import Timings
from node.version import VERSION
from node.view import DIRECTORY_GROUP_ID
from node.wal.identity import Identity, claim_data_dir, lock_data_dir
from node.wal.memory import MemoryWal
from node.wal.recovery import RecoveredGroup
from node.wal.snapshots import SnapshotStore
from node.wal.wal import Wal
from ring import ClusterMap, MapError, NodeInfo

if TYPE_CHECKING:
    from node.clock import Clock
    from node.disk import Disk

log = get_logger("node")

assert BATCH_BYTES_MAX + 2 * ITEM_BYTES_LIMIT <= ENTRY_BYTES_MAX
assert ENTRY_BYTES_MAX + APPEND_BYTES_MAX <= FRAME_BYTES_MAX * 3 // 4
assert REPLY_BYTES_MAX + 2 * ITEM_BYTES_LIMIT <= FRAME_BYTES_MAX // 2
# An item is at most twice its limit long, whatever is packed around it. So every entry, append and
# answer fits a frame.

DIRECTORY_VOTERS_MAX = 5
"""Nodes that vote on the cluster map: the first of the initial cluster, by name."""

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
        self.node_id = config.node_id
        self.counters = Counters()
        self.timings = Timings()
        self.alarms = Alarms(_alarm_changed)
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
        self._map_learned = asyncio.Event()
        self._leaders_changed = asyncio.Event()
        self._recovered: dict[int, RecoveredGroup] = {}
        self._snapshots_found: dict[int, Snapshot] = {}
        self._sweep_countdown = 0
        self._limits = LimitWatch(
            self.alarms,
            self.counters,
            memory_bytes=config.memory_bytes,
            connections_max=config.connections_max,
        )
        self._steward: Steward | None = None
        self._admin: AdminServer | None = None
        self._stopping = False

        data_dir = config.data_dir or ""
        self.local_state = LocalState(self.disk, data_dir, loop)
        self.snapshots: SnapshotStore | None = None
        self.wal: Wal | MemoryWal
        if self.disk is None:
            self.wal = MemoryWal(loop)
        else:
            self._open_disk(self.disk, data_dir)
        self.wal.on_full = self._disk_refused
        self.wal.on_failed = self._fatal
        self.wal.observe_sync = self.timings.sync_seconds.observe
        self.host = ReplicaHost(
            loop=loop,
            clock=clock,
            wal=self.wal,
            snapshots=self.snapshots,
            peers=PeerSwitch(self),
            counters=self.counters,
            tick_ms=config.tick_ms,
            on_leader_change=self._leader_changed,
            on_fatal=self._fatal,
            time=self.time,
            item_bytes_max=config.item_bytes_max,
        )
        self.timekeeper = Timekeeper(self.time, self.alarms, PeerSwitch(self), self._others)
        self.disk_keeper: DiskKeeper | None = None
        if self.disk is not None:
            self.disk_keeper = DiskKeeper(
                config=config,
                clock=clock,
                disk=self.disk,
                plan=self._space_plan,
                wal=self.wal,
                host=self.host,
                alarms=self.alarms,
                counters=self.counters,
                on_lost=self._fatal,
            )
        self.peers: PeerNetwork | None = None
        self.coordinator: Coordinator
        self.server: MemcachedServer
        self.housekeeper: Housekeeper
        self._health_log: HealthLog

    def _open_disk(self, disk: Disk, data_dir: str) -> None:
        config = self.config
        lock_data_dir(disk, data_dir)
        claim_data_dir(disk, data_dir, Identity(config.cluster_id, self.node_id, config.name))
        plan = self._space_plan = plan_space(
            disk.space(data_dir).total_bytes,
            segment_bytes_max=config.segment_bytes_max,
            wal_bytes_max=config.wal_bytes_max,
            memory_bytes=config.memory_bytes,
        )
        self.snapshots = SnapshotStore(disk, f"{data_dir}/snapshots")
        self._snapshots_found = self.snapshots.load_all()
        self.wal, self._recovered = Wal.open(
            disk,
            f"{data_dir}/wal",
            cluster_id=config.cluster_id,
            node_id=self.node_id,
            snapshots={g: s.meta for g, s in self._snapshots_found.items()},
            segment_bytes_max=plan.segment_bytes_max,
            wal_bytes_max=plan.wal_bytes_max,
            random=self.random,
            clock=self.clock,
            loop=self.loop,
        )
        find_times(self.time, data_dir, self._snapshots_found, self._recovered)
        for group_id in self.wal.orphan_snapshots:
            # The log knows nothing of this group: it left, or was never durable here.
            del self._snapshots_found[group_id]
            self.snapshots.delete(group_id, _deleted)

    # -- start -------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen, join, and begin to serve. Raises NodeError or OSError with what is wrong."""
        config = self.config
        self.map = self.local_state.load()
        peers = PeerSwitch(self)
        self.coordinator = Coordinator(
            node_id=self.node_id,
            host=self.host,
            peers=peers,
            clock=self.clock,
            random=self.random,
            counters=self.counters,
            timings=self.timings,
            memory_bytes=config.memory_bytes,
            timeout_ms=config.request_timeout_ms,
            preferred_leader=self.preferred_leader_of_group,
            replicas=self.replicas_of_group,
        )
        self.server = MemcachedServer(self, self.coordinator)
        self.listen_address = await self.server.start(parse_addresses(config.listen))
        if config.http:
            self._admin = AdminServer(self, self.loop, self.tasks)
            self.http_address = await self._admin.start(parse_addresses(config.http))
        self._start_directory()
        await self._start_peers()
        adopted = 0
        if self.map is not None:
            if await self._adopt(self.map):
                adopted = self.map.epoch
            else:
                self._map_learned.set()
        self._health_log = HealthLog(self)
        self.housekeeper = Housekeeper(
            config=config,
            loop=self.loop,
            host=self.host,
            wal=self.wal,
            snapshots=self.snapshots,
            counters=self.counters,
            preferred_leader=self.preferred_leader_of_group,
            is_up=peers.is_up,
        )
        if self.disk_keeper is not None:
            self.disk_keeper.start()
        self.host.start_ticking([self._every_tick])
        self._own_tasks += [
            self.tasks.restart("housekeeper", self.housekeeper.run),
            self.tasks.end("map follower", lambda: self._follow_map(adopted)),
        ]

    def _start_directory(self) -> None:
        names = list(self.config.members)[:DIRECTORY_VOTERS_MAX]
        voters = tuple(self.config.node_ids[name] for name in names)
        if self.node_id not in voters:
            return
        state = DirectoryState(self._map_arrived)
        group = self._new_group(DIRECTORY_GROUP_ID, Configuration(voters), state)
        self._steward = Steward(
            config=self.config, clock=self.clock, group=group, state=state, known=self.known
        )
        if voters[0] == self.node_id:
            group.log.campaign()
            self.host.mark_dirty(group)

    async def _start_peers(self) -> None:
        config = self.config
        others = {
            config.node_ids[name]: (name, address)
            for name, address in config.members.items()
            if name != config.name
        }
        own_peer = config.members[config.name] or config.peer or "127.0.0.1:0"
        info = NodeInfo(
            self.node_id,
            config.name,
            own_peer,
            config.advertised(self.listen_address),
            config.reachable(self.http_address) if self.http_address else "",
            config.zone,
            float(config.weight),
        )
        self.known[self.node_id] = info
        if not others:
            return
        hello = Hello(
            protocol_version=PROTOCOL_VERSION,
            cluster_id=config.cluster_id,
            settings_fingerprint=config.cluster_settings.fingerprint(),
            node_id=self.node_id,
            name=config.name,
            incarnation=self.incarnation,
            client_address=info.client_address,
            http_address=info.http_address,
            zone=info.zone,
            weight=info.weight,
            map_epoch=self.map.epoch if self.map is not None else 0,
            version=VERSION,
            settings=tuple(
                (name, str(value)) for name, value in config.cluster_settings.as_dict().items()
            ),
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
        )
        # From here on without the detour of PeerSwitch: this is on every message's way.
        self.host.peers = self.peers
        self.coordinator.use_peers(self.peers)
        self.peer_address = await self.peers.start()

    def _new_group(
        self, group_id: int, birth: Configuration, machine: StateMachine
    ) -> ReplicaGroup:
        """This node's replica of a group, from what the disk remembers of it."""
        config = self.config
        found = self._snapshots_found.pop(group_id, None)
        recovered = self._recovered.pop(group_id, None)
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

    def _map_arrived(self, cluster_map: ClusterMap) -> None:
        """A map from the directory's log or from a peer."""
        if self.map is not None and cluster_map.epoch <= self.map.epoch:
            return
        if cluster_map.cluster_id != self.config.cluster_id:
            raise AssertionError("the directory holds the map of another cluster")
        self.map = cluster_map
        if self.peers is not None:
            self.peers.set_map_epoch(cluster_map.epoch)
        self._map_learned.set()

    async def _follow_map(self, adopted: int) -> None:
        """Keep what the map asks of this node: its file, and a replica of each of its shards.

        `adopted`: epoch of the map for which that was done already.
        """
        while True:
            await self._map_learned.wait()
            self._map_learned.clear()
            cluster_map = self.map
            if cluster_map is None or cluster_map.epoch <= adopted:
                continue
            while not await self._adopt(cluster_map):
                await asyncio.sleep(ADOPT_RETRY_SECONDS)
                cluster_map = self.map or cluster_map
            adopted = cluster_map.epoch

    async def _adopt(self, cluster_map: ClusterMap) -> bool:
        """Make the map durable here, then start the groups it places on this node.

        False: the disk has no room for it now, nothing was started, and it has to be tried again.
        """
        births: dict[int, Configuration] = {}
        for shard, replicas in enumerate(cluster_map.replica_sets):
            group_id = shard + 1
            if self.node_id in replicas and group_id not in self.host.groups:
                births[group_id] = self.local_state.births.get(group_id) or Configuration(replicas)
        try:
            if births.keys() - self.local_state.births.keys():
                await self.local_state.add_births(births)
            await self.local_state.save_map(cluster_map)
        except DiskRefused as error:
            why = f"map {cluster_map.epoch} cannot be stored, and is not in force here: {error}"
            self.alarms.raise_alarm("map_not_stored", why)
            return False
        except NodeError as error:
            self._fatal(error)
            return True
        self.alarms.clear("map_not_stored")
        for group_id, birth in births.items():
            group = self._new_group(group_id, birth, ShardStore())
            if cluster_map.preferred_leader(group_id - 1) == self.node_id:
                group.log.campaign()
                self.host.mark_dirty(group)
        event(
            log,
            "info",
            "map_adopted",
            epoch=cluster_map.epoch,
            shards_here=len(self.host.groups) - 1,
        )
        return True

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
        host = self.host
        for item in items:
            kind = item[0]
            if type(kind) is not int:
                raise PeerFrameError(f"an item of the kind {kind!r:.60}, expected a number")
            if kind < CONSENSUS_KINDS:
                host.on_message(node_id, item)
            elif kind == TIME:
                self.timekeeper.heard(node_id, item)
            elif kind == MAP_REQUEST:
                check_map_item(item)
                if self.map is not None and self.map.epoch > item[1] and self.peers is not None:
                    self.peers.send(node_id, (MAP_REPLY, self.map.to_bytes()))
                    host.flush_soon()
            elif kind == MAP_REPLY:
                check_map_item(item)
                try:
                    cluster_map = ClusterMap.from_bytes(item[1])
                except MapError as error:
                    raise PeerError(f"a cluster map that is none: {error}") from error
                self._map_arrived(cluster_map)
            else:
                self.coordinator.on_forward(node_id, item)

    def on_peer_hello(self, node_id: int, hello: Hello) -> None:
        """A peer told of itself."""
        address = self.config.members[hello.name]
        self.known[node_id] = NodeInfo(
            node_id,
            hello.name,
            address,
            hello.client_address,
            hello.http_address,
            hello.zone,
            hello.weight,
        )
        self._ask_for_map(node_id, hello.map_epoch)

    def _ask_for_map(self, node_id: int, epoch: int) -> None:
        known = self.map.epoch if self.map is not None else 0
        if epoch > known and self.peers is not None:
            self.peers.send(node_id, (MAP_REQUEST, known))
            self.host.flush_soon()

    def on_peer_up(self, node_id: int) -> None:
        """The connection to a peer is ready."""
        self.timekeeper.peer_up(node_id)  # Before anything that could make the peer a leader.
        event(log, "info", "peer_up", peer=node_id)
        known = self.map.epoch if self.map is not None else 0
        assert self.peers is not None
        self.peers.send(node_id, (MAP_REQUEST, known))
        self.host.flush_soon()
        self.coordinator.peer_up(node_id)

    def on_peer_down(self, node_id: int, why: str) -> None:
        """The connection to a peer, or from it, is gone."""
        event(log, "info", "peer_down", peer=node_id, why=why)
        if self._stopping:
            return
        self.time.lost(node_id)
        self.coordinator.peer_down(node_id)
        self.host.peer_unreachable(node_id)

    def on_refused(self, node_id: int, why: str) -> None:
        """A peer and this node do not fit together; logged and counted where it was found."""

    # -- what time brings ----------------------------------------------------------------

    def _every_tick(self) -> None:
        if self.disk_keeper is not None:
            self.disk_keeper.tick()
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

    def _leader_changed(self, group_id: int) -> None:
        self.coordinator.leader_changed(group_id)
        self._leaders_changed.set()

    def _disk_refused(self, refused: bool) -> None:
        assert self.disk_keeper is not None
        self.disk_keeper.refused(refused)

    def _fatal(self, error: BaseException) -> None:
        """Nothing may be promised any more."""
        self.host.stop()
        self.server.abort()
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
    def disk_space(self) -> DiskSpace:
        """Of the file system of the data directory; zeros while it is not known."""
        return self.disk_keeper.space if self.disk_keeper is not None else DiskSpace(0, 0)

    def peers_up(self) -> Mapping[int, bool]:
        """Other nodes, and whether this one has a connection to them."""
        if self.peers is None:
            return {}
        return {node_id: self.peers.is_up(node_id) for node_id in self.peers.node_ids}

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
        deadline = self.loop.time() + self.config.stop_timeout_ms / 1000
        self.server.stop_accepting()
        for task in self._own_tasks:
            task.cancel()
        if not self.failed.done():
            await self._hand_over(deadline)
            self.server.close()
            await self.server.wait_empty(deadline - self.loop.time())
        self.server.abort()
        if self._admin is not None:
            await self._admin.close()
        if self.peers is not None:
            await self.peers.stop()
        self.host.stop()
        self.tasks.cancel()
        await self.tasks.wait()
        if not self.failed.done():
            await self.wal.close()
        if self.disk is not None:
            self.disk.close()

    async def _hand_over(self, deadline: float) -> None:
        """Give every leadership to the replica that is furthest along (thesis 3.10).

        Each once: one that comes back comes from a node that is stopping, too, and the two would
        hand it to and fro until one of them has run out of time.
        """
        given: dict[int, int] = {}  # group id -> term of the leadership that was given away
        while self.loop.time() < deadline:
            led = [
                group
                for group in self.host.groups.values()
                if group.log.role is Role.LEADER
                and len(group.log.configuration.voters) > 1
                and given.get(group.group_id, group.log.term) == group.log.term
            ]
            busy = False
            for group in led:
                status = group.log.progress()
                candidates = [
                    (status[voter].match_index, -voter)
                    for voter in group.log.configuration.voters
                    if voter != self.node_id
                    and voter in status
                    and status[voter].recent_active
                    and self.peers is not None
                    and self.peers.is_up(voter)
                ]
                if candidates:
                    busy = True
                    given[group.group_id] = group.log.term
                    self.housekeeper.transfer(group, -max(candidates)[1])
            if not busy:
                return
            await asyncio.sleep(self.config.heartbeat_ms / 1000)

    def abort(self) -> None:
        """Leave at once, as a crash would."""
        self._stopping = True
        self.tasks.cancel()
        self.host.stop()
        self.server.abort()
        if self.peers is not None:
            self.peers.abort()


def _alarm_changed(alarm: Alarm, raised: bool) -> None:
    if raised:
        level = "error" if alarm.serious else "warning"
        event(log, level, "alarm_raised", alarm=alarm.name, why=alarm.sentence)
    else:
        event(log, "info", "alarm_cleared", alarm=alarm.name)


def _deleted(error: BaseException | None) -> None:
    if error is not None:
        event(log, "warning", "snapshot_not_deleted", why=error)


class PeerSwitch:
    """The peer network as the host and the coordinator see it, also while there is none."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def send(self, node_id: int, item: tuple[Any, ...]) -> bool:
        peers = self._node.peers
        return peers is not None and peers.send(node_id, item)

    def send_bulk(self, node_id: int, item: tuple[Any, ...]) -> bool:
        peers = self._node.peers
        return peers is not None and peers.send_bulk(node_id, item)

    def send_packed(self, node_id: int, packed: bytes) -> bool:
        peers = self._node.peers
        return peers is not None and peers.send_packed(node_id, packed)

    def is_up(self, node_id: int) -> bool:
        peers = self._node.peers
        return peers is not None and peers.is_up(node_id)

    def flush(self) -> None:
        if self._node.peers is not None:
            self._node.peers.flush()


__all__ = ["Node", "NodeError", "StartupError"]
