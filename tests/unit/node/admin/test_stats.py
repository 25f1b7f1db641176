"""The `stats` command: what tools read from it, and what they break on."""

from __future__ import annotations

import re
import shutil
from dataclasses import asdict, replace

import pytest

from quorumcache.node.admin.memory_use import memory_of
from quorumcache.node.admin.stat_general import ProcessFacts
from quorumcache.node.admin.stats import stats_reply
from quorumcache.node.telemetry.counters import COUNTER_NAMES
from quorumcache.ring.move import Move
from tests.conformance.test_transcripts import running_memcached
from tests.support.fake_node import FakeConnection, FakeNode
from tests.support.wire import Wire

# What the Prometheus exporter, collectd, munin, Telegraf, Netdata and libmemcached read.
READ_BY_TOOLS = [
    "pid",
    "uptime",
    "time",
    "version",
    "pointer_size",
    "rusage_user",
    "rusage_system",
    "max_connections",
    "curr_connections",
    "total_connections",
    "rejected_connections",
    "connection_structures",
    "cmd_get",
    "cmd_set",
    "cmd_flush",
    "cmd_touch",
    "get_hits",
    "get_misses",
    "delete_hits",
    "delete_misses",
    "incr_hits",
    "incr_misses",
    "decr_hits",
    "decr_misses",
    "cas_hits",
    "cas_misses",
    "cas_badval",
    "touch_hits",
    "touch_misses",
    "store_too_large",
    "store_no_memory",
    "auth_cmds",
    "auth_errors",
    "bytes_read",
    "bytes_written",
    "limit_maxbytes",
    "accepting_conns",
    "listen_disabled_num",
    "threads",
    "conn_yields",
    "bytes",
    "curr_items",
    "total_items",
    "evictions",
    "reclaimed",
]

_MEMCACHED_KEYS = """
    pid uptime time version libevent pointer_size rusage_user rusage_system max_connections
    curr_connections total_connections rejected_connections connection_structures
    response_obj_oom response_obj_count response_obj_bytes read_buf_count read_buf_bytes
    read_buf_bytes_free read_buf_oom reserved_fds cmd_get cmd_set cmd_flush cmd_touch cmd_meta
    get_hits get_misses get_expired get_flushed delete_misses delete_hits incr_misses
    incr_hits decr_misses decr_hits cas_misses cas_hits cas_badval touch_hits touch_misses
    store_too_large store_no_memory auth_cmds auth_errors bytes_read bytes_written
    limit_maxbytes accepting_conns listen_disabled_num time_in_listen_disabled_us threads
    conn_yields hash_power_level hash_bytes hash_is_expanding slab_reassign_rescues
    slab_reassign_chunk_rescues slab_reassign_evictions_nomem slab_reassign_inline_reclaim
    slab_reassign_busy_items slab_reassign_busy_deletes slab_reassign_running slabs_moved
    lru_crawler_running lru_crawler_starts lru_maintainer_juggles malloc_fails
    log_worker_dropped log_worker_written log_watcher_skipped log_watcher_sent log_watchers
    unexpected_napi_ids round_robin_fallback bytes curr_items total_items
    slab_global_page_pool expired_unfetched evicted_unfetched evicted_active evictions
    reclaimed crawler_reclaimed crawler_items_checked lrutail_reflocked moves_to_cold
    moves_to_warm moves_within_lru direct_reclaims lru_bumps_dropped slab_reassign_busy_nomem
"""


_ITEM_KEYS = """
    number age crawler_reclaimed evicted evicted_nonzero evicted_time evicted_unfetched
    expired_unfetched outofmemory reclaimed tailrepairs mem_requested number_hot number_warm
    number_cold
"""
_SLAB_KEYS = """
    chunk_size chunks_per_page total_pages total_chunks used_chunks free_chunks free_chunks_end
    get_hits cmd_set delete_hits incr_hits decr_hits cas_hits cas_badval touch_hits
"""


def lines(reply: bytes) -> dict[str, str]:
    """STAT lines as a dict; fails on any other line, as Telegraf does."""
    assert reply.endswith(b"END\r\n")
    found: dict[str, str] = {}
    for line in reply.decode().removesuffix("END\r\n").splitlines():
        match = re.fullmatch(r"STAT (\S+) (.+)", line)
        assert match, line
        assert match[1] not in found, f"{match[1]} twice"
        found[match[1]] = match[2]
    return found


