"""A host in miniature: uses the log and the snapshots as a node does, and checks every restart.

It writes down every item it hands to the log, in order, and how many of them the log has called
durable. After a restart the recovered groups must be what *some* prefix of those items makes, one
that holds at least all durable items, seen through the snapshots that are on the disk then. What
items make is computed by `GroupModel`, which knows nothing of segments.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from quorumcache.node.consensus.values import (
    Configuration,
    Entry,
    EntryKind,
    HardState,
    SnapshotMeta,
)
from quorumcache.node.errors import DiskRefused
from quorumcache.node.storage.snapshots import SnapshotStore
from quorumcache.node.wal.format import Mark, MarkKind
from quorumcache.node.wal.newest import NOTHING_WRITTEN, NewestNote, read_newest
from quorumcache.node.wal.recovery import RecoveredGroup
from quorumcache.node.wal.wal import Wal, WalRecord
from tests.support.fake_disk import FakeDisk

NO_HARD_STATE = HardState(0, 0)
CONFIGURATION = Configuration((1, 2, 3), (4,))


@dataclass
class GroupModel:
    """A group's log as a list."""

    hard_state: HardState = NO_HARD_STATE
    base: tuple[int, int] = (0, 0)
    entries: list[Entry] = field(default_factory=list)

    @property
    def last_index(self) -> int:
        return self.entries[-1].index if self.entries else self.base[0]

    def drop_to(self, index: int, term: int) -> None:
        """A snapshot at (index, term) covers the start of the log, or replaces it."""
        at = [entry for entry in self.entries if entry.index == index]
        follows = bool(at) and at[0].term == term
        self.entries = [entry for entry in self.entries if follows and entry.index > index]
        self.base = (index, term)


Models = dict[int, GroupModel]


def take(models: Models, item: WalRecord | Mark) -> None:
    """What one item makes of the groups."""
    if isinstance(item, WalRecord):
        model = models.setdefault(item.group, GroupModel())
        if item.hard_state is not None:
            model.hard_state = item.hard_state
        if item.entries:
            first = item.entries[0].index
            model.entries = [entry for entry in model.entries if entry.index < first]
            model.entries.extend(item.entries)
    elif item.kind == MarkKind.FORGOTTEN:
        models.pop(item.group, None)
    elif item.kind == MarkKind.INSTALLED:
        model = models.setdefault(item.group, GroupModel())
        model.entries = []
        model.base = (item.index, item.term)
    else:
        models[item.group].drop_to(item.index, item.term)


def seen_through(models: Models, metas: dict[int, SnapshotMeta]) -> dict[int, RecoveredGroup]:
    """What a start should recover, given the snapshots on disk."""
    result = {}
    for group, model in models.items():
        model = copy.deepcopy(model)
        meta = metas.get(group)
        if meta is not None and meta.last_index > model.base[0]:
            model.drop_to(meta.last_index, meta.last_term)
        if meta is not None and meta.last_term > model.hard_state.term:
            model.hard_state = HardState(meta.last_term, 0)
        result[group] = RecoveredGroup(model.hard_state, model.entries)
    return result


