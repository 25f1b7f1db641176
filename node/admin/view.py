"""What `stats`, `/metrics`, `/health` and `/status` read of a node, and nothing more.

Contracts: an observer can be tried on a few plain objects, and reads only what is listed here.
Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol, cast

from quorumcache.node.alarms import Alarms
from quorumcache.node.clock import Clock
from quorumcache.node.cluster_time import ClusterTime
from quorumcache.node.consensus.values import Role
from quorumcache.node.settings.config import NodeConfig
from quorumcache.node.state_machine import DIRECTORY_GROUP_ID
from quorumcache.node.storage.disk import DiskSpace
from quorumcache.node.store.item_table import ItemTable
from quorumcache.node.store.transactions import TransactionTable
from quorumcache.node.telemetry.counters import Counters
from quorumcache.node.telemetry.timings import Timings
from quorumcache.ring import ClusterMap

_NEVER_CONFIRMED_NS = 1 << 61
"""More than any clock has counted: the distance to `NEVER_NS`."""


class ObservedProgress(Protocol):
    """What a leader knows of one replica."""

    @property
    def match_index(self) -> int: ...
    @property
    def recent_active(self) -> bool: ...


class ObservedLog(Protocol):
    """The replicated log of one group."""

    @property
    def last_index(self) -> int: ...
    @property
    def first_index(self) -> int: ...
    @property
    def log_bytes(self) -> int: ...
    def progress(self) -> Mapping[int, ObservedProgress]: ...


class ObservedLocks(Protocol):
    """The locks of one shard."""

    @property
    def holders(self) -> int: ...
    @property
    def waiters(self) -> int: ...
    # The fencing token handed out last.
    @property
    def last_token(self) -> int: ...
    def __len__(self) -> int: ...


class ObservedFences(Protocol):
    """The fencing tokens that one shard has seen."""

    @property
    def seen(self) -> Mapping[bytes, int]: ...
    @property
    def guards(self) -> Mapping[bytes, int]: ...


class ObservedSessions(Protocol):
    """Who writes to one shard, and what they were answered."""

    @property
    def memory_bytes(self) -> int: ...


class ObservedStore(Protocol):
    """The items and locks of one shard."""

    @property
    def items(self) -> ItemTable: ...
    @property
    def bytes_used(self) -> int: ...
    # With the tables.
    @property
    def memory_bytes(self) -> int: ...
    # Of what has gone and is not freed yet.
    @property
    def retired_bytes(self) -> int: ...
    @property
    def sessions(self) -> ObservedSessions: ...
    @property
    def locks(self) -> ObservedLocks: ...
    @property
    def fences(self) -> ObservedFences: ...
    @property
    def transactions(self) -> TransactionTable: ...


class ObservedCommits(Protocol):
    """The transactions of a node's clients, and who meets what transactions hold."""

    # Whose clients wait.
    @property
    def under_way(self) -> int: ...
    # Whose participants are being told.
    @property
    def resolving(self) -> int: ...
    # Operations that wait for a key.
    @property
    def waiting_at_holds(self) -> int: ...


class ObservedGroup(Protocol):
    """This node's replica of one group. Group 0 is the directory, shard s is group s + 1."""

    @property
    def group_id(self) -> int: ...
    @property
    def role(self) -> Role: ...
    @property
    def term(self) -> int: ...
    # 0 = unknown.
    @property
    def leader_id(self) -> int: ...
    @property
    def commit_index(self) -> int: ...
    @property
    def applied_index(self) -> int: ...
    # By how much the state may lag behind what is committed; beyond every clock if unknown.
    def staleness_ns(self, now_ns: int) -> int: ...
    # What the replica may take before its leader evicts; 0 = no bound.
    @property
    def share_bytes(self) -> int: ...
    @property
    def log(self) -> ObservedLog: ...
    # An ObservedStore for a shard, the directory's state for group 0.
    @property
    def machine(self) -> object: ...


class ObservedWal(Protocol):
    """The log on disk."""

    @property
    def bytes_total(self) -> int: ...
    @property
    def sync_count(self) -> int: ...
    @property
    def queued_bytes(self) -> int: ...


class ObservedHost(Protocol):
    """All replicas of the node."""

    @property
    def groups(self) -> Mapping[int, ObservedGroup]: ...
    # Largest item that is in force.
    @property
    def item_bytes_max(self) -> int: ...
    # Full shards drop items, by the setting and the form of the cluster.
    @property
    def may_evict(self) -> bool: ...
    # False while the disk is full or hangs.
    @property
    def log_writable(self) -> bool: ...
    @property
    def wal(self) -> ObservedWal: ...


