"""Bytes to requests, incrementally.

A connection's bytes are command lines, and after a storage line a data block of known length:

```
          line end                    storage line
FRESH ---------------> BETWEEN ----------------------> BLOCK ----+
  |                    |  ^  |      refused storage line         | block complete: Store,
  |                    |  |  +----------------------> SWALLOW ---+ refusal, or bad data chunk
  |    no line end yet |  |                                      |
  |                    v  | line end                             |
  |                   LINE                BETWEEN <--------------+      (a large value: VALUE in
  +--> CLOSED <--- quit, HTTP, a line over its limit                    place of BLOCK)
```

Which line is answered how, and which refused line swallows its block, follows memcached 1.6.45.
Time is linear in the bytes received: no byte of an unfinished line is searched twice, and the
pieces of a block are joined once. Memory is bounded by RETRIEVAL_LINE_BYTES_MAX or the item limit.
"""

from typing import Final

from quorumcache.node.protocol.lines import (
    RETRIEVAL_LINE_BYTES_MAX,
    RETRIEVALS,
    parse_line,
    plain_get_keys,
)
from quorumcache.node.protocol.meta_lines import (
    META_GET,
    GetFlags,
    meta_gets,
    plain_meta_get,
)
from quorumcache.node.protocol.requests import (
    BinaryClient,
    Get,
    Immediate,
    MetaSet,
    Quit,
    RefusedMetaSet,
    RefusedStore,
    Request,
    Store,
    TransactionHead,
    ValueBegins,
)
from quorumcache.node.protocol.responses import (
    BINARY_HEADER_BYTES,
    BINARY_MAGIC,
    TOO_LARGE_LINE,
    binary_refusal,
)
from quorumcache.node.protocol.storage_lines import (
    CACHED_TAIL_BYTES_MAX,
    META_SET,
    STORAGE_OPS,
    MetaSetLine,
    RefusedLine,
    StorageLine,
    finished_meta_set,
    finished_store,
    parse_meta_set,
    parse_storage_line,
    parse_tail,
    plain_meta_set,
)
from quorumcache.node.protocol.transaction_lines import commit_words, parse_block, parse_commit
from quorumcache.node.protocol.value_blocks import ALL_WHOLE, ValueBlock, ValueLimits
from quorumcache.node.state_machine import ITEM_BYTES_MAX
from quorumcache.node.store.commands import OP_APPEND, OP_CAS, OP_PREPEND
from quorumcache.node.store.item import KEY_BYTES_MAX, value_bytes_sure

UNFINISHED_LINE_BYTES_MAX: Final = 2048
"""An unfinished line beyond it closes the connection, as in memcached, unless it is a retrieval.

So the fate of other lines between this limit and that of a whole line depends on the pieces they
arrive in, there and here: they are of no use to a client, but one that arrives whole is answered.
"""

_BETWEEN: Final = 0
_FRESH: Final = 1
_LINE: Final = 2
_BLOCK: Final = 3
_SWALLOW: Final = 4
_CLOSED: Final = 5
_VALUE: Final = 6

_CR: Final = 13

_new: Final = tuple.__new__
"""Builds a NamedTuple from a tuple: half the time of calling its class."""


