"""Plain `stats` and `stats settings`: memcached's keys, with what they mean on this node.

Plain `stats` has every key of memcached 1.6.45. A key that counts what does not exist here (slabs,
LRU segments) is a constant 0 of `_NOTHING`. What readers insist on: `cmd_set` and the `cas_*` keys,
`rusage_*` with one dot, booleans as yes and no, `bytes` at most `limit_maxbytes`, and a reply under
4,096 bytes, since collectd reads no further.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from dataclasses import dataclass

from quorumcache.node.admin.memory_use import memory_of
from quorumcache.node.admin.view import ObservedNode, role_name, shard_groups, uptime_seconds
from quorumcache.node.version import WIRE_VERSION
from quorumcache.ring.address import is_unix, parse_address

# Counters that plain `stats` gives under their own name, in memcached's order.
_PLAIN_COUNTERS = (
    "cmd_get",
    "cmd_set",
    "cmd_flush",
    "cmd_touch",
    "cmd_meta",
    "get_hits",
    "get_misses",
    "get_expired",
    "get_flushed",
    "delete_misses",
    "delete_hits",
    "incr_misses",
    "incr_hits",
    "decr_misses",
    "decr_hits",
    "cas_misses",
    "cas_hits",
    "cas_badval",
    "touch_hits",
    "touch_misses",
    "store_too_large",
    "store_no_memory",
)

# The same, of those that come behind the memory.
_LATE_COUNTERS = (
    "total_items",
    "expired_unfetched",
    "evicted_unfetched",
    "evicted_active",
    "evictions",
    "reclaimed",
    "lru_crawler_starts",
    "crawler_items_checked",
    "log_worker_dropped",
    "log_worker_written",
    "log_watcher_skipped",
    "log_watcher_sent",
    "log_watchers",
)

# Of memcached 1.6.18 to 1.6.45: what these count does not exist here, so their value is 0.
_NOTHING = (
    "response_obj_oom",
    "read_buf_bytes_free",
    "read_buf_oom",
    "reserved_fds",
    "listen_disabled_num",
    "time_in_listen_disabled_us",
    "hash_power_level",
    "hash_is_expanding",
    "slab_reassign_rescues",
    "slab_reassign_chunk_rescues",
    "slab_reassign_evictions_nomem",
    "slab_reassign_inline_reclaim",
    "slab_reassign_busy_items",
    "slab_reassign_busy_deletes",
    "slab_reassign_busy_nomem",
    "slab_reassign_running",
    "slabs_moved",
    "lru_maintainer_juggles",
    "malloc_fails",
    "unexpected_napi_ids",
    "round_robin_fallback",
    "slab_global_page_pool",
    "crawler_reclaimed",
    "lrutail_reflocked",
    "moves_to_cold",
    "moves_to_warm",
    "moves_within_lru",
    "direct_reclaims",
    "lru_bumps_dropped",
)


@dataclass(frozen=True, slots=True)
class ProcessFacts:
    """What the operating system knows of this process."""

    pid: int
    user_seconds: float
    system_seconds: float


def read_process() -> ProcessFacts:
    """Ask the operating system."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return ProcessFacts(os.getpid(), usage.ru_utime, usage.ru_stime)