@pytest.fixture
def node() -> FakeNode:
    return FakeNode()


def test_plain_has_every_key_that_tools_read(node: FakeNode) -> None:
    assert set(READ_BY_TOOLS) <= set(lines(stats_reply(node, ())))


def test_plain_has_every_key_of_memcached() -> None:
    """Of 1.6.18 and of 1.6.45, which has one more. What does not exist here is a constant 0."""
    node = FakeNode()
    before = lines(stats_reply(node, ()))
    assert set(_MEMCACHED_KEYS.split()) <= set(before)
    for name in COUNTER_NAMES:
        setattr(node.counters, name, 7)
    after = lines(stats_reply(node, ()))
    for name in ("slabs_moved", "hash_power_level", "malloc_fails"):
        assert (before[name], after[name]) == ("0", "0")


@pytest.mark.skipif(shutil.which("memcached") is None, reason="memcached is not installed")
def test_the_installed_memcached_has_no_key_that_is_missing_here(node: FakeNode) -> None:
    with running_memcached() as port, Wire(port) as wire:
        theirs = wire.stats()
    assert len(theirs) > 80
    assert set(theirs) <= set(lines(stats_reply(node, ())))


def test_plain_gives_the_numbers(node: FakeNode) -> None:
    node.counters.cmd_get = 3
    node.counters.get_hits = 2
    node.counters.curr_connections = 4
    node.store(0).put(b"k", b"value")
    node.store(1).put(b"l", b"value")
    node.clock.now_ns += 90_500_000_000
    found = lines(stats_reply(node, (), process=lambda: ProcessFacts(9, 1.25, 0.5)))
    assert found["pid"] == "9"
    assert found["rusage_user"] == "1.250000"
    assert found["rusage_system"] == "0.500000"
    assert (found["cmd_get"], found["get_hits"]) == ("3", "2")
    assert found["curr_connections"] == "4"
    assert found["curr_items"] == "2"
    assert int(found["bytes"]) == node.store(0).bytes_used + node.store(1).bytes_used
    assert found["uptime"] == "91"
    assert found["time"] == "1700000000"
    assert re.match(r"\d+\.\d+\.\d+", found["version"])
    assert (found["shards_held"], found["shards_led"], found["map_epoch"]) == ("2", "1", "4")


def test_plain_fits_collectds_buffer_even_with_large_numbers(node: FakeNode) -> None:
    for name in COUNTER_NAMES:
        setattr(node.counters, name, 10**14)
    assert len(stats_reply(node, ())) < 4096


def test_before_the_first_map(node: FakeNode) -> None:
    node.map = None
    node.host.groups.clear()
    assert lines(stats_reply(node, ()))["map_epoch"] == "0"


def test_settings(node: FakeNode) -> None:
    found = lines(stats_reply(node, (b"settings", b"ignored")))
    assert found["maxbytes"] == str(1 << 30)
    assert found["maxconns"] == "4096"
    assert (found["inter"], found["tcpport"]) == ("127.0.0.1", "11211")
    assert found["item_size_max"] == str(1 << 20)
    assert (found["cas_enabled"], found["lru_crawler"]) == ("yes", "no")


def test_settings_say_what_is_so(node: FakeNode) -> None:
    found = lines(stats_reply(node, (b"settings",)))
    assert found["evictions"] == "off"
    assert found["binding_protocol"] == "ascii"
    for name in (
        *("auth_enabled_sasl", "auth_enabled_ascii", "ssl_enabled", "proxy_enabled"),
        *("shutdown_command", "detail_enabled", "slab_reassign", "lru_maintainer_thread"),
        *("lru_segmented", "temp_lru", "track_sizes"),
    ):
        assert found[name] == "no", name
    assert found["client_flags_size"] == "4"


def test_items_is_one_class_and_empty_when_there_is_nothing(node: FakeNode) -> None:
    assert stats_reply(node, (b"items",)) == b"END\r\n"
    node.store(1).put(b"k", b"v")
    node.counters.store_no_memory = 3
    found = lines(stats_reply(node, (b"items",)))
    assert (found["items:1:number"], found["items:1:outofmemory"]) == ("1", "3")
    assert set(found) >= {f"items:1:{name}" for name in _ITEM_KEYS.split()}


