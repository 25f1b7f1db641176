"""One command line without a data block, to one request.

The answers to what is wrong follow memcached 1.6.45, those to words after the key of `delete`
1.6.18: a known command with too few words, a bad number or an over-long key is bad format;
`noreply` as the last word hides every answer, errors included, once the line has words enough to be
looked at.
"""

from collections.abc import Callable
from typing import Final

from quorumcache.node.protocol.admin_lines import ADMIN_PARSERS
from quorumcache.node.protocol.lock_lines import parse_fence, parse_lock
from quorumcache.node.protocol.meta_lines import META_PARSERS
from quorumcache.node.protocol.numbers import (
    INT32_MAX,
    INT32_MIN,
    INT64_MAX,
    strict_number,
    unsigned64,
)
from quorumcache.node.protocol.requests import (
    Arithmetic,
    Cluster,
    Delete,
    FlushAll,
    Get,
    GetAndTouch,
    Immediate,
    Once,
    Quit,
    Request,
    Stats,
    Touch,
    Version,
)
from quorumcache.node.protocol.responses import (
    BAD_FORMAT_LINE,
    DELETE_USAGE_LINE,
    ERROR_LINE,
    INVALID_DELTA_LINE,
    INVALID_EXPTIME_LINE,
    once_error,
)
from quorumcache.node.protocol.transaction_lines import TXN_GET, TXN_SNAPSHOT, parse_transaction
from quorumcache.node.protocol.words import NOREPLY, answer
from quorumcache.node.store.commands import OP_DECR, OP_INCR
from quorumcache.node.store.item import KEY_BYTES_MAX
from quorumcache.node.store.sessions import CLIENT_SESSION_MIN

RETRIEVALS: Final = (b"get ", b"gets ", b"gat ", b"gats ", TXN_GET, TXN_SNAPSHOT)
"""How the lines begin that may name many keys, and so be long."""

RETRIEVAL_LINE_BYTES_MAX: Final = 1 << 20
"""Limit of such a line. memcached has none for get and gets, and that of other lines for gat."""

LINE_BYTES_MAX: Final = 1 << 14
"""Limit of any other line; a longer one closes the connection."""

ONCE_WORDS_ERROR: Final = once_error(b"usage is cluster once <session> <sequence> <floor>")
ONCE_SESSION_ERROR: Final = once_error(b"this is not a session number from 'cluster session open'")
ONCE_SEQUENCE_ERROR: Final = once_error(b"the sequence must be a number from 1 to 2^63 - 1")
ONCE_FLOOR_ERROR: Final = once_error(b"the floor must be a number from 0 to the sequence")

_SHORTEST_LINE_BYTES: Final = 4
"""Two bytes and CRLF: memcached looks at nothing shorter."""


def split_words(line: bytes) -> list[bytes]:
    """The words of a line: what stands between spaces. A tab is a byte like any other."""
    return [word for word in line.split(b" ") if word]


def plain_get_keys(data: bytes) -> list[bytes] | None:
    """The keys, if `data`, which starts with `b"get "`, is nothing but whole lines of one key each
    that begin so; otherwise None.
    """
    if data[-2:] != b"\r\n":
        return None
    keys = data[4:-2].split(b"\r\nget ")
    count = len(keys)
    # One space and one line end per line, or some line is of another form.
    if data.count(b" ") != count or data.count(b"\n") != count:
        return None
    for key in keys:
        if not 0 < len(key) <= KEY_BYTES_MAX:
            return None
    return keys


def parse_line(line: bytes, line_bytes: int) -> Request:
    """The request of a line that is no storage command.

    `line` comes without its line end, `line_bytes` is its length with it.
    """
    if line_bytes < _SHORTEST_LINE_BYTES:
        return Immediate(BAD_FORMAT_LINE)
    words = split_words(line)
    if not words or line.startswith(b" "):
        return Immediate(ERROR_LINE)
    retrieval = _RETRIEVAL_PARSERS.get(words[0])
    if retrieval is not None:
        return Quit() if len(line) > RETRIEVAL_LINE_BYTES_MAX else retrieval(words)
    if len(line) > LINE_BYTES_MAX and not line.startswith(TXN_SNAPSHOT):
        return Quit()
    return _LINE_PARSERS.get(words[0], _unknown)(words)


def _unknown(words: list[bytes]) -> Request:
    if len(words) > 1 and words[-1].startswith(b"HTTP/"):
        return Quit()
    return answer(ERROR_LINE, words[-1] == NOREPLY)


def _retrieval_keys(words: list[bytes]) -> tuple[bytes, ...] | None:
    """The words as keys; None when there is none, or one is too long."""
    if not words or max(map(len, words)) > KEY_BYTES_MAX:
        return None
    return tuple(words)


def _get(words: list[bytes]) -> Request:
    keys = _retrieval_keys(words[1:])
    return Immediate(BAD_FORMAT_LINE) if keys is None else Get(keys, words[0] == b"gets")


