"""Requests of a transaction over any keys: their bytes, and what the replies mean. Pure.

    cluster txn                       OK: this node knows the words below
    cluster txn begin <limit_ms>      TXN <id> <deadline_ms>
    cluster txn get <key>...          VALUE <key> <flags> <bytes> <version> ... END
    cluster txn snapshot <limit_ms> <key>...   the same, of one moment
    cluster txn commit <id> <deadline_ms> <bytes>   and a block of checks and writes
        COMMITTED | CONFLICT <key> | ABORTED | TOO_LATE

A commit carries its identity, so it may be sent again through any node: it is executed once. Its
block looks like commands of memcached, and a node of an older version would execute them one by
one. So these requests go only to nodes that have said that they know them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final, NamedTuple, TypeVar

from quorumcache.router.arguments import exptime_of, flags_of
from quorumcache.router.codec import Line, Reply, encode_cluster
from quorumcache.router.error_lines import text_of, unexpected
from quorumcache.router.errors import (
    BadReply,
    Conflict,
    InvalidArgument,
    Refused,
    TransactionTooLarge,
    TransactionTooLong,
)
from quorumcache.router.requests import Request, hits, ok_or_refused
from quorumcache.router.retry import Effect

T_co = TypeVar("T_co", covariant=True)

TXN_KEYS_MAX: Final = 128
"""Keys of one transaction, read or written: what a node accepts."""

TXN_BYTES_MAX: Final = 1 << 20
"""Keys and values of one transaction: what a node accepts. A key that is checked and written counts
twice."""

GET_KEYS_MAX: Final = 64
"""Keys of one `cluster txn get`: what a node accepts."""

LIMIT_MS_MIN: Final = 100
LIMIT_MS_MAX: Final = 60_000
"""How long a transaction may take from its begin to its commit."""

ABSENT: Final = 0
"""In place of a version: the key is not there."""

LARGE: Final = -1
"""In place of a version: the key holds a value that is too large to be read in a transaction."""

_LARGE = b"CLIENT_ERROR large value"
_USAGE = b"CLIENT_ERROR usage: "
_TOO_LARGE = (b"SERVER_ERROR object too large", b"CLIENT_ERROR transaction too large")
_NO_MEMORY = b"SERVER_ERROR out of memory"
_HEX = frozenset(b"0123456789abcdef")


class Begun(NamedTuple):
    """Who a transaction is, and the cluster time at which it can not be committed any more."""

    transaction_id: bytes
    deadline_ms: int


class Read(NamedTuple):
    """What a key held when it was read. `version` `ABSENT`: nothing, and `value` is None; `LARGE`:
    something, and `value` is not it."""

    version: int
    flags: int
    value: bytes | None


MISSING: Final = Read(ABSENT, 0, None)
TOO_LARGE: Final = Read(LARGE, 0, b"")


class TransactionRequest(Request[T_co]):
    """Goes only to a node that knows transactions."""

    __slots__ = ()


class CommitRequest(TransactionRequest[None]):
    """A node begins nothing that is sent behind a commit before it is decided."""

    __slots__ = ()
    is_alone = True


class SnapshotRequest(TransactionRequest[dict[bytes, Read] | None]):
    """A node begins nothing that is sent behind it before it is answered. It may take `wait_ms`."""

    __slots__ = ("wait_ms",)
    is_alone = True

    def __init__(self, keys: Sequence[bytes], limit_ms: int) -> None:
        data = b"cluster txn snapshot %d %b\r\n" % (limit_ms, b" ".join(keys))
        super().__init__(data, partial(_snapshot, keys), Effect.READ)
        self.wait_ms = limit_ms


def knows_transactions() -> Request[bool]:
    """Whether the node knows transactions; one of an older version does not."""
    return Request(encode_cluster("txn"), ok_or_refused, Effect.READ)


def begin(limit_ms: int) -> TransactionRequest[Begun]:
    """A new identity. Repeating it does no harm: nobody remembers it before its commit."""
    data = encode_cluster("txn", "begin", str(limit_ms))
    return TransactionRequest(data, _begun, Effect.READ)


def read(keys: Sequence[bytes]) -> TransactionRequest[dict[bytes, Read]]:
    """What these keys of one shard hold now, at its leader."""
    data = b"cluster txn get %b\r\n" % b" ".join(keys)
    return TransactionRequest(data, partial(_reads, keys), Effect.READ)


def look(key: bytes) -> TransactionRequest[dict[bytes, Read]]:
    """The same of one key; a value that is too large to be read is there all the same."""
    return TransactionRequest(b"cluster txn get %b\r\n" % key, partial(_look, key), Effect.READ)


def snapshot(keys: Sequence[bytes], limit_ms: int) -> SnapshotRequest:
    """What these keys of any shards hold at one moment. None: the node does not know this word."""
    return SnapshotRequest(keys, limit_ms)


def commit(begun: Begun, block: bytes) -> CommitRequest:
    """Raises `Conflict`: nothing of it was done, nor will be. `TransactionTooLong`: this attempt
    did nothing; of earlier ones it says nothing.
    """
    head = b"cluster txn commit %b %d %d\r\n" % (*begun, len(block))
    return CommitRequest(head + block + b"\r\n", _committed, Effect.WRITE)


def check_line(key: bytes, version: int) -> bytes:
    """The key still holds what was read; `ABSENT`: nothing."""
    return b"check %b %d\r\n" % (key, version)


def present_line(key: bytes) -> bytes:
    """The key holds something."""
    return b"present %b\r\n" % key


def set_lines(key: bytes, value: bytes, flags: int, exptime: int) -> bytes:
    """Store a value."""
    if not isinstance(value, bytes):
        hint = ": encode it first" if isinstance(value, str) else ""
        raise InvalidArgument(f"a value is bytes, not {type(value).__name__}{hint}")
    flags, exptime = flags_of(flags), exptime_of(exptime)
    return b"set %b %d %d %d\r\n%b\r\n" % (key, flags, exptime, len(value), value)


def delete_line(key: bytes) -> bytes:
    """Remove a key, if it is there."""
    return b"delete %b\r\n" % key


def _begun(reply: Reply) -> Begun:
    if not isinstance(reply, Line) or not reply.text.startswith(b"TXN "):
        unexpected(reply)
    words = reply.text.split(b" ")
    if len(words) != 3 or len(words[1]) != 32 or not _HEX.issuperset(words[1]):
        raise BadReply(f"bad transaction line {reply.text[:60]!r}")
    if not words[2].isdigit() or len(words[2]) > 19:
        raise BadReply(f"bad transaction line {reply.text[:60]!r}")
    return Begun(words[1], int(words[2]))


def _reads(keys: Sequence[bytes], reply: Reply) -> dict[bytes, Read]:
    if isinstance(reply, Line) and reply.text.startswith(_LARGE):
        why = text_of(reply.text.removeprefix(b"CLIENT_ERROR "))
        raise TransactionTooLarge(f"not read: {why}")
    found = dict.fromkeys(keys, MISSING)
    for key, flags, value, version in hits(keys, reply):
        if version == ABSENT:
            raise BadReply(f"a value of {key[:40]!r} without a version")
        found[key] = Read(version, flags, value)
    return found


def _snapshot(keys: Sequence[bytes], reply: Reply) -> dict[bytes, Read] | None:
    if isinstance(reply, Line) and reply.text.startswith(_USAGE):
        return None
    return _reads(keys, reply)


def _look(key: bytes, reply: Reply) -> dict[bytes, Read]:
    try:
        return _reads((key,), reply)
    except TransactionTooLarge:
        return {key: TOO_LARGE}


def _committed(reply: Reply) -> None:
    if not isinstance(reply, Line):
        unexpected(reply)
    word, _, rest = reply.text.partition(b" ")
    if word == b"COMMITTED" and not rest:
        return
    if word == b"CONFLICT" and rest and b" " not in rest:
        raise Conflict(rest)
    if word == b"ABORTED" and not rest:
        raise Conflict(None)
    if word == b"TOO_LATE" and not rest:
        raise TransactionTooLong("the transaction reached the cluster after its time")
    # Unlike a refused `set`, a refused transaction leaves the old values.
    if reply.text.startswith(_TOO_LARGE):
        raise TransactionTooLarge(f"nothing was changed: {text_of(reply.text)}")
    if reply.text.startswith(_NO_MEMORY):
        raise Refused("out of memory: no room for the transaction; nothing was changed")
    unexpected(reply)
