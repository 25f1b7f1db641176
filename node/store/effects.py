"""What each command does with the state of a shard: one function per op, and their table.

An effect depends on the state, the command and the times and limits of its batch alone
(`store.py`). Each answers a result of `results.py`.
"""

from collections.abc import Callable
from typing import Final

from quorumcache.node.errors import CommandError
from quorumcache.node.state_machine import KEY, OP, Command, Result
from quorumcache.node.store.arithmetic import add_delta, padded, parse_number
from quorumcache.node.store.changes import new_unique, place, rewrite
from quorumcache.node.store.commands import (
    CAS_UNIQUE,
    COUNT_DELTA,
    DROP_IDLE_MS,
    DROP_UPLOAD,
    EVICT_PAIRS,
    EXPIRE_IDLE_MS,
    EXPIRE_PAIRS,
    EXPIRE_SESSIONS,
    EXTEND_VALUE,
    FENCE_LOCK,
    FENCE_TOKEN,
    FLUSH_DELAY,
    OP_ADD,
    OP_APPEND,
    OP_CAS,
    OP_COUNT,
    OP_DECR,
    OP_DELETE,
    OP_DROP_PIECES,
    OP_EVICT,
    OP_EXPIRE,
    OP_FENCED,
    OP_FLUSH,
    OP_GAT,
    OP_INCR,
    OP_LOCK_ACQUIRE,
    OP_LOCK_EXPIRE,
    OP_LOCK_RELEASE,
    OP_LOCK_RENEW,
    OP_META_ARITHMETIC,
    OP_META_DELETE,
    OP_META_GET,
    OP_META_SET,
    OP_PIECE,
    OP_PREPEND,
    OP_REFUSE,
    OP_REPLACE,
    OP_SESSION_EXPIRE,
    OP_SESSION_OPEN,
    OP_SET,
    OP_STORE_PIECES,
    OP_TICK,
    OP_TOUCH,
    OP_TXN_ABORT,
    OP_TXN_COMMIT,
    OP_TXN_FORGET,
    OP_TXN_PREPARE,
    OP_TXN_RESOLVE,
    STORE_DATA,
    STORE_EXPTIME,
    TOUCH_EXPTIME,
    unfenced,
)
from quorumcache.node.store.exptime import ALREADY_EXPIRED, resolve_exptime, resolve_flush
from quorumcache.node.store.item import (
    ENDS,
    ITEM_DATA,
    PIECES,
    cas_unique,
    pack_header,
)
from quorumcache.node.store.large import (
    drop_repeated,
    drop_upload,
    extended,
    incoming_done,
    inner_of,
    stage_piece,
)
from quorumcache.node.store.lock_effects import (
    lock_acquire,
    lock_expire,
    lock_release,
    lock_renew,
)
from quorumcache.node.store.meta_effects import (
    meta_arithmetic,
    meta_delete,
    meta_get,
    meta_set,
)
from quorumcache.node.store.results import (
    DELETED,
    EVICTED,
    EXISTS,
    ITEM,
    NON_NUMERIC,
    NOT_FOUND,
    NOT_STORED,
    NUMBER,
    OK,
    OUT_OF_MEMORY,
    PIECES_MISSING,
    SESSION_GONE,
    STORED,
    TOUCHED,
)
from quorumcache.node.store.state import NO_EXPIRY, ShardState, pack_unique
from quorumcache.node.store.transaction_effects import (
    txn_abort,
    txn_commit,
    txn_forget,
    txn_prepare,
    txn_resolve,
)

Effect = Callable[[ShardState, Command, int], Result]


def _store(state: ShardState, key: bytes, data: bytes, exptime: int, now_ms: int) -> Result:
    state.cas_counter = unique = state.cas_counter + 1
    if exptime or state.incoming:
        ends = resolve_exptime(exptime, now_ms, state.batch_wall_ms) if exptime else 0
        place(state, key, 0, ends, unique, data)
    else:
        state.put(key, NO_EXPIRY + pack_unique(unique) + data)
    return STORED


def set_item(state: ShardState, command: Command, now_ms: int) -> Result:
    """OP_SET."""
    return _store(state, command[KEY], command[STORE_DATA], command[STORE_EXPTIME], now_ms)


def _add(state: ShardState, command: Command, now_ms: int) -> Result:
    if state.lives(command[KEY], now_ms):
        return NOT_STORED
    return _store(state, command[KEY], command[STORE_DATA], command[STORE_EXPTIME], now_ms)


