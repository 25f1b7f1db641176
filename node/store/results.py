"""The results of a store's commands: a code, or a code and what it carries (`state_machine.py`).

| code | carries |
|---|---|
| NUMBER | the number |
| EVICTED | how many items were evicted |
| ITEM | the packed item: data, flags, size, CAS and expiry, which `item.py` reads |
| META_HIT, META_WON, META_MADE | the old end, and the packed item as the command left it |
| META_STORED | the packed item without its value |
| LOCKED, FENCE_STALE | a fencing token |
| LOCK_QUEUED | the place in the queue |
| TXN_CONFLICT | a key |
| META_COUNTED, META_NUMBER_MADE | as META_HIT, with the number's digits in place of the data |
| all others | nothing |

A code of its own may carry any number or bytes: log, peers and snapshots take both forms. A meta
command that shows nothing of the item is answered by a code alone, and the item comes without its
value unless that was asked for. The old end, OLD_END bytes, is when the item would have ended
without the last T or N of the command.

Results travel between nodes and lie in snapshots (the session table), so a code never changes its
meaning, nor what it carries.
"""

from typing import Any, Final

from quorumcache.node.state_machine import Result

STORED: Final = 1
NOT_STORED: Final = 2
EXISTS: Final = 3
NOT_FOUND: Final = 4
DELETED: Final = 5
TOUCHED: Final = 6
OK: Final = 7
NON_NUMERIC: Final = 8
"""The value that incr or decr met is no number."""
TOO_LARGE: Final = 9
"""Larger than the item limit; nothing was stored, and a set removed the old value."""
SESSION_GONE: Final = 10
"""The command's session is unknown here: never opened, or expired. This time it was not executed.
"""
STALE_SEQUENCE: Final = 11
"""The command's sequence lies below what its session remembers. This time it was not executed."""

NUMBER: Final = 12
"""Of a pair: the new value after incr or decr follows."""
ITEM: Final = 13
"""Of a pair: a packed item follows."""

META_HIT: Final = 14
"""Of a pair: `mg` found the item."""
META_WON: Final = 15
"""Of a pair: `mg` found the item, and its client is the one that has to make it anew."""
META_MADE: Final = 16
"""Of a pair: `mg` made an empty item, and its client is the one that has to fill it."""
META_STORED: Final = 17
"""Of a pair: `ms` has stored the item."""
META_MARKED: Final = 18
"""`md` has marked the item stale."""
META_COUNTED: Final = 19
"""Of a pair: `ma` has changed the number."""
META_NUMBER_MADE: Final = 20
"""Of a pair: `ma` has made an item with its first number."""

OLD_END: Final = 8
"""Bytes of the old end, before the item in what META_HIT and its like carry."""
EVICTED: Final = 35
"""Of a pair: how many items an OP_EVICT removed."""
PIECE_STAGED: Final = 30
"""The piece of a large value waits for the others."""
PIECES_MISSING: Final = 31
"""Pieces of the value are not there, or not any more: nothing was stored."""
STAGING_FULL: Final = 32
"""So many large values are on their way into the shard that there is no room for one more yet."""

LOCKED: Final = 40
"""Of a pair: the lock is held, with this fencing token."""
LOCK_QUEUED: Final = 41
"""Of a pair: the owner waits for the lock, at this place, from 1."""
LOCK_BUSY: Final = 42
"""The lock is not free, and its owner did not want to wait."""
LOCK_KIND: Final = 43
"""The lock is there, of another kind or with another limit."""
LOCKS_FULL: Final = 44
"""There is no room for one more lock, holder or waiter."""
LOCK_RELEASED: Final = 45
LOCK_NOT_HELD: Final = 46
"""The owner does not hold the lock, or not with this token."""
FENCE_STALE: Final = 47
"""Of a pair: the command's token is older than this one, which the shard has seen. Nothing was
done."""
FENCE_OTHER_LOCK: Final = 48
"""The key is guarded by another lock. Nothing was done."""
TXN_PREPARED: Final = 50
TXN_COMMITTED: Final = 51
TXN_ABORTED: Final = 52
TXN_CONFLICT: Final = 53
"""Of a pair: the key that is held by another transaction, or is not as it was read."""
TXN_TOO_LATE: Final = 54
"""The time of the transaction is over. This step had no effect."""
TXN_FULL: Final = 55
"""There is no room for one more transaction."""
HELD: Final = 56
"""A transaction holds the key. Nothing was done, and no session remembers it."""
TXN_RELEASED: Final = 57
"""The transaction has held its keys until now, and does no longer. None of its writes was done."""

OUT_OF_MEMORY: Final = 100
"""There was no room at the leader: nothing was stored. Of the state machine only as the answer to
OP_REFUSE; otherwise the leader gives it, and it is not stored.
"""


UNDONE: Final[frozenset[Result]] = frozenset((PIECES_MISSING, LOCKS_FULL))
"""Answers of large values and locks that no session remembers: nothing was done, and a repetition,
with all pieces or when there is room, may do it."""

RESOLVED: Final[frozenset[Result]] = frozenset((OK, TXN_RELEASED))
"""Answers to a resolution: the transaction holds nothing in the group any more."""

_CARRYING_FORMS: Final = ((int, int), (int, bytes))
"""Types of a result that carries something."""


def is_result(value: Any) -> bool:
    """Whether something that came from outside has the form of a result."""
    if type(value) is tuple:
        return tuple(map(type, value)) in _CARRYING_FORMS
    return type(value) is int


def carried_item(result: Result) -> bytes | None:
    """The packed item that a result carries, if it carries one."""
    if type(result) is tuple and result[0] == ITEM:
        item = result[1]
        assert type(item) is bytes, result
        return item
    return None


def shown_item(result: Result) -> bytes | None:
    """The packed item in the answer of a `gat`, or of an `mg` through the log, if there is one."""
    if type(result) is tuple and type(result[1]) is bytes:
        if result[0] == ITEM:
            return result[1]
        if result[0] in (META_HIT, META_WON):
            return result[1][OLD_END:]
    return None


def removed_items(result: Result) -> int:
    """How many items an OP_EXPIRE removed; 0 for the result of anything else."""
    if type(result) is tuple and result[0] == NUMBER and type(result[1]) is int:
        return result[1]
    return 0
