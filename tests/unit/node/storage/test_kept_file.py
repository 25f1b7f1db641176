"""A file that ends up with the newest of what it is given."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from quorumcache.node.errors import DiskFull
from quorumcache.node.storage.kept_file import KeptFile

Done = Callable[[BaseException | None], None]


class World:
    """A file that holds a number as text, on a disk whose writes end when the test says so."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.failures: list[BaseException] = []
        self._done: list[Done] = []
        disk: Any = self
        self.file = KeptFile(disk, "d/file", lambda n: b"%d" % n, 0, self.failures.append)

    def write_atomic(self, path: str, chunks: Iterable[bytes], done: Done) -> None:
        assert path == "d/file"
        assert not self._done, "one write at a time"
        self.writes.append(b"".join(chunks))
        self._done.append(done)

    def end(self, error: BaseException | None = None) -> None:
        self._done.pop()(error)

    def is_idle(self) -> bool:
        return not self._done


def test_of_those_that_come_during_a_write_the_last_one_counts() -> None:
    world = World()
    for value in (1, 2, 3):
        world.file.keep(value)
    assert world.file.stored == 0
    world.end()
    assert world.file.stored == 1
    world.end()
    assert (world.writes, world.file.stored) == ([b"1", b"3"], 3)
    assert world.is_idle()


def test_what_is_stored_is_not_written_again() -> None:
    world = World()
    world.file.keep(0)
    assert world.is_idle()
    world.file.keep(1)
    world.file.keep(0)  # Wanted last, though it is what the file holds until the write ends.
    world.end()
    world.end()
    assert (world.writes, world.file.stored) == ([b"1", b"0"], 0)
    assert world.is_idle()


def test_a_full_disk_is_no_failure_and_is_tried_again_when_it_is_asked_for() -> None:
    world = World()
    world.file.keep(1)
    world.file.keep(2)
    world.end(DiskFull("d"))
    assert world.is_idle(), "not at once: it would be full for ever"
    assert (world.file.stored, world.failures) == (0, [])
    world.file.keep(2)
    world.end()
    assert (world.writes, world.file.stored) == ([b"1", b"2"], 2)


@pytest.mark.parametrize("error", [OSError("broken"), ValueError("odd")])
def test_any_other_error_is_told(error: Exception) -> None:
    world = World()
    world.file.keep(1)
    world.end(error)
    assert world.failures == [error]
    assert world.file.stored == 0
