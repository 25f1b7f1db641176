"""Which segment of the log was written to last, in a file beside the log.

Every segment vouches for the one before it, and nothing for the newest: with its file gone, or with
the whole log set back to an older copy, what is left is a sound log that has forgotten. So the file
`log.newest` names the newest segment, by its number and its salt, once its first frame is durable:

    segment <sequence number; 0 before the first>
    salt <of its header, eight hex digits>
    crc <CRC-32 of the lines above, eight hex digits>

It may lag behind the log (a crash between the frame and this), and is never ahead of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple
from zlib import crc32

from quorumcache.node.errors import WrongDataDir
from quorumcache.node.storage.disk import Disk
from quorumcache.node.storage.kept_file import KeptFile

if TYPE_CHECKING:
    OnFailed = Callable[[BaseException], None]

NEWEST_FILE: Final = "log.newest"

_PATTERN: Final = re.compile(rb"(segment (\d{1,10})\nsalt ([0-9a-f]{8})\n)crc ([0-9a-f]{8})\n")


class NewestSegment(NamedTuple):
    """`sequence` 0: none was written to yet."""

    sequence: int = 0
    salt: int = 0


NOTHING_WRITTEN: Final = NewestSegment()


def encode_newest(newest: NewestSegment) -> bytes:
    """The content of the file."""
    text = b"segment %d\nsalt %08x\n" % newest
    return text + b"crc %08x\n" % crc32(text)


def read_newest(disk: Disk, directory: str) -> NewestSegment:
    """What the file in `directory` says; it is there. Raises `WrongDataDir` if it is damaged."""
    path = f"{directory}/{NEWEST_FILE}"
    match = _PATTERN.fullmatch(disk.read(path))
    if match is None or int(match[4], 16) != crc32(match[1]):
        raise WrongDataDir(
            directory,
            f"has a damaged {NEWEST_FILE}: restore that file, or keep the directory aside and"
            " leave this node stopped; the cluster goes on without it",
        )
    return NewestSegment(int(match[2]), int(match[3], 16))


class NewestNote:
    """Keeps the file. On a full disk it lags until the next segment, which it may."""

    def __init__(self, disk: Disk, directory: str, on_failed: OnFailed) -> None:
        """`on_failed`: the disk failed, as it does for the log itself."""
        path = f"{directory}/{NEWEST_FILE}"
        self._file = KeptFile(disk, path, encode_newest, NOTHING_WRITTEN, on_failed)

    def begun(self, sequence: int, salt: int) -> None:
        """The first frame of this segment is durable."""
        self._file.keep(NewestSegment(sequence, salt))
