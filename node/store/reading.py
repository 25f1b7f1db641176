"""A store's state out of the bytes of a snapshot, piece by piece (`snapshot.py` has the format).

The bytes may be cut anywhere. Each piece is decoded, checked and counted when it comes, so no step
takes longer than its piece is long, and nothing of the whole is left to do at the end.
"""

from typing import Any

import msgpack

from quorumcache.node.errors import SnapshotInvalid
from quorumcache.node.store.item import (
    ENDS,
    ITEM_DATA,
    PIECES,
    object_bytes,
    unpack_header,
    value_bytes,
    value_id,
)
from quorumcache.node.store.results import is_result
from quorumcache.node.store.snapshot import read_header
from quorumcache.node.store.state import ShardState


class StoreReader:
    """`state`: what has been read so far."""

    __slots__ = (
        "_fences_count",
        "_has_header",
        "_items_count",
        "_large",
        "_locks_count",
        "_pieces",
        "_pieces_left",
        "_sessions_count",
        "_taken_bytes",
        "_total_bytes",
        "_transactions_count",
        "_unpacker",
        "_upload",
        "_uploads_count",
        "_value_id",
        "_values_count",
        "state",
    )

    def __init__(self, total_bytes: int) -> None:
        """`total_bytes`: size of all pieces together. Nothing in them may claim to be larger."""
        self._unpacker: Any = msgpack.Unpacker(use_list=False, max_buffer_size=max(total_bytes, 1))
        self._total_bytes = total_bytes
        self._taken_bytes = 0
        self._has_header = False
        self._items_count = 0
        self._sessions_count = 0
        self._values_count = 0
        self._uploads_count = 0
        self._locks_count = 0
        self._fences_count = 0
        self._transactions_count = 0
        """All of them as the header says."""
        self._large: dict[int, int] = {}
        """Lengths of the values that the items refer to, by value id."""
        self._pieces_left = 0
        """Pieces that are still to come of the value, or the upload, that was begun."""
        self._pieces: list[Any] = []
        self._value_id = 0
        """Of the value that was begun; 0 = it is an upload."""
        self._upload: tuple[int, int, int] = (0, 0, 0)
        self.state = ShardState()

    def take(self, piece: bytes) -> None:
        """The next bytes. Raises SnapshotInvalid."""
        try:
            self._unpacker.feed(piece)
            self._taken_bytes += len(piece)
            self._read()
        except SnapshotInvalid:
            raise
        except Exception as error:
            raise SnapshotInvalid(f"snapshot of {self._total_bytes} bytes: {error!r}") from error

    def end(self) -> None:
        """There is no more. Raises SnapshotInvalid unless it is a whole snapshot."""
        if not self._is_whole():
            raise SnapshotInvalid(f"snapshot of {self._total_bytes} bytes ends in the middle")
        if self._large.keys() != self.state.values.keys():
            raise SnapshotInvalid("the large items of a snapshot are not those of its values")
        more = self._taken_bytes - self._unpacker.tell()
        if more:
            raise SnapshotInvalid(f"snapshot has {more} bytes too many")

    def _is_whole(self) -> bool:
        return (
            self._has_header
            and len(self.state.items) == self._items_count
            and len(self.state.sessions) == self._sessions_count
            and len(self.state.values) == self._values_count
            and len(self.state.staging.uploads) == self._uploads_count
            and len(self.state.locks) == self._locks_count
            and len(self.state.fences) == self._fences_count
            and len(self.state.transactions) == self._transactions_count
        )

    def _read(self) -> None:
        """Take all that is complete."""
        while not self._is_whole():
            try:
                if not self._has_header:
                    self._take_header()
                    continue
                chunk = self._unpacker.unpack()
            except msgpack.OutOfData:
                return
            if len(self.state.items) != self._items_count:
                self._take_items(chunk)
            elif len(self.state.sessions) != self._sessions_count:
                self._take_sessions(chunk)
            elif self._pieces_left:
                self._take_piece(chunk)
            elif (
                len(self.state.values) != self._values_count
                or len(self.state.staging.uploads) != self._uploads_count
            ):
                self._begin_pieces(chunk)
            else:
                self._take_images(chunk)

    def _take_header(self) -> None:
        header = read_header(self._unpacker)
        self._has_header = True
        state = self.state
        state.applied_index, state.last_now_ms, state.last_wall_ms = header[2:5]
        state.pending_flush_ms, state.cas_counter = header[5:7]
        self._items_count, self._sessions_count = header[7:9]
        if len(header) > 9:
            state.value_counter, self._values_count, self._uploads_count = header[9:12]
        if len(header) > 12:
            state.locks.last_token, self._locks_count, self._fences_count = header[12:15]
            self._transactions_count = header[15]

    def _take_items(self, chunk: Any) -> None:
        state = self.state
        items = state.items
        before = len(items)
        flat = iter(chunk)
        added = 0
        used = 0
        for key, item in zip(flat, flat, strict=True):
            if type(key) is not bytes or type(item) is not bytes or len(item) <= ITEM_DATA:
                raise SnapshotInvalid(f"snapshot holds an invalid item: {key!r:.100}")
            items[key] = item
            added += 1
            if item[0] & PIECES:
                if value_id(item) in self._large:
                    raise SnapshotInvalid("two items of a snapshot have the same value")
                self._large[value_id(item)] = value_bytes(item)
            cost = object_bytes(key, item)
            used += cost
            state.queue.added(key, cost)
            if item[0] & ENDS:
                state.expiring += 1
                state.expiry.add(unpack_header(item)[1], key, state.last_now_ms)
        if not added or len(items) != before + added:
            raise SnapshotInvalid("snapshot repeats its items")
        if len(items) > self._items_count:
            raise SnapshotInvalid(
                f"snapshot holds {len(items)} items, its header says {self._items_count}"
            )
        state.bytes_used += used

    def _take_sessions(self, chunk: Any) -> None:
        if not chunk:
            raise SnapshotInvalid("snapshot holds an empty chunk of sessions")
        before = len(self.state.sessions)
        for session, last_active_ms, floor, results in chunk:
            if not all(type(field) is int for field in (session, last_active_ms, floor)):
                raise SnapshotInvalid("snapshot holds an invalid session")
            for sequence, result in results:
                if type(sequence) is not int or not is_result(result):
                    raise SnapshotInvalid("snapshot holds an invalid result of a session")
            self.state.sessions.add((session, last_active_ms, floor, results))
        count = len(self.state.sessions)
        if count != before + len(chunk) or count > self._sessions_count:
            raise SnapshotInvalid(
                f"snapshot holds {count} sessions, its header says {self._sessions_count}"
            )

    def _take_images(self, chunk: Any) -> None:
        """Locks, then fences, then transactions."""
        state = self.state
        if not chunk:
            raise SnapshotInvalid("snapshot holds an empty chunk of locks")
        for image in chunk:
            if len(state.locks) != self._locks_count:
                state.locks.add(image)
            elif len(state.fences) != self._fences_count:
                state.fences.add(image)
            elif len(state.transactions) != self._transactions_count:
                before = state.transactions.bytes_used
                state.transactions.add(image)
                state.bytes_used += state.transactions.bytes_used - before
            else:
                raise SnapshotInvalid("snapshot holds more locks than its header says")

    def _begin_pieces(self, chunk: Any) -> None:
        """What comes before the pieces of a value, or of an upload."""
        if not all(type(field) is int for field in chunk):
            raise SnapshotInvalid("snapshot holds an invalid value in pieces")
        self._pieces = []
        if len(self.state.values) != self._values_count:
            self._value_id, self._pieces_left = chunk
            if not 0 < self._value_id <= self.state.value_counter or self._pieces_left < 1:
                raise SnapshotInvalid("snapshot holds an invalid value in pieces")
        else:
            self._value_id = 0
            *upload, self._pieces_left = chunk
            self._upload = tuple(upload)
        if not self._pieces_left:
            self._end_pieces()

    def _take_piece(self, chunk: Any) -> None:
        piece = chunk
        if not self._value_id:
            position, piece = chunk
            if type(position) is not int:
                raise SnapshotInvalid("snapshot holds an invalid piece of an upload")
        if type(piece) is not bytes or not piece:
            raise SnapshotInvalid("snapshot holds an empty piece of a value")
        self._pieces.append(chunk)
        self._pieces_left -= 1
        if not self._pieces_left:
            self._end_pieces()

    def _end_pieces(self) -> None:
        """All pieces of a value, or of an upload, are here."""
        state = self.state
        pieces, self._pieces = self._pieces, []
        if self._value_id:
            if self._large.get(self._value_id) != sum(map(len, pieces)):
                raise SnapshotInvalid("snapshot holds a value that none of its items has")
            if self._value_id in state.values:
                raise SnapshotInvalid("snapshot repeats a value")
            state.values[self._value_id] = tuple(pieces)
            return
        before = state.staging.bytes_used
        if not state.staging.add(*self._upload, pieces):
            raise SnapshotInvalid("snapshot holds an invalid upload")
        state.bytes_used += state.staging.bytes_used - before
