"""What the steps of transactions do with the state of a shard (`transactions.py`).

Each of them may come late, twice, or in another order than it was sent. Nothing here waits: who
finds a key held is refused, so transactions cannot block each other. While a flush is overdue,
because keys are held, no others are held: it would never come to its turn.
"""

from quorumcache.node.state_machine import KEY, OP, Command, Result
from quorumcache.node.store.changes import place
from quorumcache.node.store.commands import (
    ABORT_DEADLINE_MS,
    COMMIT_CHECKS,
    COMMIT_DEADLINE_MS,
    COMMIT_PARTICIPANTS,
    COMMIT_WRITES,
    HELD_OPS,
    OP_FLUSH,
    OP_SET,
    PREPARE_CHECKS,
    PREPARE_DEADLINE_MS,
    PREPARE_RECORD_GROUP,
    PREPARE_WRITES,
    RESOLVE_COMMITTED,
    RESOLVE_DEADLINE_MS,
    TXN_ID,
)
from quorumcache.node.store.exptime import resolve_exptime
from quorumcache.node.store.item import ENDS, fingerprint
from quorumcache.node.store.results import (
    OK,
    TXN_ABORTED,
    TXN_COMMITTED,
    TXN_CONFLICT,
    TXN_FULL,
    TXN_PREPARED,
    TXN_RELEASED,
    TXN_TOO_LATE,
)
from quorumcache.node.store.state import ShardState
from quorumcache.node.store.transactions import (
    ABORTS_MAX,
    ABSENT,
    ANY,
    PRESENT,
    Prepared,
    Write,
)


def is_held(state: ShardState, command: Command, now_ms: int) -> bool:
    """Whether holds keep a command from being run. Asked only while there are any."""
    op = command[OP]
    if op == OP_FLUSH:
        return True
    # What was written now would go with a flush whose time was before.
    return op in HELD_OPS and (command[KEY] in state.holds or flush_overdue(state, now_ms))


def flush_overdue(state: ShardState, now_ms: int) -> bool:
    """Whether a delayed flush waits for holds to end."""
    return 0 < state.pending_flush_ms <= now_ms


def txn_prepare(state: ShardState, command: Command, now_ms: int) -> Result:
    """OP_TXN_PREPARE: check, and hold until OP_TXN_RESOLVE."""
    table = state.transactions
    table.purge(now_ms)
    txn, deadline_ms = command[TXN_ID], command[PREPARE_DEADLINE_MS]
    if now_ms >= deadline_ms or txn in table.finished:
        return TXN_TOO_LATE
    if txn in table.prepared:
        return TXN_PREPARED
    checks, writes = command[PREPARE_CHECKS], command[PREPARE_WRITES]
    key = _conflict(state, checks, writes, now_ms)
    if key is not None:
        return TXN_CONFLICT, key
    written = {write[0] for write in writes}
    checked = tuple([key for key, _ in checks if key not in written])
    prepared = Prepared(command[PREPARE_RECORD_GROUP], deadline_ms, now_ms, checked, writes)
    if not table.has_room(prepared.cost):
        return TXN_FULL
    table.hold(txn, prepared)
    return TXN_PREPARED


def txn_commit(state: ShardState, command: Command, now_ms: int) -> Result:
    """OP_TXN_COMMIT: all participants have prepared. Check what is here, and decide."""
    table = state.transactions
    table.purge(now_ms)
    txn, deadline_ms = command[TXN_ID], command[COMMIT_DEADLINE_MS]
    record = table.records.get(txn)
    if record is not None:
        return record.decision
    if now_ms >= deadline_ms:
        return TXN_TOO_LATE
    if not table.has_room(0):
        return TXN_FULL
    writes = command[COMMIT_WRITES]
    key = _conflict(state, command[COMMIT_CHECKS], writes, now_ms)
    if key is not None:
        # Everybody else is to hear the same.
        table.decide(txn, TXN_ABORTED, deadline_ms, now_ms)
        return TXN_CONFLICT, key
    table.decide(txn, TXN_COMMITTED, deadline_ms, now_ms, command[COMMIT_PARTICIPANTS])
    for write in writes:
        _write(state, write, now_ms)
    return TXN_COMMITTED


