"""A node made of plain values, for what only looks at a node (stats, metrics, admin)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from quorumcache.node.alarms import Alarms
from quorumcache.node.clients.events import ClientEvents
from quorumcache.node.cluster_time import ClusterTime
from quorumcache.node.consensus.values import Role
from quorumcache.node.settings.checks import check_config
from quorumcache.node.settings.config import NodeConfig
from quorumcache.node.storage.disk import DiskSpace
from quorumcache.node.store.fences import FenceTable
from quorumcache.node.store.item import wire_data
from quorumcache.node.store.item_table import ItemTable, new_item_table
from quorumcache.node.store.locks import LockTable
from quorumcache.node.store.sessions import SessionTable
from quorumcache.node.store.transactions import TransactionTable
from quorumcache.node.telemetry.counters import Counters
from quorumcache.node.telemetry.timings import Timings
from quorumcache.ring import ClusterMap, NodeInfo, place
from tests.support.founding import CLUSTER_ID, disk_id


class FakeClock:
    def __init__(self) -> None:
        self.now_ns = 1_000_000_000
        self.now_ms = 1_700_000_000_000

    def monotonic_ns(self) -> int:
        return self.now_ns

    def wall_ms(self) -> int:
        return self.now_ms


class FakeProgress(NamedTuple):
    match_index: int
    recent_active: bool = True


@dataclass
class FakeLog:
    last_index: int = 12
    first_index: int = 1
    log_bytes: int = 100
    replicas: dict[int, FakeProgress] = field(default_factory=dict)

    def progress(self) -> Mapping[int, FakeProgress]:
        return self.replicas


@dataclass
class FakeStore:
    items: ItemTable = field(default_factory=new_item_table)
    bytes_used: int = 0
    transactions: TransactionTable = field(default_factory=TransactionTable)
    locks: LockTable = field(default_factory=LockTable)
    fences: FenceTable = field(default_factory=FenceTable)
    sessions: SessionTable = field(default_factory=SessionTable)

    @property
    def memory_bytes(self) -> int:
        return self.bytes_used + 1000

    @property
    def retired_bytes(self) -> int:
        return self.items.retired_bytes

    def put(self, key: bytes, value: bytes, expires_at_ms: int = 0) -> None:
        header = bytes([expires_at_ms > 0]) + expires_at_ms.to_bytes(8, "big") + bytes(8)
        self.items.put(key, header + wire_data(0, value), 1)
        self.bytes_used += len(key) + len(value) + 100


@dataclass
class FakeGroup:
    group_id: int
    role: Role = Role.FOLLOWER
    term: int = 7
    leader_id: int = 2
    commit_index: int = 11
    applied_index: int = 10
    share_bytes: int = 0
    log: FakeLog = field(default_factory=FakeLog)
    machine: object = None
    staleness: int = 120_000_000

    def staleness_ns(self, now_ns: int) -> int:
        return self.staleness


@dataclass
class FakeWal:
    bytes_total: int = 4096
    sync_count: int = 5
    queued_bytes: int = 0


@dataclass
class FakeHost:
    groups: dict[int, FakeGroup] = field(default_factory=dict)
    item_bytes_max: int = 1 << 20
    may_evict: bool = False
    log_writable: bool = True
    wal: FakeWal = field(default_factory=FakeWal)


@dataclass
class FakeCommits:
    under_way: int = 0
    resolving: int = 0
    waiting_at_holds: int = 0


class FakeConnection(NamedTuple):
    number: int
    client_address: str
    state: str
    listen_address: str = "127.0.0.1:11211"
    idle_seconds: int = 0
    replies_waiting: int = 0
    unread_bytes: int = 0
    partial_bytes: int = 0


class FakeNode:
    """Node a (id 1) of a, b and c, with two replicated shards; it leads shard 1."""

    def __init__(self) -> None:
        members = {name: f"127.0.0.1:{7000 + i}" for i, name in enumerate("abc")}
        self.config = NodeConfig(
            name="a", peer=members["a"], data_dir="d", initial_cluster=members, shards=2
        )
        check_config(self.config)
        self.node_id = 1
        self.cluster_id = CLUSTER_ID
        self.disk_id = disk_id(1)
        self.counters = Counters()
        self.timings = Timings()
        self.alarms = Alarms()
        self.clock = FakeClock()
        self.time = ClusterTime(self.clock)
        self.time.bridge()
        self.started_ns = 500_000_000
        nodes = tuple(
            NodeInfo(i, name, address, f"127.0.0.1:{11210 + i}", "", "", 1.0)
            for i, (name, address) in enumerate(members.items(), 1)
        )
        self.map: ClusterMap | None = ClusterMap(
            epoch=4,
            cluster_id=self.cluster_id,
            shard_count=2,
            replication=3,
            nodes=nodes,
            replica_sets=place(nodes, 2, 3),
        )
        self.disk_space = DiskSpace(1 << 30, 1 << 32)
        self.disk_waiting_since_ns = 0
        self.host = FakeHost()
        self.host.groups[0] = FakeGroup(0, machine=object())
        self.host.groups[1] = FakeGroup(1, machine=FakeStore())
        leader_log = FakeLog(replicas={2: FakeProgress(12), 3: FakeProgress(9)})
        self.host.groups[2] = FakeGroup(
            2, role=Role.LEADER, leader_id=1, log=leader_log, machine=FakeStore()
        )
        self.memory_bytes = self.config.memory_bytes
        self.verbosity = 0
        self.client_events = ClientEvents(
            self.counters, self.clock.monotonic_ns, self.clock.wall_ms
        )
        self.is_dumping = False
        self.commits = FakeCommits()
        self.lock_waits_kept = 0
        self.leaders = {0: 2, 1: 2, 2: 1}
        self.listen_address = "127.0.0.1:11211"
        self.peer_address = "127.0.0.1:7000"
        self.http_address = ""
        self.connections: list[FakeConnection] = []
        self.peers = {2: True, 3: False}
        self.apart: dict[int, str] = {}
        # The event loop that a test looks at it from.
        self.loop_kind = "asyncio"

    def name_of(self, node_id: int) -> str:
        return [*self.config.members][node_id - 1]

    def leader_of(self, group_id: int) -> int:
        return self.leaders.get(group_id, 0)

    def peers_up(self) -> Mapping[int, bool]:
        return self.peers

    def peers_apart(self) -> Mapping[int, str]:
        return self.apart

    def store(self, shard: int) -> FakeStore:
        store = self.host.groups[shard + 1].machine
        assert isinstance(store, FakeStore)
        return store
