"""Prometheus metrics of a node.

The data path raises plain counters (`telemetry/counters.py`) and fills plain bucket arrays
(`telemetry/timings.py`); everything else is read off the live objects when somebody scrapes. So a
metric costs a request nothing beyond one addition. A scrape is rendered in pieces of a few
milliseconds, with a turn of the loop in between, so that a node of many shards does not hold its
clients up.
There are few pieces, since on such a node a turn may be long; what is told per shard
(`shard_lines`) is therefore written by hand, six times as fast as the library does it.

Names follow the words of the code and the documents; docs/operations.md lists them.
"""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Iterable, Iterator
from itertools import islice
from math import inf

from prometheus_client import ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from quorumcache.node import compiled
from quorumcache.node.admin.memory_use import memory_of
from quorumcache.node.admin.stat_transactions import held as transactions_held
from quorumcache.node.admin.view import (
    ObservedNode,
    shard_groups,
    staleness_seconds,
    uptime_seconds,
)
from quorumcache.node.alarms import ALARMS
from quorumcache.node.state_machine import DIRECTORY_GROUP_ID
from quorumcache.node.telemetry.counters import Counters
from quorumcache.node.telemetry.logs import lines_dropped
from quorumcache.node.version import VERSION
from quorumcache.ring.move import WAITING
from quorumcache.ring.node_info import STATES

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# What one turn of the loop renders: about 3 ms each.
FAMILIES_PER_TURN = 20
LINES_PER_TURN = 2000

