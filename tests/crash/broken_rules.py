"""The rules that crash safety rests on, each broken on purpose.

A rule is broken by replacing one thing in the product, or by system calls that do nothing
(`MemoryFiles.skipped`). The explorer has to find a crash state that breaks the contract for each.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from quorumcache.node.storage import disk_calls, log_writer
from quorumcache.node.storage.real_disk import RealDisk
from quorumcache.node.storage.snapshots import SnapshotStore
from quorumcache.node.wal import segment
from quorumcache.node.wal.format import (
    FRAME_HEADER_BYTES,
    FRAME_MAGIC,
    Head,
    Mark,
    MarkKind,
    WalRecord,
    decode_frame,
)
from quorumcache.node.wal.groups import GroupStates
from quorumcache.node.wal.wal import Wal

Replacement = tuple[Any, str, Callable[..., Any]]


@dataclass(frozen=True)
class BrokenRule:
    """`rule` is what the product does; here it does not."""

    name: str
    rule: str
    replacements: tuple[Replacement, ...] = ()
    skipped: frozenset[str] = frozenset()
    workload: str = "everything"

    @contextmanager
    def broken(self) -> Iterator[None]:
        """The product without the rule."""
        with ExitStack() as stack:
            for owner, name, replacement in self.replacements:
                stack.enter_context(patch.object(owner, name, replacement))
            yield


def _accept_any_frame(data: bytes, offset: int, salt: int) -> int:
    """`intact_frame_end` without the checksum."""
    if data[offset : offset + 4] != FRAME_MAGIC:
        return 0
    length = int.from_bytes(data[offset + 8 : offset + 12], "big")
    end = offset + FRAME_HEADER_BYTES + length
    return end if end <= len(data) else 0


_run = log_writer._Append.run


def _append_hard_states_unsynced(self: Any) -> None:
    items = decode_frame(self._data, 0, len(self._data), "the log")
    memory: Any = disk_calls.os
    has_only_hard_states = all(isinstance(i, WalRecord) and not i.entries for i in items)
    if has_only_hard_states:
        memory._files.skipped.add("sync_data")
    try:
        _run(self)
    finally:
        memory._files.skipped.discard("sync_data")


_save = SnapshotStore.save


def _save_and_say_so_at_once(self: Any, group: int, meta: Any, pieces: Any, done: Any) -> None:
    _save(self, group, meta, pieces, lambda error: None)
    done(None)


_mark = Wal._mark


def _mark_and_remove_at_once(self: Any, mark: Mark, on_durable: Any = None) -> None:
    if mark.kind != MarkKind.FORGOTTEN:
        self._chain.durable_bases[mark.group] = mark.index
        self._chain.remove_covered()
    _mark(self, mark, on_durable)


def _empty_head(self: GroupStates, previous_end: int) -> Head:
    return Head(previous_end, ())


def _do_nothing(*_: Any) -> None:
    pass


_rewrite = RealDisk.rewrite


def _rewrite_with_its_tail(self: Any, path: str, size: int) -> None:
    _rewrite(self, path, len(self.read(path)))


def _truncate_only(self: Any, path: str, size: int) -> None:
    """`rewrite` as a cut without a sync."""
    memory: Any = disk_calls.os
    fd = memory.open(path, os.O_RDWR)
    memory.ftruncate(fd, size)
    memory.close(fd)


def _write_in_place(path: str, chunks: Any) -> None:
    memory: Any = disk_calls.os
    fd = memory.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    offset = 0
    for chunk in chunks:
        offset += memory.pwrite(fd, chunk, offset)
    memory.fsync(fd)
    memory.close(fd)
    disk_calls.sync_dir(os.path.dirname(path))


def _unlink_without_sync(path: str) -> None:
    memory: Any = disk_calls.os
    if memory.path.exists(path):
        memory.unlink(path)


BROKEN_RULES = (
    BrokenRule(
        "rename_before_sync",
        "A file is synced before it is renamed into its place.",
        skipped=frozenset({"sync_file"}),
    ),
    BrokenRule(
        "append_not_synced",
        "Nothing is acknowledged before the sync of its frame.",
        skipped=frozenset({"sync_data"}),
    ),
    BrokenRule(
        "directory_not_synced",
        "A change of names counts once its directory is synced.",
        skipped=frozenset({"sync_dir"}),
    ),
    BrokenRule(
        "torn_tail_accepted",
        "A frame whose checksum is wrong is not taken.",
        ((segment, "intact_frame_end", _accept_any_frame),),
        workload="sectors",
    ),
    BrokenRule(
        "torn_tail_kept",
        "A torn tail is cut off before anything is written behind it.",
        ((RealDisk, "rewrite", _rewrite_with_its_tail),),
    ),
    BrokenRule(
        "hard_state_not_synced",
        "A hard state is synced as entries are.",
        ((log_writer._Append, "run", _append_hard_states_unsynced),),
    ),
    BrokenRule(
        "hard_states_not_repeated",
        "The head of a segment repeats the hard states of those before.",
        ((GroupStates, "head", _empty_head),),
        workload="rolling",
    ),
    BrokenRule(
        "mark_before_snapshot",
        "A mark is written after the snapshot that it tells of is durable.",
        ((SnapshotStore, "save", _save_and_say_so_at_once),),
        workload="rolling",
    ),
    BrokenRule(
        "removal_before_mark",
        "A segment is removed after the mark that says so is durable.",
        ((Wal, "_mark", _mark_and_remove_at_once),),
        workload="installs",
    ),
    BrokenRule(
        "removals_out_of_order",
        "Segments are removed one at a time, each durably.",
        ((disk_calls, "unlink", _unlink_without_sync),),
    ),
    BrokenRule(
        "believed_without_sync",
        "What a start reads of the log it makes durable before it believes it.",
        ((RealDisk, "rewrite", _truncate_only),),
    ),
    BrokenRule(
        "names_believed_without_sync",
        "A start syncs the directories whose names it believes.",
        ((RealDisk, "sync_dir", _do_nothing),),
        workload="restarts",
    ),
    BrokenRule(
        "written_in_place",
        "Small files are replaced as a whole, by rename.",
        ((disk_calls, "write_whole", _write_in_place),),
    ),
)