class Parser:
    """The read side of one connection."""

    __slots__ = (
        "_block",
        "_item_bytes_max",
        "_line",
        "_need",
        "_refusal",
        "_state",
        "_store",
        "_value",
        "_value_limits",
        "sure_bytes",
    )

    def __init__(
        self, item_bytes_max: int = ITEM_BYTES_MAX, value_limits: ValueLimits = ALL_WHOLE
    ) -> None:
        """A parser at the start of a connection; `item_bytes_max` is the limit of item.py."""
        self._state = _FRESH
        """Moves in this module only; see the picture above."""
        self._value_limits = value_limits
        self._value: ValueBlock | None = None
        """The large value that is being received. None but in VALUE."""
        self._item_bytes_max = self.sure_bytes = 0
        self.limit_items(item_bytes_max)
        self._line = bytearray()
        """The unfinished line, or the unfinished header of a binary client. Empty but in LINE and
        FRESH."""
        self._need = 0
        """Bytes of the block that are still to come. 0 but in BLOCK and SWALLOW."""
        self._block = bytearray()
        """What has arrived of the block, after its wire header. Empty but in BLOCK."""
        self._store: Store | MetaSet | TransactionHead | None = None
        """The line that the block belongs to. None but in BLOCK."""
        self._refusal: Request | None = None
        """What to hand out after the swallowed bytes. None but in SWALLOW."""

    def limit_items(self, item_bytes_max: int) -> None:
        """The limit is another one from the next storage line on."""
        self._item_bytes_max = item_bytes_max
        self.sure_bytes = min(value_bytes_sure(item_bytes_max), self._value_limits.large_bytes)
        """Values up to this length are no large ones, and fit whatever key and flags they come
        with."""

    @property
    def closed(self) -> bool:
        """Whether a Quit was handed out. Never resets."""
        return self._state == _CLOSED

    @property
    def is_between(self) -> bool:
        """Whether the next byte begins a line, and is not the first one of all."""
        return self._state == _BETWEEN

    @property
    def buffered_bytes(self) -> int:
        """Bytes held of what is unfinished."""
        held = len(self._line) + len(self._block)
        return held if self._value is None else held + self._value.buffered_bytes

    def plain_gets(self, data: bytes) -> list[bytes] | None:
        """The keys, if `data` is nothing but whole `get <key>\\r\\n` lines and nothing came before.

        None if it is anything else: then it has to be fed. `data` starts with `b"get "`.
        """
        return plain_get_keys(data) if self._state == _BETWEEN else None

    def plain_meta_gets(self, data: bytes) -> tuple[list[bytes], GetFlags] | None:
        """The keys and their flags, if `data` is nothing but whole `mg <key> <flags>` lines with
        the same flags, which the item alone answers, and nothing came before.

        None if it is anything else: then it has to be fed. `data` starts with `b"mg "`.
        """
        return meta_gets(data) if self._state == _BETWEEN else None

    @property
    def is_in_set(self) -> bool:
        """Whether what is unfinished is a block, or a line that may be that of a set."""
        if self._state == _LINE:
            return b"set ".startswith(bytes(self._line[:4]))
        return self._state == _BLOCK

    def finish_set(self, data: bytes) -> tuple[list[Request], bytes]:
        """Take from `data` what makes such a set whole: the requests that this completes, and what
        is still to be fed, which begins as the set does if its line was not complete.
        """
        requests: list[Request] = []
        if self._state == _BLOCK:
            return requests, data[self._collect(data, 0, requests) :]
        if b"\n" not in data:
            return self.feed(data), b""
        data = b"".join((self._line, data))
        self._line = bytearray()
        self._state = _BETWEEN
        return requests, data

    def feed(self, data: bytes) -> list[Request]:
        """The requests that `data`, after all that was fed before, completes, in order.

        Never raises, whatever the bytes. A Quit is the last request ever handed out.
        """
        requests: list[Request] = []
        position = search = 0
        if self._state != _BETWEEN:
            if self._state == _LINE:
                line = self._line
                if b"\n" not in data:
                    line += data
                    if _too_long(line):
                        self._close(requests)
                    return requests
                search = len(line)
                data = b"".join((line, data))
                self._line = bytearray()
                self._state = _BETWEEN
            else:
                position = search = self._resume(data, requests)
                if self._state != _BETWEEN:
                    return requests
        find = data.find
        end = find(b"\n", search)
        while end >= 0:
            last = end - 1
            if last >= position and data[last] == _CR:
                line_text = data[position:last]
            else:
                line_text = data[position:end]
            words = line_text.split(b" ", 2)
            command = words[0]
            if command == b"get" and len(words) == 2 and 0 < len(words[1]) <= KEY_BYTES_MAX:
                requests.append(_new(Get, ((words[1],), False)))
                position = end + 1
            elif command in STORAGE_OPS:
                position = self._storage(line_text, words, data, end + 1, requests)
            elif command == META_SET:
                position = self._meta_set(line_text, words, data, end + 1, requests)
            elif command == b"cluster" and (commit := commit_words(line_text)) is not None:
                position = self._transaction(commit, data, end + 1, requests)
            else:
                plain = plain_meta_get(words) if command == META_GET else None
                request = plain or parse_line(line_text, end + 1 - position)
                position = end + 1
                if type(request) is Quit:
                    self._close(requests)
                else:
                    requests.append(request)
            if self._state != _BETWEEN:
                return requests
            end = find(b"\n", position)
        if position < len(data):
            self._line += data[position:]
            self._state = _LINE
            if _too_long(self._line):
                self._close(requests)
        return requests

    def _close(self, requests: list[Request]) -> None:
        self._state = _CLOSED
        self._line = bytearray()
        requests.append(Quit())

    def _resume(self, data: bytes, requests: list[Request]) -> int:
        """Go on from FRESH, BLOCK, SWALLOW or CLOSED; the position where lines begin again."""
        if self._state == _CLOSED or not data:
            return 0
        if self._state == _FRESH:
            if not self._line and data[0] != BINARY_MAGIC:
                self._state = _BETWEEN
                return 0
            self._line += data[: BINARY_HEADER_BYTES - len(self._line)]
            if len(self._line) == BINARY_HEADER_BYTES:
                requests.append(BinaryClient(binary_refusal(bytes(self._line))))
                self._close(requests)
            return len(data)
        if self._state == _VALUE:
            return self._collect_value(data, 0, requests)
        return self._collect(data, 0, requests)

    def _storage(
        self,
        line: bytes,
        words: list[bytes],
        data: bytes,
        position: int,
        requests: list[Request],
    ) -> int:
        """Take a storage line, and its block as far as `data` has it; the position after both."""
        op = STORAGE_OPS[words[0]]
        if (
            op != OP_CAS
            and len(words) == 3
            and 0 < len(words[1]) <= KEY_BYTES_MAX
            and len(words[2]) <= CACHED_TAIL_BYTES_MAX
        ):
            tail = parse_tail(words[2])
            if tail is not None:
                header, flags, exptime, length, noreply = tail
                stop = position + length + 2
                if length <= self.sure_bytes and op < OP_CAS and data.startswith(b"\r\n", stop - 2):
                    block = header + data[position:stop]
                    requests.append(_new(Store, (op, words[1], block, exptime, 0, noreply)))
                    return stop
                parsed = StorageLine(words[1], header, flags, exptime, 0, length, noreply)
                return self._begin(op, parsed, data, position, requests)
        return self._begin(op, parse_storage_line(op, line), data, position, requests)

    def _meta_set(
        self,
        line: bytes,
        words: list[bytes],
        data: bytes,
        position: int,
        requests: list[Request],
    ) -> int:
        """Take an `ms` line, and its block as far as `data` has it; the position after both."""
        parsed = plain_meta_set(words) or parse_meta_set(line)
        if type(parsed) is RefusedLine:
            return self._swallow(parsed, data, position, requests)
        assert type(parsed) is MetaSetLine
        request, length = parsed
        if length > self.sure_bytes:
            limits = self._value_limits
            if not limits.fits(len(request.key), request.flags, length, self._item_bytes_max):
                refusal = RefusedMetaSet(request.key, TOO_LARGE_LINE, request.reply, length)
                return self._swallow(RefusedLine(refusal, length + 2), data, position, requests)
            if limits.is_large(length):
                begins = ValueBegins(request, length, False)
                return self._begin_value(begins, data, position, requests)
        stop = position + length + 2
        if stop <= len(data):
            requests.append(finished_meta_set(request, request.data + data[position:stop]))
            return stop
        self._state = _BLOCK
        self._store = request
        self._block += request.data
        self._need = length + 2
        return self._collect(data, position, requests)

    def _transaction(
        self, words: list[bytes], data: bytes, position: int, requests: list[Request]
    ) -> int:
        """Take the line of a `cluster txn commit`, and its block as far as `data` has it."""
        head, need = parse_commit(words)
        if type(head) is not TransactionHead:
            assert type(head) is Immediate
            return self._swallow(RefusedLine(head, need), data, position, requests)
        self._state = _BLOCK
        self._store = head
        self._need = need
        return self._collect(data, position, requests)

    def _begin(
        self,
        op: int,
        parsed: StorageLine | RefusedLine,
        data: bytes,
        position: int,
        requests: list[Request],
    ) -> int:
        """Start to collect or to swallow the block that begins at `position`."""
        if type(parsed) is RefusedLine:
            return self._swallow(parsed, data, position, requests)
        assert type(parsed) is StorageLine
        key, header, flags, exptime, unique, length, noreply = parsed
        limits = self._value_limits
        if not limits.fits(len(key), flags, length, self._item_bytes_max):
            refusal = RefusedStore(op, key, TOO_LARGE_LINE, noreply)
            return self._swallow(RefusedLine(refusal, length + 2), data, position, requests)
        if op in (OP_APPEND, OP_PREPEND):
            header = b""
            exptime = 0
        if limits.is_large(length):
            store = Store(op, key, header, exptime, unique, noreply)
            begins = ValueBegins(store, length, noreply)
            return self._begin_value(begins, data, position, requests)
        stop = position + length + 2
        if stop <= len(data):
            block = header + data[position:stop]
            requests.append(finished_store(op, key, block, exptime, unique, noreply))
            return stop
        self._state = _BLOCK
        self._store = Store(op, key, b"", exptime, unique, noreply)
        self._block += header
        self._need = length + 2
        return self._collect(data, position, requests)

    def _begin_value(
        self, begins: ValueBegins, data: bytes, position: int, requests: list[Request]
    ) -> int:
        requests.append(begins)
        self._state = _VALUE
        self._value = ValueBlock(begins.value_bytes, self._value_limits.piece_bytes)
        return self._collect_value(data, position, requests)

    def _collect_value(self, data: bytes, position: int, requests: list[Request]) -> int:
        value = self._value
        assert value is not None
        position = value.take(data, position, requests)
        if value.is_over:
            self._value = None
            self._state = _BETWEEN
        return position

    def _swallow(
        self, refused: RefusedLine, data: bytes, position: int, requests: list[Request]
    ) -> int:
        """Answer a refused line, behind its block if it is known where that ends."""
        answer, swallow = refused
        if swallow:
            self._state = _SWALLOW
            self._refusal = answer
            self._need = swallow
            return self._collect(data, position, requests)
        if type(answer) is Quit:
            self._close(requests)
        else:
            requests.append(answer)
        return position

    def _collect(self, data: bytes, position: int, requests: list[Request]) -> int:
        """Take what `data` has of the block from `position`; when it is complete, hand out."""
        stop = min(position + self._need, len(data))
        self._need -= stop - position
        store = self._store
        if store is not None:
            self._block += data if stop - position == len(data) else data[position:stop]
        if self._need:
            return stop
        self._state = _BETWEEN
        if store is None:
            assert self._refusal is not None
            requests.append(self._refusal)
            self._refusal = None
            return stop
        block = bytes(self._block)
        self._block = bytearray()
        self._store = None
        if type(store) is MetaSet:
            requests.append(finished_meta_set(store, block))
            return stop
        if type(store) is TransactionHead:
            requests.append(parse_block(store, block, self._item_bytes_max))
            return stop
        assert type(store) is Store
        op, key, _, exptime, unique, noreply = store
        requests.append(finished_store(op, key, block, exptime, unique, noreply))
        return stop


def _too_long(line: bytearray) -> bool:
    """Whether an unfinished line has passed its limit."""
    if len(line) <= UNFINISHED_LINE_BYTES_MAX:
        return False
    return len(line) > RETRIEVAL_LINE_BYTES_MAX or not line.startswith(RETRIEVALS)
