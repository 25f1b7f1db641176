"""What a start makes of the files: each rule of recovery, and each refusal with its words."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from quorumcache.node.consensus.values import Configuration, Entry, HardState, SnapshotMeta
from quorumcache.node.errors import WalCorrupt, WrongDataDir
from quorumcache.node.wal.format import (
    GroupHead,
    Head,
    Item,
    Mark,
    MarkKind,
    SegmentHeader,
    WalRecord,
    encode_frame,
    encode_segment_header,
)
from quorumcache.node.wal.recovery import RecoveredGroup, Recovery, recover
from quorumcache.node.wal.segment import segment_name
from tests.support.fake_disk import FakeDisk, Nothing
from tests.support.manual_loop import ManualLoop

TERM_1 = WalRecord(1, HardState(1, 1))


def entries(first: int, last: int, term: int = 1) -> tuple[Entry, ...]:
    return tuple(Entry(index, term, 0, b"x") for index in range(first, last + 1))


def record(first: int, last: int, term: int = 1, group: int = 1) -> WalRecord:
    return WalRecord(group, None, entries(first, last, term))


def snapshot(index: int, term: int = 1) -> dict[int, SnapshotMeta]:
    return {1: SnapshotMeta(index, term, Configuration((1, 2, 3)))}


class Files:
    """Builds the segments of a log by hand."""

    def __init__(self) -> None:
        self.disk = FakeDisk(ManualLoop(), survival=Nothing())
        self.end = 0

    def segment(
        self,
        sequence: int,
        *frames: Sequence[Item],
        groups: tuple[GroupHead, ...] = (),
        previous_end: int | None = None,
        tail: bytes = b"",
        node_id: int = 1,
        cluster_id: str = "c",
        in_header: int = 0,
    ) -> str:
        header = SegmentHeader(in_header or sequence, sequence, node_id, cluster_id)
        data = encode_segment_header(header)
        head = Head(self.end if previous_end is None else previous_end, groups)
        for number, items in enumerate(frames):
            with_head = [head, *items] if number == 0 else items
            data += encode_frame(with_head, len(data), sequence)
        self.end = len(data)
        path = f"d/{segment_name(sequence)}"
        self.disk.put(path, data + tail)
        return path

    def recover(self, snapshots: dict[int, SnapshotMeta] | None = None) -> Recovery:
        return recover(self.disk, "d", cluster_id="c", node_id=1, snapshots=snapshots or {})


@pytest.fixture
def files() -> Files:
    return Files()


# --- segments


def test_empty_directory(files: Files) -> None:
    found = files.recover()
    assert found.groups == {}
    assert found.last_sequence == 0


def test_records_of_several_segments_and_groups(files: Files) -> None:
    files.segment(1, [TERM_1, record(1, 2)], [record(3, 3), record(1, 1, group=2)])
    files.segment(2, [record(2, 4, 2)], [WalRecord(1, HardState(3, 2))])
    found = files.recover()
    assert found.groups == {
        1: RecoveredGroup(HardState(3, 2), [*entries(1, 1), *entries(2, 4, 2)]),
        2: RecoveredGroup(HardState(0, 0), list(entries(1, 1))),
    }
    assert [segment.last_indexes for segment in found.segments] == [{1: 1, 2: 1}, {1: 4}]
    assert found.last_sequence == 2


def test_torn_tail_of_the_newest_segment_is_cut_off(files: Files) -> None:
    path = files.segment(1, [TERM_1], [record(1, 2)], tail=b"torn")
    found = files.recover()
    assert found.groups[1].entries == list(entries(1, 2))
    assert found.torn_bytes == 4
    assert len(files.disk.read(path)) == files.end
    files.disk.crash()
    assert len(files.disk.read(path)) == files.end, "the cut is durable"


def test_unused_newest_segment_is_removed(files: Files) -> None:
    """Created ahead of need; or its first write is torn. Its number is used again."""
    for tail in (b"", bytes(100), b"torn"):
        files.segment(1, [TERM_1])
        path = files.segment(2, tail=tail)
        found = files.recover()
        assert found.groups[1].hard_state == HardState(1, 1)
        assert found.last_sequence == 1
        assert not files.disk.exists(path)


def test_torn_tail_before_an_unused_segment_is_cut_off(files: Files) -> None:
    files.segment(1, [TERM_1], tail=b"torn")
    files.segment(2, tail=bytes(50))
    assert files.recover().torn_bytes == 4


@pytest.mark.parametrize("frames", [0, 1])
def test_tail_in_an_older_segment_is_damage(files: Files, frames: int) -> None:
    """Whatever was written to the newer one, the older one was durable before."""
    path = files.segment(1, [TERM_1], tail=b"torn")
    files.segment(2, *([[]] * frames), previous_end=files.end, tail=b"" if frames else b"torn")
    with pytest.raises(WalCorrupt, match=f"{path} is damaged at offset {files_end(files, path)}"):
        files.recover()


def files_end(files: Files, path: str) -> int:
    return len(files.disk.read(path)) - 4


def test_older_segment_that_lost_its_last_frames_is_damage(files: Files) -> None:
    files.segment(1, [TERM_1], [record(1, 2)])
    whole_end = files.end
    files.segment(1, [TERM_1], tail=bytes(100))
    files.segment(2, [], previous_end=whole_end)
    with pytest.raises(WalCorrupt, match=f"the log ends at {whole_end} in this one"):
        files.recover()


def test_a_segment_in_the_middle_that_lost_all_its_frames_is_damage(files: Files) -> None:
    """Even where the next head fits to the one before: the two may have ended at the same place."""
    files.segment(1, [TERM_1])
    end = files.end
    path = files.segment(2, tail=bytes(100))
    files.segment(3, [], previous_end=end)
    with pytest.raises(WalCorrupt, match=f"{path} is damaged at offset 128: there is no whole"):
        files.recover()


def test_missing_segment_is_damage(files: Files) -> None:
    files.segment(1, [TERM_1])
    files.segment(3, [])
    with pytest.raises(WalCorrupt, match=r"segment 0000000002.wal before it is missing"):
        files.recover()


def test_a_missing_oldest_segment_is_damage(files: Files) -> None:
    """Also when a snapshot covers what is missing: was the rest replaced by it, or does it follow?

    A record in the log tells, and is durable before a segment is removed.
    """
    head = GroupHead(1, 1, 1, 0, 0, 2)
    files.segment(2, [record(3, 4)], groups=(head,))
    with pytest.raises(WalCorrupt, match="entries 1 to 2 of group 1 are gone"):
        files.recover()
    with pytest.raises(WalCorrupt, match="entries 1 to 2 of group 1 were dropped, but the record"):
        files.recover(snapshot(2))


def test_a_removed_oldest_segment_that_is_on_record_is_none(files: Files) -> None:
    head = GroupHead(1, 1, 1, 2, 1, 2)
    files.segment(2, [record(3, 4)], groups=(head,))
    assert files.recover(snapshot(2)).groups[1].entries == list(entries(3, 4))


def test_segment_under_another_name_is_damage(files: Files) -> None:
    files.segment(1, [TERM_1], in_header=5)
    with pytest.raises(WalCorrupt, match=r"its header says that it is 0000000005.wal"):
        files.recover()


@pytest.mark.parametrize(("node_id", "cluster_id"), [(2, "c"), (1, "other")])
def test_another_nodes_segment_is_refused_with_both_names(
    files: Files, node_id: int, cluster_id: str
) -> None:
    files.segment(1, [TERM_1], node_id=node_id, cluster_id=cluster_id)
    told = f"belongs to node {node_id} of cluster '{cluster_id}', this is node 1 of cluster 'c'"
    with pytest.raises(WrongDataDir, match=told):
        files.recover()


def test_segment_without_a_head_is_damage(files: Files) -> None:
    path = files.segment(1)
    data = files.disk.read(path)
    files.disk.put(path, data + encode_frame([TERM_1], len(data), 1))
    with pytest.raises(WalCorrupt, match="does not start with a head"):
        files.recover()


def test_head_elsewhere_is_damage(files: Files) -> None:
    files.segment(1, [TERM_1], [Head(0, ())])
    with pytest.raises(WalCorrupt, match="a head that does not start a segment"):
        files.recover()


def test_all_segments_gone_is_damage_when_there_are_snapshots(files: Files) -> None:
    """A replica that has forgotten its votes must not come back as itself."""
    with pytest.raises(WalCorrupt, match="all segments of the log are gone"):
        files.recover(snapshot(5))


def test_leftovers_are_removed(files: Files) -> None:
    files.segment(1, [TERM_1])
    files.disk.put("d/0000000002.wal.tmp", b"half")
    files.disk.put("d/notes", b"keep")
    files.recover()
    assert files.disk.paths() == ["d/0000000001.wal", "d/notes"]


# --- groups


def test_entries_replace_those_at_and_above_their_first(files: Files) -> None:
    files.segment(1, [TERM_1, record(1, 5)], [record(3, 3, 2)], [record(4, 4, 2)])
    assert files.recover().groups[1].entries == [*entries(1, 2), *entries(3, 4, 2)]


def test_entries_that_leave_a_gap_are_damage(files: Files) -> None:
    files.segment(1, [TERM_1, record(1, 2)], [record(4, 4)])
    with pytest.raises(WalCorrupt, match="group 1: entry 4 follows 2"):
        files.recover()


def test_hard_state_of_a_removed_segment_is_in_the_head(files: Files) -> None:
    files.segment(9, [], groups=(GroupHead(1, 7, 3, 0, 0, 0), GroupHead(4, 2, 0, 0, 0, 0)))
    assert files.recover().groups == {
        1: RecoveredGroup(HardState(7, 3), []),
        4: RecoveredGroup(HardState(2, 0), []),
    }


def test_compacted_mark_drops_what_the_snapshot_covers(files: Files) -> None:
    files.segment(1, [TERM_1, record(1, 5)], [Mark(1, MarkKind.COMPACTED, 3, 1)], [record(6, 6)])
    found = files.recover(snapshot(3))
    assert found.groups[1].entries == list(entries(4, 6))
    assert found.marks == []


def test_installed_mark_drops_everything_and_jumps(files: Files) -> None:
    jump = Mark(1, MarkKind.INSTALLED, 10, 2)
    files.segment(1, [TERM_1, record(1, 5)], [jump], [record(11, 12, 2)])
    assert files.recover(snapshot(10, 2)).groups[1].entries == list(entries(11, 12, 2))


def test_installed_mark_inside_the_log_drops_everything(files: Files) -> None:
    files.segment(1, [TERM_1, record(1, 9)], [Mark(1, MarkKind.INSTALLED, 5, 2)])
    assert files.recover(snapshot(5, 2)).groups[1].entries == []


def test_installed_mark_drops_entries_that_would_follow_it_too(files: Files) -> None:
    """The consensus core has dropped them, so its next entry is the one behind the snapshot."""
    files.segment(1, [TERM_1, record(1, 9)], [Mark(1, MarkKind.INSTALLED, 5, 1)])
    assert files.recover(snapshot(5)).groups[1].entries == []


def test_snapshot_ahead_of_its_mark(files: Files) -> None:
    """Crash between the snapshot's rename and its mark: the mark is to be written now."""
    files.segment(1, [TERM_1, record(1, 5)])
    found = files.recover(snapshot(3))
    assert found.groups[1].entries == list(entries(4, 5))
    assert found.marks == [Mark(1, MarkKind.COMPACTED, 3, 1)]


