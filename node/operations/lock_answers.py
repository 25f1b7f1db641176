"""What a leader is asked about a lock, and its answers: the forms in which they pass between nodes.
Pure.

They go the way of all reads, as FORWARD_READ items whose `asks` say what they are. A LOCK_WAIT
names a lock and an owner who waits for it; its answer is nine bytes. A LOCK_SHOW names a lock; its
answer is packed.
"""

from __future__ import annotations

from struct import Struct
from typing import Any, Final

import msgpack

from quorumcache.node.store.locks import LockTable

LOCK_WAIT: Final = 4
LOCK_SHOW: Final = 8
"""Bits of `asks`, beside those of `meta_read.py`. Only one of all of them is set."""
LOCK_ASKS: Final = LOCK_WAIT | LOCK_SHOW

GRANTED: Final = 1
"""The owner holds the lock; its token follows."""
WAITS: Final = 2
"""It waits; its place follows."""
GONE: Final = 3
"""It neither holds the lock nor waits for it."""
TOO_MANY: Final = 4
"""The leader's node keeps as many waits as it may."""

Standing = tuple[int, int]
"""One of the four, and its number."""

_form: Final = Struct(">BQ")


def standing(locks: LockTable, name: bytes, owner: bytes, now_ms: int) -> Standing:
    """How it stands with an owner who waited for a lock."""
    token = locks.holder(name, owner, now_ms)
    if token:
        return GRANTED, token
    place = locks.place(name, owner, now_ms)
    return (WAITS, place) if place else (GONE, 0)


def pack_standing(found: Standing) -> bytes:
    """The answer to a LOCK_WAIT."""
    return _form.pack(*found)


def read_standing(answer: bytes | None) -> Standing:
    """The same, read. What is none counts as GONE: then the owner asks for the lock again."""
    if answer is None or len(answer) != _form.size:
        return GONE, 0
    code, number = _form.unpack(answer)
    return code, number


def pack_lock(locks: LockTable, name: bytes, now_ms: int) -> bytes:
    """The answer to a LOCK_SHOW: a `LockView` of `protocol/lock_replies.py`, or None."""
    lock = locks.show(name, now_ms)
    view = None
    if lock is not None:
        _, kind, _, holders, waiters = lock
        view = (
            kind,
            [(h.owner, h.token, h.shared, h.ends_ms - now_ms) for h in holders],
            [(w.owner, w.shared, w.ends_ms - now_ms) for w in waiters],
        )
    packed: bytes = msgpack.packb(view, use_bin_type=True)
    return packed


def read_lock(answer: bytes) -> Any:
    """The same, read."""
    return msgpack.unpackb(answer, use_list=False)
