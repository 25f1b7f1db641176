"""The `stats` command: memcached's own words, answered from what this node knows.

Reading order: `stats_reply` picks the section by the first word; every section is a function
from the node's view to `STAT name value` pairs. Plain `stats` has every key of memcached 1.6.45; a
key that counts what does not exist here (slabs, LRU segments, meta commands) is a
constant 0 of `_NOTHING`: no slab was moved. What readers insist on: `cmd_set`
and the `cas_*` keys, `rusage_*` with one dot, booleans as yes and no, and a plain reply under 4,096
bytes, since collectd reads no further.

Numbers are this node's: commands that clients sent to it, items of all replicas it holds.
"""

from __future__ import annotations

import math
import os
import resource
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from quorumcache.node.admin.view import (
    ObservedGroup,
    ObservedNode,
    role_name,
    shard_groups,
    staleness_seconds,
    uptime_seconds,
)
from quorumcache.node.state_machine import DIRECTORY_GROUP_ID
from quorumcache.node.store.item import ITEM_DATA, expires_at_ms
from quorumcache.node.telemetry.counters import Counters
from quorumcache.node.version import WIRE_VERSION
from quorumcache.ring.address import is_unix, parse_address

Pairs = Iterable[tuple[str, object]]

END = b"END\r\n"
ERROR = b"ERROR\r\n"
# memcached answers a cachedump with at most this much.
CACHEDUMP_BYTES_MAX = 2 << 20
# Slab classes of memcached are 1..63. All items here are in class 1, so that tools which walk
# classes find them.
_SLAB_CLASS_MAX = 63
_ITEM_CLASS = 1

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