class LogHost:
    """See the module. `start` first; after `FakeDisk.crash`, `start` again."""

    def __init__(self, disk: FakeDisk, loop: Any, *, segment_bytes_max: int = 600) -> None:
        self.disk = disk
        self.loop = loop
        self.segment_bytes_max = segment_bytes_max
        self.base_models: Models = {}
        self.models: Models = {}
        self.items: list[WalRecord | Mark] = []
        self.durable_count = 0
        self.durable_before_last_sync = 0
        """What `durable_count` was before the newest sync that made items durable."""
        self._last_sync = 0
        self.snapshots: dict[int, list[SnapshotMeta | None]] = {}
        """Per group: the last that is certainly on disk, then those handed in since."""
        self.blocked: set[int] = set()
        """Groups that install a snapshot or leave the node; nothing else happens to them."""
        self.failed: list[BaseException] = []
        self.full: list[bool] = []
        self.payload_bytes = 10
        self.cluster_id = "c"
        self.node_id = 1
        self.keeps_note = False
        """The directory is a member's: it has a note of the newest segment."""

    def copy(self, disk: FakeDisk) -> LogHost:
        """A host that remembers the same history, on another disk; not started."""
        other = LogHost(disk, disk.loop, segment_bytes_max=self.segment_bytes_max)
        other.base_models = copy.deepcopy(self.base_models)
        other.items = list(self.items)
        other.durable_count = self.durable_count
        other.durable_before_last_sync = self.durable_before_last_sync
        other.cluster_id = self.cluster_id
        other.node_id = self.node_id
        other.keeps_note = self.keeps_note
        other.snapshots = {group: list(metas) for group, metas in self.snapshots.items()}
        return other

    # --- start and its check

    def start(self) -> None:
        """Open snapshots and log, and check them against all that was done."""
        disk = self.disk.mount()
        self.store = SnapshotStore(disk, "d/snapshots")
        metas = {group: snapshot.meta for group, snapshot in self.store.load_all().items()}
        for group in sorted(metas.keys() | self.snapshots.keys()):
            possible = self.snapshots.get(group, [None])
            assert metas.get(group) in possible, (group, metas.get(group), possible)
        self.wal, recovered = Wal.open(
            disk,
            "d/wal",
            cluster_id=self.cluster_id,
            node_id=self.node_id,
            snapshots=metas,
            newest=read_newest(disk, "d") if self.keeps_note else NOTHING_WRITTEN,
            segment_bytes_max=self.segment_bytes_max,
            wal_bytes_max=4 * self.segment_bytes_max,
            loop=self.loop,
        )
        self.wal.on_failed = self.failed.append
        if self.keeps_note:
            self.wal.on_segment = NewestNote(disk, "d", self.failed.append).begun
        self.wal.on_full = self.full.append
        self._check(recovered, metas)
        self.base_models = {
            group: GroupModel(
                state.hard_state,
                (metas[group].last_index, metas[group].last_term) if group in metas else (0, 0),
                list(state.entries),
            )
            for group, state in recovered.items()
        }
        self.models = copy.deepcopy(self.base_models)
        self.items = []
        self.durable_count = self.durable_before_last_sync = self._last_sync = 0
        self.snapshots = {group: [meta] for group, meta in metas.items()}
        self.blocked = set()
        self.full.clear()
        for group in self.wal.orphan_snapshots:
            assert group not in recovered
            self.blocked.add(group)
            self._delete(group)

    def _check(self, recovered: dict[int, RecoveredGroup], metas: dict[int, SnapshotMeta]) -> None:
        models = copy.deepcopy(self.base_models)
        for item in self.items[: self.durable_count]:
            take(models, item)
        possible = [seen_through(models, metas)]
        for item in self.items[self.durable_count :]:
            take(models, item)
            possible.append(seen_through(models, metas))
        assert recovered in possible, (recovered, possible)

    # --- what a node does

    def _record(self, group: int, hard_state: HardState | None, entries: Sequence[Entry]) -> None:
        if group in self.blocked:
            return
        record = WalRecord(group, hard_state, tuple(entries))
        self.items.append(record)
        take(self.models, record)
        self.wal.append([record], self._durable(len(self.items)))

    def _durable(self, count: int) -> Any:
        items = self.items

        def durable() -> None:
            assert items is self.items, "a callback from before the crash"
            assert count > self.durable_count, "callbacks out of order"
            if self.wal.sync_count != self._last_sync:
                self._last_sync = self.wal.sync_count
                self.durable_before_last_sync = self.durable_count
            self.durable_count = count

        return durable

    def _model(self, group: int) -> GroupModel:
        if group not in self.models:
            self._record(group, HardState(1, 1), ())
        return self.models.get(group, GroupModel())

    def append(self, group: int, count: int = 1) -> None:
        """New entries of the current term."""
        model = self._model(group)
        self._write_from(group, model.last_index + 1, count)

    def overwrite(self, group: int, back: int, count: int = 1) -> None:
        """A new term, whose leader replaces up to `back` entries."""
        model = self._model(group)
        if group in self.blocked:
            return
        first = max(self._committed(group) + 1, model.last_index + 1 - back)
        term = model.hard_state.term + 1
        entries = self._entries(first, count, term)
        self._record(group, HardState(term, 2), entries)

    def _committed(self, group: int) -> int:
        """What is in a snapshot is committed: it is not overwritten, nor dropped for less."""
        handed_in = [meta.last_index for meta in self.snapshots.get(group, []) if meta]
        return max([self.models[group].base[0], *handed_in])

    def vote(self, group: int) -> None:
        """A hard state without entries."""
        self._record(group, HardState(self._model(group).hard_state.term + 1, 3), ())

    def _write_from(self, group: int, first: int, count: int) -> None:
        term = self.models[group].hard_state.term if group in self.models else 1
        self._record(group, None, self._entries(first, count, term))

    def _entries(self, first: int, count: int, term: int) -> list[Entry]:
        payload = b"%d.%d " % (term, first) + b"x" * self.payload_bytes
        return [Entry(first + i, term, EntryKind.NORMAL, payload) for i in range(count)]

    def snapshot(self, group: int, back: int = 0) -> None:
        """A snapshot of the own state, `back` entries before the end, then compaction."""
        model = self._model(group)
        if group in self.blocked or not model.entries:
            return
        entry = model.entries[max(0, len(model.entries) - 1 - back)]
        if entry.index <= self._committed(group):
            return
        self._save(group, SnapshotMeta(entry.index, entry.term, CONFIGURATION), MarkKind.COMPACTED)

    def install(self, group: int, ahead: int) -> None:
        """A snapshot from a leader: past the end, or within a log that went another way."""
        model = self._model(group)
        if group in self.blocked:
            return
        index = max(self._committed(group) + 1, model.last_index + ahead)
        term = model.hard_state.term + 1
        self._record(group, HardState(term, 0), ())
        self.blocked.add(group)
        self._save(group, SnapshotMeta(index, term, CONFIGURATION), MarkKind.INSTALLED)

    def _save(self, group: int, meta: SnapshotMeta, kind: MarkKind) -> None:
        handed_in = self.snapshots.setdefault(group, [None])
        handed_in.append(meta)

        def saved(error: BaseException | None) -> None:
            if kind == MarkKind.INSTALLED:
                self.blocked.discard(group)
            if error is not None:
                assert isinstance(error, DiskRefused), error
                handed_in.remove(meta)
                return
            assert handed_in is self.snapshots[group]
            del handed_in[: handed_in.index(meta)]
            if group not in self.models or self.models[group].base[0] >= meta.last_index:
                return
            mark = Mark(group, kind, meta.last_index, meta.last_term)
            self.items.append(mark)
            take(self.models, mark)
            if kind == MarkKind.INSTALLED:
                self.wal.installed(group, meta.last_index, meta.last_term)
            else:
                self.wal.compacted(group, meta.last_index, meta.last_term)

        data = b"group %d at %d" % (group, meta.last_index)
        self.store.save(group, meta, (data,), saved)

    def forget(self, group: int) -> None:
        """The group leaves this node. It may not come back before its snapshot is deleted."""
        if (
            group in self.blocked
            or group not in self.models
            or len(self.snapshots.get(group, [None])) > 1
        ):
            return
        mark = Mark(group, MarkKind.FORGOTTEN, 0, 0)
        self.items.append(mark)
        take(self.models, mark)
        durable = self._durable(len(self.items))
        self.blocked.add(group)

        def forgotten() -> None:
            durable()
            self._delete(group)

        self.wal.forget(group, forgotten)

    def _delete(self, group: int) -> None:
        handed_in = self.snapshots.setdefault(group, [None])
        handed_in.append(None)

        def deleted(error: BaseException | None) -> None:
            del handed_in[: handed_in.index(None)]
            self.blocked.discard(group)

        self.store.delete(group, deleted)