def _replace(state: ShardState, command: Command, now_ms: int) -> Result:
    if not state.lives(command[KEY], now_ms):
        return NOT_STORED
    return _store(state, command[KEY], command[STORE_DATA], command[STORE_EXPTIME], now_ms)


def _cas(state: ShardState, command: Command, now_ms: int) -> Result:
    item = state.live(command[KEY], now_ms)
    if item is None:
        return NOT_FOUND
    # A unique of 0 never matches, also if a client has set it (`E0` of a meta command).
    unique = command[CAS_UNIQUE]
    if not unique or cas_unique(item) != unique:
        return EXISTS
    return _store(state, command[KEY], command[STORE_DATA], command[STORE_EXPTIME], now_ms)


def _append(state: ShardState, command: Command, now_ms: int) -> Result:
    return _extend(state, command, now_ms, before=False)


def _prepend(state: ShardState, command: Command, now_ms: int) -> Result:
    return _extend(state, command, now_ms, before=True)


def _extend(state: ShardState, command: Command, now_ms: int, *, before: bool) -> Result:
    key = command[KEY]
    item = state.live(key, now_ms)
    if item is None:
        return NOT_STORED
    data = extended(state, key, item, command[EXTEND_VALUE], before=before)
    if data is None:
        return NOT_STORED
    rewrite(state, key, item, 0, new_unique(state, None), data)
    return STORED


def _delete(state: ShardState, command: Command, now_ms: int) -> Result:
    if not state.lives(command[KEY], now_ms):
        return NOT_FOUND
    state.remove(command[KEY])
    return DELETED


def _incr(state: ShardState, command: Command, now_ms: int) -> Result:
    return _arithmetic(state, command, now_ms, increment=True)


def _decr(state: ShardState, command: Command, now_ms: int) -> Result:
    return _arithmetic(state, command, now_ms, increment=False)


def _arithmetic(state: ShardState, command: Command, now_ms: int, *, increment: bool) -> Result:
    key = command[KEY]
    item = state.live(key, now_ms)
    if item is None:
        return NOT_FOUND
    if item[0] & PIECES:
        return NON_NUMERIC
    space = item.index(b" ", ITEM_DATA + 1)
    text = item[item.index(b"\r\n", space) + 2 : -2]
    number = parse_number(text)
    if number is None:
        return NON_NUMERIC
    number = add_delta(number, command[COUNT_DELTA], increment=increment)
    text = padded(number, len(text))
    data = b"%b %d\r\n%b\r\n" % (item[ITEM_DATA:space], len(text), text)
    # Unlike memcached, where a longer number makes a stale item fresh and a shorter one does not.
    was_hit = state.hint(key)[0]
    rewrite(state, key, item, item[0], new_unique(state, None), data)
    if was_hit:
        state.note_hit(key)  # It is the same item as before.
    return NUMBER, number


def _touch(state: ShardState, command: Command, now_ms: int) -> Result:
    return NOT_FOUND if _retime(state, command, now_ms) is None else TOUCHED


def _gat(state: ShardState, command: Command, now_ms: int) -> Result:
    item = state.live(command[KEY], now_ms)
    if item is not None and item[0] & PIECES:
        state.show(item)
    item = _retime(state, command, now_ms)
    return NOT_FOUND if item is None else (ITEM, item)


def _retime(state: ShardState, command: Command, now_ms: int) -> bytes | None:
    """Give the live item under a key a new expiry, and answer it. Its CAS stays."""
    key = command[KEY]
    item = state.live(key, now_ms)
    if item is None:
        return None
    expires_at_ms = resolve_exptime(command[TOUCH_EXPTIME], now_ms, state.batch_wall_ms)
    if expires_at_ms == ALREADY_EXPIRED:
        state.remove(key)
        return item
    if expires_at_ms:
        item = pack_header(item[0] | ENDS, expires_at_ms, 0)[:9] + item[9:]
        state.put_ending(key, item, expires_at_ms)
    elif item[0] & ENDS:
        item = pack_header(item[0] & ~ENDS, 0, 0)[:9] + item[9:]
        state.put(key, item)
    state.note_hit(key)
    return item


def _flush(state: ShardState, command: Command, now_ms: int) -> Result:
    at_ms = resolve_flush(command[FLUSH_DELAY], now_ms, state.batch_wall_ms)
    # One pending time only: a new flush of any kind replaces it.
    state.pending_flush_ms = at_ms if at_ms > now_ms else 0
    # A time in the past hides only what was stored before it, and items do not remember that:
    # nothing goes.
    if at_ms == now_ms:
        state.drop_all()
    return OK