def test_slabs_are_one_class_whose_sums_come_out_right(node: FakeNode) -> None:
    assert lines(stats_reply(node, (b"slabs",))) == {"active_slabs": "0", "total_malloced": "0"}
    for number in range(3):
        node.store(0).put(b"%d" % number, b"v" * number)
    node.counters.cmd_set = 9
    found = lines(stats_reply(node, (b"slabs",)))
    assert set(found) >= {f"1:{name}" for name in _SLAB_KEYS.split()}
    size = node.store(0).bytes_used
    assert (found["active_slabs"], found["total_malloced"]) == ("1", str(size))
    assert (found["1:used_chunks"], found["1:total_chunks"]) == ("3", "3")
    assert size <= 3 * int(found["1:chunk_size"]) < size + 3
    assert (found["1:cmd_set"], found["1:total_pages"]) == ("9", "1")


@pytest.mark.parametrize("section", [b"items", b"slabs", b"conns"])
@pytest.mark.skipif(shutil.which("memcached") is None, reason="memcached is not installed")
def test_sections_have_all_keys_of_the_installed_memcached(node: FakeNode, section: bytes) -> None:
    with running_memcached() as port, Wire(port) as wire:
        wire.set(b"k", b"v")
        theirs = wire.stats(section)
    node.store(0).put(b"k", b"v")
    node.connections = [FakeConnection(24, "127.0.0.1:5000", "read")]
    ours = lines(stats_reply(node, (section,)))
    # Numbers of classes and connections differ.
    assert {key.rpartition(":")[2] for key in theirs} <= {key.rpartition(":")[2] for key in ours}


def test_sizes_and_extstore(node: FakeNode) -> None:
    disabled = b"STAT sizes_status disabled\r\nEND\r\n"
    assert stats_reply(node, (b"sizes",)) == disabled
    assert stats_reply(node, (b"sizes_disable",)) == disabled
    assert stats_reply(node, (b"sizes_enable",)) == (
        b"STAT sizes_status error\r\nSTAT sizes_error not_supported\r\nEND\r\n"
    )
    assert stats_reply(node, (b"extstore",)) == b"END\r\n"


def test_conns(node: FakeNode) -> None:
    node.connections = [
        FakeConnection(24, "127.0.0.1:5000", "read", idle_seconds=7),
        FakeConnection(25, "unix:/run/q.sock", "watch"),
    ]
    found = lines(stats_reply(node, (b"conns",)))
    assert found["0:state"] == "conn_listening"
    assert found["24:addr"] == "tcp:127.0.0.1:5000"
    assert found["24:state"] == "conn_read"
    assert found["24:secs_since_last_cmd"] == "7"
    assert (found["25:addr"], found["25:state"]) == ("unix:/run/q.sock", "conn_watch")


def test_shards(node: FakeNode) -> None:
    node.store(1).put(b"k", b"v")
    found = lines(stats_reply(node, (b"shards",)))
    assert found["directory:role"] == "follower"
    assert "directory:items" not in found
    assert found["shard:0:role"] == "follower"
    assert found["shard:1:role"] == "leader"
    assert found["shard:1:term"] == "7"
    assert found["shard:1:leader"] == "1"
    assert found["shard:1:commit"] == "11"
    assert found["shard:1:applied"] == "10"
    assert found["shard:1:items"] == "1"
    assert found["shard:0:staleness_ms"] == "120"
    node.host.groups[1].staleness = 1 << 62
    assert lines(stats_reply(node, (b"shards",)))["shard:0:staleness_ms"] == "-"


def test_shards_tell_of_memory(node: FakeNode) -> None:
    node.store(1).put(b"k", b"v")
    found = lines(stats_reply(node, (b"shards",)))
    assert int(found["shard:1:memory"]) == node.store(1).memory_bytes
    assert int(found["shard:1:bytes"]) == node.store(1).bytes_used
    node.host.groups[2].share_bytes = 77
    found = lines(stats_reply(node, (b"shards",)))
    assert (found["shard:0:share"], found["shard:1:share"]) == ("0", "77")


