"""Requests as bytes, and bytes as replies. Pure.

The reply stream of memcached's text protocol describes itself: the first word of a line says
whether a block follows or whether more lines do. So the parser needs not know what was asked; what
a reply means to its request is decided in `requests.py`.

    STORED\\r\\n                                 Line
    VALUE <key> <flags> <n>[ <cas>]\\r\\n        n bytes, CRLF; repeated; END -> Values
    MAP <epoch> <n>\\r\\n                        n bytes, CRLF              -> MapReply
    CHANGE <n>\\r\\n  MOVES <n>\\r\\n              n bytes, CRLF              -> Document
    LEADER ...\\r\\n  NODE ...\\r\\n               repeated; END              -> Listing
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from quorumcache.router.arguments import delay_of, exptime_of, flags_of, shown, unsigned_of
from quorumcache.router.errors import InvalidArgument, InvalidKey

KEY_BYTES_MAX = 250
LINE_BYTES_MAX = 8_192
"""Longest reply line. Real ones stay below 1 KiB; a longer one is not from a node."""


class Line(NamedTuple):
    """A reply of one line, without its CRLF."""

    text: bytes


class Value(NamedTuple):
    """One hit. `cas_unique` is 0 unless it was asked for."""

    key: bytes
    flags: int
    value: bytes
    cas_unique: int


class Values(NamedTuple):
    """The hits of a get, in the order of the request; also an empty listing."""

    items: tuple[Value, ...]


class Listing(NamedTuple):
    """Lines up to `END`, without their CRLF."""

    lines: tuple[bytes, ...]


class MapReply(NamedTuple):
    """A cluster map; `data` is None when the known epoch is still the current one."""

    epoch: int
    data: bytes | None


class Document(NamedTuple):
    """JSON. `word`: what it is an answer to."""

    word: bytes
    data: bytes


Reply = Line | Values | Listing | MapReply | Document

_new = tuple.__new__  # without a call of Python code for each value

_NO_VALUES = Values(())
_ONE_LINE = frozenset(
    (
        *(b"STORED", b"NOT_STORED", b"EXISTS", b"NOT_FOUND", b"DELETED", b"TOUCHED", b"OK"),
        *(b"ERROR", b"CLIENT_ERROR", b"SERVER_ERROR", b"MOVED", b"VERSION", b"SESSION"),
        *(b"AUTH", b"LOCKED", b"WAITING", b"BUSY", b"NOT_HELD", b"RELEASED"),
        *(b"TXN", b"COMMITTED", b"CONFLICT", b"ABORTED", b"TOO_LATE"),
    )
)
_WHOLE_LINES = frozenset(
    (b"STORED", b"NOT_STORED", b"EXISTS", b"NOT_FOUND", b"DELETED", b"TOUCHED")
)
_ERRORS = (b"ERROR", b"CLIENT_ERROR ", b"SERVER_ERROR ", b"MOVED ")
_DOCUMENTS = (b"CHANGE ", b"MOVES ")
_LISTED = (
    *(b"LEADER ", b"NODE ", b"STAT ", b"HEALTH ", b"PROBLEM ", b"WARNING "),
    *(b"HOLDER ", b"WAITER "),
)


class ReplyParser:
    """Bytes in, replies out; split anywhere, linear in the bytes received.

    After garbage, `broken` says what is wrong: the replies before it were still returned, and
    nothing after it ever is.
    """

    __slots__ = (
        "_block",
        "_block_bytes",
        "_chunks",
        "_items",
        "_lines",
        "_need",
        "_size",
        "_value_bytes_max",
        "broken",
    )

    def __init__(self, value_bytes_max: int = 256 << 20) -> None:
        self.broken: str | None = None
        self._value_bytes_max = value_bytes_max
        self._chunks: list[bytes] = []  # bytes not parsed yet
        self._size = 0  # their total
        self._need = 0  # parsing makes no progress with fewer bytes than this
        # The header of the block that is due: key, flags, cas_unique of a value; epoch of a map;
        # word of a document.
        self._block: tuple[bytes, int, int] | int | bytes | None = None
        self._block_bytes = 0
        self._items: list[Value] = []  # of a get whose END is still to come
        self._lines: list[bytes] = []  # of a listing whose END is still to come

    def feed(self, data: bytes) -> list[Reply]:
        """Take what a read returned; give the replies that are complete now."""
        if self.broken is not None:
            return []
        if self._chunks:
            self._chunks.append(data)
            self._size += len(data)
            if self._size < self._need:
                return []
            data = b"".join(self._chunks)
            self._chunks.clear()
        replies: list[Reply] = []
        size = len(data)
        at = 0
        self._need = 0
        while at < size:
            if self._block is not None:
                end = at + self._block_bytes
                if size < end + 2:
                    self._need = end + 2 - at
                    break
                if data[end : end + 2] != b"\r\n":
                    self.broken = f"a block does not end in CRLF but in {data[end : end + 2]!r}"
                    return replies
                self._take_block(data[at:end], replies)
                at = end + 2
                continue
            if data.startswith(b"VALUE ", at) and not self._lines:
                at = self._take_values(data, at, replies)
                if at == size:
                    break
            newline = data.find(b"\r\n", at, at + LINE_BYTES_MAX + 2)
            if newline < 0:
                if size - at >= LINE_BYTES_MAX + 2:
                    self.broken = f"no line end after {data[at : at + 40]!r}"
                    return replies
                break
            self._take_line(data[at:newline], replies)
            if self.broken is not None:
                return replies
            at = newline + 2
        if at < size:
            self._chunks.append(data[at:] if at else data)
            self._size = size - at
        return replies

    def _take_values(self, data: bytes, at: int, replies: list[Reply]) -> int:
        """Take the values that begin at `at` and are here in whole, of one reply or of many;
        returns where the first other thing begins, which may be the part of a value, or garbage.
        Most bytes come by here.
        """
        items = self._items
        find, startswith = data.find, data.startswith
        size = len(data)
        while True:
            newline = find(b"\r\n", at, at + LINE_BYTES_MAX + 2)
            if newline < 0:
                return at
            words = data[at:newline].split(b" ")
            count = len(words)
            if words[0] != b"VALUE" or not 4 <= count <= 5:
                return at
            flags, length = words[2], words[3]
            if not flags.isdigit() or not length.isdigit() or len(flags) + len(length) > 20:
                return at
            start = newline + 2
            end = start + int(length)
            if (
                end + 2 > size
                or not startswith(b"\r\n", end)
                or end - start > self._value_bytes_max
            ):
                return at
            unique = 0
            if count == 5:
                unique = _number(words[4])
                if unique < 0:
                    return at
            items.append(_new(Value, (words[1], int(flags), data[start:end], unique)))
            at = end + 2
            if startswith(b"END\r\n", at):
                replies.append(_new(Values, (tuple(items),)))
                items.clear()
                at += 5

    def _take_block(self, block: bytes, replies: list[Reply]) -> None:
        header = self._block
        self._block = None
        if isinstance(header, int):
            replies.append(MapReply(header, block))
        elif isinstance(header, bytes):
            replies.append(Document(header, block))
        elif header is not None:
            self._items.append(Value(header[0], header[1], block, header[2]))

    def _take_line(self, line: bytes, replies: list[Reply]) -> None:
        if line in _WHOLE_LINES and not self._items and not self._lines:
            replies.append(_new(Line, (line,)))
        elif line.startswith(b"VALUE ") and not self._lines:
            self._start_value(line)
        elif line == b"END":
            if self._items:
                replies.append(Values(tuple(self._items)))
                self._items.clear()
            elif self._lines:
                replies.append(Listing(tuple(self._lines)))
                self._lines.clear()
            else:
                replies.append(_NO_VALUES)
        elif line.startswith(_ERRORS) or line == b"ERROR":
            # An error in the middle of a get or a listing replaces all of it.
            self._items.clear()
            self._lines.clear()
            replies.append(Line(line))
        elif self._items or (self._lines and not line.startswith(_LISTED)):
            self.broken = f"{line[:60]!r} before the END of a reply"
        elif line.startswith(_LISTED):
            self._lines.append(line)
        elif line.startswith(b"MAP "):
            self._start_map(line, replies)
        elif line.startswith(_DOCUMENTS):
            self._start_document(line)
        elif line.split(b" ", 1)[0] in _ONE_LINE or line.isdigit():
            replies.append(Line(line))
        else:
            self.broken = f"{line[:60]!r} is not a reply"

    def _start_value(self, line: bytes) -> None:
        words = line.split(b" ")
        numbers = [_number(word) for word in words[2:]]
        if len(numbers) not in (2, 3) or min(numbers) < 0 or numbers[1] > self._value_bytes_max:
            self.broken = f"bad value header {line[:60]!r}"
            return
        self._block = (words[1], numbers[0], numbers[2] if len(numbers) == 3 else 0)
        self._block_bytes = numbers[1]

    def _start_map(self, line: bytes, replies: list[Reply]) -> None:
        words = line.split(b" ")
        epoch = _number(words[1])
        length = _number(words[2]) if len(words) == 3 else -1
        if epoch >= 0 and words[2:] == [b"unchanged"]:
            replies.append(MapReply(epoch, None))
        elif epoch >= 0 and 0 <= length <= self._value_bytes_max:
            self._block = epoch
            self._block_bytes = length
        else:
            self.broken = f"bad map header {line[:60]!r}"

    def _start_document(self, line: bytes) -> None:
        words = line.split(b" ")
        length = _number(words[1]) if len(words) == 2 else -1
        if 0 <= length <= self._value_bytes_max:
            self._block = words[0]
            self._block_bytes = length
        else:
            self.broken = f"bad header of a document {line[:60]!r}"


def _number(word: bytes) -> int:
    """An unsigned decimal of at most 20 digits, or -1."""
    return int(word) if word.isdigit() and len(word) <= 20 else -1


def key_bytes(key: str | bytes) -> bytes:
    """The key as it goes over the wire. Raises `InvalidKey` that says what is wrong with it."""
    if isinstance(key, str):
        try:
            key = key.encode()
        except UnicodeEncodeError:
            raise InvalidKey(f"the key {shown(key[:40])} cannot be written as UTF-8") from None
    elif not isinstance(key, bytes):
        raise InvalidKey(f"a key is str or bytes, not {type(key).__name__}: {shown(key)}")
    if not key:
        raise InvalidKey("the key is empty")
    if len(key) > KEY_BYTES_MAX:
        raise InvalidKey(f"the key has {len(key)} bytes, the maximum is {KEY_BYTES_MAX}")
    if b" " in key or b"\n" in key or b"\r" in key:
        text = key[:40].decode("utf-8", "backslashreplace")
        raise InvalidKey(f"the key {text!r} contains a space or a line end")
    return key


def keys_bytes(keys: Sequence[str | bytes]) -> list[bytes]:
    """Many keys as they go over the wire. Raises as `key_bytes` does, for the first bad one."""
    if not keys:
        return []
    try:
        sent = [key.encode() if key.__class__ is str else key for key in keys]
        joined = b" ".join(sent)  # type: ignore[arg-type]
        # All of them at a time: 100 keys cost a fifth of 100 checks.
        if (
            set(map(type, sent)) == {bytes}
            and joined.count(b" ") == len(sent) - 1
            and b"\n" not in joined
            and b"\r" not in joined
            and all(sent)
            and max(map(len, sent)) <= KEY_BYTES_MAX
        ):
            return sent  # type: ignore[return-value]
    except (TypeError, UnicodeEncodeError):
        pass
    return [key_bytes(key) for key in keys]


def encode_get(keys: Sequence[bytes], with_cas: bool = False) -> bytes:
    """`get` or `gets` of one or more valid keys."""
    return (b"gets " if with_cas else b"get ") + b" ".join(keys) + b"\r\n"


def encode_store(
    verb: bytes, key: bytes, value: bytes, flags: int, exptime: int, cas_unique: int | None = None
) -> bytes:
    """`set`, `add`, `replace`, `append`, `prepend`, or `cas` with its number."""
    if value.__class__ is not bytes and not isinstance(value, bytes):
        hint = ": encode it first" if isinstance(value, str) else ""
        raise InvalidArgument(f"a value is bytes, not {type(value).__name__}{hint}")
    # The numbers most often sent need no call.
    if flags.__class__ is not int or flags:
        flags = flags_of(flags)
    if exptime.__class__ is not int or exptime:
        exptime = exptime_of(exptime)
    if cas_unique is None:
        return b"%b %b %d %d %d\r\n%b\r\n" % (verb, key, flags, exptime, len(value), value)
    unique = unsigned_of("cas_unique", cas_unique)
    head = b"%b %b %d %d %d %d\r\n" % (verb, key, flags, exptime, len(value), unique)
    return head + value + b"\r\n"


def encode_delete(key: bytes) -> bytes:
    return b"delete " + key + b"\r\n"


def encode_arithmetic(verb: bytes, key: bytes, delta: int) -> bytes:
    """`incr` or `decr` by an unsigned 64-bit number."""
    return b"%b %b %d\r\n" % (verb, key, unsigned_of("delta", delta))


def encode_touch(key: bytes, exptime: int) -> bytes:
    return b"touch %b %d\r\n" % (key, exptime_of(exptime))


def encode_flush_all(delay: int) -> bytes:
    delay = delay_of(delay)
    return b"flush_all %d\r\n" % delay if delay else b"flush_all\r\n"


def encode_once(session: int, sequence: int, floor: int) -> bytes:
    """The line that gives the command after it its identity; it has no reply of its own."""
    return b"cluster once %d %d %d\r\n" % (session, sequence, floor)


def encode_fence(lock: bytes, number: int) -> bytes:
    """The line that puts the command after it behind a fence; it has no reply of its own."""
    return b"cluster fence %b %d\r\n" % (lock, number)


def encode_cluster(*words: str) -> bytes:
    """One of the `cluster` words of docs/protocol.md."""
    return b"cluster " + " ".join(words).encode() + b"\r\n"
