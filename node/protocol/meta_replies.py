"""Replies to the meta commands: what happened, and the flags that the request asked for.

    <code>[ <length>] [<flag><token>]* [ Z][ X][ W]\\r\\n[<value>\\r\\n]

The flags come in the order of the request (`MetaReply.letters`); `b` follows a `k` in base64. Z, X
and W follow of their own accord, in memcached's order. A quiet command's usual answer is empty.

Times are of the cluster's clock, in milliseconds; clients see whole seconds.
"""

from typing import Final

from quorumcache.node.protocol.requests import MetaGet, MetaReply
from quorumcache.node.store.item import (
    ITEM_DATA,
    STALE,
    WON,
    cas_unique,
    expires_at_ms,
)

META_NOOP_LINE: Final = b"MN\r\n"

DONE: Final = b"HD"
MISSING: Final = b"NF"
NOT_STORED: Final = b"NS"
EXISTS: Final = b"EX"
"""What `meta_status`, and `meta_stored` are told as code."""

_MISS: Final = b"EN"
_NEVER: Final = -1
_MARKED: Final = STALE | WON


def ttl_s(expires_ms: int, now_ms: int) -> int:
    """Seconds that are left, rounded up as memcached's clock does; -1 for ever, 0 at the end."""
    if not expires_ms:
        return _NEVER
    return max(0, (expires_ms - now_ms + 999) // 1000)


class _Times:
    """What a `t` shows, from one flag to the next: T and N, which change it, may stand before it or
    behind it."""

    __slots__ = ("_before_last", "_left", "_new", "shown_ms")

    def __init__(self, letters: bytes, old_ms: int, new_ms: int, is_new: bool) -> None:
        """`old_ms`: the end before the last of T and N, `new_ms`: behind it."""
        self._before_last = old_ms
        self._new = new_ms
        self._left = int(b"T" in letters) + int(is_new and b"N" in letters)
        self.shown_ms = 0 if is_new else old_ms

    def pass_one(self) -> None:
        """A T, or the N of a new item."""
        self._left -= 1
        self.shown_ms = self._before_last if self._left else self._new


def meta_hit(
    request: MetaGet,
    item: bytes,
    now_ms: int,
    old_expires_at_ms: int,
    is_new: bool,
    is_won: bool,
    was_hit: bool,
    idle_s: int,
) -> bytes:
    """The reply to an `mg` that found an item or made one.

    `item`: packed, as the command left it; its block may be missing unless the value is shown.
    `old_expires_at_ms`: when it would have ended without the last of T and N, 0 = never. `is_new`:
    N made it. `is_won`: this client is told W. `was_hit`, `idle_s`: whether it was read before, and
    the seconds since it was last used.
    """
    reply = request.reply
    letters = reply.letters
    bits = item[0]
    is_bare = not letters and not is_won and not bits & _MARKED
    length_at = item.index(b" ", ITEM_DATA + 1)
    compare = request.compare
    if request.with_value and (compare is None or compare != cas_unique(item)):
        if is_bare:
            return b"VA" + item[length_at:]
        line_end = item.index(b"\r\n", length_at)
        out = b"VA" + item[length_at:line_end]
        block = item[line_end:]
    else:
        if is_bare:
            return b"HD\r\n"
        line_end = -1
        out = DONE
        block = b"\r\n"
    times: _Times | None = None
    if b"t" in letters:
        times = _Times(letters, old_expires_at_ms, expires_at_ms(item), is_new)
    for letter in letters:
        if letter == 107:  # k
            out += b" k%b b" % reply.key if reply.is_base64 else b" k" + reply.key
        elif letter == 79:  # O
            out += b" O" + reply.opaque
        elif letter == 102:  # f
            out += b" f" + item[ITEM_DATA + 1 : length_at]
        elif letter == 99:  # c
            out += b" c%d" % cas_unique(item)
        elif letter == 115:  # s
            if line_end < 0:
                line_end = item.index(b"\r\n", length_at)
            out += b" s" + item[length_at + 1 : line_end]
        elif letter == 116:  # t
            assert times is not None
            out += b" t%d" % ttl_s(times.shown_ms, now_ms)
        elif letter == 104:  # h
            out += b" h1" if was_hit else b" h0"
        elif letter == 108:  # l
            out += b" l%d" % idle_s
        elif times is not None and (letter == 84 or (letter == 78 and is_new)):  # T, N
            times.pass_one()
    if bits & _MARKED:
        if bits & WON and not is_won:
            out += b" Z"
        if bits & STALE:
            out += b" X"
    if is_won:
        out += b" W"
    return out + block


def meta_miss(reply: MetaReply) -> bytes:
    """The reply to an `mg` or `me` that found nothing; empty if it is quiet."""
    return b"" if reply.is_quiet else _status(reply, _MISS)


def meta_status(reply: MetaReply, code: bytes) -> bytes:
    """The reply to an `md`, and to an `ma` that changed nothing; empty for DONE if it is quiet."""
    return b"" if reply.is_quiet and code == DONE else _status(reply, code)


def meta_stored(reply: MetaReply, code: bytes, unique: int, value_bytes: int) -> bytes:
    """The reply to an `ms`; empty for DONE if it is quiet.

    `unique`: the stored item's CAS unique, 0 if nothing was stored. `value_bytes`: length of the
    stored value, of the request's if nothing was stored.
    """
    if reply.is_quiet and code == DONE:
        return b""
    out = code
    for letter in reply.letters:
        if letter == 99:  # c
            out += b" c%d" % unique
        elif letter == 115:  # s
            out += b" s%d" % value_bytes
        else:
            out += _echo(reply, letter)
    return out + b"\r\n"


def meta_counted(
    reply: MetaReply,
    with_value: bool,
    number: int,
    unique: int,
    now_ms: int,
    expires_ms: int,
    old_expires_at_ms: int,
    is_new: bool,
) -> bytes:
    """The reply to an `ma` that changed or made an item; empty if it is quiet.

    The item: `number`, `unique`, and when it ends, `expires_ms`; the others are as in `meta_hit`.
    """
    if reply.is_quiet:
        return b""
    digits = b"%d" % number
    out = b"VA %d" % len(digits) if with_value else DONE
    times = _Times(reply.letters, old_expires_at_ms, expires_ms, is_new)
    for letter in reply.letters:
        if letter == 99:  # c
            out += b" c%d" % unique
        elif letter == 116:  # t
            out += b" t%d" % ttl_s(times.shown_ms, now_ms)
        elif letter == 84 or (letter == 78 and is_new):  # T, N
            times.pass_one()
        else:
            out += _echo(reply, letter)
    return b"%b\r\n%b\r\n" % (out, digits) if with_value else out + b"\r\n"


def meta_debug(
    reply: MetaReply, item: bytes, now_ms: int, was_hit: bool, idle_s: int, size: int
) -> bytes:
    """The reply to an `me` that found an item. `size`: what it costs (`item_cost`)."""
    return b"ME %b exp=%d la=%d cas=%d fetch=%b cls=1 size=%d\r\n" % (
        reply.key,
        ttl_s(expires_at_ms(item), now_ms),
        idle_s,
        cas_unique(item),
        b"yes" if was_hit else b"no",
        size,
    )


def _status(reply: MetaReply, code: bytes) -> bytes:
    """A code, and of the flags those that do not need an item."""
    out = code
    for letter in reply.letters:
        out += _echo(reply, letter)
    return out + b"\r\n"


def _echo(reply: MetaReply, letter: int) -> bytes:
    """What the request itself tells of a flag."""
    if letter == 79:  # O
        return b" O" + reply.opaque
    if letter == 107:  # k
        return b" k%b b" % reply.key if reply.is_base64 else b" k" + reply.key
    return b""
