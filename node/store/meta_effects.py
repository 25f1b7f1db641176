"""What the meta commands do with the state of a shard, as far as they change it.

The flags of a command come as letters, those of memcached, in the order of the request where that
matters: `T`, `N` and `R` of an `mg` look at what the one before has left. Numbers whose letter is
not there are 0. Letters of our own:

    v   the answer carries the item's value
    c   the answer carries the item's header
    u   the item does not count as used
    g   a `get`: it takes no win
    n   stands for an N that the leader had no memory for
    -   `ma` decrements

Whoever is told that it has won, by N, R or a stale item, is the only one until the item is stored
anew or marked stale again: the bit WON is set in the same step, and every replica applies it.
Source: protocol.txt, "Meta Commands", and the behaviour of memcached 1.6.45.
"""

from typing import Final

from quorumcache.node.state_machine import KEY, Command, Result
from quorumcache.node.store.arithmetic import UINT64_MAX, add_delta, padded, parse_number
from quorumcache.node.store.changes import new_unique, place, rewrite
from quorumcache.node.store.commands import (
    META_COUNT_COMPARE,
    META_COUNT_DELTA,
    META_COUNT_EXPTIME,
    META_COUNT_INITIAL,
    META_COUNT_UNIQUE,
    META_COUNT_VIVIFY,
    META_DELETE_CLIENT_FLAGS,
    META_DELETE_COMPARE,
    META_DELETE_EXPTIME,
    META_DELETE_UNIQUE,
    META_FLAGS,
    META_GET_EXPTIME,
    META_GET_RECACHE,
    META_GET_UNIQUE,
    META_GET_VIVIFY,
    META_SET_CLIENT_FLAGS,
    META_SET_COMPARE,
    META_SET_DATA,
    META_SET_EXPTIME,
    META_SET_MODE,
    META_SET_UNIQUE,
    META_SET_VIVIFY,
    OP_ADD,
    OP_APPEND,
    OP_PREPEND,
    OP_REPLACE,
)
from quorumcache.node.store.exptime import ALREADY_EXPIRED, is_below, resolve_exptime
from quorumcache.node.store.item import (
    ENDS,
    ITEM_DATA,
    PIECES,
    STALE,
    WON,
    cas_unique,
    expires_at_ms,
    pack_header,
    wire_data,
)
from quorumcache.node.store.large import LINE_FEED, extended, made_data
from quorumcache.node.store.results import (
    DELETED,
    EXISTS,
    META_COUNTED,
    META_HIT,
    META_MADE,
    META_MARKED,
    META_NUMBER_MADE,
    META_STORED,
    META_WON,
    NON_NUMERIC,
    NOT_FOUND,
    NOT_STORED,
    NUMBER,
    OUT_OF_MEMORY,
    STORED,
)
from quorumcache.node.store.state import ShardState, pack_unique

_T: Final = 84
_N: Final = 78
_R: Final = 82

EMPTY_DATA: Final = b" 0 0\r\n\r\n"
"""An item of no value and no flags."""


def meta_get(state: ShardState, command: Command, now_ms: int) -> Result:
    """`mg`: decided here again, whatever the read before it has found."""
    key, flags = command[KEY], command[META_FLAGS]
    item = state.live(key, now_ms)
    is_made = item is None
    if item is None:
        if b"N" not in flags:
            return OUT_OF_MEMORY if b"n" in flags else NOT_FOUND
        unique = new_unique(state, command[META_GET_UNIQUE] if b"E" in flags else None)
        bits = ends = 0
        data = EMPTY_DATA
    else:
        unique = cas_unique(item)
        bits = item[0] & (STALE | WON)
        ends = expires_at_ms(item)
        data = item[ITEM_DATA:]
        if item[0] & PIECES:
            state.show(item)
    old_ends = ends
    is_won = is_made or (bits & (STALE | WON) == STALE and b"g" not in flags)
    before = ends
    for letter in flags:
        if letter == _T:
            before = ends
            ends = resolve_exptime(command[META_GET_EXPTIME], now_ms, state.batch_wall_ms)
        elif letter == _N and is_made:
            before = ends
            ends = resolve_exptime(command[META_GET_VIVIFY], now_ms, state.batch_wall_ms)
        elif letter == _R and not (is_won or bits & WON):
            recache = command[META_GET_RECACHE]
            is_won = is_below(ends, recache, now_ms, state.batch_wall_ms)
    if is_won:
        bits |= WON
    if item is None or ends != old_ends:
        was_hit = state.hint(key)[0]
        place(state, key, bits, ends, unique, data)
    else:
        was_hit = False
        if is_won:
            was_hit = state.hint(key)[0]
            rewrite(state, key, item, bits, unique, data)
    if was_hit or b"u" not in flags:
        state.note_hit(key)  # It is the same item as before, and one that N makes counts as used.
    shown = data if b"v" in flags else data[: data.index(b"\r\n") + 2]
    if shown[-1] != LINE_FEED:
        bits |= PIECES
    code = META_MADE if is_made else META_WON if is_won else META_HIT
    return code, _old_end(before) + _header(bits, ends, unique) + shown


def _old_end(ends: int) -> bytes:
    """When the item would have ended without the last T or N. Of the moment see `_header`."""
    return pack_unique(1 if ends == ALREADY_EXPIRED else ends)


def _header(bits: int, ends: int, unique: int) -> bytes:
    """The header that an answer shows. What is gone at once ends at 1, the first moment of all."""
    if not ends:
        return pack_header(bits, 0, unique)
    return pack_header(bits | ENDS, 1 if ends == ALREADY_EXPIRED else ends, unique)


