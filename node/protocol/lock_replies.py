"""What a client reads of locks."""

from typing import Final

from quorumcache.node.protocol.responses import END_LINE, NUMBER_USED_LINE, not_done
from quorumcache.node.state_machine import Result
from quorumcache.node.store.lock_records import KIND_BARRIER, KIND_LOCK, KIND_SEMAPHORE
from quorumcache.node.store.results import (
    LOCK_BUSY,
    LOCK_KIND,
    LOCK_NOT_HELD,
    LOCK_QUEUED,
    LOCK_RELEASED,
    LOCKED,
    LOCKS_FULL,
)

LockView = tuple[int, tuple[tuple[bytes, int, int, int], ...], tuple[tuple[bytes, int, int], ...]]
"""A lock as its leader shows it: its kind; owner, token, shared and milliseconds left of each
holder; owner, shared and milliseconds left of each waiter."""

LOCKS_FULL_LINE: Final = not_done(
    "too many locks, holders or waiters in this shard or at this lock; retry later"
)

_LINES: Final[dict[int, bytes]] = {
    LOCK_BUSY: b"BUSY\r\n",
    LOCK_KIND: (
        b"CLIENT_ERROR lock of another kind: it is held or waited for in another mode, or with "
        b"another number of permits or parties\r\n"
    ),
    LOCKS_FULL: LOCKS_FULL_LINE,
    LOCK_RELEASED: b"RELEASED\r\n",
    LOCK_NOT_HELD: b"NOT_HELD\r\n",
}

_MODES: Final = {
    KIND_LOCK: (b"exclusive", b"shared"),
    KIND_SEMAPHORE: (b"semaphore", b"semaphore"),
    KIND_BARRIER: (b"barrier", b"barrier"),
}
"""By kind, then by shared."""


def lock_line(result: Result) -> bytes:
    """The reply to a command of `cluster lock`."""
    if type(result) is int:
        return _LINES.get(result, NUMBER_USED_LINE)
    assert type(result) is tuple, result
    code, number = result
    if code not in (LOCKED, LOCK_QUEUED):
        return NUMBER_USED_LINE
    assert type(number) is int, result
    return (b"LOCKED %d\r\n" if code == LOCKED else b"WAITING %d\r\n") % number


def lock_lines(view: LockView | None) -> bytes:
    """The reply to `cluster lock show`. None: there is no such lock."""
    if view is None:
        return END_LINE
    kind, holders, waiters = view
    modes = _MODES[kind]
    lines = [
        b"HOLDER %b %d %b %d\r\n" % (owner, token, modes[shared], left_ms)
        for owner, token, shared, left_ms in holders
    ]
    lines += [
        b"WAITER %d %b %b %d\r\n" % (place, owner, modes[shared], left_ms)
        for place, (owner, shared, left_ms) in enumerate(waiters, 1)
    ]
    return b"".join(lines) + END_LINE
