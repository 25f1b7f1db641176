"""Views of a store, their bytes, and digests. `reading.py` reads the bytes.

A snapshot is a stream of msgpack arrays. The code that stores or sends it adds the checksum.

    header    [ "quorumcache-store", 2, applied_index, last_now_ms, last_wall_ms, pending_flush_ms,
                cas_counter, item count, session count ]      and in version 3 also
                [ ..., value_counter, value count, upload count ]      and in version 4 also
                [ ..., fence_counter, lock count, fence count, transaction count ]
    items     [ key, packed item, key, packed item, ... ]      as often as needed
    sessions  [ [ id, last_active_ms, floor, [ [sequence, result], ... ] ], ... ]      as often as
    needed
    values    [ value_id, piece count ], then so many pieces, each a msgpack bin     for each value
    uploads   [ id, total_bytes, last_active_ms, piece count ],
              then so many [ position, piece ]                                 for each upload
    locks, fences, transactions   [ image, ... ]      as often as needed, in this order

Values and uploads are there from version 3 on, what follows them in version 4. A state is written
in the lowest version that it fits into: nodes of the release before read version 2 only.

All of them but the items keep their order, so that a restored replica and one that ran the log
differ in the order of the items at most. That order is the table's (`item_table.py`).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Final

import msgpack

from quorumcache.node.errors import SnapshotInvalid
from quorumcache.node.store.fences import FenceImage
from quorumcache.node.store.item_table import ItemImage
from quorumcache.node.store.lock_records import LEASE_IMAGE_BYTES, LockImage
from quorumcache.node.store.sessions import SessionImage
from quorumcache.node.store.staging import UploadImage
from quorumcache.node.store.transactions import TransactionImage, writes_bytes

_MAGIC: Final = "quorumcache-store"
_FORMAT_VERSION: Final = 2
"""Version 1 had no `last_wall_ms`, and its times were those of a wall clock."""
_PIECES_VERSION: Final = 3
"""Version of a state with values in pieces."""
_LOCKS_VERSION: Final = 4
"""Version of a state with locks, fences or transactions."""
_HEADER_FIELDS: Final = {_FORMAT_VERSION: 9, _PIECES_VERSION: 12, _LOCKS_VERSION: 16}
HEADER_BYTES_MAX: Final = 128
"""More than a header takes."""

CHUNK_BYTES: Final = 256 << 10
"""A chunk ends after the item, or the session, that takes it past this size."""

SESSIONS_PER_CHUNK: Final = 64
"""Sessions of one chunk at most: those that remember little."""

RESULT_BYTES: Final = 16
"""About what a session's answer takes, without the item that it may carry."""

