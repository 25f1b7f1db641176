"""Which start of a data directory this is, and which starts of the others this node has seen.

A directory that is set back to an older copy of itself is whole and sound, and has forgotten what
it acknowledged. So each directory counts its starts as a member (`node.starts`), each with a random
mark, durably before its first hello; the hello tells the number and the last marks. Each node keeps
the newest start that it has seen of every other one (`peers.starts`). A directory that lacks that
start, or has another one of that number, is not the one that was seen: it was set back, or is a
copy. Starting it again and again does not help it: the marks between stay others.

Seen starts are stored behind the hello and not before it: a node that loses its power within that
one sync has forgotten one start, as if it had been down then. Links come up no later for it.

Both files are written whole, by rename: msgpack and, behind it, the CRC-32 of that. Both name the
disk id of their directory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

import msgpack

from quorumcache.node.errors import BrokenDataDir, DiskRefused, StartupError
from quorumcache.node.peers.codec import MARK_BYTES, MARKS_MAX, Hello
from quorumcache.node.storage.checksum import checked, with_checksum
from quorumcache.node.telemetry.logs import event, get_logger

if TYPE_CHECKING:
    from quorumcache.node.storage.disk import Disk

log: Final = get_logger("node")

STARTS_FILE: Final = "node.starts"
SEEN_FILE: Final = "peers.starts"


class Starts(NamedTuple):
    """How often a directory was started as a member, and the marks of the last starts."""

    number: int = 0
    marks: bytes = b""
    """`MARK_BYTES` each, the newest last: of all starts, or of the last `MARKS_MAX`."""

    def next(self, incarnation: int) -> Starts:
        """With one start more. Its mark is taken from the process's random number."""
        mark = (incarnation % (1 << 8 * MARK_BYTES)).to_bytes(MARK_BYTES, "big")
        return Starts(self.number + 1, (self.marks + mark)[-MARK_BYTES * MARKS_MAX :])


def mark_of(number: int, last_number: int, marks: bytes) -> bytes | None:
    """The mark of start `number` among those up to `last_number`; None if it is not among them."""
    at = len(marks) - (last_number - number + 1) * MARK_BYTES
    return marks[at : at + MARK_BYTES] if 0 <= at < len(marks) else None


def encode_starts(disk_id: str, starts: Starts) -> bytes:
    """The content of `STARTS_FILE`."""
    return with_checksum(msgpack.packb((disk_id, *starts)))


def read_starts(disk: Disk, directory: str, disk_id: str) -> Starts:
    """What the file in `directory` says; it is there. Raises `BrokenDataDir`."""
    try:
        owner, number, marks = msgpack.unpackb(checked(disk.read(f"{directory}/{STARTS_FILE}")))
        if owner != disk_id:
            raise ValueError(f"it belongs to data directory {owner!r:.60}")
        if type(number) is not int or type(marks) is not bytes:
            raise ValueError("no number and marks")
        if len(marks) != min(number, MARKS_MAX) * MARK_BYTES:
            raise ValueError(f"{len(marks)} bytes of marks for {number} starts")
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise BrokenDataDir(directory, f"{STARTS_FILE} cannot be used ({error})") from error
    return Starts(number, marks)


def count_start(disk: Disk, directory: str, disk_id: str, incarnation: int) -> Starts:
    """Count this start, durably. Blocks. On a full disk it goes as a part of the start before."""
    before = read_starts(disk, directory, disk_id)
    starts = before.next(incarnation)
    try:
        disk.write(f"{directory}/{STARTS_FILE}", encode_starts(disk_id, starts))
    except DiskRefused as error:
        # The others take it for the last start: only a copy from between the two looks like it.
        # The rename of that one may not be durable: its run was killed, or the disk full, before
        # the sync. Told, and then lost with the power, it would be missed by the others.
        disk.sync_dir(directory)
        event(log, "warning", "start_not_counted", why=error)
        return before
    return starts