def meta_set(state: ShardState, command: Command, now_ms: int) -> Result:
    """`ms` in all its modes."""
    key, flags, mode = command[KEY], command[META_FLAGS], command[META_SET_MODE]
    item = state.live(key, now_ms)
    data = command[META_SET_DATA]
    bits = 0
    if mode in (OP_APPEND, OP_PREPEND):
        if item is not None:
            return _extend(state, command, item)
        if b"N" not in flags:
            return NOT_STORED
        data = made_data(state, command[META_SET_CLIENT_FLAGS], data)
        exptime = command[META_SET_VIVIFY]
    else:
        exptime = command[META_SET_EXPTIME]
        if mode == OP_ADD:
            if item is not None:
                return NOT_STORED
        elif b"C" in flags:
            if item is None:
                return NOT_FOUND
            compare, present = command[META_SET_COMPARE], cas_unique(item)
            if not compare or (compare != present and (b"I" not in flags or compare > present)):
                return EXISTS
            if compare != present:
                unique = _unique(state, flags, command[META_SET_UNIQUE])
                bits = STALE | (item[0] & WON)
                rewrite(state, key, item, bits, unique, data)
                return _stored(flags, bits, expires_at_ms(item), unique, data)
        elif mode == OP_REPLACE and item is None:
            return NOT_STORED
    unique = _unique(state, flags, command[META_SET_UNIQUE])
    ends = resolve_exptime(exptime, now_ms, state.batch_wall_ms)
    place(state, key, 0, ends, unique, data)
    return _stored(flags, 0, ends, unique, data)


def _unique(state: ShardState, flags: bytes, chosen: int) -> int:
    return new_unique(state, chosen if b"E" in flags else None)


def _stored(flags: bytes, bits: int, ends: int, unique: int, data: bytes) -> Result:
    if b"c" not in flags:
        return STORED
    return META_STORED, _header(bits, ends, unique) + data[: data.index(b"\r\n") + 2]


def _extend(state: ShardState, command: Command, item: bytes) -> Result:
    key, flags = command[KEY], command[META_FLAGS]
    compare = command[META_SET_COMPARE] if b"C" in flags else 0
    if compare and compare != cas_unique(item):
        return EXISTS
    before = command[META_SET_MODE] == OP_PREPEND
    data = extended(state, key, item, command[META_SET_DATA], before=before)
    if data is None:
        return NOT_STORED
    unique = _unique(state, flags, command[META_SET_UNIQUE])
    rewrite(state, key, item, 0, unique, data)
    return _stored(flags, 0, expires_at_ms(item), unique, data)


def meta_delete(state: ShardState, command: Command, now_ms: int) -> Result:
    """`md`: delete, empty (x), mark stale (I)."""
    key, flags = command[KEY], command[META_FLAGS]
    item = state.live(key, now_ms)
    if item is None:
        return NOT_FOUND
    if b"C" in flags and cas_unique(item) != command[META_DELETE_COMPARE]:
        return EXISTS
    empties = b"x" in flags
    marks = b"I" in flags
    if not empties and not marks:
        state.remove(key)
        return DELETED
    ends = 0 if empties else expires_at_ms(item)
    if b"T" in flags:
        ends = resolve_exptime(command[META_DELETE_EXPTIME], now_ms, state.batch_wall_ms)
    data = wire_data(command[META_DELETE_CLIENT_FLAGS], b"") if empties else item[ITEM_DATA:]
    unique = _unique(state, flags, command[META_DELETE_UNIQUE])
    was_hit = state.hint(key)[0]
    place(state, key, STALE if marks else 0, ends, unique, data)
    if was_hit and not empties:
        state.note_hit(key)  # It is the same value as before.
    return META_MARKED if marks else DELETED


def meta_arithmetic(state: ShardState, command: Command, now_ms: int) -> Result:
    """`ma`: incr, decr, and the first number of a missing item."""
    key, flags = command[KEY], command[META_FLAGS]
    item = state.live(key, now_ms)
    if item is None:
        if b"N" not in flags:
            return OUT_OF_MEMORY if b"n" in flags else NOT_FOUND
        number = command[META_COUNT_INITIAL] & UINT64_MAX
        data = wire_data(0, b"%d" % number)
        bits = old_ends = 0
    else:
        space = item.index(b" ", ITEM_DATA + 1)
        text = item[item.index(b"\r\n", space) + 2 : -2]
        if not text:
            return NON_NUMERIC
        compare = command[META_COUNT_COMPARE] if b"C" in flags else 0
        if compare and compare != cas_unique(item):
            return EXISTS
        present = None if item[0] & PIECES else parse_number(text)
        if present is None:
            return NON_NUMERIC
        number = add_delta(present, command[META_COUNT_DELTA], increment=b"-" not in flags)
        text = padded(number, len(text))
        data = b"%b %d\r\n%b\r\n" % (item[ITEM_DATA:space], len(text), text)
        bits = item[0] & (STALE | WON)
        old_ends = expires_at_ms(item)
    before = ends = old_ends
    for letter in flags:
        if letter == _T:
            before = ends
            ends = resolve_exptime(command[META_COUNT_EXPTIME], now_ms, state.batch_wall_ms)
        elif letter == _N and item is None:
            before = ends
            ends = resolve_exptime(command[META_COUNT_VIVIFY], now_ms, state.batch_wall_ms)
    unique = _unique(state, flags, command[META_COUNT_UNIQUE])
    was_hit = state.hint(key)[0]
    if item is not None and ends == old_ends:
        rewrite(state, key, item, bits, unique, data)
    else:
        place(state, key, bits, ends, unique, data)
    if was_hit:
        state.note_hit(key)  # It is the same item as before.
    if item is not None and b"c" not in flags:
        return NUMBER, number
    code = META_COUNTED if item is not None else META_NUMBER_MADE
    return code, _old_end(before) + _header(bits, ends, unique) + b"%d" % number