def test_snapshot_past_the_end_of_the_log(files: Files) -> None:
    """Crash between rename and mark of one that came from a leader, or was made of entries that
    a majority had and this disk not yet. Its term may be newer than the durable hard state."""
    files.segment(1, [WalRecord(1, HardState(1, 2)), record(1, 5)])
    found = files.recover(snapshot(8, 3))
    assert found.groups[1] == RecoveredGroup(HardState(3, 0), [])
    assert found.marks == [Mark(1, MarkKind.INSTALLED, 8, 3)]


def test_snapshot_that_contradicts_the_log_replaces_it(files: Files) -> None:
    """Crash between rename and mark of a leader's snapshot over a log that went another way."""
    files.segment(1, [WalRecord(1, HardState(3, 2)), record(1, 9)])
    found = files.recover(snapshot(5, 2))
    assert found.groups[1] == RecoveredGroup(HardState(3, 2), [])
    assert found.marks == [Mark(1, MarkKind.INSTALLED, 5, 2)]


def test_snapshot_at_the_last_entry(files: Files) -> None:
    files.segment(1, [TERM_1, record(1, 5)])
    found = files.recover(snapshot(5))
    assert found.groups[1].entries == []
    assert found.marks == [Mark(1, MarkKind.COMPACTED, 5, 1)]


