"""The bytes that nodes send each other: hello, refusal, frames of items. Pure.

A connection between two nodes carries frames in both directions:

    0               4               8
    | length u32 BE | crc32 u32 BE  | payload: `length` bytes of msgpack |
                      of the payload

The first frame each way is a hello, or the refusal of one; all others carry items. (A new node
asks a question instead, see `founding_frames.py`.)

    hello    ["hello", protocol_version, cluster_id, ... the other fields of `Hello`, in order]
    refusal  ["refuse", protocol_version, sentence, retry_ms], to a node that has left the cluster
             with left_epoch and farewell behind it
    items    [item, item, ...]           item: an array; no items at all keep the connection alive

Nothing received is trusted: the length is checked against a maximum before anything is buffered,
then the checksum, then the content. What one item means is not known here (see `items.py`).
The compiled form makes and reads frames in C (`core/wire.pyx`).
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Any, Final, NamedTuple
from zlib import crc32

import msgpack

from quorumcache.node.errors import HandshakeRefused, PeerFrameError
from quorumcache.node.storage.starts import NONCE_BYTES, NONCES_MAX
from quorumcache.ring.node_info import WEIGHTS, is_weight

PROTOCOL_VERSION: Final = 3

HEADER: Final = Struct(">II")
FRAME_BYTES_MAX: Final = 64 << 20
"""Longest payload. A frame holds a turn's items for one peer: far less than this, unless one item
of a log entry or snapshot is itself very large."""

HELLO_BYTES_MAX: Final = 64 << 10
"""Longest payload before the hello was accepted: a stranger makes us buffer no more than this."""

TEXT_CHARS_MAX: Final = 255
SENTENCE_CHARS_MAX: Final = 2000
SETTINGS_MAX: Final = 64
RETRY_MS_MAX: Final = 600_000

_HELLO: Final = "hello"
_REFUSE: Final = "refuse"
_unpack: Final[Callable[..., Any]] = msgpack.unpackb

Items = tuple[tuple[Any, ...], ...]

KEEPALIVE_PAYLOAD: bytes = msgpack.packb(())


class Hello(NamedTuple):
    """How a node introduces itself, first thing on every connection."""

    protocol_version: int
    cluster_id: str
    disk_id: str  # of the data directory, which may speak for one node only
    settings_fingerprint: str  # equal in all nodes of a cluster
    node_id: int
    name: str
    incarnation: int  # another number after each start of the process
    start_number: int  # how often its data directory was started; 0 where nothing is kept
    start_nonces: bytes  # of the last starts, `NONCE_BYTES` each, the newest last
    is_founded: bool  # it knows durably that all founders have accepted
    peer_address: str
    client_address: str
    http_address: str  # "" if there is none
    zone: str  # "" if there is none
    weight: float
    map_epoch: int  # of the cluster map it knows; 0 = none yet
    version: str  # of the product
    settings: tuple[tuple[str, str], ...] = ()  # what the fingerprint is of: (name, value), to be
    # able to say what differs; may be empty


class Refusal(NamedTuple):
    """The other side will not talk to us."""

    sentence: str  # says what differs, with both values
    retry_ms: int  # how long to wait before trying again
    left_epoch: int = 0  # of the map that does not name the refused node any more; 0 = it may
    farewell: bytes = b""  # proves `left_epoch`, see proofs.py


REFUSED_RETRY_MS: Final = 5_000


class Refused(HandshakeRefused):
    """We refuse the other side, and tell it when trying again makes sense.

    `farewell`: `left_epoch` and `farewell` of the refusal, for a node that has left the cluster.
    """

    def __init__(
        self,
        sentence: str,
        retry_ms: int = REFUSED_RETRY_MS,
        farewell: tuple[int, bytes] = (0, b""),
    ) -> None:
        super().__init__(sentence)
        self.retry_ms = retry_ms
        self.farewell = farewell


# --- frames


def encode_frame(payload: bytes) -> bytes:
    """`payload` with its header. `PeerFrameError` if it is longer than a frame may be."""
    if len(payload) > FRAME_BYTES_MAX:
        raise _too_long(len(payload))
    return HEADER.pack(len(payload), crc32(payload)) + payload


def _too_long(size: int) -> PeerFrameError:
    return PeerFrameError(f"a frame of {size} bytes is over the maximum of {FRAME_BYTES_MAX}")


def plain_frame_of_items(packed: list[bytes], bytes_max: int) -> bytes | None:
    """See `encode_items`; None if the payload is longer than `bytes_max`."""
    count = len(packed)
    if count < 16:
        head = b"%c" % (0x90 | count)
    elif count < 1 << 16:
        head = b"\xdc" + count.to_bytes(2, "big")
    else:
        head = b"\xdd" + count.to_bytes(4, "big")
    payload = head + b"".join(packed)
    return None if len(payload) > bytes_max else encode_frame(payload)


def plain_intact_frames(
    data: bytes, payloads: list[bytes], bytes_max: int, is_one_enough: bool
) -> int:
    """Add the payloads of the frames that stand at the start of `data`, or of the first one only;
    return the offset behind them. What stands there, if anything, is not whole, not intact or
    longer than `bytes_max`, unless one was enough.
    """
    at, end = 0, len(data)
    while end - at >= HEADER.size:
        length, checksum = HEADER.unpack_from(data, at)
        start = at + HEADER.size
        if length > bytes_max or end - start < length:
            break
        payload = data[start : start + length]
        if crc32(payload) != checksum:
            break
        payloads.append(payload)
        at = start + length
        if is_one_enough:
            break
    return at


class Forms(NamedTuple):
    """What makes and reads the bytes: in C in the compiled form, otherwise in Python."""

    pack_item: Callable[[Any], bytes]
    frame_of_items: Callable[[list[bytes], int], bytes | None]
    intact_frames: Callable[[bytes, list[bytes], int, bool], int]


def _forms() -> Forms:
    try:
        from quorumcache.node.core import packer, wire
    except ImportError:  # The sources run: `compiled.py` hides what was compiled.
        return Forms(msgpack.Packer().pack, plain_frame_of_items, plain_intact_frames)
    return Forms(packer.pack, wire.frame_of_items, wire.intact_frames)


_chosen = _forms()

pack_item: Final[Callable[[Any], bytes]] = _chosen.pack_item
"""One item as msgpack bytes."""

_frame_of_items: Final = _chosen.frame_of_items
_intact_frames: Final = _chosen.intact_frames


def value_bytes_of(item: tuple[Any, ...]) -> int:
    """About how long an answer with values becomes when it is packed (FORWARD_ITEMS, and
    FORWARD_FOUND): its values, without the rest."""
    values = item[2] if len(item) > 2 else ()
    if not isinstance(values, tuple | list):
        return 0
    return sum([len(value) for value in values if isinstance(value, bytes)])


def encode_items(packed: list[bytes]) -> bytes:
    """One frame of items that are already msgpack, as `pack_item` makes them. `PeerFrameError` if
    it is longer than a frame may be."""
    frame = _frame_of_items(packed, FRAME_BYTES_MAX)
    if frame is None:
        raise _too_long(sum(map(len, packed)))
    return frame


KEEPALIVE_FRAME: Final = encode_frame(KEEPALIVE_PAYLOAD)


class FrameDecoder:
    """Bytes in, payloads out, wherever the bytes were cut. Linear in the bytes received."""

    __slots__ = ("_buffer", "_wanted", "bytes_max", "is_stepwise")

    def __init__(self, bytes_max: int = FRAME_BYTES_MAX, *, is_stepwise: bool = False) -> None:
        self.bytes_max = bytes_max
        """Longest payload accepted; may be changed between frames."""
        self.is_stepwise = is_stepwise
        """One payload for each call: what follows is looked at in the next one, which may bring no
        data, and under the `bytes_max` of then."""
        self._buffer = bytearray()
        # Length that the buffer must reach before it is worth looking at again.
        self._wanted = 0

    @property
    def buffered_bytes(self) -> int:
        """Bytes of a frame that is not complete. At most `bytes_max` and a header."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        """The payloads that `data` completes, checked against their checksums.

        Raises `PeerFrameError` for a frame that is too long or damaged. After that the connection
        is of no use any more, and neither is the decoder.
        """
        if self._buffer:
            self._buffer += data
            if len(self._buffer) < self._wanted:
                return []
            data = bytes(self._buffer)
            self._buffer = bytearray()
        payloads: list[bytes] = []
        at = _intact_frames(data, payloads, self.bytes_max, self.is_stepwise)
        if at < len(data):
            self._wanted = HEADER.size
            if not (self.is_stepwise and payloads):
                self._wanted = self._length_of_rest(data, at)
            self._buffer += data[at:]
        return payloads

    def _length_of_rest(self, data: bytes, at: int) -> int:
        """How long what stands at `at` has to be before it can be a frame, which it is not yet."""
        if len(data) - at < HEADER.size:
            return HEADER.size
        length: int
        length, checksum = HEADER.unpack_from(data, at)
        if length > self.bytes_max:
            raise PeerFrameError(
                f"a frame says it is {length} bytes long, over the maximum of {self.bytes_max}: "
                "this is not a QuorumCache peer, or its stream is damaged"
            )
        start = at + HEADER.size
        if len(data) - start >= length:
            found = crc32(data[start : start + length])
            raise PeerFrameError(
                f"a frame of {length} bytes has checksum {found:08x}, "
                f"its header says {checksum:08x}: the stream is damaged"
            )
        return HEADER.size + length


# --- payloads


def decode_items(payload: bytes) -> Items | Refusal:
    """The items of a frame. A side that was accepted may still be refused in place of items."""
    items = unpack_payload(payload)
    if items and type(items[0]) is str and items[0] == _REFUSE:
        return _refusal(items)
    for item in items:
        if type(item) is not tuple or not item:
            raise PeerFrameError(f"an item is {item!r:.60}, expected an array that is not empty")
    return items


def encode_hello(hello: Hello) -> bytes:
    """The frame that introduces this node."""
    return encode_frame(msgpack.packb((_HELLO, *hello)))


def encode_refusal(
    sentence: str, retry_ms: int, left_epoch: int = 0, farewell: bytes = b""
) -> bytes:
    """The frame that sends a stranger away. A longer sentence is cut."""
    fields = (_REFUSE, PROTOCOL_VERSION, sentence[:SENTENCE_CHARS_MAX], retry_ms)
    return encode_frame(msgpack.packb((*fields, left_epoch, farewell) if left_epoch else fields))


def decode_hello(payload: bytes) -> Hello | Refusal:
    """The first frame of a connection.

    Raises `HandshakeRefused` for a hello of another protocol version, of which nothing more can be
    read, and `PeerFrameError` for what is neither a hello nor a refusal.
    """
    fields = unpack_payload(payload)
    if len(fields) >= 2 and type(fields[0]) is str and type(fields[1]) is int:
        if fields[0] == _REFUSE:
            return _refusal(fields)
        if fields[0] == _HELLO:
            if fields[1] != PROTOCOL_VERSION:
                raise HandshakeRefused(other_protocol(fields[1]))
            return _hello(fields[1:])
    raise PeerFrameError("the first frame is neither a hello nor a refusal")


def other_protocol(version: object) -> str:
    """Why a node that speaks another version of this protocol is refused."""
    return (
        f"one side speaks peer protocol {version!r:.60}, the other peer protocol "
        f"{PROTOCOL_VERSION}: run the same version of quorumcache on all nodes"
    )


def unpack_payload(payload: bytes) -> tuple[Any, ...]:
    try:
        fields = _unpack(payload, use_list=False)
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        raise PeerFrameError(f"a frame is not valid msgpack: {error!r:.100}") from error
    if type(fields) is not tuple:
        raise PeerFrameError(f"a frame holds {type(fields).__name__}, expected an array")
    return fields


def _refusal(fields: tuple[Any, ...]) -> Refusal:
    if len(fields) < 4 or type(fields[2]) is not str or type(fields[3]) is not int:
        raise PeerFrameError("a refusal is malformed")
    # It will be logged: one line, of bounded length, whatever was sent.
    sentence = "".join(c if c.isprintable() else "?" for c in fields[2][:SENTENCE_CHARS_MAX])
    retry_ms = min(max(fields[3], 0), RETRY_MS_MAX)
    if len(fields) >= 6 and type(fields[4]) is int and type(fields[5]) is bytes:
        return Refusal(sentence, retry_ms, fields[4], fields[5])
    return Refusal(sentence, retry_ms)


def _hello(fields: tuple[Any, ...]) -> Hello:
    if len(fields) != len(Hello._fields):
        raise PeerFrameError(f"a hello has {len(fields)} fields, expected {len(Hello._fields)}")
    hello: Any = Hello(*fields)  # Compiled code would believe the types that `Hello` declares.
    for name in ("protocol_version", "incarnation", "start_number", "map_epoch", "node_id"):
        value = getattr(hello, name)
        if type(value) is not int or not 0 <= value < 1 << 64:
            raise PeerFrameError(f"hello: {name} is {value!r:.60}, expected a number")
    for name in (
        *("cluster_id", "disk_id", "settings_fingerprint", "name", "peer_address"),
        *("client_address", "http_address", "zone", "version"),
    ):
        _check_text(name, getattr(hello, name), empty=name in ("http_address", "zone"))
    nonces = hello.start_nonces
    nonces_bytes = min(hello.start_number, NONCES_MAX) * NONCE_BYTES
    if type(nonces) is not bytes or len(nonces) != nonces_bytes:
        raise PeerFrameError(f"hello: start_nonces are {nonces!r:.60}, expected one for each start")
    if type(hello.is_founded) is not bool:
        raise PeerFrameError(f"hello: is_founded is {hello.is_founded!r:.60}, expected a bool")
    if not is_weight(hello.weight):
        raise PeerFrameError(f"hello: weight is {hello.weight!r:.60}, expected {WEIGHTS}")
    settings = hello.settings
    if type(settings) is not tuple or len(settings) > SETTINGS_MAX:
        raise PeerFrameError("hello: settings are not a short array")
    for setting in settings:
        if type(setting) is not tuple or len(setting) != 2:
            raise PeerFrameError(f"hello: a setting is {setting!r:.60}, expected name and value")
        _check_text("name of a setting", setting[0])
        _check_text("value of a setting", setting[1], empty=True)
    checked: Hello = hello._replace(weight=float(hello.weight))
    return checked


def _check_text(name: str, value: object, *, empty: bool = False) -> None:
    if type(value) is not str or not (empty or value) or len(value) > TEXT_CHARS_MAX:
        raise PeerFrameError(f"hello: {name} is {value!r:.60}, expected a short text")
    if not value.isprintable():
        raise PeerFrameError(f"hello: {name} is {value!r:.60}, expected printable text")
