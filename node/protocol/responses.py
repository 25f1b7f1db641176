"""Reply bytes: fixed lines, and what the results of the store look like on the wire."""

from struct import pack
from typing import Final

from quorumcache.node.state_machine import Result
from quorumcache.node.store.item import ITEM_DATA, VALUE_ID_BYTES, cas_unique
from quorumcache.node.store.results import (
    DELETED,
    EXISTS,
    FENCE_OTHER_LOCK,
    FENCE_STALE,
    LOCK_QUEUED,
    LOCKED,
    META_MARKED,
    NON_NUMERIC,
    NOT_FOUND,
    NOT_STORED,
    NUMBER,
    OK,
    OUT_OF_MEMORY,
    SESSION_GONE,
    STALE_SEQUENCE,
    STORED,
    TOO_LARGE,
    TOUCHED,
    carried_item,
)

END_LINE: Final = b"END\r\n"
OK_LINE: Final = b"OK\r\n"
STORED_LINE: Final = b"STORED\r\n"

ERROR_LINE: Final = b"ERROR\r\n"
BAD_FORMAT_LINE: Final = b"CLIENT_ERROR bad command line format\r\n"
DELETE_USAGE_LINE: Final = (
    b"CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]\r\n"
)
BAD_DATA_CHUNK_LINE: Final = b"CLIENT_ERROR bad data chunk\r\n"
INVALID_EXPTIME_LINE: Final = b"CLIENT_ERROR invalid exptime argument\r\n"
INVALID_DELTA_LINE: Final = b"CLIENT_ERROR invalid numeric delta argument\r\n"
NON_NUMERIC_LINE: Final = b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"
TOO_LARGE_LINE: Final = b"SERVER_ERROR object too large for cache\r\n"
OUT_OF_MEMORY_LINE: Final = b"SERVER_ERROR out of memory storing object\r\n"
SHUTDOWN_LINE: Final = b"SERVER_ERROR: shutdown not enabled\r\n"
UNAUTHENTICATED_LINE: Final = b"CLIENT_ERROR unauthenticated\r\n"
AUTHENTICATION_FAILURE_LINE: Final = b"CLIENT_ERROR authentication failure\r\n"
BAD_TOKEN_LINE: Final = b"CLIENT_ERROR bad authentication token format\r\n"
BAD_TERMINATION_LINE: Final = b"CLIENT_ERROR bad command line termination\r\n"
TOKEN_TOO_LONG_LINE: Final = b"CLIENT_ERROR auth token too long\r\n"
FLUSH_NOT_ALLOWED_LINE: Final = b"CLIENT_ERROR flush_all not allowed\r\n"
FENCE_OTHER_LOCK_LINE: Final = (
    b"CLIENT_ERROR fence of another lock: this key is guarded by another one\r\n"
)
TOO_MANY_CONNECTIONS_LINE: Final = b"ERROR Too many open connections\r\n"

NUMBER_USED_LINE: Final = b"CLIENT_ERROR once: another command has used this number; not done\r\n"
"""To a command under a number that its client has used for a command of another kind before."""

_LINES: Final = {
    STORED: STORED_LINE,
    NOT_STORED: b"NOT_STORED\r\n",
    EXISTS: b"EXISTS\r\n",
    NOT_FOUND: b"NOT_FOUND\r\n",
    DELETED: b"DELETED\r\n",
    TOUCHED: b"TOUCHED\r\n",
    OK: OK_LINE,
    NON_NUMERIC: NON_NUMERIC_LINE,
    TOO_LARGE: TOO_LARGE_LINE,
    # These two come to a classic command whose client has used its identity for a meta command.
    META_MARKED: b"HD\r\n",
    OUT_OF_MEMORY: OUT_OF_MEMORY_LINE,
    FENCE_OTHER_LOCK: FENCE_OTHER_LOCK_LINE,
    # Both come to a command that was not executed this time, but may have been when it was first
    # sent.
    SESSION_GONE: b"SERVER_ERROR outcome unknown: session expired\r\n",
    STALE_SEQUENCE: b"SERVER_ERROR outcome unknown: sequence was answered and forgotten\r\n",
}


BINARY_MAGIC: Final = 0x80
BINARY_HEADER_BYTES: Final = 24
"""First byte of every request of memcached's binary protocol."""
_BINARY_RESPONSE_MAGIC: Final = 0x81
_BINARY_NOT_SUPPORTED: Final = 0x0083
_BINARY_TEXT: Final = b"this server speaks memcached's text protocol only: switch binary off"


