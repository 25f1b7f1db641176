"""The product's own bounds, drawn small, so that what happens at a bound happens in every run.

A bound is a module's constant, or the default of an argument. It holds for all nodes of a run, and
for no other run: `applied` puts the product's values back. What is compiled has its constants built
in, so a run of the compiled form keeps the product's own.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from random import Random
from types import ModuleType
from typing import Any

BOUNDS: dict[str, tuple[int, ...]] = {
    "node.clients.replies.SLOTS_MAX": (2, 8, 64),
    "node.clients.write_room.INFLIGHT_BYTES_MAX": (1, 4 << 10, 64 << 10),
    "node.clients.write_room.WRITE_BYTES_MAX": (8 << 10, 64 << 10),
    "node.clients.write_room.WRITE_BYTES_MIN": (1, 4 << 10),
    "node.clients.write_room.WRITE_BYTES_LIMIT": (64 << 10, 1 << 20),
    "node.clients.context.REPLY_BYTES_MAX": (16 << 10, 64 << 10),
    "node.clients.server.REPLY_BYTES_MIN": (1 << 10, 8 << 10),
    "node.clients.server.UNREAD_BYTES_MAX": (64 << 10, 1 << 20),
    "node.clients.replies.PARKED_READ_BYTES": (1 << 10,),
    "node.operations.relays.RELAYS_MAX": (1, 8),
    "node.operations.forwards.WRITE_BYTES_MAX": (16 << 10, 128 << 10),
    "node.clients.replies.FIRST_READ_BYTES": (256, 4 << 10),
    "node.clients.replies.WRITE_CHUNK_BYTES": (64, 4 << 10),
    "node.clients.windows.WINDOW_KEYS": (1, 2, 8),
    "node.clients.retrievals.COPY_BYTES_MAX": (16,),
    "node.operations.deadlines.DEADLINES_MIN": (1, 50),
    "node.operations.serving.REPLY_BYTES_MAX": (64, 4 << 10),
    "node.replica.group.BATCH_BYTES_MAX": (64, 1 << 10, 32 << 10),
    "node.replica.group.INFLIGHT_BYTES_MAX": (512, 8 << 10, 64 << 10),
    "node.peers.link.WRITE_BUFFER_BYTES": (1 << 10, 32 << 10),
    "node.peers.link.BULK_FRAME_BYTES": (256, 4 << 10),
    "node.peers.link.BULK_BYTES_MAX": (1 << 10, 32 << 10),
    "node.peers.link.FRAME_BYTES_GOAL": (128, 4 << 10),
    "node.wal.queue.FRAME_PAYLOAD_BYTES": (128, 4 << 10),
    "node.wal.queue.FRAME_RECORDS_UNCOUNTED": (0, 2),
    "node.store.sessions.SESSIONS_MAX": (4, 16),
    "node.store.sessions.RESULTS_MAX": (8, 64),
    "node.store.sessions.RESULT_BYTES_MAX": (2 << 10,),
    "node.store.sessions.CLIENT_RESULTS_MAX": (8, 64),
    "node.store.sessions.CLIENT_RESULTS_LEAST": (2, 8),
    "node.store.snapshot.CHUNK_BYTES": (64, 64, 1 << 10, 16 << 10),
    "node.housekeeping.expiry.EXPIRE_BATCH": (1, 4),
    "node.replica.snapshotting.KEEP_ENTRIES": (0, 1, 16),
    "node.housekeeping.snapshots.LOG_BYTES_MIN": (4 << 10, 64 << 10),
    "node.housekeeping.snapshots.REST_PASSES": (1, 3),
    "node.housekeeping.snapshots.REST_BYTES_MIN": (1, 1 << 10),
    "node.housekeeping.leadership.TRANSFERS_AT_ONCE_MAX": (1,),
    "node.peers.network.PeerNetwork.queue_bytes_max": (4 << 10, 64 << 10),
    "router.sessions.SESSION_WRITES_MAX": (1, 4),
    "router.batches.WINDOW": (1, 8),
    # What waits for the disk, and how it is watched.
    "node.wal.queue.QUEUED_BYTES_MAX": (64, 16 << 10),
    "node.wal.chain.ROTATED_SHARE": (1, 2),
    "node.housekeeping.disk_keeper.HANG_ELECTIONS": (2,),
    "node.housekeeping.data_dir_watch.LOOK_NS": (20_000_000,),
    "node.storage.disk_space.RESERVE_BYTES_MAX": (0, 8 << 10),
    # Time.
    "node.cluster_time.LEAP_LASTS_MS": (1_500,),
    "node.cluster_time.TELL_MS": (100,),
    "node.cluster_time.HEARD_MS": (600,),
    # Repetitions, and patience with others.
    "node.operations.forwards.REPEAT_NS": (50_000_000, 200_000_000),
    "node.operations.forwards.SILENT_NS": (20_000_000,),
    "node.operations.leaders.GROUPS_ASKED_MAX": (1, 2),
    "node.peers.open_links.UNKNOWN_LINKS_MAX": (4,),
    "node.peers.link.SMALL_BULK_BYTES": (64,),
    "node.clients.server.STALLED_NS": (50_000_000,),
    "node.clients.server.LOOK_NS": (50_000_000,),  # No less than the time between two sweeps.
    "node.clients.replies.LEAST_READ_BYTES": (16,),
    "node.consensus.progress.SNAPSHOT_SILENT_CHECKS": (2,),
    "node.consensus.raft.transfer.SLOW_ELECTIONS_MAX": (2,),
    "node.housekeeping.leadership.STEADY_PASSES": (1,),
    "node.housekeeping.leadership.RETURN_DOUBLINGS_MAX": (1,),
    "node.housekeeping.leadership.SLOW_PASSES": (1,),
    "node.housekeeping.leadership.SLOW_DOUBLINGS_MAX": (1,),
    "node.directory.starts.REPORT_MS": (50,),
    "node.directory.steward.STARTED_TICKS": (1,),
    "node.store.expiry._STALE_ALLOWED": (0, 4),
    "node.housekeeping.disk_keeper.PROBE_IDLE_NS": (20_000_000, 200_000_000),
    # Large values.
    "node.store.large.LARGE_VALUE_BYTES": (24, 24, 100, 4 << 10),
    "node.store.large.PIECE_BYTES": (256, 1 << 10),
    "node.store.staging.STAGED_BYTES_MAX": (32 << 10, 128 << 10),
    "node.store.staging.UPLOADS_MAX": (1, 4),
    "node.clients.uploads.PIECES_UNDER_WAY_MAX": (1, 2),
    "node.clients.uploads.PIECE_NS": (1, 1_000_000),
    "node.clients.value_streams.PIECES_AHEAD": (1,),
    "node.clients.replies.STREAMS_MAX": (1,),
    "node.operations.read_values.KEPT_BYTES_MAX": (1, 16 << 10),
    "node.operations.read_values.KEPT_NS": (20_000_000,),
    "node.housekeeping.expiry.UPLOAD_IDLE_MS": (100, 1_000),
    "node.store.eviction_queue.VICTIMS_MAX": (1, 3),
    "node.store.eviction_queue.STEPS_MAX": (0, 2),
    "node.store.plain_item_table.HEAD_KEYS_MIN": (1, 4),
    "node.replica.evicting.SLACK_BYTES_MAX": (0, 100),
    # Transactions and locks.
    "node.store.transactions.PURGED_MAX": (1,),
    "node.store.transactions.PREPARED_MAX": (1, 4),
    "node.operations.transactions.TRANSACTIONS_MAX": (1, 3),
    "node.operations.transactions.RESOLVING_MAX": (0, 1),
    "node.operations.recovery.PATIENCE_MS": (30, 200),
    "node.operations.recovery.RECOVERIES_MAX": (1,),
    "node.operations.hold_waits.PARKED_MAX": (0, 2),
    "node.operations.hold_waits.PARK_NS": (50_000_000,),
    "node.operations.lock_waits.PARKED_MAX": (0, 2),
    "node.store.locks.LEASES_MAX": (1, 4),
    "node.store.locks.QUEUE_LEASE_MS": (300, 2_000),
    "node.store.lock_records.WAITERS_MAX": (1,),
    "node.store.fences.FENCED_LOCKS_MAX": (1,),
    "node.store.fences.GUARDED_KEYS_MAX": (1,),
    # What travels together.
    "node.peers.bundles.BUNDLE_BYTES_GOAL": (64, 4 << 10),
    "node.peers.bundles.REMEMBERED_MAX": (1, 8),
    "node.peers.beats.REMEMBERED_MAX": (64,),
    "node.consensus.transport.BEATS_PER_ITEM": (1, 4),
    "node.operations.get_bundles.BUNDLES_MAX": (1, 2),
    "node.operations.get_bundles.SILENT_NS": (20_000_000,),
    "node.operations.get_bundles.PAUSE_NS": (50_000_000,),
    "node.operations.found_items.FOUND_BYTES_MAX": (64, 4 << 10),
    "node.peers.items.GETS_MAX": (1, 4),
    "node.replica.turns.HOLD_NS": (1,),
    # Old entries of the log.
    "node.consensus.log.LOOSE_ENTRIES_MAX": (1, 2, 16),
    "node.consensus.packed.RUN_BYTES_GOAL": (1, 200, 4 << 10),
    "node.housekeeping.packing.WORK_PER_LOOK": (1, 10),
    # What is much at one moment, and done bit by bit.
    "node.consensus.api.HANDED_OUT_MAX": (1, 4),
    "node.consensus.api.HANDED_OUT_BYTES": (1, 1 << 10),
    "node.consensus.log.DROPPED_AT_ONCE_MAX": (0, 4),
    "node.replica.turn_bounds.APPLY_WORK_MAX": (1, 8),
    "node.replica.installing.LET_GO_MAX": (1, 10),
    "node.wal.queue.FRAME_ENTRIES_MAX": (1, 8),
    "node.store.reading.STEP_BYTES": (100, 4 << 10),
    # What one turn gives to clients, and what leaves in it for another leader.
    "node.clients.pumps.TURN_BYTES_MAX": (1 << 10, 32 << 10),
    "node.clients.pumps.FREE_BYTES": (1, 1 << 10),
    "node.clients.pumps.READ_BYTES_MIN": (0, 64),
    "node.clients.replies.REFER_BYTES": (1, 64),
    "node.clients.replies.FIRST_TOUCH_BYTES": (256, 16 << 10),
    "node.operations.held.CROWDED_READS_MAX": (1, 4),
    "node.operations.write_bundles.BUNDLE_BYTES": (1, 200, 2 << 10),
    "node.clients.replies.LEAST_TOUCH_BYTES": (256, 8 << 10),
}
"""Module and name (or class and argument), and what is drawn for it."""

IMPORTED_BY = {
    "node.store.reading.STEP_BYTES": ("node.store.store",),
    "node.clients.pumps.FREE_BYTES": ("node.clients.replies",),
    "node.clients.pumps.READ_BYTES_MIN": ("node.clients.connection",),
    "node.clients.replies.FIRST_TOUCH_BYTES": ("node.clients.windows",),
    "node.consensus.api.HANDED_OUT_MAX": ("node.consensus.raft.core",),
    "node.consensus.api.HANDED_OUT_BYTES": ("node.consensus.raft.core",),
    "node.replica.snapshotting.KEEP_ENTRIES": (
        "node.housekeeping.leadership",
        "node.housekeeping.snapshots",
        "node.replica.handover",
    ),
    "node.cluster_time.TELL_MS": ("node.housekeeping.timekeeper",),
    "node.consensus.progress.SNAPSHOT_SILENT_CHECKS": ("node.consensus.raft.replication",),
    "node.directory.starts.REPORT_MS": ("node.directory.reports", "node.member"),
    "node.wal.queue.QUEUED_BYTES_MAX": ("node.replica.host",),
    "node.clients.context.REPLY_BYTES_MAX": ("node.clients.server",),
    "node.clients.replies.SLOTS_MAX": (
        "node.clients.connection",
        "node.clients.forwarded_gets",
        "node.clients.plain_meta_gets",
    ),
    "node.clients.replies.WRITE_CHUNK_BYTES": (
        "node.clients.connection",
        "node.clients.plain_meta_gets",
        "node.clients.quick_gets",
    ),
    "node.replica.group.BATCH_BYTES_MAX": ("node.node",),
    "node.store.locks.QUEUE_LEASE_MS": ("node.operations.lock_acquire",),
    "node.store.large.LARGE_VALUE_BYTES": (
        "node.protocol.transaction_lines",
        "node.protocol.value_blocks",
    ),
    "node.store.lock_records.WAITERS_MAX": ("node.store.locks",),
    "node.peers.bundles.BUNDLE_BYTES_GOAL": ("node.peers.consensus_transport",),
    "node.consensus.transport.BEATS_PER_ITEM": (
        "node.peers.beats",
        "node.peers.consensus_transport",
        "node.replica.beating",
    ),
    "node.peers.items.GETS_MAX": ("node.operations.found_items", "node.operations.get_bundles"),
    "node.store.transactions.PREPARED_MAX": ("node.operations.recovery",),
    "node.store.large.PIECE_BYTES": ("node.protocol.value_blocks",),
    "node.operations.serving.REPLY_BYTES_MAX": ("node.node",),
}
"""Modules that have a copy of a bound's name: they have to agree."""