# Of memcached 1.6.18 to 1.6.45: what these count does not exist here, so their value is 0.
_NOTHING = (
    "response_obj_oom",
    "response_obj_count",
    "response_obj_bytes",
    "read_buf_count",
    "read_buf_bytes",
    "read_buf_bytes_free",
    "read_buf_oom",
    "reserved_fds",
    "time_in_listen_disabled_us",
    "hash_power_level",
    "hash_bytes",
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
    "lru_crawler_running",
    "lru_crawler_starts",
    "lru_maintainer_juggles",
    "malloc_fails",
    "log_worker_dropped",
    "log_worker_written",
    "log_watcher_skipped",
    "log_watcher_sent",
    "log_watchers",
    "unexpected_napi_ids",
    "round_robin_fallback",
    "slab_global_page_pool",
    "expired_unfetched",
    "crawler_reclaimed",
    "crawler_items_checked",
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


def stats_reply(
    node: ObservedNode,
    args: tuple[bytes, ...],
    *,
    process: Callable[[], ProcessFacts] = read_process,
) -> bytes:
    """The whole reply to `stats [args]`, `END` included.

    The first word picks the section, further words are ignored, as in memcached. `stats reset`
    zeroes the counters and answers `RESET`; a word that is not known answers `ERROR`. Source:
    protocol.txt, "Statistics".
    """
    if not args:
        return render(_plain(node, process()))
    word = args[0]
    section = _SECTIONS.get(word)
    if section is not None:
        return render(section(node))
    if word == b"reset":
        node.counters.reset()
        return b"RESET\r\n"
    if word == b"detail":
        return _detail(args[1:])
    if word == b"cachedump":
        return _cachedump(node, args[1:])
    return ERROR


def render(pairs: Pairs) -> bytes:
    """`STAT name value` lines and `END`."""
    return "".join(f"STAT {name} {value}\r\n" for name, value in pairs).encode() + END


def _plain(node: ObservedNode, process: ProcessFacts) -> Iterator[tuple[str, object]]:
    config, counters = node.config, node.counters
    item_count = item_bytes = shards_held = shards_led = 0
    for _, group, store in shard_groups(node):
        item_count += len(store.items)
        item_bytes += store.bytes_used
        shards_held += 1
        shards_led += role_name(group) == "leader"
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
    yield "connection_structures", counters.curr_connections
    for name in _PLAIN_COUNTERS:
        yield name, getattr(counters, name)
    yield "auth_cmds", counters.auth_cmds
    yield "auth_errors", counters.auth_errors
    yield "bytes_read", counters.bytes_read
    yield "bytes_written", counters.bytes_written
    yield "limit_maxbytes", config.memory_bytes
    yield "accepting_conns", int(counters.curr_connections < config.connections_max)
    yield "listen_disabled_num", counters.listen_disabled_num
    yield "threads", 1
    # memcached's word for a connection that has to wait because it asks for too much at once.
    yield "conn_yields", counters.reads_paused
    yield "bytes", item_bytes
    yield "curr_items", item_count
    yield "total_items", counters.total_items
    yield "reclaimed", counters.reclaimed
    yield "evictions", counters.evictions
    yield "evicted_unfetched", counters.evicted_unfetched
    yield "evicted_active", counters.evicted_active
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
    yield "log_writable", "yes" if node.host.log_writable else "no"


def _settings(node: ObservedNode) -> Iterator[tuple[str, object]]:
    config = node.config
    first = (node.listen_address or config.listen).partition(",")[0]
    host, port = ("NULL", 0) if is_unix(first) or not first else parse_address(first)
    yield "maxbytes", config.memory_bytes
    yield "maxconns", config.connections_max
    yield "tcpport", port
    yield "udpport", 0
    yield "inter", host
    yield "verbosity", 1 if config.log_level == "debug" else 0
    yield "oldest", 0
    yield "evictions", "off"
    yield "domain_socket", config.unix_path or "NULL"
    yield "shutdown_command", "no"
    yield "num_threads", 1
    yield "stat_key_prefix", ":"
    yield "detail_enabled", "no"
    yield "cas_enabled", "yes"
    yield "binding_protocol", "ascii"
    yield "auth_enabled_sasl", "no"
    yield "auth_enabled_ascii", config.auth_file or "no"
    yield "item_size_max", node.host.item_bytes_max
    yield "maxconns_fast", "yes"
    yield "slab_reassign", "no"
    yield "slab_automove", 0
    # "no" also tells the Prometheus exporter not to look for the crawler's settings.
    yield "lru_crawler", "no"
    yield "flush_enabled", "yes"
    yield "dump_enabled", "yes"
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


def _items(node: ObservedNode) -> Iterator[tuple[str, object]]:
    stores = [store for _, _, store in shard_groups(node)]
    number = sum(len(store.items) for store in stores)
    if not number:
        return
    counters: Counters = node.counters
    prefix = f"items:{_ITEM_CLASS}:"
    yield prefix + "number", number
    yield prefix + "mem_requested", sum(store.bytes_used for store in stores)
    yield prefix + "evicted", 0
    yield prefix + "outofmemory", counters.store_no_memory
    yield prefix + "reclaimed", counters.reclaimed


def _slabs(node: ObservedNode) -> Iterator[tuple[str, object]]:
    yield "active_slabs", 0
    yield "total_malloced", sum(store.bytes_used for _, _, store in shard_groups(node))


def _sizes(node: ObservedNode) -> Iterator[tuple[str, object]]:
    yield "sizes_status", "disabled"


def _connections(node: ObservedNode) -> Iterator[tuple[str, object]]:
    # Connections have numbers from 1 on, so listeners have those below.
    for number, address in enumerate(filter(None, node.listen_address.split(","))):
        yield f"{-number}:addr", _with_family(address)
        yield f"{-number}:state", "conn_listening"
    for connection in node.connections:
        yield f"{connection.number}:addr", _with_family(connection.client_address)
        yield f"{connection.number}:listen_addr", _with_family(connection.listen_address)
        yield f"{connection.number}:state", f"conn_{connection.state}"


def _with_family(address: str) -> str:
    """An address as memcached writes it: `tcp:1.2.3.4:5`, `tcp6:[::1]:5`, `unix:/path`."""
    if is_unix(address):
        return address
    return f"tcp6:{address}" if address.startswith("[") else f"tcp:{address}"


def _shards(node: ObservedNode) -> Iterator[tuple[str, object]]:
    now_ns = node.clock.monotonic_ns()
    directory = node.host.groups.get(DIRECTORY_GROUP_ID)
    if directory is not None:
        yield from _replica("directory", directory, now_ns)
    for shard, group, store in shard_groups(node):
        yield from _replica(f"shard:{shard}", group, now_ns)
        yield f"shard:{shard}:items", len(store.items)
        yield f"shard:{shard}:bytes", store.bytes_used


def _replica(prefix: str, group: ObservedGroup, now_ns: int) -> Iterator[tuple[str, object]]:
    yield f"{prefix}:role", role_name(group)
    yield f"{prefix}:term", group.term
    yield f"{prefix}:leader", group.leader_id
    yield f"{prefix}:commit", group.commit_index
    yield f"{prefix}:applied", group.applied_index
    seconds = staleness_seconds(group, now_ns)
    yield f"{prefix}:staleness_ms", int(seconds * 1000) if seconds < math.inf else "-"


def _nothing(node: ObservedNode) -> Pairs:
    return ()


_SECTIONS: dict[bytes, Callable[[ObservedNode], Pairs]] = {
    b"settings": _settings,
    b"items": _items,
    b"slabs": _slabs,
    b"sizes": _sizes,
    b"conns": _connections,
    b"shards": _shards,
    b"extstore": _nothing,
}


def _detail(args: tuple[bytes, ...]) -> bytes:
    # Counting per key prefix would cost every request; it is accepted and stays empty.
    word = args[0] if args else b""
    if word in (b"on", b"off"):
        return b"OK\r\n"
    if word == b"dump":
        return END
    return b"CLIENT_ERROR usage: stats detail on|off|dump\r\n"


def _cachedump(node: ObservedNode, args: tuple[bytes, ...]) -> bytes:
    if len(args) < 2:
        return b"CLIENT_ERROR bad command line\r\n"
    # Long digit strings are refused before int() gets them.
    if not all(word.isdigit() and len(word) <= 10 for word in args[:2]):
        return b"CLIENT_ERROR bad command line format\r\n"
    slab_class, limit = int(args[0]), int(args[1])
    if not 1 <= slab_class <= _SLAB_CLASS_MAX:
        return b"CLIENT_ERROR Illegal slab id\r\n"
    lines: list[bytes] = []
    size = 0
    if slab_class == _ITEM_CLASS:
        for line in _item_lines(node):
            size += len(line)
            if size > CACHEDUMP_BYTES_MAX or (limit and len(lines) >= limit):
                break
            lines.append(line)
    return b"".join(lines) + END


def _item_lines(node: ObservedNode) -> Iterator[bytes]:
    now_ms = node.time.now_ms()
    for _, _, store in shard_groups(node):
        for key, item in store.items.items():
            end_ms = expires_at_ms(item)
            if end_ms and end_ms <= now_ms:
                continue
            # Wire data: b" <flags> <len>\r\n<value>\r\n".
            value_bytes = item[ITEM_DATA : item.index(b"\r\n", ITEM_DATA)].rsplit(b" ", 1)[1]
            end = node.time.wall_of(end_ms) // 1000 if end_ms else 0
            yield b"ITEM %s [%s b; %d s]\r\n" % (key, value_bytes, end)
