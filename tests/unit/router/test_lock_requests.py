"""The bytes of requests about locks, and what each reply means."""

from __future__ import annotations

from typing import Any

import pytest

from quorumcache.router import lock_requests
from quorumcache.router.codec import Line, Listing, ReplyParser, Values
from quorumcache.router.errors import BadReply, NotDone, Refused
from quorumcache.router.lock_requests import (
    EXCLUSIVE,
    READER,
    AcquireReply,
    LockHolder,
    LockState,
    LockWaiter,
    acquire,
    barrier_mode,
    release,
    renew,
    semaphore_mode,
    show,
)
from quorumcache.router.retry import Effect


@pytest.mark.parametrize(
    ("request_", "line", "effect", "wait_ms"),
    [
        (acquire(b"n", b"o", 500, 0, EXCLUSIVE), b"acquire n o 500 0 exclusive", Effect.WRITE, 0),
        (acquire(b"n", b"o", 500, 1, READER), b"acquire n o 500 1 shared", Effect.WRITE, 0),
        (
            acquire(b"n", b"o", 500, 900, semaphore_mode(3)),
            b"acquire n o 500 900 semaphore 3",
            Effect.WRITE,
            900,
        ),
        (
            acquire(b"n", b"o", 500, 2, barrier_mode(4)),
            b"acquire n o 500 2 barrier 4",
            Effect.WRITE,
            2,
        ),
        (renew(b"n", b"o", 7, 500), b"renew n o 7 500", Effect.READ, 0),
        (release(b"n", b"o", 7), b"release n o 7", Effect.WRITE, 0),
        (release(b"n", b"o"), b"release n o", Effect.WRITE, 0),
        (show(b"n"), b"show n", Effect.READ, 0),
    ],
)
def test_bytes(request_: Any, line: bytes, effect: Effect, wait_ms: int) -> None:
    """Only what takes or gives is numbered, and only a real wait has a connection of its own."""
    assert request_.data == b"cluster lock " + line + b"\r\n"
    assert request_.effect is effect
    assert request_.wait_ms == wait_ms
    assert not request_.any_replica


ACQUIRE, RENEW = acquire(b"n", b"o", 500, 0, EXCLUSIVE), renew(b"n", b"o", 7, 5)


@pytest.mark.parametrize(
    ("request_", "reply", "result"),
    [
        (ACQUIRE, b"LOCKED 7", AcquireReply(token=7)),
        (ACQUIRE, b"WAITING 3", AcquireReply(place=3)),
        (ACQUIRE, b"BUSY", AcquireReply()),
        (RENEW, b"LOCKED 7", True),
        (RENEW, b"NOT_HELD", False),
        (release(b"n", b"o"), b"RELEASED", True),
        (release(b"n", b"o"), b"NOT_HELD", False),
        (show(b"n"), b"END", LockState((), ())),
        (
            show(b"n"),
            b"HOLDER web-1 7 exclusive 900\r\nWAITER 1 web-2 shared\r\nEND",
            LockState(
                (LockHolder("web-1", 7, "exclusive", 900),), (LockWaiter(1, "web-2", "shared"),)
            ),
        ),
    ],
)
def test_replies(request_: Any, reply: bytes, result: Any) -> None:
    """As they come over the wire."""
    (parsed,) = ReplyParser().feed(reply + b"\r\n")
    assert request_.decode(parsed) == result


@pytest.mark.parametrize(
    ("request_", "reply", "kind"),
    [
        (ACQUIRE, Line(b"LOCKED 0"), BadReply),
        (ACQUIRE, Line(b"LOCKED x"), BadReply),
        (ACQUIRE, Line(b"LOCKED "), BadReply),
        (ACQUIRE, Line(b"WAITING -1"), BadReply),
        (ACQUIRE, Line(b"OK"), BadReply),
        (ACQUIRE, Values(()), BadReply),
        (ACQUIRE, Line(b"NOT_HELD"), BadReply),
        (ACQUIRE, Line(b"SERVER_ERROR not done: too many locks"), NotDone),
        (ACQUIRE, Line(b"CLIENT_ERROR usage: cluster map"), Refused),
        (RENEW, Line(b"LOCKED 8"), BadReply),
        (RENEW, Line(b"BUSY"), BadReply),
        (release(b"n", b"o"), Line(b"OK"), BadReply),
        (show(b"n"), Line(b"OK"), BadReply),
        (show(b"n"), Listing((b"HOLDER a b c d",)), BadReply),
        (show(b"n"), Listing((b"WAITER x a b",)), BadReply),
        (show(b"n"), Listing((b"NODE 1 a b",)), BadReply),
    ],
)
def test_other_replies(request_: Any, reply: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind) as caught:
        request_.decode(reply)
    assert type(caught.value) is kind


def test_a_wait_is_short_or_alone() -> None:
    assert lock_requests.SHORT_WAIT_MS < 10