# Label value -> counters that add up to it.
REQUESTS: dict[str, tuple[str, ...]] = {
    "get": ("cmd_get",),
    "set": ("cmd_set",),
    "delete": ("delete_hits", "delete_misses"),
    "incr": ("incr_hits", "incr_misses"),
    "decr": ("decr_hits", "decr_misses"),
    "touch": ("cmd_touch",),
    "me": ("cmd_meta",),
    "flush_all": ("cmd_flush",),
    "other": ("cmd_other",),
}
# (command, result) -> counter.
RESULTS: dict[tuple[str, str], str] = {
    ("get", "hit"): "get_hits",
    ("get", "miss"): "get_misses",
    ("delete", "hit"): "delete_hits",
    ("delete", "miss"): "delete_misses",
    ("incr", "hit"): "incr_hits",
    ("incr", "miss"): "incr_misses",
    ("decr", "hit"): "decr_hits",
    ("decr", "miss"): "decr_misses",
    ("touch", "hit"): "touch_hits",
    ("touch", "miss"): "touch_misses",
    ("cas", "hit"): "cas_hits",
    ("cas", "miss"): "cas_misses",
    ("cas", "badval"): "cas_badval",
}
# Read level -> counter; the rest of cmd_get was linearizable.
READS: dict[str, str] = {"bounded": "cmd_get_bounded", "local": "cmd_get_local"}
# Counters exported one by one, as quorumcache_<name>_total.
PLAIN: dict[str, str] = {
    "get_expired": "Keys of reads whose item was found here and had expired.",
    "get_flushed": "Keys of reads whose item was found here and hidden by a delayed flush_all.",
    "store_too_large": "Stores refused because the item exceeds item_bytes_max.",
    "store_no_memory": "Stores refused for lack of memory.",
    "total_items": "Stores that changed something.",
    "total_connections": "Client connections accepted, without the rejected ones.",
    "rejected_connections": "Client connections refused because connections_max was reached.",
    "connections_limit_reached": "Times connections_max was reached.",
    "bytes_read": "Bytes received from clients.",
    "bytes_written": "Bytes sent to clients.",
    "reclaimed": "Expired items removed, as leader.",
    "expired_unfetched": "Of those that the sweep removed: items never hit since they were stored.",
    "evictions": "Items removed to make room, as leader.",
    "evicted_unfetched": "Of those: items that were never hit since they were stored.",
    "evicted_active": "Of those: items that were hit after they had been chosen.",
    "lru_crawler_starts": "Dumps of keys begun.",
    "crawler_items_checked": "Keys that dumps looked at.",
    "log_worker_written": "Lines written for clients that watch.",
    "log_worker_dropped": "Lines that were too many to be written for clients that watch.",
    "log_watcher_sent": "Lines handed to clients that watch, each client counted.",
    "log_watcher_skipped": "Lines for which a client that watches had no room.",
    "requests_failed": "Requests answered with SERVER_ERROR not done.",
    "writes_refused": "Writes refused because unfinished writes hold too many bytes.",
    "requests_unknown": "Requests answered with SERVER_ERROR outcome unknown.",
    "protocol_errors": "Lines that were not a valid request.",
    "binary_clients": "Client connections closed because they began in the binary protocol.",
    "redirects": "Requests answered with MOVED.",
    "forwarded_out": "Commands sent to the node of the shard's leader.",
    "gets_fallen_back": "Of those: gets that were sent together, and asked again one by one.",
    "forwarded_in": "Commands taken from other nodes.",
    "replica_reads": "Reads below linearizable served from this node's replica, leader or not.",
    "bounded_too_stale": "Bounded reads for which this node's replica was too far behind.",
    "lease_reads": "Reads served under the leader's lease.",
    "index_reads": "Reads that asked a majority first (ReadIndex).",
    "proposals": "Log entries proposed as leader.",
    "entries_applied": "Log entries applied, of all replicas on this node.",
    "elections": "Elections that replicas of this node stood in.",
    "elections_won": "Elections won.",
    "leaderships_lost": "Leaderships lost or handed over.",
    "snapshots_taken": "Snapshots taken to shorten the log.",
    "snapshots_sent": "Snapshots sent to replicas that were too far behind.",
    "snapshots_received": "Snapshots installed from a leader.",
    "peer_connects": "Connections to peers made.",
    "peer_disconnects": "Connections to peers lost.",
    "peer_refused": "Peer handshakes refused, by either side.",
    "peer_bytes_sent": "Bytes sent to peers.",
    "peer_bytes_received": "Bytes received from peers.",
    "peer_messages_sent": "Messages sent to peers.",
    "peer_messages_received": "Messages received from peers.",
    "peer_messages_dropped": "Messages to peers dropped; consensus sends them again.",
    "peer_datagrams_received": "Datagrams taken in from peers.",
    "peer_datagrams_refused": "Datagrams of strangers or of processes that have ended.",
    "reads_paused": "Times a client connection was not read, for back-pressure.",
    "slow_clients_closed": "Client connections closed because they did not read their replies.",
    "auth_cmds": "Passwords that memcached clients gave.",
    "auth_errors": "Passwords that were wrong.",
    "idle_kicks": "Client connections closed because they were idle for too long.",
    "answers_dropped": "Values of other nodes dropped and read again later: a client reads slowly.",
    "transactions_begun": "Commits of transactions that clients sent.",
    "transactions_committed": "Of those: committed.",
    "transactions_conflicts": "Of those: a key was held, or not as it was read.",
    "transactions_aborted": "Of those: not done for another reason.",
    "transactions_in_doubt": "Of those: answered with SERVER_ERROR outcome unknown.",
    "transactions_recovered": "Transactions whose coordinator was gone, finished as leader.",
    "hold_waits": "Reads and writes that waited here for a key that a transaction held.",
    "locks_acquired": "Acquires of locks that were answered LOCKED.",
    "locks_released": "Locks released, and places in their queues given up, by clients.",
    "lock_waits_over": "Acquires whose wait was over before it was their turn.",
    "lock_leases_ended": "Holders and waiters of locks whose lease has ended, as leader.",
    "fences_refused": "Commands that were not executed because of their fence.",
    "nodes_joined": "Nodes that joined the cluster while this node led the directory.",
    "nodes_left": "Nodes that left the cluster while this node led the directory.",
    "nodes_down": "Nodes that were found dead while this node led the directory.",
    "moves_started": "Moves of groups started while this node led the directory.",
    "moves_completed": "Moves of groups completed while this node led the directory.",
    "disk_full": "Times the disk became full.",
    "descriptors_exhausted": "Checks, one per second, that found no file descriptor left.",
    "tasks_failed": "Background tasks and callbacks that failed: bugs.",
}

