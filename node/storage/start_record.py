"""Which start of a data directory this is, and which starts of the others this node has seen.

A directory that is set back to an older copy of itself is whole and sound, but lacks what
it acknowledged. So each directory counts its starts as a member (`node.starts`), each with a random
nonce, durably before its first hello; the hello tells the number and the last nonces. Each node
keeps the newest start that it has seen of every other one (`peers.starts`). A directory that lacks
that start, or has another one of that number, is not the one that was seen: it was set back, or is
a copy. Starting it again and again does not help it: the nonces between stay others.

Seen starts are stored behind the hello and not before it: a node that loses its power within that
one sync has forgotten one start, as if it had been down then. Links come up no later for it.

Both files are written whole, by rename: msgpack and, behind it, the CRC-32 of that. Both name the
disk id of their directory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import msgpack

from quorumcache.node.errors import BrokenDataDir, DiskRefused, StartupError
from quorumcache.node.storage.checksum import checked, with_checksum
from quorumcache.node.storage.kept_file import KeptFile
from quorumcache.node.storage.starts import NONCE_BYTES, NONCES_MAX, Starts
from quorumcache.node.telemetry.logs import event, get_logger

if TYPE_CHECKING:
    from quorumcache.node.storage.disk import Disk

log: Final = get_logger("node")

STARTS_FILE: Final = "node.starts"
SEEN_FILE: Final = "peers.starts"


def encode_starts(disk_id: str, starts: Starts) -> bytes:
    """The content of `STARTS_FILE`."""
    return with_checksum(msgpack.packb((disk_id, *starts)))


def read_starts(disk: Disk, directory: str, disk_id: str) -> Starts:
    """What the file in `directory` says; it is there. Raises `BrokenDataDir`."""
    try:
        owner, number, nonces = msgpack.unpackb(checked(disk.read(f"{directory}/{STARTS_FILE}")))
        if owner != disk_id:
            raise ValueError(f"it belongs to data directory {owner!r:.60}")
        if type(number) is not int or type(nonces) is not bytes:
            raise ValueError("no number and nonces")
        if len(nonces) != min(number, NONCES_MAX) * NONCE_BYTES:
            raise ValueError(f"{len(nonces)} bytes of nonces for {number} starts")
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise BrokenDataDir(directory, f"{STARTS_FILE} cannot be used ({error})") from error
    return Starts(number, nonces)


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
        self._seen: dict[str, tuple[int, bytes]] = {}
        """Number and nonce, by the disk id of the directory."""
        self._refused: dict[str, tuple[int, bytes]] = {}
        """The same of the last hello that was refused. In memory only."""
        self._file: KeptFile[dict[str, tuple[int, bytes]]] | None = None
        if disk is not None:
            path = f"{directory}/{SEEN_FILE}"
            if disk.exists(path):
                self._seen = read_seen(disk.read(path), path, disk_id)
            self._file = KeptFile(
                *(disk, path, lambda seen: encode_seen(seen, disk_id), dict(self._seen), on_failed)
            )

    def why_set_back(self, own_name: str, name: str, disk_id: str, starts: Starts) -> str | None:
        """Why directory `disk_id` is not the one that was seen here; None if it is.

        `own_name` is this node, `name` the one that runs on the directory; both are for people.
        """
        number, nonce = self._seen.get(disk_id, (0, b""))
        if starts.number >= number:
            theirs = starts.nonce_of(number)
            if theirs == nonce or (theirs is None and not self._was_refused(disk_id, starts)):
                return None  # With no nonce of a start so long ago: nothing can be said.
            found = f"has a start {number} that is not the one that node {own_name} saw"
        else:
            found = f"is at start {starts.number}, but node {own_name} saw its start {number}"
        newest = starts.nonce_of(starts.number)
        if newest is not None:
            self._refused[disk_id] = (starts.number, newest)
        return (
            f"the data directory of node {name} {found}: it was set back to an older copy and"
            " no longer knows what it promised, or it is a copy of the right one. Stop the process"
            f" that runs on it. Start node {name} with the directory as it was last, or leave"
            " it stopped; the cluster goes on without it"
        )

    def _was_refused(self, disk_id: str, starts: Starts) -> bool:
        """Whether this directory was refused before some of its starts: a supervisor that starts
        it for ever would push out of its nonces what it was refused for.
        """
        number, nonce = self._refused.get(disk_id, (0, b""))
        return starts.nonce_of(number) == nonce

    def saw(self, disk_id: str, starts: Starts) -> None:
        """The directory was accepted: remember its newest start."""
        nonce = starts.nonce_of(starts.number)
        if nonce is not None and self._seen.get(disk_id, (0, b""))[0] < starts.number:
            self._seen[disk_id] = (starts.number, nonce)
            self.store_if_due()

    def store_if_due(self) -> None:
        """Store what was seen. Also called now and then: a full disk may have room again."""
        if self._file is not None and self._seen != self._file.stored:
            self._file.keep(dict(self._seen))


def encode_seen(seen: dict[str, tuple[int, bytes]], disk_id: str) -> bytes:
    """The content of `SEEN_FILE`."""
    return with_checksum(msgpack.packb((disk_id, seen)))


def read_seen(data: bytes, path: str, disk_id: str) -> dict[str, tuple[int, bytes]]:
    """What `SEEN_FILE` holds: number and nonce of the newest start seen, by disk id."""
    try:
        owner, seen = msgpack.unpackb(checked(data), use_list=False)
        if owner != disk_id:
            raise ValueError(f"it belongs to data directory {owner!r:.60}")
        for peer, (number, nonce) in seen.items():
            if (type(peer), type(number), type(nonce)) != (str, int, bytes):
                raise ValueError("no disk id, number and nonce")
    except (ValueError, TypeError, AttributeError, msgpack.UnpackException) as error:
        raise StartupError(
            f"{path} is damaged ({error}): restore that file. Without a copy remove it: this node"
            " then sees the starts of the others anew, and cannot tell whether a directory was set"
            " back before that"
        ) from error
    return dict(seen)