IMAGES_PER_CHUNK: Final = 64
"""Locks, fences or transactions of one chunk at most: those that are small."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StoreView:
    """An immutable image of a store: what it refers to is never changed. Its items are closed by
    whoever asked for it (`StateMachine.end_view`)."""

    __hash__ = None  # type: ignore[assignment]

    applied_index: int
    last_now_ms: int
    last_wall_ms: int
    pending_flush_ms: int
    cas_counter: int
    items: ItemImage
    sessions: tuple[SessionImage, ...]
    value_counter: int = 1
    values: dict[int, tuple[bytes, ...]] = field(default_factory=dict)
    uploads: tuple[UploadImage, ...] = ()
    fence_counter: int = 0
    locks: tuple[LockImage, ...] = ()
    fences: tuple[FenceImage, ...] = ()
    transactions: tuple[TransactionImage, ...] = ()

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, StoreView)
            and self._fields() == other._fields()
            and dict(self.items.pairs()) == dict(other.items.pairs())
        )

    def _fields(self) -> tuple[object, ...]:
        """All but the items."""
        times = (self.last_now_ms, self.last_wall_ms, self.pending_flush_ms)
        values = (self.value_counter, self.values, self.uploads)
        locks = (self.fence_counter, self.locks, self.fences, self.transactions)
        return (self.applied_index, times, self.cas_counter, self.sessions, values, locks)

    @property
    def has_locks(self) -> bool:
        """There are, or were, locks, fences or transactions."""
        return bool(self.fence_counter or self.locks or self.fences or self.transactions)

    @property
    def has_pieces(self) -> bool:
        """There are, or were, values in pieces."""
        return bool(self.value_counter > 1 or self.uploads)


def _image_bytes(image: SessionImage) -> int:
    """About how many bytes a session takes."""
    results = image[3]
    size = RESULT_BYTES * (1 + len(results))
    for _, result in results:
        if type(result) is tuple and type(result[1]) is bytes:
            size += len(result[1])
    return size


def encode_view(view: StoreView) -> Iterator[bytes]:
    """The snapshot of a view, in chunks of about CHUNK_BYTES (more when one item is larger)."""
    pack = msgpack.Packer(use_bin_type=True, autoreset=True).pack
    version = _PIECES_VERSION if view.has_pieces else _FORMAT_VERSION
    if view.has_locks:
        version = _LOCKS_VERSION
    header: tuple[object, ...] = (
        _MAGIC,
        version,
        view.applied_index,
        view.last_now_ms,
        view.last_wall_ms,
        view.pending_flush_ms,
        view.cas_counter,
        len(view.items),
        len(view.sessions),
    )
    if version >= _PIECES_VERSION:
        header = (*header, view.value_counter, len(view.values), len(view.uploads))
    if version >= _LOCKS_VERSION:
        counts = (len(view.locks), len(view.fences), len(view.transactions))
        header = (*header, view.fence_counter, *counts)
    yield pack(header)
    yield from view.items.chunks(CHUNK_BYTES)
    images: list[SessionImage] = []
    size = 0
    for image in view.sessions:
        images.append(image)
        size += _image_bytes(image)
        if len(images) == SESSIONS_PER_CHUNK or size >= CHUNK_BYTES:
            yield pack(images)
            images = []
            size = 0
    if images:
        yield pack(images)
    for number, value in view.values.items():
        yield pack((number, len(value)))
        for piece in value:
            yield pack(piece)
    for upload_id, total_bytes, last_active_ms, pieces in view.uploads:
        yield pack((upload_id, total_bytes, last_active_ms, len(pieces)))
        for place in pieces:
            yield pack(place)
    locks: list[LockImage] = []
    size = 0
    for lock in view.locks:
        locks.append(lock)
        size += LEASE_IMAGE_BYTES * (len(lock[3]) + len(lock[4]))
        if len(locks) == IMAGES_PER_CHUNK or size >= CHUNK_BYTES:
            yield pack(locks)
            locks = []
            size = 0
    if locks:
        yield pack(locks)
    for start in range(0, len(view.fences), IMAGES_PER_CHUNK):
        yield pack(view.fences[start : start + IMAGES_PER_CHUNK])
    transactions: list[TransactionImage] = []
    size = 0
    for transaction in view.transactions:
        transactions.append(transaction)
        size += writes_bytes(transaction)
        if len(transactions) == IMAGES_PER_CHUNK or size >= CHUNK_BYTES:
            yield pack(transactions)
            transactions = []
            size = 0
    if transactions:
        yield pack(transactions)


def read_times(data: bytes) -> tuple[int, int]:
    """`(last_now_ms, last_wall_ms)` of a snapshot. Raises SnapshotInvalid."""
    try:
        unpacker = msgpack.Unpacker(use_list=False, max_buffer_size=HEADER_BYTES_MAX)
        unpacker.feed(data[:HEADER_BYTES_MAX])
        header = read_header(unpacker)
    except SnapshotInvalid:
        raise
    except Exception as error:
        raise SnapshotInvalid(f"snapshot of {len(data)} bytes: {error!r}") from error
    return header[3], header[4]


def read_header(unpacker: Any) -> tuple[Any, ...]:
    """The header, which comes first. Raises SnapshotInvalid."""
    header = unpacker.unpack()
    if type(header) is not tuple or not header or header[0] != _MAGIC:
        raise SnapshotInvalid("not a snapshot of a store")
    if header[1] not in _HEADER_FIELDS:
        raise SnapshotInvalid(
            f"a snapshot of version {header[1]!r:.20}, which only development versions of 0.1.0 "
            f"read; this quorumcached reads versions {_FORMAT_VERSION} to {_LOCKS_VERSION}"
        )
    fields = _HEADER_FIELDS[header[1]]
    if len(header) != fields or not all(type(field) is int for field in header[1:]):
        raise SnapshotInvalid("snapshot header is damaged")
    return header


def view_digest(view: StoreView) -> bytes:
    """32 bytes that tell views apart, whatever the order of their items; the applied index does not
    count.
    """
    digest = blake2b(digest_size=32)
    pack = msgpack.Packer(use_bin_type=True, autoreset=True).pack
    times = (view.last_now_ms, view.last_wall_ms)
    digest.update(pack((*times, view.pending_flush_ms, view.cas_counter)))
    digest.update(pack(view.sessions))
    for pair in sorted(view.items.pairs()):
        digest.update(pack(pair))
    if view.has_pieces:
        digest.update(pack((view.value_counter, view.uploads)))
        for number in sorted(view.values):
            digest.update(pack((number, view.values[number])))
    if view.has_locks:
        digest.update(pack((view.fence_counter, view.locks, view.fences, view.transactions)))
    return digest.digest()