def _expire(state: ShardState, command: Command, now_ms: int) -> Result:
    """Answers how many of the items it removed."""
    removed = 0
    for key, unique in command[EXPIRE_PAIRS]:
        facts = state.items.facts(key)
        if facts is None or not facts[0] & ENDS or key in state.holds:
            continue
        # A touch keeps the CAS and may have come between the leader's look and this entry.
        if facts[2] == unique and facts[1] <= now_ms:
            state.remove(key)
            removed += 1
    return NUMBER, removed


def _tick(state: ShardState, command: Command, now_ms: int) -> Result:
    return OK


def _refuse(state: ShardState, command: Command, now_ms: int) -> Result:
    return OUT_OF_MEMORY


def _evict(state: ShardState, command: Command, now_ms: int) -> Result:
    """A victim that was rewritten since it was chosen stays, and one that a transaction holds."""
    removed = 0
    for key, unique in command[EVICT_PAIRS]:
        if key in state.holds:
            state.queue.spare((key,))
            continue
        facts = state.items.facts(key)
        if facts is not None and facts[2] == unique:
            state.evict(key, facts[3])
            removed += 1
    return EVICTED, removed


def _session_open(state: ShardState, command: Command, now_ms: int) -> Result:
    # Reached for session 0 only, which is no session.
    return SESSION_GONE


def _session_expire(state: ShardState, command: Command, now_ms: int) -> Result:
    idle_ms = command[EXPIRE_IDLE_MS] if len(command) > EXPIRE_IDLE_MS else 0
    state.sessions.expire(command[EXPIRE_SESSIONS], now_ms, idle_ms)
    return OK


def _store_pieces(state: ShardState, command: Command, now_ms: int) -> Result:
    inner = inner_of(state, command)
    if inner is None:
        return PIECES_MISSING
    number = state.value_counter
    result = EFFECTS[inner[OP]](state, inner, now_ms)
    incoming_done(state, command[KEY], number)
    return result


def _drop_pieces(state: ShardState, command: Command, now_ms: int) -> Result:
    drop_upload(state, command[DROP_UPLOAD], now_ms, command[DROP_IDLE_MS])
    return OK


def _fenced(state: ShardState, command: Command, now_ms: int) -> Result:
    refusal = state.fences.check(command[FENCE_LOCK], command[FENCE_TOKEN], command[KEY])
    if refusal is not None:
        drop_repeated(state, command, now_ms)
        return refusal
    inner = unfenced(command)
    if inner[OP] == OP_DELETE:
        state.fences.unguard(command[KEY])
    return EFFECTS[inner[OP]](state, inner, now_ms)


def _unknown(state: ShardState, command: Command, now_ms: int) -> Result:
    raise CommandError(f"op {command[OP]} is unknown to this version")


_BY_OP: Final[dict[int, Effect]] = {
    OP_SET: set_item,
    OP_ADD: _add,
    OP_REPLACE: _replace,
    OP_CAS: _cas,
    OP_APPEND: _append,
    OP_PREPEND: _prepend,
    OP_DELETE: _delete,
    OP_INCR: _incr,
    OP_DECR: _decr,
    OP_TOUCH: _touch,
    OP_GAT: _gat,
    OP_FLUSH: _flush,
    OP_EXPIRE: _expire,
    OP_TICK: _tick,
    OP_SESSION_OPEN: _session_open,
    OP_SESSION_EXPIRE: _session_expire,
    OP_REFUSE: _refuse,
    OP_PIECE: stage_piece,
    OP_STORE_PIECES: _store_pieces,
    OP_DROP_PIECES: _drop_pieces,
    OP_EVICT: _evict,
    OP_META_GET: meta_get,
    OP_META_SET: meta_set,
    OP_META_DELETE: meta_delete,
    OP_META_ARITHMETIC: meta_arithmetic,
    OP_LOCK_ACQUIRE: lock_acquire,
    OP_LOCK_RENEW: lock_renew,
    OP_LOCK_RELEASE: lock_release,
    OP_LOCK_EXPIRE: lock_expire,
    OP_FENCED: _fenced,
    OP_TXN_PREPARE: txn_prepare,
    OP_TXN_COMMIT: txn_commit,
    OP_TXN_ABORT: txn_abort,
    OP_TXN_RESOLVE: txn_resolve,
    OP_TXN_FORGET: txn_forget,
}

EFFECTS: Final[tuple[Effect, ...]] = tuple(_BY_OP.get(op, _unknown) for op in range(OP_COUNT))
"""By op: what each command of a batch is looked up in."""
