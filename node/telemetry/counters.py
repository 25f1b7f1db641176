"""Plain integer counters of one node, raised on the data path and read by `stats` and `/metrics`.

A counter is one attribute store of a slotted object, nothing else: no labels, no locks (one
loop, one thread), no work per event that a reader could do. `reset()` is what memcached's
`stats reset` does: it zeroes what counts events, and leaves gauges alone. Prometheus sees
totals that never go back: what a reset took away is kept in a second set of numbers
(`since_start`). Pure.

Counting rules are memcached's own, as measured (a multi-get counts `cmd_get` and a hit or miss
per key; `gat` counts under touch; `cmd_set` counts every store that got a buffer, whatever it
then answered; and so on). They are applied where the counter is raised. Each counter has one
owner, and tests/simulation/test_counters.py raises every one of them by its event.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields


@dataclass(slots=True, eq=False)
class Counters:
    """All counters of one node.

    `curr_connections` and `log_watchers` are gauges, which are not reset. All others only grow,
    until `reset()`. Invariant: every value >= 0.
    """

    # memcached's own
    cmd_get: int = 0  # keys asked for by get, gets and mg
    cmd_set: int = 0  # stores that got a buffer, whatever the answer
    cmd_flush: int = 0
    cmd_touch: int = 0  # keys of touch, gat, gats, and mg with T
    cmd_meta: int = 0  # me
    get_hits: int = 0
    get_misses: int = 0
    # Found here, by this node's replicas, whichever node the client asked.
    get_expired: int = 0  # keys of reads that were there, and had expired
    get_flushed: int = 0  # keys of reads that were there, and a delayed flush_all had hidden
    delete_hits: int = 0
    delete_misses: int = 0
    incr_hits: int = 0
    incr_misses: int = 0
    decr_hits: int = 0
    decr_misses: int = 0
    cas_hits: int = 0
    cas_misses: int = 0
    cas_badval: int = 0
    touch_hits: int = 0
    touch_misses: int = 0
    store_too_large: int = 0
    store_no_memory: int = 0
    total_items: int = 0  # stores that changed something
    total_connections: int = 0  # taken in, without the rejected ones
    rejected_connections: int = 0
    connections_limit_reached: int = 0  # times that connections_max was reached
    bytes_read: int = 0
    bytes_written: int = 0
    reclaimed: int = 0  # items removed because they had expired
    expired_unfetched: int = 0  # of those that the sweep removed: never hit since they were stored
    # Counted by the leader that chose them, when they were removed.
    evictions: int = 0  # items removed to make room
    evicted_unfetched: int = 0  # of those: never hit since they were stored
    evicted_active: int = 0  # of those: hit after they had been chosen
    lru_crawler_starts: int = 0  # dumps of keys begun
    crawler_items_checked: int = 0  # keys that dumps looked at
    log_worker_dropped: int = 0  # log lines that were one too many, and not written for any watcher
    log_worker_written: int = 0  # log lines written for watchers
    log_watcher_skipped: int = 0  # log lines for which a watcher had no room, per watcher
    log_watcher_sent: int = 0  # log lines handed to watchers, per watcher
    # the cluster's
    cmd_other: int = 0  # version, stats, cluster, and what admin_words.py handles
    binary_clients: int = 0  # connections closed because they began in the binary protocol
    requests_failed: int = 0  # answered with SERVER_ERROR, outcome known: nothing was done
    writes_refused: int = 0  # of those: the unfinished writes held too many bytes
    requests_unknown: int = 0  # answered with SERVER_ERROR, outcome unknown
    protocol_errors: int = 0  # no valid request: ERROR, CLIENT_ERROR, or silence for noreply
    redirects: int = 0  # answered with MOVED
    forwarded_out: int = 0  # commands sent to the leader's node
    gets_fallen_back: int = 0  # of those: gets that were sent together, and asked again one by one
    forwarded_in: int = 0  # commands taken from other nodes
    cmd_get_bounded: int = 0  # of cmd_get: keys asked for at the level bounded
    cmd_get_local: int = 0  # of cmd_get: keys asked for at the level local
    replica_reads: int = 0  # reads below linearizable, served from this node's replica
    bounded_too_stale: int = 0  # bounded reads for which this node's replica was too old
    lease_reads: int = 0  # reads served under the leader's lease
    index_reads: int = 0  # reads that asked a majority first (ReadIndex)
    proposals: int = 0  # log entries proposed by this node as leader
    entries_applied: int = 0  # log entries applied, of all replicas here
    elections: int = 0  # elections this node's replicas stood in
    elections_won: int = 0
    leaderships_lost: int = 0
    snapshots_taken: int = 0
    snapshots_sent: int = 0
    snapshots_received: int = 0
    peer_connects: int = 0
    peer_disconnects: int = 0
    peer_refused: int = 0  # handshakes refused, by either side; each attempt counts
    peer_bytes_sent: int = 0
    peer_bytes_received: int = 0
    peer_messages_sent: int = 0
    peer_messages_received: int = 0
    peer_messages_dropped: int = 0  # queue to the peer full or peer away: consensus sends again
    peer_datagrams_received: int = 0  # copies of heartbeats and votes that came as datagrams
    peer_datagrams_refused: int = 0  # datagrams of strangers, of processes that ended, damaged
    reads_paused: int = 0  # times a client connection was not read for back-pressure
    slow_clients_closed: int = 0  # connections closed because their client did not read
    auth_cmds: int = 0  # passwords that clients gave, right ones and wrong ones
    auth_errors: int = 0  # those that were wrong
    idle_kicks: int = 0  # connections closed because their client was idle for idle_timeout_ms
    transactions_begun: int = 0  # commits that clients sent to this node
    transactions_committed: int = 0  # of those
    transactions_conflicts: int = 0  # of those: a key was held, or not as it was read
    transactions_aborted: int = 0  # of those: not done for another reason
    transactions_in_doubt: int = 0  # of those: outcome unknown
    transactions_recovered: int = 0  # left by their coordinator, and finished by a leader here
    hold_waits: int = 0  # operations that waited here for a key that a transaction held
    answers_dropped: int = 0  # values read again later: their client had to take others first
    locks_acquired: int = 0  # acquires and repetitions of them that were answered LOCKED
    locks_released: int = 0
    lock_waits_over: int = 0  # acquires whose wait was over before it was their turn
    lock_leases_ended: int = 0  # holders and waiters that did not ask again in time, as leader
    fences_refused: int = 0  # commands that were not executed because of their fence
    # Of the directory: counted by the node that leads it, from the maps that it decides.
    nodes_joined: int = 0
    nodes_left: int = 0
    nodes_down: int = 0  # silent for longer than dead-after-ms
    moves_started: int = 0
    moves_completed: int = 0
    disk_full: int = 0  # times the disk became full, as a write to the log found
    descriptors_exhausted: int = 0  # looks that found no file descriptor left
    tasks_failed: int = 0  # background tasks and callbacks that failed, by a bug of ours
    # Gauges: client connections open now, and clients that watch.
    curr_connections: int = 0
    log_watchers: int = 0
    # What reset() took away, by name. Grows only; empty until the first reset.
    _reset_away: dict[str, int] = field(default_factory=dict)

    def reset(self) -> None:
        """`stats reset`: zero every event counter; gauges stay."""
        away = self._reset_away
        for name in COUNTER_NAMES:
            away[name] = away.get(name, 0) + getattr(self, name)
            setattr(self, name, 0)

    def since_start(self, name: str) -> int:
        """The counter's value since the process started, whatever was reset since (for
        Prometheus).
        """
        value: int = getattr(self, name)
        return value + self._reset_away.get(name, 0)


COUNTER_NAMES: tuple[str, ...] = tuple(
    f.name
    for f in fields(Counters)
    if f.name not in ("curr_connections", "log_watchers", "_reset_away")
)
