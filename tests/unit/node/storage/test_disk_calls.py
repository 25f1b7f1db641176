"""What is done to files, call by call, and what its errors mean."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path
from random import Random

import pytest

from quorumcache.node.errors import DataDirLost, DiskFailed, DiskFull, OutOfResources
from quorumcache.node.storage import disk_calls
from quorumcache.node.storage.disk import DiskSpace
from quorumcache.node.storage.real_disk import RealDisk
from tests.simulation.loop import VirtualLoop
from tests.support.fake_disk import FakeDisk, Nothing


def test_bytes_of_a_failed_sync_survive_a_power_loss_once_rewritten() -> None:
    """The kernel drops the dirty marks of a failed sync: a later sync writes nothing."""
    loop = VirtualLoop()
    disk = FakeDisk(loop, Random(1), survival=Nothing())
    errors: list[BaseException | None] = []
    file = disk.create("d/f", b"head", errors.append)
    loop.run_until_complete(asyncio.sleep(1))
    disk.failing_syncs = 1
    file.append(b"frame", errors.append)
    loop.run_until_complete(asyncio.sleep(1))
    loop.close()
    assert errors[0] is None
    assert isinstance(errors[1], DiskFailed)
    disk.crash(power=False)
    assert disk.read("d/f") == b"headframe"
    disk.rewrite("d/f", 9)
    disk.crash(power=True)
    assert disk.read("d/f") == b"headframe"


def test_rewrite_keeps_the_bytes_and_cuts_the_rest(tmp_path: Path) -> None:
    loop = asyncio.new_event_loop()
    disk = RealDisk(loop)
    path = tmp_path / "f"
    path.write_bytes(b"0123456789")
    disk.rewrite(str(path), 7)
    assert path.read_bytes() == b"0123456"
    disk.rewrite(str(path), 0)
    assert path.read_bytes() == b""
    disk.close()
    loop.close()


@pytest.mark.parametrize("call", ["pwrite", "ftruncate", "fsync"])
@pytest.mark.parametrize("name", ["rewrite", "truncate"])
def test_a_start_on_a_full_disk_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, call: str
) -> None:
    """A copy-on-write file system has no room for bytes that are written in place."""
    if (name, call) == ("truncate", "pwrite"):
        return  # It writes nothing.
    path = tmp_path / "f"
    path.write_bytes(b"0123456789")

    def refuse(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    loop = asyncio.new_event_loop()
    disk = RealDisk(loop)
    monkeypatch.setattr(os, call, refuse)
    try:
        with pytest.raises(OSError, match="No space") as raised:
            getattr(disk, name)(str(path), 7)
    finally:
        monkeypatch.undo()
        disk.close()
        loop.close()
    assert raised.value.filename == str(path)
    assert disk_calls.is_full(raised.value)


def test_a_directory_that_cannot_be_synced_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(fd: int) -> None:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="quota") as raised:
        disk_calls.sync_dir(str(tmp_path))
    assert raised.value.filename == str(tmp_path)
    assert disk_calls.is_full(raised.value)


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOSYS])
def test_the_room_is_not_known_where_the_system_forbids_to_ask(
    monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(path: str) -> None:
        raise OSError(code, "forbidden")

    monkeypatch.setattr(os, "statvfs", refuse)
    assert disk_calls.space("d") == DiskSpace(0, 0)


@pytest.mark.parametrize(
    ("code", "kind", "is_refused"),
    [
        (errno.ENOSPC, DiskFull, True),
        (errno.EDQUOT, DiskFull, True),
        (errno.EMFILE, OutOfResources, True),
        (errno.ENOMEM, OutOfResources, True),
        (errno.ENOENT, DataDirLost, False),
        (errno.EIO, DiskFailed, False),
        (errno.EROFS, DiskFailed, False),
    ],
)
def test_what_an_error_means(code: int, kind: type[Exception], is_refused: bool) -> None:
    error = OSError(code, os.strerror(code))
    assert type(disk_calls.classified(error, "d/f")) is kind
    assert disk_calls.was_refused(error) == is_refused


def test_a_write_goes_on_where_the_system_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: write(fd, data[:3], offset))
    disk_calls.write_whole(str(tmp_path / "f"), [b"0123456789", b"", b"abc"])
    assert (tmp_path / "f").read_bytes() == b"0123456789abc"
    assert os.listdir(tmp_path) == ["f"]


def test_an_allocated_file_takes_its_room_or_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "reserve"
    disk_calls.allocate(str(path), 10_000)
    assert path.stat().st_size == 10_000
    assert path.stat().st_blocks * 512 >= 10_000
    disk_calls.unlink(str(path))
    disk_calls.unlink(str(path))

    def full(fd: int, offset: int, size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(DiskFull, match="reserve"):
        disk_calls.allocate(str(path), 10_000)
    assert os.listdir(tmp_path) == []


def test_a_file_is_gone_only_if_that_is_certain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fails says nothing of its files."""
    path = tmp_path / "f"
    path.write_bytes(b"")
    fd = os.open(path, os.O_RDONLY)
    assert disk_calls.is_there(str(path))
    assert disk_calls.is_same_file(str(path), fd)
    path.unlink()
    assert not disk_calls.is_there(str(path))
    assert not disk_calls.is_same_file(str(path), fd)
    path.write_bytes(b"")
    assert not disk_calls.is_same_file(str(path), fd), "another one of the same name"

    def broken(path: str) -> os.stat_result:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", broken)
        assert disk_calls.is_there(str(path))
        assert disk_calls.is_same_file(str(path), fd)
    os.close(fd)