def test_cluster_tells_of_members_leaders_memory_and_moves_as_seen_here(node: FakeNode) -> None:
    assert node.map is not None
    moves = (Move(1, (1, 2), (2, 3), 4), Move(2, (1, 2, 3), (2, 3)))
    sets = (moves[0].replica_set, (1, 2, 3))
    node.map = replace(node.map, form=2, directory=(1,), moves=moves, replica_sets=sets)
    node.store(1).put(b"k", b"v")
    found = lines(stats_reply(node, (b"cluster",)))
    assert (found["cluster:name"], found["cluster:seen_by"]) == ("quorumcache", "a")
    assert (found["map:epoch"], found["map:shards"], found["map:nodes"]) == ("4", "2", "3")
    assert (found["node:a:up"], found["node:b:up"], found["node:c:up"]) == ("yes", "yes", "no")
    assert (found["node:a:state"], found["node:c:client_address"]) == ("active", "127.0.0.1:11213")
    assert (found["node:a:shards_held"], found["node:a:shards_led"]) == ("2", "1")
    assert (found["leader:directory"], found["leader:shard:0"]) == ("b", "b")
    assert found["leader:shard:1"] == "a"
    assert found["memory:limit"] == str(1 << 30)
    assert int(found["memory:items"]) < int(found["memory:used"])
    memory = memory_of(node)
    parts = {
        name.removeprefix("memory:"): int(value)
        for name, value in found.items()
        if name.startswith("memory:")
    }
    assert parts.pop("limit") == node.memory_bytes
    assert parts.pop("used") == memory.items + memory.tables
    assert parts == {name: value for name, value in asdict(memory).items() if name != "tables"}
    assert (found["map:moves"], found["move:shard:0:state"]) == ("2", "started")
    assert (found["move:shard:1:from"], found["move:shard:1:to"]) == ("a,b,c", "b,c")
    assert found["move:shard:1:state"] == "waiting"
    node.leaders.clear()
    assert lines(stats_reply(node, (b"cluster",)))["leader:shard:1"] == "-"
    node.map = None
    assert lines(stats_reply(node, (b"cluster",)))["map:epoch"] == "0"


def test_plain_tells_of_buffers(node: FakeNode) -> None:
    node.connections = [
        FakeConnection(1, "h:1", "read", replies_waiting=2, unread_bytes=300, partial_bytes=40),
        FakeConnection(2, "h:2", "read", replies_waiting=1),
    ]
    node.store(0).put(b"k", b"v")
    node.is_dumping = True
    found = lines(stats_reply(node, ()))
    assert (found["response_obj_count"], found["response_obj_bytes"]) == ("3", "300")
    assert (found["read_buf_count"], found["read_buf_bytes"]) == ("1", "40")
    assert int(found["hash_bytes"]) == 2000
    assert found["lru_crawler_running"] == "1"


def test_what_clients_have_changed_is_told(node: FakeNode) -> None:
    node.memory_bytes = 64 << 20
    node.verbosity = 2
    assert lines(stats_reply(node, ()))["limit_maxbytes"] == str(64 << 20)
    found = lines(stats_reply(node, (b"settings",)))
    assert (found["maxbytes"], found["verbosity"]) == (str(64 << 20), "2")
    assert found["detail_enabled"] == "no"
    stats_reply(node, (b"detail", b"on"))
    assert lines(stats_reply(node, (b"settings",)))["detail_enabled"] == "yes"


def test_what_is_switched_off_is_told_and_refused() -> None:
    node = FakeNode()
    node.config = replace(
        node.config,
        flush_enabled=False,
        dump_enabled=False,
        watch_enabled=False,
        shutdown_enabled=True,
        unix_path="/run/q.sock",
    )
    found = lines(stats_reply(node, (b"settings",)))
    assert [found[f"{name}_enabled"] for name in ("flush", "dump", "watch")] == ["no"] * 3
    assert found["shutdown_command"] == "yes"
    assert (found["domain_socket"], found["umask"]) == ("/run/q.sock", "700")
    for word in (b"cachedump", b"detail"):
        reply = stats_reply(node, (word, b"1", b"0"))
        assert reply == b"CLIENT_ERROR stats %b not allowed\r\n" % word


def test_reset_zeroes_events_and_keeps_gauges_and_prometheus_totals(node: FakeNode) -> None:
    node.store(0).put(b"k", b"v")
    counters = node.counters
    counters.cmd_get = counters.total_items = counters.total_connections = 5
    counters.curr_connections = 2
    assert stats_reply(node, (b"reset", b"ignored")) == b"RESET\r\n"
    counters.cmd_get += 1
    found = lines(stats_reply(node, ()))
    assert [found[k] for k in ("cmd_get", "total_items", "total_connections")] == ["1", "0", "0"]
    assert [found[k] for k in ("curr_connections", "curr_items")] == ["2", "1"]
    assert counters.since_start("cmd_get") == 6


