"""A store's state out of the bytes of a snapshot, piece by piece (`snapshot.py` has the format).

The bytes may be cut anywhere. Each piece is decoded, checked and counted when it comes, so no step
takes longer than its piece is long, and nothing of the whole is left to do at the end.

The header comes first, then the items, which the table takes in by itself (`ItemTable.load`) but
for large ones. All that follows is unpacked here.
"""

from typing import Any, Final

import msgpack

from quorumcache.node.errors import SnapshotInvalid
from quorumcache.node.store.item import ENDS, PIECES, expires_at_ms, value_bytes, value_id
from quorumcache.node.store.plain_item_table import bin_at
from quorumcache.node.store.results import is_result
from quorumcache.node.store.snapshot import HEADER_BYTES_MAX, read_header
from quorumcache.node.store.state import ShardState

STEP_BYTES: Final = 64 << 10
"""What one step of restoring takes: of items of 114 bytes these are 400, half a millisecond."""


def array_at(data: bytes, offset: int) -> tuple[int, int]:
    """`(start, count)` of the contents of an array of msgpack; `(0, 0)` if its head is not whole.
    SnapshotInvalid if there is something else.
    """
    if offset >= len(data):
        return 0, 0
    kind = data[offset]
    if kind >> 4 == 0x9:
        return offset + 1, kind & 0xF
    if not 0xDC <= kind <= 0xDD:
        raise SnapshotInvalid(f"snapshot has a byte {kind:#x} where items begin")
    start = offset + 1 + (2 << (kind - 0xDC))
    if start > len(data):
        return 0, 0
    return start, int.from_bytes(data[offset + 1 : start], "big")


class StoreReader:
    """`state`: what has been read so far."""

    __slots__ = (
        "_fences_count",
        "_has_header",
        "_items_count",
        "_large",
        "_locks_count",
        "_pairs_left",
        "_pieces",
        "_pieces_left",
        "_rest",
        "_sessions_count",
        "_taken_bytes",
        "_total_bytes",
        "_transactions_count",
        "_unpacked_from",
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
        self._rest = b""
        """What has come of the header, or of the items, and is not read yet."""
        self._unpacked_from = 0
        """How many bytes came before those that the unpacker gets."""
        self._has_header = False
        self._items_count = 0
        self._sessions_count = 0
        self._values_count = 0
        self._uploads_count = 0
        self._locks_count = 0
        self._fences_count = 0
        self._transactions_count = 0
        """All of them as the header says."""
        self._pairs_left = 0
        """Items that are still to come of the array that was begun."""
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
            self._taken_bytes += len(piece)
            if not self._has_header or len(self.state.items) != self._items_count:
                piece = self._rest + piece
                taken = self._take_header(piece) if not self._has_header else 0
                if self._has_header:
                    taken = self._take_items(piece, taken)
                self._rest = piece = piece[taken:]
                if not self._has_header or len(self.state.items) != self._items_count:
                    return
                self._unpacked_from = self._taken_bytes - len(piece)
                self._rest = b""
            self._unpacker.feed(piece)
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
        more = self._taken_bytes - self._unpacked_from - self._unpacker.tell()
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
        """Take all that is complete of what follows the items."""
        while not self._is_whole():
            try:
                chunk = self._unpacker.unpack()
            except msgpack.OutOfData:
                return
            if len(self.state.sessions) != self._sessions_count:
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

    def _take_header(self, data: bytes) -> int:
        """Read the header if it is whole; how many bytes it has."""
        unpacker: Any = msgpack.Unpacker(use_list=False, max_buffer_size=HEADER_BYTES_MAX)
        unpacker.feed(data[:HEADER_BYTES_MAX])
        try:
            header = read_header(unpacker)
        except msgpack.OutOfData:
            if len(data) >= HEADER_BYTES_MAX:
                raise SnapshotInvalid("snapshot header is damaged") from None
            return 0
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
        taken: int = unpacker.tell()
        return taken

    def _take_items(self, data: bytes, offset: int) -> int:
        """Take all items that are whole, from `offset` on; the offset behind them."""
        state = self.state
        items, expiry = state.items, state.expiry
        while len(items) != self._items_count:
            if not self._pairs_left:
                start, fields = array_at(data, offset)
                if not start:
                    break
                self._begin_items(fields)
                offset = start
            offset, taken, ending = items.load(data, offset, self._pairs_left, state.queue.now_s)
            self._pairs_left -= taken
            for ends_ms, key in ending:
                expiry.add(ends_ms, key, state.last_now_ms)
            if self._pairs_left:
                end = self._take_large(data, offset)
                if not end:
                    break
                offset = end
        return offset

    def _begin_items(self, fields: int) -> None:
        """An array of keys and items comes."""
        if not fields or fields % 2:
            raise SnapshotInvalid(f"snapshot has {fields} fields where keys and items belong")
        self._pairs_left = fields // 2
        count = len(self.state.items) + self._pairs_left
        if count > self._items_count:
            raise SnapshotInvalid(
                f"snapshot holds {count} items, its header says {self._items_count}"
            )

    def _take_large(self, data: bytes, offset: int) -> int:
        """Take the large item at an offset, if it is whole; the offset behind it, or 0."""
        key_start, key_end = bin_at(data, offset)
        item_start, item_end = bin_at(data, key_end) if key_end else (0, 0)
        if not item_end:
            return 0
        key, item = data[key_start:key_end], data[item_start:item_end]
        state = self.state
        if not item or not item[0] & PIECES:
            raise SnapshotInvalid(f"snapshot holds an invalid item: {key!r:.100}")
        if value_id(item) in self._large:
            raise SnapshotInvalid("two items of a snapshot have the same value")
        self._large[value_id(item)] = value_bytes(item)
        if state.items.put(key, item, state.queue.now_s) is not None:
            raise SnapshotInvalid("snapshot repeats its items")
        if item[0] & ENDS:
            state.expiry.add(expires_at_ms(item), key, state.last_now_ms)
        self._pairs_left -= 1
        return item_end

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
                state.transactions.add(image)
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
        if not state.staging.add(*self._upload, pieces):
            raise SnapshotInvalid("snapshot holds an invalid upload")