def txn_abort(state: ShardState, command: Command, now_ms: int) -> Result:
    """OP_TXN_ABORT: decide, unless that was done, and answer the decision.

    TXN_TOO_LATE: there is no record, and no commit can write one any more. Who is still prepared is
    aborted, since a commit that somebody has not heard of has its record. But there may have been a
    commit that all participants have heard of.
    """
    table = state.transactions
    table.purge(now_ms)
    txn, deadline_ms = command[TXN_ID], command[ABORT_DEADLINE_MS]
    record = table.records.get(txn)
    if record is not None:
        return record.decision
    if now_ms >= deadline_ms:
        return TXN_TOO_LATE
    if len(table) >= ABORTS_MAX:
        return TXN_FULL
    table.decide(txn, TXN_ABORTED, deadline_ms, now_ms)
    return TXN_ABORTED


def txn_resolve(state: ShardState, command: Command, now_ms: int) -> Result:
    """OP_TXN_RESOLVE: the record's group has decided so. Never refused, and only the first one
    writes. If it was not committed the answer tells whether the keys were held until now.
    """
    table = state.transactions
    table.purge(now_ms)
    txn = command[TXN_ID]
    prepared = table.release(txn)
    if prepared is None:
        # Without room a late prepare would hold once more, until it hears of the abort. Only an
        # abort resolves what did not prepare.
        if len(table) < ABORTS_MAX:
            table.finish(txn, command[RESOLVE_DEADLINE_MS], now_ms)
        return OK
    table.finish(txn, prepared.deadline_ms, now_ms)
    if command[RESOLVE_COMMITTED]:
        for write in prepared.writes:
            _write(state, write, now_ms)
    if not state.holds and flush_overdue(state, now_ms):
        state.pending_flush_ms = 0
        state.drop_all()
    return OK if command[RESOLVE_COMMITTED] else TXN_RELEASED


def txn_forget(state: ShardState, command: Command, now_ms: int) -> Result:
    """OP_TXN_FORGET: all participants have resolved."""
    table = state.transactions
    table.purge(now_ms)
    table.forget(command[TXN_ID], now_ms)
    return OK


def _conflict(
    state: ShardState,
    checks: tuple[tuple[bytes, int], ...],
    writes: tuple[Write, ...],
    now_ms: int,
) -> bytes | None:
    """A key that another transaction holds, or that is not as it was read; None if there is
    none."""
    holds = state.holds
    if holds:
        if flush_overdue(state, now_ms):
            first: bytes = (checks or writes or ((b"",),))[0][0]
            return first
        for write in writes:
            key: bytes = write[0]
            if key in holds:
                return key
        for key, _ in checks:
            hold = holds.get(key)
            # Others have found it there, and may commit after its end: now it is neither there
            # nor gone.
            if hold is not None and (hold.writer or _has_ended(state, key, now_ms)):
                return key
    for key, version in checks:
        item = state.live(key, now_ms)
        if version == ANY:
            continue
        if item is None:
            if version != ABSENT:
                return key
        elif version != PRESENT and version != fingerprint(item):
            return key
    return None


def _has_ended(state: ShardState, key: bytes, now_ms: int) -> bool:
    facts = state.items.facts(key)
    return facts is not None and bool(facts[0] & ENDS) and facts[1] <= now_ms


def _write(state: ShardState, write: Write, now_ms: int) -> None:
    key: bytes = write[0]
    if write[1] != OP_SET:
        state.remove(key)
        return
    state.cas_counter = unique = state.cas_counter + 1
    ends = resolve_exptime(write[3], now_ms, state.batch_wall_ms)
    place(state, key, 0, ends, unique, write[2])
