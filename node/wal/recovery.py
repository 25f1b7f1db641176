"""Reading the log at start: check the segments, replay them, and fit them to the snapshots.

The rules and the reason for each are in docs/storage.md. In short:

- Only the newest segment that was written to may have a torn tail; it is cut off. A segment of
  which nothing intact was written is removed: it was created and never used.
- Every segment but the oldest says in its head how long the one before is.
- A snapshot on disk is the truth about the entries it covers: it was durable before the log said
  anything of it. The log may lag behind the snapshot, never be ahead of it.
- What is read is made durable (again) before it is believed: a crashed process may have left
  bytes in the page cache that no sync has covered, or that a failed sync has given up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from quorumcache.node.consensus.values import Entry, HardState, SnapshotMeta
from quorumcache.node.errors import WalCorrupt, WrongDataDir
from quorumcache.node.storage.disk import TEMP_SUFFIX, Disk
from quorumcache.node.wal.format import Head, Item, Mark, MarkKind, WalRecord, decode_frame
from quorumcache.node.wal.groups import NOTHING, GroupStates
from quorumcache.node.wal.newest import NOTHING_WRITTEN, NewestSegment
from quorumcache.node.wal.segment import (
    Segment,
    SegmentScan,
    scan_segment,
    segment_name,
    sequence_of,
)


class RecoveredGroup(NamedTuple):
    """What the disk remembers of one group."""

    hard_state: HardState
    entries: list[Entry]
    """Contiguous; they follow the group's snapshot, or start at 1 when there is none."""


class Recovery(NamedTuple):
    """What a start found, for `Wal.open`."""

    groups: dict[int, RecoveredGroup]
    states: GroupStates
    segments: list[Segment]
    marks: list[Mark]
    """To be written first: what the snapshots say and the log does not say yet."""
    orphan_snapshots: list[int]
    """Groups of which there is a snapshot, and nothing in the log."""
    last_sequence: int
    """The next segment to create is the one after it."""
    torn_bytes: int
    """Length of the torn tail that was cut off."""


class _Checked(NamedTuple):
    """A segment that was read and found sound. Its bytes are read again for the replay, so that
    no more than one segment is in memory."""

    path: str
    sequence: int
    scan: SegmentScan
    head: Head | None
    """None: no frame was ever synced in it."""
    tail_bytes: int
    """Length of what may be a torn write behind the last frame."""


def recover(
    disk: Disk,
    directory: str,
    *,
    cluster_id: str,
    node_id: int,
    snapshots: Mapping[int, SnapshotMeta],
    newest: NewestSegment = NOTHING_WRITTEN,
) -> Recovery:
    """Read the log in `directory`, repair what a crash left, and replay it.

    `snapshots` tells of every snapshot file that was loaded, `newest` of the segment that is known
    to have been written to last. Raises `WalCorrupt` for damage and
    `WrongDataDir` for a log of another node, cluster or version.
    """
    checked = _check_segments(disk, directory, cluster_id, node_id)
    _check_newest(checked, directory, newest)
    if not checked and snapshots:
        # `Wal.open` leaves a segment before it returns, so this is no first start.
        raise WalCorrupt(directory, 0, "there are snapshots, but all segments of the log are gone")
    oldest_sequence = checked[0].sequence if checked else 1
    torn_bytes = _repair(disk, directory, checked)
    replay = _Replay()
    segments = [replay.segment(segment, disk.read(segment.path)) for segment in checked]
    marks = replay.fit(snapshots, directory)
    return Recovery(
        groups=replay.groups(),
        states=replay.states,
        segments=segments,
        marks=marks,
        orphan_snapshots=sorted(snapshots.keys() - replay.states.hard_states.keys()),
        last_sequence=segments[-1].sequence if segments else oldest_sequence - 1,
        torn_bytes=torn_bytes,
    )


def _check_segments(disk: Disk, directory: str, cluster_id: str, node_id: int) -> list[_Checked]:
    """All segments from oldest to newest, each sound for itself and following the one before."""
    checked: list[_Checked] = []
    for sequence, name in sorted((sequence_of(name), name) for name in disk.list_dir(directory)):
        if not sequence:
            continue
        path = f"{directory}/{name}"
        data = disk.read(path)
        scan = scan_segment(data, path)
        _check_header(scan, path, sequence, cluster_id, node_id)
        head = _head(data, scan, path)
        tail_bytes = len(data[scan.end :].rstrip(b"\0")) if scan.has_tail else 0
        segment = _Checked(path, sequence, scan, head, tail_bytes)
        if checked:
            _check_follows(checked[-1], segment)
        checked.append(segment)
    return checked