def binary_refusal(request: bytes) -> bytes:
    """The answer to a binary client: an error response of its protocol, status 0x0083.

    Opcode and opaque are those of the request, whose header has arrived.
    """
    opcode = request[1]
    opaque = request[12:16]
    head = pack(
        ">BBHBBHI",
        _BINARY_RESPONSE_MAGIC,
        opcode,
        0,  # key length
        0,  # extras length
        0,  # data type
        _BINARY_NOT_SUPPORTED,
        len(_BINARY_TEXT),
    )
    return head + opaque + bytes(8) + _BINARY_TEXT


def render(result: Result) -> bytes:
    """The reply to a command other than a retrieval: a fixed line, or the new number of incr and
    decr.
    """
    if type(result) is int:
        return _LINES.get(result, NUMBER_USED_LINE)
    assert type(result) is tuple, result
    code, number = result
    if code in (LOCKED, LOCK_QUEUED):
        return NUMBER_USED_LINE
    if code not in (NUMBER, FENCE_STALE):  # Of such a meta command, too.
        return _LINES[META_MARKED]
    assert type(number) is int, result
    if code == FENCE_STALE:
        return b"CLIENT_ERROR stale fence: the newest token seen here is %d\r\n" % number
    return b"%d\r\n" % number


def value_line(key: bytes, item: bytes, with_cas: bool) -> bytes:
    """One hit of a retrieval, header line and block, of a packed item. END_LINE is the caller's."""
    if not with_cas:
        return b"VALUE " + key + item[ITEM_DATA:]
    head, start = value_start(key, item, True)
    return head + item[start:]


def value_start(key: bytes, item: bytes, with_cas: bool) -> tuple[bytes, int]:
    """`value_line` in two: what has to be made of it, and where the rest begins in the item."""
    if not with_cas:
        return b"VALUE " + key, ITEM_DATA
    line_end = item.index(b"\r\n", ITEM_DATA)
    return b"VALUE %b%b %d" % (key, item[ITEM_DATA:line_end], cas_unique(item)), line_end


def value_head(key: bytes, item: bytes, with_cas: bool) -> bytes:
    """The header line of a hit, of a large item: its value and a line end follow."""
    return value_line(key, item[:-VALUE_ID_BYTES], with_cas)


def value_of(key: bytes, result: Result, with_cas: bool) -> bytes:
    """What one key adds to the reply of gat and gats: a hit's line and block, or nothing."""
    item = carried_item(result)
    return b"" if item is None else value_line(key, item, with_cas)


def version_line(version: str) -> bytes:
    """The reply to `version`."""
    return b"VERSION %b\r\n" % version.encode()


def not_done(why: str) -> bytes:
    """The command was certainly not executed."""
    return f"SERVER_ERROR not done: {why}\r\n".encode()


def outcome_unknown(why: str) -> bytes:
    """A write that may or may not have happened."""
    return f"SERVER_ERROR outcome unknown: {why}\r\n".encode()


def session_gone(not_done_now: bool) -> bytes:
    """A write under a client's session that the shard does not know. `not_done_now`: this command
    was certainly not executed; an earlier one of the same sequence may have been.
    """
    return b"SERVER_ERROR session gone: %b\r\n" % _verdict(not_done_now)


def stale_sequence(not_done_now: bool) -> bytes:
    """A write under a client's session whose sequence the shard has forgotten."""
    return b"SERVER_ERROR stale sequence: %b\r\n" % _verdict(not_done_now)


def _verdict(not_done_now: bool) -> bytes:
    return b"this command was not done" if not_done_now else b"outcome unknown"


def session_line(shard: int, session: int) -> bytes:
    """The reply to `cluster session open`."""
    return b"SESSION %d %d\r\n" % (shard, session)


def once_error(why: bytes) -> bytes:
    """What a command gets in place of its own reply for a `cluster once` that is of no use."""
    return b"CLIENT_ERROR once: %b; not done\r\n" % why


def fence_error(why: bytes) -> bytes:
    """What a command gets in place of its own reply for a `cluster fence` that is of no use."""
    return b"CLIENT_ERROR fence: %b; not done\r\n" % why


def moved(epoch: int, shard: int, leader_id: int, address: str) -> bytes:
    """In redirect mode: the key's shard is led elsewhere. Unknown leader: id 0, address ''."""
    return f"MOVED {epoch} {shard} {leader_id} {address or '-'}\r\n".encode()
