"""A small file that is written whole, again and again, and ends up with the newest of what it is
given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar

from quorumcache.node.errors import DiskRefused

if TYPE_CHECKING:
    from quorumcache.node.storage.disk import Disk

T = TypeVar("T")


class KeptFile(Generic[T]):
    """One write is under way at a time; of those that wait the last one counts. A full disk leaves
    the file as it is, until `keep` is called again.
    """

    def __init__(
        self,
        disk: Disk,
        path: str,
        encode: Callable[[T], bytes],
        stored: T,
        on_failed: Callable[[BaseException], None],
    ) -> None:
        """`encode`: the file's content. `stored`: what the file holds. `on_failed`: the disk
        failed while it was written.
        """
        self._disk = disk
        self._path = path
        self._encode = encode
        self._on_failed = on_failed
        self._wanted = stored
        self._is_writing = False
        self.stored = stored
        """What the file holds for certain."""

    def keep(self, value: T) -> None:
        """Have the file hold this, which must not change any more. Durable when `stored` is it."""
        self._wanted = value
        if not self._is_writing and value != self.stored:
            self._write(value)

    def _write(self, value: T) -> None:
        self._is_writing = True

        def written(error: BaseException | None) -> None:
            self._is_writing = False
            if error is None:
                self.stored = value
                self.keep(self._wanted)
            elif not isinstance(error, DiskRefused):
                self._on_failed(error)

        self._disk.write_atomic(self._path, [self._encode(value)], written)