class PeerStarts:
    """The newest start seen of each other node. `disk` None: kept in memory only."""

    def __init__(
        self,
        disk: Disk | None,
        directory: str,
        disk_id: str,
        on_failed: Callable[[BaseException], None],
    ) -> None:
        """Reads the file; without one nothing was seen. `StartupError` names one that is damaged.
        `on_failed`: the disk failed while it was written.
        """
        self._disk = disk
        self._path = f"{directory}/{SEEN_FILE}"
        self._disk_id = disk_id
        self._on_failed = on_failed
        self._seen: dict[str, tuple[int, bytes]] = {}
        """Number and mark, by the disk id of the directory."""
        self._refused: dict[str, tuple[int, bytes]] = {}
        """The same of the last hello that was refused. In memory only."""
        self._stored: dict[str, tuple[int, bytes]] = {}
        self._is_writing = False
        if disk is not None and disk.exists(self._path):
            self._stored = read_seen(disk.read(self._path), self._path, disk_id)
            self._seen = dict(self._stored)

    def why_set_back(self, own_name: str, hello: Hello) -> str | None:
        """Why the directory behind `hello` is not the one that was seen here; None if it is."""
        number, mark = self._seen.get(hello.disk_id, (0, b""))
        if hello.start_number >= number:
            theirs = mark_of(number, hello.start_number, hello.start_marks)
            if theirs == mark or (theirs is None and not self._was_refused(hello)):
                return None  # With no mark of a start so long ago: nothing can be said.
            found = f"lacks start {number} as node {own_name} has seen it"
        else:
            found = (
                f"is at start {hello.start_number}, but node {own_name} has seen its start {number}"
            )
        newest = mark_of(hello.start_number, hello.start_number, hello.start_marks)
        if newest is not None:
            self._refused[hello.disk_id] = (hello.start_number, newest)
        return (
            f"the data directory of node {hello.name} {found}: it was set back to an older copy and"
            " has forgotten what it promised, or it is a copy of the right one. Stop the process"
            f" that runs on it. Start node {hello.name} with the directory as it was last, or leave"
            " it stopped; the cluster goes on without it"
        )

    def _was_refused(self, hello: Hello) -> bool:
        """Whether this directory was refused before some of its starts: a supervisor that starts
        it for ever would push out of its marks what it was refused for.
        """
        number, mark = self._refused.get(hello.disk_id, (0, b""))
        return mark_of(number, hello.start_number, hello.start_marks) == mark

    def saw(self, hello: Hello) -> None:
        """The hello was accepted: remember its start."""
        number = hello.start_number
        mark = mark_of(number, number, hello.start_marks)
        if mark is not None and self._seen.get(hello.disk_id, (0, b""))[0] < number:
            self._seen[hello.disk_id] = (number, mark)
            self.store_if_due()

    def store_if_due(self) -> None:
        """Store what was seen. One write is under way at a time. Also called now and then: a disk
        that was full may have room again.
        """
        if self._disk is None or self._is_writing or self._seen == self._stored:
            return
        self._is_writing = True
        seen = dict(self._seen)

        def stored(error: BaseException | None) -> None:
            self._is_writing = False
            if isinstance(error, DiskRefused):
                return
            if error is not None:
                self._on_failed(error)
                return
            self._stored = seen
            self.store_if_due()

        content = with_checksum(msgpack.packb((self._disk_id, seen)))
        self._disk.write_atomic(self._path, [content], stored)


def read_seen(data: bytes, path: str, disk_id: str) -> dict[str, tuple[int, bytes]]:
    """What `SEEN_FILE` holds: number and mark of the newest start seen, by disk id."""
    try:
        owner, seen = msgpack.unpackb(checked(data), use_list=False)
        if owner != disk_id:
            raise ValueError(f"it belongs to data directory {owner!r:.60}")
        for peer, (number, mark) in seen.items():
            if (type(peer), type(number), type(mark)) != (str, int, bytes):
                raise ValueError("no disk id, number and mark")
    except (ValueError, TypeError, AttributeError, msgpack.UnpackException) as error:
        raise StartupError(
            f"{path} is damaged ({error}): restore that file. Without a copy remove it: this node"
            " then sees the starts of the others anew, and cannot tell whether a directory was set"
            " back before that"
        ) from error
    return dict(seen)