@pytest.mark.parametrize("args", [(b"nonsense",), (b"Settings",), (b"",), (b"\xff\x00",)])
def test_unknown_sections_are_an_error(node: FakeNode, args: tuple[bytes, ...]) -> None:
    assert stats_reply(node, args) == b"ERROR\r\n"


def test_detail(node: FakeNode) -> None:
    usage = b"CLIENT_ERROR usage: stats detail on|off|dump\r\n"
    replies = {(b"on",): b"OK\r\n", (b"off", b"x"): b"OK\r\n", (b"dump",): b"END\r\n"}
    for args, reply in (replies | {(): usage, (b"x",): usage}).items():
        assert stats_reply(node, (b"detail", *args)) == reply


def test_detail_counts_while_it_is_on_and_reset_forgets(node: FakeNode) -> None:
    stats_reply(node, (b"detail", b"on"))
    node.client_events.fetched(1, b"a:b", None)
    stats_reply(node, (b"detail", b"off"))
    node.client_events.fetched(1, b"a:b", None)
    line = b"PREFIX a get 1 hit 0 set 0 del 0\r\nEND\r\n"
    assert stats_reply(node, (b"detail", b"dump")) == line
    stats_reply(node, (b"reset",))
    assert stats_reply(node, (b"detail", b"dump")) == b"END\r\n"


def test_cachedump(node: FakeNode) -> None:
    node.clock.now_ns += 5_000_000_000
    node.store(1).put(b"never", b"abc")
    node.store(1).put(b"later", b"", expires_at_ms=65_000)
    node.store(1).put(b"gone", b"abc", expires_at_ms=5000)
    node.store(0).put(b"led elsewhere", b"abc")
    dump = stats_reply(node, (b"cachedump", b"1", b"0"))
    assert dump == b"ITEM never [3 b; 0 s]\r\nITEM later [0 b; 1700000065 s]\r\nEND\r\n"
    assert stats_reply(node, (b"cachedump", b"1", b"1")).count(b"ITEM") == 1
    for other in (b"0", b"2", b"63"):
        assert stats_reply(node, (b"cachedump", other, b"0")) == b"END\r\n"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ((), b"bad command line\r\n"),
        ((b"1",), b"bad command line\r\n"),
        ((b"x", b"0"), b"bad command line format\r\n"),
        ((b"1", b"-1"), b"bad command line format\r\n"),
        ((b"99", b"0"), b"Illegal slab id\r\n"),
        ((b"64", b"0"), b"Illegal slab id\r\n"),
        ((b"1" * 6000, b"0"), b"bad command line format\r\n"),
    ],
)
def test_bad_cachedump(node: FakeNode, args: tuple[bytes, ...], words: bytes) -> None:
    assert stats_reply(node, (b"cachedump", *args)) == b"CLIENT_ERROR " + words


def test_cachedump_is_bounded(node: FakeNode) -> None:
    for number in range(12_000):
        node.store(1).put(b"%0240d" % number, b"v")
    assert 2 << 19 < len(stats_reply(node, (b"cachedump", b"1", b"0"))) <= 2 << 20


def test_locks_are_told_by_the_leader_of_their_shard() -> None:
    node = FakeNode()
    for shard in (0, 1):
        store = node.store(shard)
        for owner in (b"a", b"b"):
            store.locks.acquire(b"l", owner, 1000, 0, 0, True, 1)
        assert store.fences.check(b"l", 5, b"k") is None
    node.lock_waits_kept = 3
    node.counters.fences_refused = 2
    lines = stats_reply(node, (b"locks",)).decode().split("\r\n")
    assert lines[:7] == [
        "STAT locks 1",
        "STAT lock_holders 1",
        "STAT lock_waiters 1",
        "STAT lock_waits_kept 3",
        "STAT newest_token 1",
        "STAT fenced_locks 1",
        "STAT guarded_keys 1",
    ]
    assert "STAT fences_refused 2" in lines
    assert lines[-2:] == ["END", ""]