def _check_header(
    scan: SegmentScan, path: str, sequence: int, cluster_id: str, node_id: int
) -> None:
    header = scan.header
    if (header.cluster_id, header.node_id) != (cluster_id, node_id):
        why = (
            f"belongs to node {header.node_id} of cluster {header.cluster_id!r},"
            f" this is node {node_id} of cluster {cluster_id!r}"
        )
        raise WrongDataDir(path, why)
    if header.sequence != sequence:
        raise WalCorrupt(path, 0, f"its header says that it is {segment_name(header.sequence)}")


def _head(data: bytes, scan: SegmentScan, path: str) -> Head | None:
    if not scan.frames:
        return None
    start, end = scan.frames[0]
    items = decode_frame(data, start, end, path)
    if not items or not isinstance(items[0], Head):
        raise WalCorrupt(path, start, "the segment does not start with a head")
    return items[0]


def _check_follows(older: _Checked, newer: _Checked) -> None:
    """Raise unless `newer` was started right behind the end of `older`."""
    if newer.sequence != older.sequence + 1:
        missing = segment_name(older.sequence + 1)
        raise WalCorrupt(newer.path, 0, f"segment {missing} before it is missing")
    was_written = newer.head is not None or newer.tail_bytes
    if was_written and (older.head is None or older.tail_bytes):
        # All of the older one was durable before the first write to the newer one.
        raise WalCorrupt(older.path, older.scan.end, "there is no whole frame, but a later segment")
    if newer.head is not None and newer.head.previous_end != older.scan.end:
        why = f"the next segment says that the log ends at {newer.head.previous_end} in this one"
        raise WalCorrupt(older.path, older.scan.end, why)


def _check_newest(checked: list[_Checked], directory: str, newest: NewestSegment) -> None:
    """Raise unless the segment that was written to last is there, or has gone behind a newer one.

    No later segment vouches for it.
    """
    if not newest.sequence:
        return
    path = f"{directory}/{segment_name(newest.sequence)}"
    written = [segment for segment in checked if segment.head is not None]
    if not written or written[-1].sequence < newest.sequence:
        why = "it was the newest one that was written to, and is missing or holds no whole frame"
        raise WalCorrupt(path, 0, why)
    for segment in written:
        if segment.sequence == newest.sequence and segment.scan.header.salt != newest.salt:
            why = "it is not the one that was written last: the log was set back to an older copy"
            raise WalCorrupt(path, 0, why)


def _repair(disk: Disk, directory: str, checked: list[_Checked]) -> int:
    """Remove what a crash left unfinished; make the rest durable. Returns the torn tail's length.

    Segments without a frame leave `checked`: they were created ahead, or their first write is torn.
    The file of the last one stays, to be replaced, so that the directory is never without.
    """
    for name in disk.list_dir(directory):
        if name.endswith(TEMP_SUFFIX):
            disk.remove(f"{directory}/{name}")
    torn_bytes = 0
    while checked and checked[-1].head is None:
        unused = checked.pop()
        torn_bytes += unused.tail_bytes
        if checked:
            disk.remove(unused.path)
    if checked:
        newest = checked[-1]
        torn_bytes += newest.tail_bytes
        # Also when there is nothing to cut: what was read is made durable before it is believed.
        disk.rewrite(newest.path, newest.scan.end)
    disk.sync_dir(directory)
    return torn_bytes


