"""A file of the log on this machine's disk. With its threads: test_real_disk.py."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from quorumcache.node.errors import DiskFailed, DiskFull
from quorumcache.node.storage.disk import Done
from quorumcache.node.storage.log_file import LogFile

ZEROS = bytes(8192)


class AtOnce:
    """In place of a worker's thread."""

    def submit(self, work: Callable[[], None], done: Done) -> None:
        error: BaseException | None = None
        try:
            work()
        except Exception as raised:
            error = raised
        done(error)


class Never(AtOnce):
    """A disk that hangs."""

    def submit(self, work: Callable[[], None], done: Done) -> None:
        pass


def made(tmp_path: Path, worker: Any = None, zeros: bytes = ZEROS) -> LogFile:
    file = LogFile(f"{tmp_path}/f", worker or AtOnce(), zeros)
    file.create(b"header")
    return file


def appended(file: LogFile, data: bytes) -> BaseException | None:
    told: list[BaseException | None] = []
    file.append(data, told.append)
    return told[0]


def test_zeros_are_written_ahead_once_and_overwritten_then(tmp_path: Path) -> None:
    file = made(tmp_path)
    size = os.path.getsize(file.path)
    assert size == 6 + len(ZEROS)
    for _ in range(10):
        assert appended(file, b"x" * 100) is None
        assert os.path.getsize(file.path) == size, "the file did not grow"
    for _ in range(3):
        assert appended(file, b"y" * 3000) is None
    assert os.path.getsize(file.path) > file.size == 6 + 1000 + 9000
    assert os.path.getsize(file.path) % 4096 == 0, "whole blocks"
    on_disk = Path(file.path).read_bytes()
    assert on_disk[: file.size] == b"header" + b"x" * 1000 + b"y" * 9000
    assert not on_disk[file.size :].strip(b"\0")
    file.close()


def test_no_zeros_follow_a_long_append(tmp_path: Path) -> None:
    file = made(tmp_path)
    filled = os.path.getsize(file.path)
    assert appended(file, b"x" * (len(ZEROS) // 2)) is None
    assert os.path.getsize(file.path) == filled, "it fits into the zeros of before"
    assert appended(file, b"y" * len(ZEROS)) is None
    assert os.path.getsize(file.path) == file.size
    assert appended(file, b"z") is None
    assert os.path.getsize(file.path) > file.size, "a short one again"
    data = b"header" + b"x" * (len(ZEROS) // 2) + b"y" * len(ZEROS) + b"z"
    assert Path(file.path).read_bytes().rstrip(b"\0") == data
    file.close()


@pytest.mark.parametrize("zeros", [b"", ZEROS])
def test_what_the_system_writes_in_part_is_written_to_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zeros: bytes
) -> None:
    file = made(tmp_path, zeros=zeros)
    pwrite, pwritev = os.pwrite, os.pwritev
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: pwrite(fd, data[:7], offset))
    monkeypatch.setattr(os, "pwritev", lambda fd, all, offset: pwritev(fd, [all[0][:7]], offset))
    for data in (b"in parts of seven bytes", b"exact 7", b"and once more"):
        assert appended(file, data) is None
    written = b"headerin parts of seven bytesexact 7and once more"
    assert file.size == len(written)
    assert Path(file.path).read_bytes()[: file.size] == written
    file.close()


@pytest.mark.parametrize("zeros", [b"", ZEROS])
def test_an_append_without_room_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zeros: bytes
) -> None:
    file = made(tmp_path, zeros=zeros)

    def full(fd: int, data: Any, offset: int) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        patch.setattr(os, "pwritev", full)
        assert isinstance(appended(file, b"z" * 10_000), DiskFull)
    assert Path(file.path).read_bytes() == b"header"
    assert file.size == 6
    assert appended(file, b"again") is None
    assert Path(file.path).read_bytes()[: file.size] == b"headeragain"
    file.close()


def test_a_disk_that_fails_is_never_called_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = made(tmp_path)

    def failed(fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", failed)
        assert isinstance(appended(file, b"data"), DiskFailed)
    assert file.size == 6
    file.close()


def test_one_append_at_a_time(tmp_path: Path) -> None:
    file = made(tmp_path, Never())
    file.append(b"a", lambda error: None)
    with pytest.raises(AssertionError, match="one append at a time"):
        file.append(b"b", lambda error: None)
    file._close()
    fresh = LogFile(f"{tmp_path}/g", AtOnce(), ZEROS)  # type: ignore[arg-type]
    with pytest.raises(AssertionError, match="before it was created"):
        fresh.append(b"a", lambda error: None)


def test_a_file_that_cannot_be_created_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failed(old: str, new: str) -> None:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(os, "rename", failed)
    with pytest.raises(DiskFull, match="Disk quota exceeded"):
        made(tmp_path)
    assert os.listdir(tmp_path) == []
