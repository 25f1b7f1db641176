"""The lines of `cluster lock` and `cluster fence`, each to one request."""

from collections.abc import Callable
from typing import Final

from quorumcache.node.protocol.lock_requests import (
    Fence,
    LockAcquire,
    LockRelease,
    LockRenew,
    LockShow,
)
from quorumcache.node.protocol.numbers import INT64_MAX
from quorumcache.node.protocol.requests import Immediate, Request
from quorumcache.node.protocol.responses import OK_LINE, fence_error
from quorumcache.node.store.item import KEY_BYTES_MAX
from quorumcache.node.store.lock_records import (
    HOLDERS_MAX,
    KIND_BARRIER,
    KIND_LOCK,
    KIND_SEMAPHORE,
    OWNER_BYTES_MAX,
    TTL_MAX_MS,
    TTL_MIN_MS,
)

WAIT_MS_MAX: Final = 86_400_000
"""The longest wait that an acquire may name. It is answered before that, and asked again."""

LOCK_USAGE: Final = (
    b"CLIENT_ERROR usage: cluster lock acquire <name> <owner> <ttl_ms> [<wait_ms> "
    b"[exclusive|shared|semaphore <permits>|barrier <parties>]] | "
    b"cluster lock renew <name> <owner> <token> <ttl_ms> | "
    b"cluster lock release <name> <owner> [<token>] | cluster lock show <name>\r\n"
)
NAME_ERROR: Final = b"CLIENT_ERROR lock: a name has at most %d bytes\r\n" % KEY_BYTES_MAX
OWNER_ERROR: Final = (
    b"CLIENT_ERROR lock: an owner has at most %d bytes, and no control characters\r\n"
    % OWNER_BYTES_MAX
)
TTL_ERROR: Final = (
    b"CLIENT_ERROR lock: the time to live must be a number of milliseconds from %d to %d\r\n"
    % (TTL_MIN_MS, TTL_MAX_MS)
)
WAIT_ERROR: Final = (
    b"CLIENT_ERROR lock: the wait must be a number of milliseconds from 0 to %d\r\n" % WAIT_MS_MAX
)
LIMIT_ERROR: Final = (
    b"CLIENT_ERROR lock: permits and parties must be a number from 1 to %d\r\n" % HOLDERS_MAX
)
TOKEN_ERROR: Final = b"CLIENT_ERROR lock: a token is a number from 1 to 2^63 - 1\r\n"

FENCE_WORDS_ERROR: Final = fence_error(b"usage is cluster fence <lock> <token>")
FENCE_NAME_ERROR: Final = fence_error(b"the name of a lock has at most %d bytes" % KEY_BYTES_MAX)
FENCE_TOKEN_ERROR: Final = fence_error(b"a token is a number from 1 to 2^63 - 1")

_SPACE: Final = 32
_DELETE: Final = 127


def parse_lock(words: list[bytes]) -> Request:
    """The request of a line that begins with `cluster lock`."""
    if len(words) == 2:
        return Immediate(OK_LINE)
    parser = _PARSERS.get(words[2])
    if parser is None or len(words) < 4:
        return Immediate(LOCK_USAGE)
    if len(words[3]) > KEY_BYTES_MAX:
        return Immediate(NAME_ERROR)
    return parser(words[3:])


def parse_fence(words: list[bytes]) -> Fence:
    """The request of a line that begins with `cluster fence`."""
    if len(words) != 4:
        return Fence(b"", 0, FENCE_WORDS_ERROR)
    if len(words[2]) > KEY_BYTES_MAX:
        return Fence(b"", 0, FENCE_NAME_ERROR)
    token = _number(words[3], 1, INT64_MAX)
    if token < 0:
        return Fence(b"", 0, FENCE_TOKEN_ERROR)
    return Fence(words[2], token, b"")


def _number(word: bytes, low: int, high: int) -> int:
    """The number `word` if it is digits only and within [low, high]; otherwise -1."""
    if not word.isdigit() or len(word) > 19:
        return -1
    number = int(word)
    return number if low <= number <= high else -1


def _is_owner(word: bytes) -> bool:
    return len(word) <= OWNER_BYTES_MAX and not any(
        byte <= _SPACE or byte == _DELETE for byte in word
    )


def _acquire(words: list[bytes]) -> Request:
    if len(words) < 3:
        return Immediate(LOCK_USAGE)
    name, owner = words[:2]
    if not _is_owner(owner):
        return Immediate(OWNER_ERROR)
    ttl_ms = _number(words[2], TTL_MIN_MS, TTL_MAX_MS)
    if ttl_ms < 0:
        return Immediate(TTL_ERROR)
    wait_ms = _number(words[3], 0, WAIT_MS_MAX) if len(words) > 3 else 0
    if wait_ms < 0:
        return Immediate(WAIT_ERROR)
    mode = words[4:]
    if mode in ([], [b"exclusive"]):
        return LockAcquire(name, owner, ttl_ms, wait_ms, 2 * KIND_LOCK, 0)
    if mode == [b"shared"]:
        return LockAcquire(name, owner, ttl_ms, wait_ms, 2 * KIND_LOCK + 1, 0)
    kind = _LIMITED.get(mode[0])
    if kind is None or len(mode) != 2:
        return Immediate(LOCK_USAGE)
    limit = _number(mode[1], 1, HOLDERS_MAX)
    if limit < 0:
        return Immediate(LIMIT_ERROR)
    return LockAcquire(name, owner, ttl_ms, wait_ms, 2 * kind, limit)


def _renew(words: list[bytes]) -> Request:
    if len(words) != 4:
        return Immediate(LOCK_USAGE)
    name, owner = words[:2]
    if not _is_owner(owner):
        return Immediate(OWNER_ERROR)
    token = _number(words[2], 1, INT64_MAX)
    if token < 0:
        return Immediate(TOKEN_ERROR)
    ttl_ms = _number(words[3], TTL_MIN_MS, TTL_MAX_MS)
    return Immediate(TTL_ERROR) if ttl_ms < 0 else LockRenew(name, owner, token, ttl_ms)


def _release(words: list[bytes]) -> Request:
    if len(words) not in (2, 3):
        return Immediate(LOCK_USAGE)
    name, owner = words[:2]
    if not _is_owner(owner):
        return Immediate(OWNER_ERROR)
    if len(words) == 2:
        return LockRelease(name, owner, 0)
    token = _number(words[2], 1, INT64_MAX)
    return Immediate(TOKEN_ERROR) if token < 0 else LockRelease(name, owner, token)


def _show(words: list[bytes]) -> Request:
    return LockShow(words[0]) if len(words) == 1 else Immediate(LOCK_USAGE)


_LIMITED: Final = {b"semaphore": KIND_SEMAPHORE, b"barrier": KIND_BARRIER}
"""Kinds that have a limit."""

_PARSERS: Final[dict[bytes, Callable[[list[bytes]], Request]]] = {
    b"acquire": _acquire,
    b"renew": _renew,
    b"release": _release,
    b"show": _show,
}
"""Each takes the words from the lock's name on."""
