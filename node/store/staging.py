"""Pieces of large values that were written before the command that stores their value.

A large value comes to its shard in pieces, each a command of its own (OP_PIECE), under the id of
its *upload*. They wait here until OP_STORE_PIECES makes an item of all of them in one step, or
until they are dropped: by the node that gave the upload up, or by the leader, when no piece has
come for a while. An upload id is random and belongs to one attempt to store one value, so pieces of
two values never meet.

All of it is replicated state: it moves only with the log, and lies in snapshots and digests. So its
bounds are part of the log's format.
"""

from collections.abc import Iterable
from typing import Final

from quorumcache.node.store.results import PIECE_STAGED, PIECES_MISSING, STAGING_FULL

STAGED_BYTES_MAX: Final = 256 << 20
"""What all uploads of a shard announce together: two items of the largest size. An upload that was
let in has room for all of its pieces, so uploads never wait for each other half way."""

UPLOADS_MAX: Final = 64
"""Uploads of a shard at a time."""

PIECE_OVERHEAD: Final = 160
"""Bytes that a piece costs beside its own: its object, its rounding, its place in a table."""

UploadImage = tuple[int, int, int, tuple[tuple[int, bytes], ...]]
"""An upload as snapshots hold it: id, total_bytes, last_active_ms, ((position, piece), ...)."""


class Upload:
    """The pieces of one value that have come so far."""

    __slots__ = ("last_active_ms", "pieces", "staged_bytes", "total_bytes")

    def __init__(self, total_bytes: int, last_active_ms: int) -> None:
        self.total_bytes = total_bytes
        """Length of the whole value, as its first piece announced it."""
        self.last_active_ms = last_active_ms
        """Cluster time of the last piece, ms."""
        self.staged_bytes = 0
        """Invariant: the lengths of `pieces` together, never above `total_bytes`."""
        self.pieces: dict[int, bytes] = {}
        """By their position in the value: 0, 1, 2, ..."""


class Staging:
    """The uploads of one shard, in the order in which they began."""

    __slots__ = ("bytes_used", "reserved_bytes", "uploads")

    def __init__(self) -> None:
        self.uploads: dict[int, Upload] = {}
        self.reserved_bytes = 0
        """Sum of their `total_bytes`."""
        self.bytes_used = 0
        """What the pieces take."""

    def stage(self, upload_id: int, position: int, total: int, piece: bytes, now_ms: int) -> int:
        """Take in one piece of a value of `total` bytes; a result of `results.py`.

        The piece at position 0 begins an upload. Any other one needs an upload that is under way: a
        piece that comes late, after its upload was dropped, must not stay here.
        """
        upload = self.uploads.get(upload_id)
        if upload is None:
            if position:
                return PIECES_MISSING
            if (
                len(self.uploads) >= UPLOADS_MAX
                or self.reserved_bytes + max(total, 0) > STAGED_BYTES_MAX
            ):
                return STAGING_FULL
            upload = self.uploads[upload_id] = Upload(max(total, 0), now_ms)
            self.reserved_bytes += upload.total_bytes
        upload.last_active_ms = now_ms
        if position in upload.pieces:
            return PIECE_STAGED  # A repetition under a new session.
        if not piece or upload.staged_bytes + len(piece) > upload.total_bytes:
            return PIECES_MISSING
        upload.pieces[position] = piece
        upload.staged_bytes += len(piece)
        self.bytes_used += len(piece) + PIECE_OVERHEAD
        return PIECE_STAGED

    def take(self, upload_id: int) -> tuple[bytes, ...]:
        """The value of an upload, which ends here: all its pieces in order; empty if any is
        missing.
        """
        upload = self.drop(upload_id)
        if upload is None or upload.staged_bytes != upload.total_bytes:
            return ()
        pieces = upload.pieces
        for position in range(len(pieces)):
            if position not in pieces:
                return ()
        return tuple([pieces[position] for position in range(len(pieces))])

    def drop(self, upload_id: int) -> Upload | None:
        """Forget an upload, and return it; None if there is none of that id."""
        upload = self.uploads.pop(upload_id, None)
        if upload is not None:
            self.reserved_bytes -= upload.total_bytes
            self.bytes_used -= upload.staged_bytes + PIECE_OVERHEAD * len(upload.pieces)
        return upload

    def drop_idle(self, upload_id: int, now_ms: int, idle_ms: int) -> None:
        """Forget an upload, unless a piece of it has come within `idle_ms`."""
        upload = self.uploads.get(upload_id)
        if upload is not None and upload.last_active_ms + idle_ms <= now_ms:
            self.drop(upload_id)

    def idle(self, now_ms: int, idle_ms: int) -> list[int]:
        """Ids of the uploads of which no piece has come for `idle_ms`."""
        return [
            upload_id
            for upload_id, upload in self.uploads.items()
            if upload.last_active_ms + idle_ms <= now_ms
        ]

    def images(self) -> tuple[UploadImage, ...]:
        """All uploads as plain values. The pieces are shared: nobody changes them."""
        return tuple(
            (upload_id, upload.total_bytes, upload.last_active_ms, tuple(upload.pieces.items()))
            for upload_id, upload in self.uploads.items()
        )

    def add(
        self, upload_id: int, total: int, last_active_ms: int, pieces: Iterable[tuple[int, bytes]]
    ) -> bool:
        """Take in an upload of a snapshot. False: it breaks a rule of this file."""
        if upload_id in self.uploads:
            return False
        upload = self.uploads[upload_id] = Upload(total, last_active_ms)
        self.reserved_bytes += total
        for position, piece in pieces:
            if position in upload.pieces:
                return False
            upload.pieces[position] = piece
            upload.staged_bytes += len(piece)
            self.bytes_used += len(piece) + PIECE_OVERHEAD
        return upload.staged_bytes <= total and self.reserved_bytes <= STAGED_BYTES_MAX
