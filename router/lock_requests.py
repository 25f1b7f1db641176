"""The requests about locks: their bytes, and what their replies mean. Pure.

`cluster lock ...` of docs/protocol.md. A request names the holder by its *owner word*, which is
another one for each acquisition.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

from quorumcache.router.codec import Line, Listing, Reply, Values
from quorumcache.router.error_lines import text_of, unexpected
from quorumcache.router.errors import BadReply
from quorumcache.router.requests import Request
from quorumcache.router.retry import Effect


class Mode(NamedTuple):
    """How a lock is held. `words`: as the wire says it. `shared`: what others may hold at the same
    time; "": its holder has it alone."""

    words: bytes
    shared: str = ""


EXCLUSIVE = Mode(b"exclusive")
READER = Mode(b"shared", "the readers of a read-write lock")


def semaphore_mode(permits: int) -> Mode:
    """One of `permits` holders at a time."""
    return Mode(b"semaphore %d" % permits, "a semaphore")


def barrier_mode(parties: int) -> Mode:
    """Granted to `parties` owners at once."""
    return Mode(b"barrier %d" % parties, "a barrier")


class AcquireReply(NamedTuple):
    """`token`: of the lock, which is held now; 0: it is not. `place`: in the queue, from 1; 0 with
    no token: others hold it, and the owner does not wait."""

    token: int = 0
    place: int = 0


class LockHolder(NamedTuple):
    """One who holds a lock. `left_ms`: what is left of its time unless it renews."""

    owner: str
    token: int
    mode: str
    left_ms: int


class LockWaiter(NamedTuple):
    """One who waits for a lock; the one at `place` 1 is next."""

    place: int
    owner: str
    mode: str


class LockState(NamedTuple):
    """Who holds a lock, and who waits for it, in order."""

    holders: tuple[LockHolder, ...]
    waiters: tuple[LockWaiter, ...]


class WaitingRequest(Request[AcquireReply]):
    """An acquire that waits: the node may keep its answer back for `wait_ms`."""

    __slots__ = ("wait_ms",)
    is_alone = True

    def __init__(self, data: bytes, decode: Callable[[Reply], AcquireReply], wait_ms: int) -> None:
        super().__init__(data, decode, Effect.WRITE)
        self.wait_ms = wait_ms


SHORT_WAIT_MS: Final = 1
"""A wait that is short enough for the connection that all requests share. It is as much as taking
a place in the queue."""


def acquire(
    name: bytes, owner: bytes, ttl_ms: int, wait_ms: int, mode: Mode
) -> Request[AcquireReply]:
    """Take the lock, or a place in its queue (`wait_ms` 0: no place), or hear how that goes on. An
    owner that holds it already has it for `ttl_ms` from now, under the same token."""
    line = b"cluster lock acquire %b %b %d %d %b\r\n" % (name, owner, ttl_ms, wait_ms, mode.words)
    if wait_ms > SHORT_WAIT_MS:
        return WaitingRequest(line, _acquired, wait_ms)
    return Request(line, _acquired, Effect.WRITE)


def renew(name: bytes, owner: bytes, token: int, ttl_ms: int) -> Request[bool]:
    """Hold the lock for `ttl_ms` from now; False: it is not held. To repeat it is harmless, so it
    has no number."""
    line = b"cluster lock renew %b %b %d %d\r\n" % (name, owner, token, ttl_ms)
    return Request(line, partial(_renewed, token), Effect.READ)


def release(name: bytes, owner: bytes, token: int = 0) -> Request[bool]:
    """Give the lock back; False: it was not held. Without a token: leave the queue as well."""
    tail = b" %d" % token if token else b""
    return Request(
        b"cluster lock release %b %b%b\r\n" % (name, owner, tail), _released, Effect.WRITE
    )


def show(name: bytes) -> Request[LockState]:
    """Who holds the lock, and who waits."""
    return Request(b"cluster lock show %b\r\n" % name, _shown, Effect.READ)


def _numbered(reply: Reply, word: bytes) -> int:
    """The number in `<word> <number>`; 0: it is another reply."""
    if isinstance(reply, Line) and reply.text.startswith(word + b" "):
        number = reply.text[len(word) + 1 :]
        if not number.isdigit() or not int(number):
            raise BadReply(f"bad reply {text_of(reply.text)[:60]!r} of a lock")
        return int(number)
    return 0


def _acquired(reply: Reply) -> AcquireReply:
    token = _numbered(reply, b"LOCKED")
    place = 0 if token else _numbered(reply, b"WAITING")
    if token or place or reply == Line(b"BUSY"):
        return AcquireReply(token, place)
    unexpected(reply)


def _renewed(token: int, reply: Reply) -> bool:
    if reply == Line(b"NOT_HELD"):
        return False
    renewed = _numbered(reply, b"LOCKED")
    if not renewed:
        unexpected(reply)
    if renewed != token:
        raise BadReply(f"token {renewed} was renewed in place of {token}")
    return True


def _released(reply: Reply) -> bool:
    if reply in (Line(b"RELEASED"), Line(b"NOT_HELD")):
        return reply == Line(b"RELEASED")
    unexpected(reply)


def _shown(reply: Reply) -> LockState:
    if isinstance(reply, Values) and not reply.items:
        return LockState((), ())
    if not isinstance(reply, Listing):
        unexpected(reply)
    holders, waiters = [], []
    for line in reply.lines:
        words = line.split(b" ")
        if words[0] == b"HOLDER" and len(words) >= 5 and words[2].isdigit() and words[4].isdigit():
            holders.append(
                LockHolder(text_of(words[1]), int(words[2]), text_of(words[3]), int(words[4]))
            )
        elif words[0] == b"WAITER" and len(words) >= 4 and words[1].isdigit():
            waiters.append(LockWaiter(int(words[1]), text_of(words[2]), text_of(words[3])))
        else:
            raise BadReply(f"bad line of a lock {text_of(line)[:60]!r}")
    return LockState(tuple(holders), tuple(waiters))
