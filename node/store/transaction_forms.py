"""The forms of the transaction commands that nodes forward to each other: what is in their tuples.

The types of their members are checked as those of all commands (`may_be_forwarded`). A replica that
met another form in its log would end over it, and so would each other one, now and at each start.
"""

from typing import Any, Final

from quorumcache.node.state_machine import KEY, OP, Command
from quorumcache.node.store.commands import (
    ABORT_DEADLINE_MS,
    COMMIT_CHECKS,
    COMMIT_PARTICIPANTS,
    COMMIT_WRITES,
    OP_DELETE,
    OP_SET,
    OP_TXN_ABORT,
    OP_TXN_COMMIT,
    OP_TXN_FORGET,
    OP_TXN_PREPARE,
    OP_TXN_RESOLVE,
    PREPARE_DEADLINE_MS,
    PREPARE_RECORD_GROUP,
    RESOLVE_COMMITTED,
    TXN_ID,
)
from quorumcache.node.store.item import KEY_BYTES_MAX
from quorumcache.node.store.transactions import ANY, TXN_BYTES_MAX, TXN_KEYS_MAX

TXN_ID_BYTES: Final = 16

GROUP_MAX: Final = 1 << 16
"""More than a cluster has shards."""

_INT64_MAX: Final = (1 << 63) - 1
_UINT32_MAX: Final = (1 << 32) - 1
_UINT64_MAX: Final = (1 << 64) - 1
_DIGITS_MAX: Final = 10

TRANSACTION_OPS: Final = frozenset(
    (OP_TXN_PREPARE, OP_TXN_COMMIT, OP_TXN_ABORT, OP_TXN_RESOLVE, OP_TXN_FORGET)
)


def is_transaction(command: Command) -> bool:
    """Whether one of `TRANSACTION_OPS`, whose members have the right types, has the right form."""
    op = command[OP]
    if len(command[TXN_ID]) != TXN_ID_BYTES or command[KEY]:
        return False
    if op == OP_TXN_FORGET:
        return True
    if op != OP_TXN_PREPARE:
        # In the same place in all the others.
        if not 0 <= command[ABORT_DEADLINE_MS] <= _INT64_MAX:
            return False
        if op == OP_TXN_ABORT:
            return True
        if op == OP_TXN_RESOLVE:
            return command[RESOLVE_COMMITTED] in (0, 1)
        if not _are_groups(command[COMMIT_PARTICIPANTS]):
            return False
    elif not (
        _is_group(command[PREPARE_RECORD_GROUP]) and 0 <= command[PREPARE_DEADLINE_MS] <= _INT64_MAX
    ):
        return False
    # In the same place in both.
    checks: tuple[Any, ...] = command[COMMIT_CHECKS]
    writes: tuple[Any, ...] = command[COMMIT_WRITES]
    return _are_steps(checks, writes)


def _is_group(group_id: Any) -> bool:
    return type(group_id) is int and 0 < group_id <= GROUP_MAX


def _are_groups(group_ids: tuple[Any, ...]) -> bool:
    return (
        len(group_ids) <= TXN_KEYS_MAX
        and all(map(_is_group, group_ids))
        and len(set(group_ids)) == len(group_ids)
    )


def _are_steps(checks: tuple[Any, ...], writes: tuple[Any, ...]) -> bool:
    """Whether each key is checked once at most, and written once at most, in the right forms."""
    if not 0 < len(checks) + len(writes) <= 2 * TXN_KEYS_MAX:
        return False
    if not (all(map(_is_check, checks)) and all(map(_is_write, writes))):
        return False
    checked = dict.fromkeys([check[0] for check in checks])
    written = dict.fromkeys([write[0] for write in writes])
    if len(checked) != len(checks) or len(written) != len(writes):
        return False
    size = sum(map(len, checked)) + sum(len(w[0]) + len(w[2]) for w in writes if len(w) > 2)
    # The numbers before a value come on top of its bytes.
    return len(checked | written) <= TXN_KEYS_MAX and size <= TXN_BYTES_MAX + 32 * TXN_KEYS_MAX


def _is_key(key: Any) -> bool:
    return type(key) is bytes and 0 < len(key) <= KEY_BYTES_MAX


def _is_check(check: Any) -> bool:
    return (
        type(check) is tuple
        and len(check) == 2
        and _is_key(check[0])
        and type(check[1]) is int
        and ANY <= check[1] <= _UINT64_MAX
    )


def _is_write(write: Any) -> bool:
    if type(write) is not tuple or len(write) < 2 or not _is_key(write[0]):
        return False
    op = write[1]
    if type(op) is not int:
        return False
    if op == OP_DELETE:
        return len(write) == 2
    return (
        op == OP_SET
        and len(write) == 4
        and type(write[2]) is bytes
        and _is_data(write[2])
        and type(write[3]) is int
        and -(1 << 31) <= write[3] < 1 << 31
    )


def _is_data(data: bytes) -> bool:
    """Whether these are the wire form of a value, all of it."""
    start = data.find(b"\r\n") + 2
    words = data[: start - 2].split(b" ") if start > 1 else []
    if len(words) != 3 or words[0] or not data.endswith(b"\r\n"):
        return False
    for word in words[1:]:
        if not word.isdigit() or len(word) > _DIGITS_MAX:
            return False
    return int(words[1]) <= _UINT32_MAX and int(words[2]) == len(data) - start - 2