ALWAYS = {"node.settings.checks.MEMORY_BYTES_MIN": 1 << 10}
"""So that a simulated node may have little memory."""

SHARES = (0.0, 0.1, 0.3, 0.7)
"""How many of the bounds are small in a seed: small ones hide what large ones let through."""


def draw_product_bounds(random: Random) -> dict[str, int]:
    """Those that are small in this seed."""
    share = random.choice(SHARES)
    drawn = {name: (random.random(), random.choice(values)) for name, values in BOUNDS.items()}
    return {name: value for name, (chance, value) in drawn.items() if chance < share}


@contextlib.contextmanager
def applied(bounds: dict[str, int]) -> Iterator[None]:
    """The product has these bounds meanwhile."""
    before: list[tuple[Any, str, int]] = []
    try:
        for name, value in {**ALWAYS, **bounds}.items():
            place, last = _place(name)
            if place is None:
                continue
            for module in (place, *map(import_module, IMPORTED_BY.get(name, ()))):
                before.append((module, last, _get(module, last)))
                _set(module, last, value)
        yield
    finally:
        for place, last, value in before:
            _set(place, last, value)


def import_module(path: str) -> ModuleType:
    """`node.lanes`: the bounds are named without `quorumcache.`, as their files are."""
    return importlib.import_module(f"quorumcache.{path}")


def _place(name: str) -> tuple[Any, str]:
    """Where a bound is: a module, or the defaults of a class's arguments (None when compiled)."""
    path, _, last = name.rpartition(".")
    if f"quorumcache.{path}" in sys.modules or not path.rpartition(".")[2][:1].isupper():
        return import_module(path), last
    module, _, kind = path.rpartition(".")
    arguments = getattr(getattr(import_module(module), kind), "__init__")  # noqa: B009
    return getattr(arguments, "__kwdefaults__", None), last


def _get(place: Any, name: str) -> int:
    value = place[name] if isinstance(place, dict) else getattr(place, name)
    assert isinstance(value, int), f"{name} is no bound"
    return value


def _set(place: Any, name: str, value: int) -> None:
    if isinstance(place, dict):
        place[name] = value
    else:
        setattr(place, name, value)
