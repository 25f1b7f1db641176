"""Gets that the items alone answer: bytes of a client in, replies out.

`GetRoutes` knows the gates (`store/read_gate.py`) of the shards of this node. Lines `get <key>...`
and `gets <key>...` are answered from the tables behind them, one after the other, each wholly or
not at all. It stops before the first line that needs more, of which nothing was done:

 - another command, or a line that is not whole, has too many keys, or is no proper get;
 - a key of a shard whose gate is shut, or not known, or of a group that is busy;
 - an item that has ended (its removal has to be logged first), whose value is in pieces, or, for
   gets, whose text has to be taken apart;
 - a reply that there is no room for.

What is a get, and what its keys are, is as in `protocol/parser.py`, whose answers those of here
equal to the byte. There are two forms, which behave alike.
"""

from __future__ import annotations

from typing import Any, Final, Protocol, cast

from mmh3 import mmh3_x64_128_digest

from quorumcache.node.protocol.lines import RETRIEVAL_LINE_BYTES_MAX, split_words
from quorumcache.node.protocol.responses import END_LINE, value_line
from quorumcache.node.store.item import ENDS, KEY_BYTES_MAX, PIECES, expires_at_ms, is_plain_text
from quorumcache.node.store.item_table import ItemTable
from quorumcache.node.store.read_gate import PlainReadGate, ReadGate
from quorumcache.node.system.senders import Sender

KEYS_MAX: Final = 256
"""Keys of one line that are answered in one go."""

REPLIES_BYTES_MAX: Final = 256 << 10
"""Bytes of replies that are made in one go: as many as a connection hands out at once."""

Answered = tuple[bytes, int, int, int, int]
"""The replies, the position in the data behind what was answered, and how many lines and keys that
were, and keys without an item."""

Sent = tuple[int, int, int, int, int]
"""The same of replies that were sent: how many bytes, in place of the replies."""


class GetRoutes(Protocol):
    """See the module."""

    @property
    def missing(self) -> int:
        """The shard at whose key the last `answer` stopped since no gate is known of it, or one
        that is shut for good; -1: it stopped for another reason."""

    @property
    def timed(self) -> int:
        """The shard at whose key it stopped since the item has an expiry, and it was not told the
        cluster time; -1 likewise."""

    def set(self, shard: int, gate: ReadGate) -> None:
        """The gate of a shard is this one."""

    def answer(
        self, data: bytes, start: int, now_ns: int, now_ms: int, busy: dict[int, Any]
    ) -> Answered | None:
        """Answer lines of `data` from `start` on. None: not even the first one.

        `now_ns`: a time of the clock after the data came. `now_ms`: cluster time, 0 = it is not
        known. `busy`: groups (shard + 1) whose gets may not be answered.
        """

    def send(
        self,
        sender: Sender,
        data: bytes,
        start: int,
        now_ns: int,
        now_ms: int,
        busy: dict[int, Any],
    ) -> Sent | None:
        """`answer`, and write the replies, which nothing is before, with a sender of this form."""


class PlainGetRoutes:
    """See `GetRoutes`."""

    __slots__ = ("_gates", "_shift", "missing", "timed")

    def __init__(self, shards: int) -> None:
        if not 0 < shards <= 4096 or shards & (shards - 1):
            raise ValueError(f"{shards} shards")
        self._gates: list[PlainReadGate | None] = [None] * shards
        self._shift = 16 - (shards.bit_length() - 1)
        self.missing = -1
        self.timed = -1

    def set(self, shard: int, gate: ReadGate) -> None:
        """See `GetRoutes.set`."""
        if not 0 <= shard < len(self._gates):
            raise ValueError(f"shard {shard}")
        self._gates[shard] = cast(PlainReadGate, gate)

    def answer(
        self, data: bytes, start: int, now_ns: int, now_ms: int, busy: dict[int, Any]
    ) -> Answered | None:
        """See `GetRoutes.answer`."""
        if not 0 <= start <= len(data):
            raise ValueError(f"start {start} in {len(data)} bytes")
        self.missing = -1
        self.timed = -1
        out: list[bytes] = []
        position = start
        size = lines = keys = misses = 0
        while position < len(data):
            end = data.find(b"\n", position)
            if end < 0 or end - position > RETRIEVAL_LINE_BYTES_MAX:
                break
            words = self._words(data[position:end].removesuffix(b"\r"))
            if words is None:
                break
            found: list[tuple[ItemTable, int, bytes]] = []
            pieces: list[bytes] = []
            for key in words[1:]:
                gate = self._gate(key, now_ns, busy)
                if gate is None or gate.table is None:
                    break
                item = gate.table.get(key)
                if item is None:
                    pieces.append(b"")
                    continue
                if not self._may_show(key, item, gate, now_ms, words[0] == b"gets"):
                    break
                found.append((gate.table, gate.now_s, key))
                pieces.append(value_line(key, item, words[0] == b"gets"))
            if len(pieces) < len(words) - 1:
                break
            reply = b"".join(pieces) + END_LINE
            if size + len(reply) > REPLIES_BYTES_MAX:
                break
            for table, now_s, key in found:
                table.note_hit(key, now_s)
            out.append(reply)
            size += len(reply)
            lines += 1
            keys += len(pieces)
            misses += len(pieces) - len(found)
            position = end + 1
        return (b"".join(out), position, lines, keys, misses) if lines else None

    def send(
        self,
        sender: Sender,
        data: bytes,
        start: int,
        now_ns: int,
        now_ms: int,
        busy: dict[int, Any],
    ) -> Sent | None:
        """See `GetRoutes.send`."""
        answered = self.answer(data, start, now_ns, now_ms, busy)
        if answered is None:
            return None
        replies, position, lines, keys, misses = answered
        sender.write(replies)
        return len(replies), position, lines, keys, misses

    @staticmethod
    def _words(line: bytes) -> list[bytes] | None:
        """The words of a get; None: it is none, or none of these."""
        if not line.startswith((b"get ", b"gets ")):
            return None
        words = split_words(line)
        count = len(words) - 1
        if not 0 < count <= KEYS_MAX or max(map(len, words)) > KEY_BYTES_MAX:
            return None
        return words

    def _shard(self, key: bytes) -> int:
        digest = mmh3_x64_128_digest(key, 0)
        return (digest[7] << 8 | digest[6]) >> self._shift

    def _gate(self, key: bytes, now_ns: int, busy: dict[int, Any]) -> PlainReadGate | None:
        """The gate of a key's shard if it is open."""
        shard = self._shard(key)
        gate = self._gates[shard]
        if gate is None or gate.table is None:
            self.missing = shard
            return None
        if now_ns >= gate.lease_until_ns or not gate.is_plain or shard + 1 in busy:
            return None
        return gate

    def _may_show(
        self, key: bytes, item: bytes, gate: PlainReadGate, now_ms: int, with_unique: bool
    ) -> bool:
        """Whether an item is answered as it is."""
        if item[0] & PIECES or (with_unique and not is_plain_text(item)):
            return False
        if not item[0] & ENDS:
            return True
        if now_ms == 0:
            self.timed = self._shard(key)
            return False
        return expires_at_ms(item) > max(now_ms, gate.applied_ms)


def new_get_routes(shards: int) -> GetRoutes:
    """Routes to no shard yet, of so many, of the form that this process runs."""
    try:
        from quorumcache.node.core.gets import GetRoutes as NativeGetRoutes
    except ImportError:  # The sources run: `compiled.py` hides what was compiled.
        return PlainGetRoutes(shards)
    return NativeGetRoutes(shards)
