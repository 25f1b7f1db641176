"""The states of a few operations, against lists written by hand."""

from __future__ import annotations

from tests.crash.operations import (
    Create,
    MakeDir,
    Operation,
    Rename,
    Sync,
    SyncDir,
    Truncate,
    Unlink,
    Write,
)
from tests.crash.recorder import Image
from tests.crash.states import FULL, Limits, Names, Tracker, cut_offsets, survivors, thinned_out

JOURNAL = Limits(names=Names.JOURNAL)


def states(operations: list[Operation], limits: Limits = FULL) -> list[Image]:
    tracker = Tracker({"d": None}, {"d": -1})
    for operation in operations:
        tracker.take(operation)
    unique: list[Image] = []
    for image in tracker.states(limits):
        if image not in unique:
            unique.append(image)
    return unique


def contents(operations: list[Operation], limits: Limits = FULL) -> set[bytes | None]:
    return {image.get("d/f") for image in states(operations, limits)}


def test_an_unsynced_write_survives_in_any_length_or_as_zeros() -> None:
    made: list[Operation] = [Create("d/f", 0), SyncDir("d"), Write(0, 0, b"abc")]
    assert contents(made) == {b"", b"a", b"ab", b"abc", b"\0\0\0"}
    assert contents([*made, Sync(0)]) == {b"abc"}


def test_an_overwrite_leaves_old_bytes_behind_what_arrived() -> None:
    made: list[Operation] = [Create("d/f", 0), SyncDir("d"), Write(0, 0, b"old"), Sync(0)]
    assert contents([*made, Write(0, 1, b"NE")]) == {b"old", b"oNd", b"oNE"}


def test_a_cut_is_made_or_not() -> None:
    made: list[Operation] = [Create("d/f", 0), SyncDir("d"), Write(0, 0, b"old"), Sync(0)]
    assert contents([*made, Truncate(0, 1)]) == {b"old", b"o"}
    assert contents([*made, Truncate(0, 1), Sync(0)]) == {b"o"}
    # Two writes with a cut between them survive each for itself, in their order.
    assert contents([*made, Truncate(0, 0), Write(0, 0, b"N")]) == {
        b"old",
        b"",
        b"Nld",
        b"N",
        b"\0",
    }


def test_sectors_arrive_in_any_order() -> None:
    data = b"a" * 512 + b"b" * 512
    whole = survivors(Write(0, 0, data), Limits(every_byte_bytes_max=0))
    assert ((512, b"b" * 512),) in whole
    assert whole[0] == ()
    assert whole[-1] == ((0, data),)


def test_a_rename_without_a_sync_may_show_an_empty_file() -> None:
    made: list[Operation] = [Create("d/f.tmp", 0), Write(0, 0, b"x"), Rename("d/f.tmp", "d/f", 0)]
    assert contents(made) == {None, b"", b"x", b"\0"}


def test_names_in_order_and_independently() -> None:
    made: list[Operation] = [Create("d/a", 0), SyncDir("d"), Unlink("d/a"), Create("d/b", 1)]
    in_order = [sorted(image) for image in states(made, JOURNAL)]
    assert in_order == [["d", "d/a"], ["d"], ["d", "d/b"]]
    assert ["d", "d/a", "d/b"] in [sorted(image) for image in states(made)]


def test_the_sync_of_another_directory_commits_nothing_here() -> None:
    made: list[Operation] = [MakeDir("e"), Create("d/a", 0), SyncDir("")]
    assert [sorted(image) for image in states(made)] == [["d", "e"], ["d", "d/a", "e"]]


def test_what_is_in_a_directory_that_is_lost_is_lost() -> None:
    made: list[Operation] = [MakeDir("e"), Create("e/a", 0), SyncDir("e")]
    assert [sorted(image) for image in states(made)] == [["d"], ["d", "e", "e/a"]]


def test_reductions_keep_borders_and_pairs() -> None:
    assert cut_offsets(0, 10, 4096) == list(range(1, 10))
    assert {511, 512, 513, 1999}.issubset(cut_offsets(0, 2000, 100))
    chosen = {tuple(options) for options in thinned_out([3, 3, 3, 3], pairs=True)}
    for first in range(3):
        for second in range(3):
            assert (first, 0, 0, second) in chosen
            assert (2, first, second, 2) in chosen