def general(node: ObservedNode, process: ProcessFacts) -> Iterator[tuple[str, object]]:
    """Plain `stats`."""
    config, counters = node.config, node.counters
    memory = memory_of(node)
    item_count = shards_held = shards_led = 0
    for _, group, store in shard_groups(node):
        item_count += len(store.items)
        shards_held += 1
        shards_led += role_name(group) == "leader"
    replies = reply_bytes = partial = partial_bytes = 0
    for connection in node.connections:
        replies += connection.replies_waiting
        reply_bytes += connection.unread_bytes
        partial += connection.partial_bytes > 0
        partial_bytes += connection.partial_bytes
    yield "pid", process.pid
    yield "uptime", int(uptime_seconds(node))
    yield "time", node.clock.wall_ms() // 1000
    yield "version", WIRE_VERSION
    yield "libevent", "none"
    yield "pointer_size", 64
    yield "rusage_user", f"{process.user_seconds:.6f}"
    yield "rusage_system", f"{process.system_seconds:.6f}"
    yield "max_connections", config.connections_max
    yield "curr_connections", counters.curr_connections
    yield "total_connections", counters.total_connections
    yield "rejected_connections", counters.rejected_connections
    if config.idle_timeout_ms:
        yield "idle_kicks", counters.idle_kicks
    yield "connection_structures", counters.curr_connections
    # Replies under way, and what has arrived of requests that are not complete.
    yield "response_obj_count", replies
    yield "response_obj_bytes", reply_bytes
    yield "read_buf_count", partial
    yield "read_buf_bytes", partial_bytes
    for name in _PLAIN_COUNTERS:
        yield name, getattr(counters, name)
    yield "auth_cmds", counters.auth_cmds
    yield "auth_errors", counters.auth_errors
    yield "bytes_read", counters.bytes_read
    yield "bytes_written", counters.bytes_written
    yield "limit_maxbytes", node.memory_bytes
    # As with memcached's maxconns_fast: one client too many is taken in, told so and closed.
    yield "accepting_conns", 1
    yield "threads", 1
    # memcached's word for a connection that has to wait because it asks for too much at once.
    yield "conn_yields", counters.reads_paused
    yield "hash_bytes", memory.tables
    yield "bytes", memory.items
    yield "curr_items", item_count
    yield "lru_crawler_running", int(node.is_dumping)
    for name in _LATE_COUNTERS:
        yield name, getattr(counters, name)
    for name in _NOTHING:
        yield name, 0
    # The cluster's own.
    yield "node", config.name
    yield "map_epoch", node.map.epoch if node.map is not None else 0
    yield "shards_held", shards_held
    yield "shards_led", shards_led
    yield "moves", 0 if node.map is None else len(node.map.moves)
    yield "requests_failed", counters.requests_failed
    yield "writes_refused", counters.writes_refused
    yield "requests_unknown", counters.requests_unknown
    yield "binary_clients", counters.binary_clients
    yield "forwarded_out", counters.forwarded_out
    yield "forwarded_in", counters.forwarded_in
    yield "reads_bounded", counters.cmd_get_bounded
    yield "reads_local", counters.cmd_get_local
    yield "replica_reads", counters.replica_reads
    yield "bounded_too_stale", counters.bounded_too_stale
    yield "log_writable", _yes(node.host.log_writable)


def settings(node: ObservedNode) -> Iterator[tuple[str, object]]:
    """`stats settings`."""
    config = node.config
    host, port = _first_address(node.listen_address or config.listen)
    yield "maxbytes", node.memory_bytes
    yield "maxconns", config.connections_max
    yield "tcpport", port
    yield "udpport", 0
    yield "inter", host
    yield "verbosity", node.verbosity
    yield "oldest", 0
    yield "evictions", "on" if node.host.may_evict else "off"
    yield "domain_socket", config.unix_path or "NULL"
    yield "umask", f"{config.unix_mask:o}"
    yield "shutdown_command", _yes(config.shutdown_enabled)
    yield "num_threads", 1
    yield "stat_key_prefix", config.prefix_delimiter or ":"
    yield "detail_enabled", _yes(node.client_events.is_counting)
    yield "cas_enabled", "yes"
    yield "tcp_backlog", config.listen_backlog
    yield "binding_protocol", "ascii"
    yield "auth_enabled_sasl", "no"
    yield "auth_enabled_ascii", config.auth_file or "no"
    yield "item_size_max", node.host.item_bytes_max
    yield "maxconns_fast", "yes"
    yield "slab_reassign", "no"
    yield "slab_automove", 0
    # "no" also tells the Prometheus exporter not to look for the crawler's settings.
    yield "lru_crawler", "no"
    yield "flush_enabled", _yes(config.flush_enabled)
    yield "dump_enabled", _yes(config.dump_enabled)
    yield "watch_enabled", _yes(config.watch_enabled)
    yield "hash_algorithm", "murmur3"
    yield "lru_maintainer_thread", "no"
    yield "lru_segmented", "no"
    yield "temp_lru", "no"
    yield "track_sizes", "no"
    yield "idle_timeout", config.idle_timeout_ms // 1000
    yield "ssl_enabled", "no"
    yield "proxy_enabled", "no"
    yield "client_flags_size", 4
    yield "cluster_name", config.cluster_name
    yield "shards", config.shards
    yield "replication", node.map.replication if node.map is not None else config.replication
    yield "durability", config.durability
    yield "heartbeat_ms", config.heartbeat_ms
    yield "election_ms", config.election_ms
    yield "request_timeout_ms", config.request_timeout_ms
    yield "zone", config.zone or "-"
    yield "weight", config.weight


def _first_address(addresses: str) -> tuple[str, int]:
    """Of several, separated by commas; where there are none but a Unix socket, ("NULL", 0)."""
    first = addresses.partition(",")[0]
    return ("NULL", 0) if not first or is_unix(first) else parse_address(first)


def _yes(is_so: bool) -> str:
    return "yes" if is_so else "no"