@pytest.mark.parametrize("snapshots", [{}, snapshot(2), snapshot(3, 2)])
def test_log_ahead_of_its_snapshot_is_damage(
    files: Files, snapshots: dict[int, SnapshotMeta]
) -> None:
    """The entries were dropped because a snapshot was durable, and it is not there."""
    files.segment(1, [TERM_1, record(1, 5)], [Mark(1, MarkKind.COMPACTED, 3, 1)])
    files.segment(2, [TERM_1])
    with pytest.raises(WalCorrupt, match="dropped up to entry 3 of term 1, but the snapshot"):
        files.recover(snapshots or {7: snapshot(1)[1]})


def test_forgotten_group_is_gone_and_may_come_back(files: Files) -> None:
    files.segment(1, [TERM_1, record(1, 5)], [Mark(1, MarkKind.FORGOTTEN, 0, 0)])
    found = files.recover(snapshot(3))
    assert found.groups == {}
    assert found.orphan_snapshots == [1]
    files.segment(2, [TERM_1, record(1, 1)])
    assert files.recover().groups[1].entries == list(entries(1, 1))


def test_marked_snapshot_that_contradicts_the_log_is_damage(files: Files) -> None:
    files.segment(1, [TERM_1, record(1, 5)], [Mark(1, MarkKind.COMPACTED, 3, 2)])
    with pytest.raises(WalCorrupt, match="the snapshot of group 1 contradicts its log"):
        files.recover(snapshot(3, 2))
