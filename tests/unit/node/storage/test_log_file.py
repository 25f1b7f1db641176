"""A file of the log on this machine's disk, over each form of its writer.

What is written, and how, is in test_log_writer.py; with all threads of a disk: test_real_disk.py.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from quorumcache.node.errors import DiskFailed, DiskFull, OutOfResources
from quorumcache.node.storage.disk import Done
from quorumcache.node.storage.log_file import LogFile
from quorumcache.node.storage.log_writer import Written
from tests.support.log_writers import FORMS, Form, opened

ZEROS = bytes(8192)


class Never:
    """A disk that hangs."""

    def append(self, fd: int, data: bytes, start: int, filled_bytes: int, written: Written) -> None:
        pass

    def close_file(self, fd: int) -> None:
        os.close(fd)

    def close(self) -> None:
        pass


class Told(Never):
    """A disk that ends each append as it was told."""

    def __init__(self, filled_bytes: int, error: BaseException | None, was_cut: bool) -> None:
        self.outcome = (filled_bytes, error, was_cut)
        self.asked: list[tuple[int, int]] = []

    def append(self, fd: int, data: bytes, start: int, filled_bytes: int, written: Written) -> None:
        self.asked.append((start, filled_bytes))
        written(*self.outcome)


def appended(file: LogFile, data: bytes) -> BaseException | None:
    told: list[BaseException | None] = []
    done: Done = told.append
    file.append(data, done)
    return told[0]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_what_is_appended_follows_the_header(tmp_path: Path, form: Form) -> None:
    with opened(form, tmp_path / "f", ZEROS) as log:
        for data in (b"a" * 100, b"b" * 20_000, b"c"):
            assert log.append(data) is None
        expected = b"header" + b"a" * 100 + b"b" * 20_000 + b"c"
        assert log.file.size == len(expected)
        assert (tmp_path / "f").read_bytes()[: log.file.size] == expected
        log.file.close()
        log.file.close()
    assert os.listdir(tmp_path) == ["f"]


def test_where_the_zeros_end_is_what_the_writer_said_last(tmp_path: Path) -> None:
    writer = Told(5000, None, False)
    file = LogFile(f"{tmp_path}/f", writer, ZEROS)
    file.create(b"header")
    assert appended(file, b"12345") is None
    writer.outcome = (11, OSError(errno.ENOSPC, "full"), True)
    assert isinstance(appended(file, b"1"), DiskFull)
    assert appended(file, b"1") is not None
    assert writer.asked == [(6, 6 + len(ZEROS)), (11, 5000), (11, 11)]
    file.close()


@pytest.mark.parametrize(
    ("error", "was_cut", "kind"),
    [
        (OSError(errno.ENOSPC, "No space"), True, DiskFull),
        (OSError(errno.EDQUOT, "Quota"), True, DiskFull),
        (OSError(errno.ENOMEM, "Memory"), True, OutOfResources),
        (OSError(errno.ENOSPC, "No space"), False, DiskFailed),
        (OSError(errno.EIO, "Input/output"), False, DiskFailed),
        (MemoryError(), False, MemoryError),
    ],
)
def test_what_an_error_means(
    tmp_path: Path, error: Exception, was_cut: bool, kind: type[Exception]
) -> None:
    """Full is only what was cut back; an error of the sync never is."""
    file = LogFile(f"{tmp_path}/f", Told(6, error, was_cut), ZEROS)
    file.create(b"header")
    told = appended(file, b"data")
    assert type(told) is kind
    if isinstance(error, OSError):
        assert str(told).startswith(f"{tmp_path}/f: {error.strerror}")
    assert file.size == 6
    file.close()


def test_one_append_at_a_time(tmp_path: Path) -> None:
    file = LogFile(f"{tmp_path}/f", Never(), ZEROS)
    file.create(b"header")
    file.append(b"a", lambda error: None)
    with pytest.raises(AssertionError, match="one append at a time"):
        file.append(b"b", lambda error: None)
    file.close()
    fresh = LogFile(f"{tmp_path}/g", Never(), ZEROS)
    with pytest.raises(AssertionError, match="before it was created"):
        fresh.append(b"a", lambda error: None)


def test_a_file_that_cannot_be_created_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failed(old: str, new: str) -> None:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(os, "rename", failed)
    with pytest.raises(DiskFull, match="Disk quota exceeded"):
        LogFile(f"{tmp_path}/f", Never(), ZEROS).create(b"header")
    assert os.listdir(tmp_path) == []