class _Replay:
    """Takes items in log order; keeps `GroupStates` and, beside it, the entries themselves."""

    def __init__(self) -> None:
        self.states = GroupStates()
        self._entries: dict[int, list[Entry]] = {}
        self._segments: list[Segment] = []

    def segment(self, checked: _Checked, data: bytes) -> Segment:
        """Replay one segment; to be called for all of them in order."""
        segment = Segment(checked.sequence, checked.path)
        segment.size = checked.scan.end
        segment.frame_count = len(checked.scan.frames)
        self.states.touched = segment.last_indexes
        if not self._segments:
            assert checked.head is not None
            self.states.take_head(checked.head)
        is_first_frame = True
        for start, end in checked.scan.frames:
            items = decode_frame(data, start, end, checked.path)
            try:
                for item in items[1:] if is_first_frame else items:
                    self._take(item)
            except ValueError as error:
                raise WalCorrupt(checked.path, start, str(error)) from error
            is_first_frame = False
            for group, last_index in self.states.cuts:
                for older in self._segments:
                    older.cut(group, last_index)
            self.states.cuts.clear()
        self._segments.append(segment)
        return segment

    def _take(self, item: Item) -> None:
        if isinstance(item, WalRecord):
            self.states.take((item,))
            if item.entries:
                self._replace(item.group, item.entries)
        elif isinstance(item, Mark):
            self._mark(item)
        else:
            raise ValueError("a head that does not start a segment")

    def _replace(self, group: int, new: tuple[Entry, ...] | list[Entry]) -> None:
        entries = self._entries.setdefault(group, [])
        if entries:
            kept_count = max(0, new[0].index - entries[0].index)
            del entries[kept_count:]
        entries.extend(new)

    def _mark(self, mark: Mark) -> None:
        self.states.take((mark,))
        if mark.kind == MarkKind.COMPACTED:
            had_entries = bool(self._entries.get(mark.group))
            follows = self._drop_covered(mark.group, mark.index, mark.term)
            if had_entries and not follows and self.states.last_indexes[mark.group] > mark.index:
                raise ValueError(f"the snapshot of group {mark.group} contradicts its log")
        else:
            self._entries.pop(mark.group, None)

    def _drop_covered(self, group: int, index: int, term: int) -> bool:
        """Drop what a snapshot at (index, term) covers; False when that was everything.

        The entry at `index` having another term means that this log had taken another way, and
        the snapshot replaces all of it (Raft thesis 5.1). When that entry is no longer here, its
        segment was removed, for which a mark had to be durable first; that mark has been taken.
        """
        entries = self._entries.get(group, [])
        at = index - entries[0].index if entries else 0
        if at >= 0 and (at >= len(entries) or entries[at].term != term):
            self._entries.pop(group, None)
            return False
        del entries[: max(0, at + 1)]
        return True

    def fit(self, snapshots: Mapping[int, SnapshotMeta], directory: str) -> list[Mark]:
        """Make log and snapshots agree; return the marks that the log lacks."""
        marks: list[Mark] = []
        for group, hard_state in sorted(self.states.hard_states.items()):
            meta = snapshots.get(group)
            index, term = (meta.last_index, meta.last_term) if meta else NOTHING
            base_index, base_term = self.states.bases.get(group, NOTHING)
            if index < base_index or (index == base_index and term != base_term):
                why = (
                    f"the log of group {group} was dropped up to entry {base_index} of term"
                    f" {base_term}, but the snapshot on disk is at {index} of term {term}"
                )
                raise WalCorrupt(directory, 0, why)
            self._check_gap(group, index, directory)
            if index > base_index:
                self._check_mark(group, index, base_index, directory)
                follows = self._drop_covered(group, index, term)
                kind = MarkKind.COMPACTED if follows else MarkKind.INSTALLED
                marks.append(Mark(group, kind, index, term))
            self._raise_term(group, hard_state, term)
        return marks

    def _check_gap(self, group: int, snapshot_index: int, directory: str) -> None:
        entries = self._entries.get(group)
        first_index = entries[0].index if entries else self.states.last_indexes.get(group, 0) + 1
        if first_index > snapshot_index + 1:
            why = f"entries {snapshot_index + 1} to {first_index - 1} of group {group} are gone"
            raise WalCorrupt(directory, 0, why)

    def _check_mark(self, group: int, index: int, base_index: int, directory: str) -> None:
        """A log that begins behind a snapshot was dropped up to it, and a mark says so.

        Without the mark it cannot be known whether these entries follow the snapshot or were
        replaced by it. No crash takes the mark away: it is durable before a segment is removed.
        """
        entries = self._entries.get(group)
        if entries and entries[0].index > index:
            why = (
                f"entries {base_index + 1} to {entries[0].index - 1} of group {group} were dropped,"
                " but the record that tells so is gone"
            )
            raise WalCorrupt(directory, 0, why)

    def _raise_term(self, group: int, hard_state: HardState, snapshot_term: int) -> None:
        """A snapshot can be durable before the hard state of its term is.

        Nothing was promised in that term then, so there is no vote in it to forget.
        """
        if snapshot_term > hard_state.term:
            self.states.hard_states[group] = HardState(snapshot_term, 0)

    def groups(self) -> dict[int, RecoveredGroup]:
        return {
            group: RecoveredGroup(hard_state, self._entries.get(group, []))
            for group, hard_state in sorted(self.states.hard_states.items())
        }
