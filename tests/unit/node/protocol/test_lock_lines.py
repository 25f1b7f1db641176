"""The lines of `cluster lock` and `cluster fence`."""

import pytest

from quorumcache.node.protocol.lines import parse_line
from quorumcache.node.protocol.lock_lines import (
    FENCE_NAME_ERROR,
    FENCE_TOKEN_ERROR,
    FENCE_WORDS_ERROR,
    LIMIT_ERROR,
    LOCK_USAGE,
    NAME_ERROR,
    OWNER_ERROR,
    TOKEN_ERROR,
    TTL_ERROR,
    WAIT_ERROR,
)
from quorumcache.node.protocol.lock_requests import (
    Fence,
    LockAcquire,
    LockRelease,
    LockRenew,
    LockShow,
)
from quorumcache.node.protocol.requests import Immediate, Request
from quorumcache.node.protocol.responses import OK_LINE
from quorumcache.node.store.lock_records import is_possible

TOO_LONG = b"n" * 251
TOKEN_MAX = 2**63 - 1


def parsed(line: bytes) -> Request:
    return parse_line(b"cluster " + line, len(line) + 10)


@pytest.mark.parametrize(
    ("line", "request_"),
    [
        (b"lock acquire l o 100", LockAcquire(b"l", b"o", 100, 0, 0, 0)),
        (b"lock acquire l o 86400000 86400000", LockAcquire(b"l", b"o", 86400000, 86400000, 0, 0)),
        (b"lock acquire l o 5000 0 exclusive", LockAcquire(b"l", b"o", 5000, 0, 0, 0)),
        (b"lock acquire l o 5000 9 shared", LockAcquire(b"l", b"o", 5000, 9, 1, 0)),
        (b"lock acquire l o 5000 9 semaphore 1", LockAcquire(b"l", b"o", 5000, 9, 2, 1)),
        (b"lock acquire l o 5000 9 barrier 1024", LockAcquire(b"l", b"o", 5000, 9, 4, 1024)),
        (b"lock renew l o 1 100", LockRenew(b"l", b"o", 1, 100)),
        (b"lock renew l o %d 100" % TOKEN_MAX, LockRenew(b"l", b"o", TOKEN_MAX, 100)),
        (b"lock release l o", LockRelease(b"l", b"o", 0)),
        (b"lock release l o 7", LockRelease(b"l", b"o", 7)),
        (b"lock show " + b"n" * 250, LockShow(b"n" * 250)),
        (b"lock", Immediate(OK_LINE)),
        (b"fence l 1", Fence(b"l", 1, b"")),
        (b"fence l %d" % TOKEN_MAX, Fence(b"l", TOKEN_MAX, b"")),
    ],
)
def test_what_is_right(line: bytes, request_: Request) -> None:
    found = parsed(line)
    assert found == request_
    assert type(found) is type(request_)
    if isinstance(found, LockAcquire):
        is_shared = found.kind & 1
        assert is_possible(found.name, found.owner, found.kind >> 1, is_shared, found.limit)


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        (b"lock acquire", LOCK_USAGE),
        (b"lock acquire l", LOCK_USAGE),
        (b"lock acquire l o", LOCK_USAGE),
        (b"lock acquire %b o 100" % TOO_LONG, NAME_ERROR),
        (b"lock acquire l %b 100" % (b"o" * 101), OWNER_ERROR),
        (b"lock acquire l o\x01 100", OWNER_ERROR),
        (b"lock acquire l \x7f 100", OWNER_ERROR),
        (b"lock acquire l o 99", TTL_ERROR),
        (b"lock acquire l o 86400001", TTL_ERROR),
        (b"lock acquire l o -100", TTL_ERROR),
        (b"lock acquire l o 1e5", TTL_ERROR),
        (b"lock acquire l o 100 86400001", WAIT_ERROR),
        (b"lock acquire l o 100 shared", WAIT_ERROR),
        (b"lock acquire l o 100 0 alone", LOCK_USAGE),
        (b"lock acquire l o 100 0 shared 2", LOCK_USAGE),
        (b"lock acquire l o 100 0 semaphore", LOCK_USAGE),
        (b"lock acquire l o 100 0 semaphore 0", LIMIT_ERROR),
        (b"lock acquire l o 100 0 barrier 1025", LIMIT_ERROR),
        (b"lock acquire l o 100 0 barrier 2 2", LOCK_USAGE),
        (b"lock renew l o 1", LOCK_USAGE),
        (b"lock renew l o 0 100", TOKEN_ERROR),
        (b"lock renew l o %d 100" % (TOKEN_MAX + 1), TOKEN_ERROR),
        (b"lock renew l o 1 99", TTL_ERROR),
        (b"lock renew l \x00 1 100", OWNER_ERROR),
        (b"lock release l", LOCK_USAGE),
        (b"lock release l o 0", TOKEN_ERROR),
        (b"lock release l o -1", TOKEN_ERROR),
        (b"lock release l \x1f", OWNER_ERROR),
        (b"lock release l o 1 2", LOCK_USAGE),
        (b"lock show", LOCK_USAGE),
        (b"lock show l l", LOCK_USAGE),
        (b"lock show " + TOO_LONG, NAME_ERROR),
        (b"lock steal l o", LOCK_USAGE),
    ],
)
def test_what_is_wrong_with_a_lock(line: bytes, reply: bytes) -> None:
    assert parsed(line) == Immediate(reply)
    assert reply.startswith(b"CLIENT_ERROR ")
    assert reply.index(b"\r\n") == len(reply) - 2


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b"fence", FENCE_WORDS_ERROR),
        (b"fence l", FENCE_WORDS_ERROR),
        (b"fence l 1 2", FENCE_WORDS_ERROR),
        (b"fence %b 1" % TOO_LONG, FENCE_NAME_ERROR),
        (b"fence l 0", FENCE_TOKEN_ERROR),
        (b"fence l -1", FENCE_TOKEN_ERROR),
        (b"fence l %d" % (TOKEN_MAX + 1), FENCE_TOKEN_ERROR),
        (b"fence l x", FENCE_TOKEN_ERROR),
    ],
)
def test_what_is_wrong_with_a_fence_is_told_by_the_next_command(line: bytes, error: bytes) -> None:
    assert parsed(line) == Fence(b"", 0, error)
    assert error.startswith(b"CLIENT_ERROR fence: ")
    assert error.endswith(b"; not done\r\n")