def _gat(words: list[bytes]) -> Request:
    if len(words) < 3:
        return Immediate(BAD_FORMAT_LINE)
    exptime = strict_number(words[1], INT32_MIN, INT32_MAX)
    if exptime is None:
        return Immediate(INVALID_EXPTIME_LINE)
    keys = _retrieval_keys(words[2:])
    if keys is None:
        return Immediate(BAD_FORMAT_LINE)
    return GetAndTouch(exptime, keys, words[0] == b"gats")


def _delete(words: list[bytes]) -> Request:
    if len(words) < 2:
        return Immediate(BAD_FORMAT_LINE)
    noreply = len(words) > 2 and words[-1] == NOREPLY
    if len(words[1]) > KEY_BYTES_MAX:
        return answer(BAD_FORMAT_LINE, noreply)
    more = words[2:-1] if noreply else words[2:]
    if more and more != [b"0"]:
        return answer(DELETE_USAGE_LINE, noreply)
    return Delete(words[1], noreply)


def _arithmetic(words: list[bytes]) -> Request:
    if len(words) < 3:
        return Immediate(BAD_FORMAT_LINE)
    noreply = words[-1] == NOREPLY
    if len(words[1]) > KEY_BYTES_MAX:
        return answer(BAD_FORMAT_LINE, noreply)
    delta = unsigned64(words[2])
    if delta is None:
        return answer(INVALID_DELTA_LINE, noreply)
    return Arithmetic(OP_INCR if words[0] == b"incr" else OP_DECR, words[1], delta, noreply)


def _touch(words: list[bytes]) -> Request:
    if len(words) < 3:
        return Immediate(BAD_FORMAT_LINE)
    noreply = words[-1] == NOREPLY
    if len(words[1]) > KEY_BYTES_MAX:
        return answer(BAD_FORMAT_LINE, noreply)
    exptime = strict_number(words[2], INT32_MIN, INT32_MAX)
    if exptime is None:
        return answer(INVALID_EXPTIME_LINE, noreply)
    return Touch(words[1], exptime, noreply)


def _flush_all(words: list[bytes]) -> Request:
    noreply = len(words) > 1 and words[-1] == NOREPLY
    if len(words) == (2 if noreply else 1):
        return FlushAll(0, noreply)
    delay = strict_number(words[1], INT32_MIN, INT32_MAX)
    return answer(INVALID_EXPTIME_LINE, noreply) if delay is None else FlushAll(delay, noreply)


def _version(words: list[bytes]) -> Request:
    return Version()


def _stats(words: list[bytes]) -> Request:
    return Stats(tuple(words[1:]))


def _cluster(words: list[bytes]) -> Request:
    parser = _CLUSTER_PARSERS.get(words[1]) if len(words) > 1 else None
    return Cluster(tuple(words[1:])) if parser is None else parser(words)


def _once(words: list[bytes]) -> Once:
    if len(words) != 5:
        return Once(0, 0, 0, ONCE_WORDS_ERROR)
    session = _whole_number(words[2])
    if session < CLIENT_SESSION_MIN:
        return Once(0, 0, 0, ONCE_SESSION_ERROR)
    sequence = _whole_number(words[3])
    if sequence < 1:
        return Once(0, 0, 0, ONCE_SEQUENCE_ERROR)
    floor = _whole_number(words[4])
    if not 0 <= floor <= sequence:
        return Once(0, 0, 0, ONCE_FLOOR_ERROR)
    return Once(session, sequence, floor, b"")


def _whole_number(word: bytes) -> int:
    """Digits and nothing else, of a number below 2**63; otherwise -1."""
    if not word.isdigit() or len(word) > 19:
        return -1
    number = int(word)
    return number if number <= INT64_MAX else -1


def _quit(words: list[bytes]) -> Request:
    return Quit()


_RETRIEVAL_PARSERS: Final[dict[bytes, Callable[[list[bytes]], Request]]] = {
    b"get": _get,
    b"gets": _get,
    b"gat": _gat,
    b"gats": _gat,
}

_CLUSTER_PARSERS: Final[dict[bytes, Callable[[list[bytes]], Request]]] = {
    b"once": _once,
    b"lock": parse_lock,
    b"fence": parse_fence,
    b"txn": parse_transaction,
}
"""By the word behind `cluster`. Other words come to the handlers as they are."""

_LINE_PARSERS: Final[dict[bytes, Callable[[list[bytes]], Request]]] = {
    b"delete": _delete,
    b"incr": _arithmetic,
    b"decr": _arithmetic,
    b"touch": _touch,
    b"flush_all": _flush_all,
    b"version": _version,
    b"stats": _stats,
    b"cluster": _cluster,
    b"quit": _quit,
    **ADMIN_PARSERS,
    **META_PARSERS,
}