# memcached's words that would be confused with the gauges of nearly the same name.
_RENAMED = {
    "total_items": "items_stored",
    "total_connections": "connections_accepted",
    "lru_crawler_starts": "key_dumps",
    "crawler_items_checked": "key_dump_keys",
    "log_worker_written": "watch_lines_written",
    "log_worker_dropped": "watch_lines_dropped",
    "log_watcher_sent": "watch_lines_sent",
    "log_watcher_skipped": "watch_lines_skipped",
}


class NodeCollector(Collector):
    """All metric families of one node, read at the moment of the scrape."""

    def __init__(self, node: ObservedNode) -> None:
        self._node = node
        self._process = ProcessCollector(registry=None)

    def collect(self) -> Iterator[Metric]:
        """Every family, lazily: nothing is read before its turn."""
        yield from self._counters()
        yield from self._gauges()
        yield from self._histograms()
        yield from self._process.collect()

    def _counters(self) -> Iterator[Metric]:
        counters: Counters = self._node.counters
        requests = _counter("requests", "Requests taken from clients.", ["command"])
        for command, names in REQUESTS.items():
            requests.add_metric([command], sum(counters.since_start(name) for name in names))
        yield requests
        results = _counter("results", "Outcome of requests, per key.", ["command", "result"])
        for (command, result), name in RESULTS.items():
            results.add_metric([command, result], counters.since_start(name))
        yield results
        reads = _counter("reads", "Keys asked for by get and gets, per read level.", ["level"])
        asked = {level: counters.since_start(name) for level, name in READS.items()}
        reads.add_metric(["linearizable"], counters.since_start("cmd_get") - sum(asked.values()))
        for level, count in asked.items():
            reads.add_metric([level], count)
        yield reads
        for name, text in PLAIN.items():
            family = _counter(_RENAMED.get(name, name), text, [])
            family.add_metric([], counters.since_start(name))
            yield family
        lines = _counter("log_lines_dropped", "Log lines that stderr did not take.", [])
        lines.add_metric([], lines_dropped())
        yield lines
        syncs = _counter("log_syncs", "Writes and syncs of the log.", [])
        syncs.add_metric([], self._node.host.wal.sync_count)
        yield syncs

    def _gauges(self) -> Iterator[Metric]:
        node = self._node
        config = node.config
        info = _gauge("build_info", "Always 1.", ["version", "python", "form", "node", "cluster"])
        form = compiled.form
        info.add_metric(
            [VERSION, platform.python_version(), form, config.name, config.cluster_name], 1
        )
        yield info
        held = led = item_count = locks = holders = waiters = 0
        for _, group, store in shard_groups(node):
            held += 1
            if group.leader_id == node.node_id:
                led += 1
                locks += len(store.locks)
                holders += store.locks.holders
                waiters += store.locks.waiters
            item_count += len(store.items)
        memory = memory_of(node)
        since_ns = node.disk_waiting_since_ns
        sync_age_s = (node.clock.monotonic_ns() - since_ns) / 1e9 if since_ns else 0.0
        space = node.disk_space
        kept, waiting = transactions_held(node), node.commits.waiting_at_holds
        values: tuple[tuple[str, str, float], ...] = (
            ("uptime_seconds", "Time since the node started.", uptime_seconds(node)),
            ("connections", "Open client connections.", node.counters.curr_connections),
            ("watchers", "Clients that watch.", node.counters.log_watchers),
            ("connections_limit", "Client connections allowed.", config.connections_max),
            ("items", "Items of all replicas on this node.", item_count),
            ("item_bytes", "Memory of these items.", memory.items),
            ("item_bytes_limit", "Memory allowed for items.", node.memory_bytes),
            ("table_bytes", "Memory of the tables of these items.", memory.tables),
            ("index_bytes", "Of that, from keys to items.", memory.index),
            ("session_bytes", "Of that, what tells a write that comes again.", memory.sessions),
            ("retired_bytes", "Memory of items that have gone and are not freed.", memory.retired),
            ("slab_free_bytes", "Memory kept for items to come.", memory.free),
            (
                "log_memory_bytes",
                "Memory of log entries, of all replicas on this node.",
                memory.log,
            ),
            ("held_transactions", "Transactions that hold keys of shards led here.", kept.prepared),
            ("held_keys", "Keys that they hold.", kept.keys),
            ("hold_waiting", "Reads and writes that wait for such keys.", waiting),
            ("shards_held", "Shards replicated on this node.", held),
            ("shards_led", "Shards led by this node.", led),
            (
                "map_epoch",
                "Epoch of the cluster map known here.",
                node.map.epoch if node.map else 0,
            ),
            ("locks", "Locks of the shards led by this node.", locks),
            ("lock_holders", "Holders of these locks.", holders),
            ("lock_waiters", "Clients that wait for these locks.", waiters),
            ("log_bytes", "Size of the log on disk.", node.host.wal.bytes_total),
            ("log_writable", "0 while the disk is full or hangs.", int(node.host.log_writable)),
            ("log_sync_age_seconds", "Age of the write to the log under way.", sync_age_s),
            (
                "log_queued_bytes",
                "Bytes of the log that wait for the disk.",
                node.host.wal.queued_bytes,
            ),
            ("disk_free_bytes", "Free bytes on the disk of the data directory.", space.free_bytes),
            ("disk_bytes", "Size of that disk; 0 if not known.", space.total_bytes),
        )
        for name, text, value in values:
            family = _gauge(name, text, [])
            family.add_metric([], value)
            yield family
        yield from self._cluster_gauges()
        peers = _gauge("peer_up", "1 while the connection to the peer stands.", ["peer"])
        for node_id, is_up in sorted(node.peers_up().items()):
            peers.add_metric([self._node.name_of(node_id)], int(is_up))
        yield peers
        alarms = _gauge("alarm", "1 while the alarm of this name is raised.", ["alarm"])
        raised = {alarm.name for alarm in node.alarms.raised()}
        for name in sorted(ALARMS):
            alarms.add_metric([name], int(name in raised))
        yield alarms

    def _cluster_gauges(self) -> Iterator[Metric]:
        """What the map says of nodes and moves."""
        cluster_map = self._node.map
        form = _gauge("map_form", "Form of the cluster map known here; 0 = none.", [])
        form.add_metric([], cluster_map.form if cluster_map is not None else 0)
        yield form
        nodes = _gauge("nodes", "Nodes in the cluster map, per state.", ["state"])
        infos = cluster_map.nodes if cluster_map is not None else ()
        for state in STATES:
            nodes.add_metric([state], sum(info.state == state for info in infos))
        yield nodes
        moves = _gauge("moves", "Groups that are to move.", ["state"])
        wanted = cluster_map.moves if cluster_map is not None else ()
        waiting = sum(move.decided == WAITING for move in wanted)
        moves.add_metric(["waiting"], waiting)
        moves.add_metric(["started"], len(wanted) - waiting)
        yield moves
        paused = _gauge("moves_paused", "1 while no waiting move is started.", [])
        paused.add_metric([], int(cluster_map is not None and cluster_map.is_paused))
        yield paused

    def _histograms(self) -> Iterator[Metric]:
        timings = self._node.timings
        requests = HistogramMetricFamily(
            "quorumcache_request_seconds",
            "Time to the reply, of requests that could not be answered at once.",
            labels=["kind"],
        )
        for kind, histogram in (
            ("read", timings.read_seconds),
            ("write", timings.write_seconds),
            ("forward", timings.forward_seconds),
        ):
            requests.add_metric([kind], histogram.cumulative(), histogram.total)
        yield requests
        for name, text, histogram in (
            ("log_sync_seconds", "One write and sync of the log.", timings.sync_seconds),
            ("loop_lag_seconds", "How late the loop ran a timer.", timings.loop_lag_seconds),
            ("gc_pause_seconds", "Pauses by the garbage collector.", timings.gc_pause_seconds),
        ):
            family = HistogramMetricFamily(f"quorumcache_{name}", text)
            family.add_metric([], histogram.cumulative(), histogram.total)
            yield family

    def shard_lines(self) -> Iterator[str]:
        """Lines in Prometheus' text format for every replica held here.

        The directory is the shard labelled `directory`.
        """
        groups = [
            ("directory" if group_id == DIRECTORY_GROUP_ID else str(group_id - 1), group)
            for group_id, group in sorted(self._node.host.groups.items())
        ]
        for name, text, attribute in (
            ("replica_role", "0 follower, 1 pre-candidate, 2 candidate, 3 leader.", "role"),
            ("replica_term", "Current term.", "term"),
            ("replica_leader", "Node id of the leader, 0 if unknown.", "leader_id"),
            ("replica_commit_index", "Last index known to be committed.", "commit_index"),
            ("replica_applied_index", "Last index applied to the store.", "applied_index"),
            (
                "replica_share_bytes",
                "What the replica may take before its leader evicts; 0 if nothing is evicted.",
                "share_bytes",
            ),
        ):
            yield _heading(name, text)
            for label, group in groups:
                value = float(getattr(group, attribute))
                yield f'quorumcache_{name}{{shard="{label}"}} {value!r}\n'
        yield _heading(
            "replica_staleness_seconds",
            "Most by which the replica can lag behind what is committed; +Inf if never confirmed.",
        )
        for label, group in groups:
            seconds = staleness_seconds(group, self._node.clock.monotonic_ns())
            value_text = "+Inf" if seconds == inf else repr(seconds)
            yield f'quorumcache_replica_staleness_seconds{{shard="{label}"}} {value_text}\n'
        yield _heading(
            "replication_lag_entries",
            "Entries of the log of a leader on this node that the peer's replica lacks.",
        )
        own_id = self._node.node_id
        for label, group in groups:
            if group.leader_id != own_id:
                continue
            for replica, status in sorted(group.log.progress().items()):
                if replica != own_id:
                    behind = float(max(0, group.log.last_index - status.match_index))
                    labels = f'shard="{label}",peer="{self._node.name_of(replica)}"'
                    yield f"quorumcache_replication_lag_entries{{{labels}}} {behind!r}\n"


async def render(collector: NodeCollector) -> bytes:
    """The scrape in Prometheus' text format; other work of the loop runs between its pieces."""
    parts: list[bytes] = []
    for number, family in enumerate(collector.collect(), 1):
        parts.append(generate_latest(_OneFamily(family)))
        if number % FAMILIES_PER_TURN == 0:
            await asyncio.sleep(0)
    await asyncio.sleep(0)
    lines = collector.shard_lines()
    while piece := "".join(islice(lines, LINES_PER_TURN)):
        parts.append(piece.encode())
        await asyncio.sleep(0)
    return b"".join(parts)


def _heading(name: str, text: str) -> str:
    return f"# HELP quorumcache_{name} {text}\n# TYPE quorumcache_{name} gauge\n"


class _OneFamily(Collector):
    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterable[Metric]:
        return (self._family,)


def _counter(name: str, text: str, labels: list[str]) -> CounterMetricFamily:
    return CounterMetricFamily(f"quorumcache_{name}", text, labels=labels)


def _gauge(name: str, text: str, labels: list[str]) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"quorumcache_{name}", text, labels=labels)