class ObservedConnection(Protocol):
    """One client connection."""

    @property
    def number(self) -> int: ...
    @property
    def client_address(self) -> str: ...
    # Where it came in; "" if that is not known.
    @property
    def listen_address(self) -> str: ...
    # The rest of a word of memcached's that begins in conn_.
    @property
    def state(self) -> str: ...
    # Since something came from the client.
    @property
    def idle_seconds(self) -> int: ...
    # Replies that are not complete.
    @property
    def replies_waiting(self) -> int: ...
    # Of replies that are here and that the client has not taken.
    @property
    def unread_bytes(self) -> int: ...
    # Of a request that is not complete.
    @property
    def partial_bytes(self) -> int: ...


class ObservedEvents(Protocol):
    """Who watches what clients do. `stats detail` and `stats reset` change it."""

    @property
    def is_counting(self) -> bool: ...
    def count_prefixes(self, is_on: bool) -> None: ...
    def forget_prefixes(self) -> None: ...
    def prefix_lines(self) -> bytes: ...


class ObservedNode(Protocol):
    """A node, as its observers see it."""

    @property
    def config(self) -> NodeConfig: ...
    # 0 while the node is new.
    @property
    def node_id(self) -> int: ...
    # "" while the node is new.
    @property
    def cluster_id(self) -> str: ...
    @property
    def disk_id(self) -> str: ...
    @property
    def counters(self) -> Counters: ...
    @property
    def timings(self) -> Timings: ...
    @property
    def alarms(self) -> Alarms: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def time(self) -> ClusterTime: ...
    # The clock's monotonic reading when the node started.
    @property
    def started_ns(self) -> int: ...
    # Of the file system of the data directory; zeros while it is not known.
    @property
    def disk_space(self) -> DiskSpace: ...
    # Since when the disk owes an answer to a write or a sync, by the monotonic clock; 0 while it
    # owes none.
    @property
    def disk_waiting_since_ns(self) -> int: ...
    # None before the cluster has agreed on its first map.
    @property
    def map(self) -> ClusterMap | None: ...
    @property
    def host(self) -> ObservedHost: ...
    # Bound addresses as HOST:PORT; "" = no such listener.
    @property
    def listen_address(self) -> str: ...
    @property
    def peer_address(self) -> str: ...
    @property
    def http_address(self) -> str: ...
    @property
    def connections(self) -> Iterable[ObservedConnection]: ...
    # What items may take, now.
    @property
    def memory_bytes(self) -> int: ...
    # memcached's log level.
    @property
    def verbosity(self) -> int: ...
    @property
    def client_events(self) -> ObservedEvents: ...
    @property
    def commits(self) -> ObservedCommits: ...
    # A dump of keys is under way.
    @property
    def is_dumping(self) -> bool: ...
    # Waits for locks that are kept here, as leader.
    @property
    def lock_waits_kept(self) -> int: ...
    # The node that leads a group as far as this one knows; 0 = unknown.
    def leader_of(self, group_id: int) -> int: ...
    def peers_up(self) -> Mapping[int, bool]: ...
    # Why this node and another one do not talk, if one of them refuses the other.
    def peers_apart(self) -> Mapping[int, str]: ...
    # By the map, or by the founding record before there is one.
    def name_of(self, node_id: int) -> str: ...


def shard_groups(node: ObservedNode) -> Iterator[tuple[int, ObservedGroup, ObservedStore]]:
    """(shard, group, store) of every shard replicated here, in order of shard."""
    for group_id, group in sorted(node.host.groups.items()):
        if group_id != DIRECTORY_GROUP_ID:
            yield group_id - 1, group, cast(ObservedStore, group.machine)


def uptime_seconds(node: ObservedNode) -> float:
    """Seconds since the node started, by its own monotonic clock."""
    return (node.clock.monotonic_ns() - node.started_ns) / 1e9


def staleness_seconds(group: ObservedGroup, now_ns: int) -> float:
    """The most by which a replica can lag behind; infinite if nothing was ever confirmed."""
    staleness_ns = group.staleness_ns(now_ns)
    return staleness_ns / 1e9 if staleness_ns < _NEVER_CONFIRMED_NS else math.inf


def role_name(group: ObservedGroup) -> str:
    """`follower`, `pre_candidate`, `candidate` or `leader`."""
    return Role(group.role).name.lower()
