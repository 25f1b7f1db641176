"""The forms of what nodes forward to each other, and of the answers. Pure.

The kinds of item are listed in `peers/items.py`, the forms of commands in `store/commands.py`. What
another node sent is checked here in full before anything is done with it.
"""

from __future__ import annotations

from typing import Any, Final

from quorumcache.node.errors import PeerFrameError
from quorumcache.node.operations.lock_answers import LOCK_ASKS, LOCK_SHOW, LOCK_WAIT
from quorumcache.node.peers.items import (
    FORWARD_ITEMS,
    FORWARD_LOST,
    FORWARD_READ,
    FORWARD_REFUSED,
    FORWARD_RELAY,
    FORWARD_RESULT,
    FORWARD_WRITE,
    FORWARD_WRITES,
    LEADERS_REPLY,
    LEADERS_REQUEST,
    WRITES_MAX,
)
from quorumcache.node.state_machine import OP
from quorumcache.node.store.commands import may_be_forwarded
from quorumcache.node.store.results import is_result
from quorumcache.node.store.transaction_forms import TRANSACTION_OPS, is_transaction

_ITEM: Final = (int, int)
_FORMS: Final[dict[int, tuple[tuple[type, ...], ...]]] = {
    FORWARD_WRITE: ((*_ITEM, int, int, bool, tuple),),
    FORWARD_READ: (
        (*_ITEM, int, tuple),
        (*_ITEM, int, tuple, int),
        (*_ITEM, int, tuple, int, int, int),
        (*_ITEM, int, tuple, int, int),
    ),
    FORWARD_RESULT: ((*_ITEM, int), (*_ITEM, tuple)),
    FORWARD_ITEMS: ((*_ITEM, tuple), (*_ITEM, tuple, tuple)),
    FORWARD_REFUSED: ((*_ITEM, int, str),),
    FORWARD_LOST: (_ITEM,),
    FORWARD_RELAY: ((*_ITEM, tuple),),
    FORWARD_WRITES: ((int, tuple),),
    LEADERS_REQUEST: ((int, tuple),),
    LEADERS_REPLY: ((int, tuple),),
}
"""Types of the members of each kind of item: one row for each form that it may have."""

_WRITE: Final = (int, int, int, bool, tuple)
"""Types of one write of a FORWARD_WRITES: of a FORWARD_WRITE without its kind."""

_LOCK_NAMES: Final = {LOCK_WAIT: 2, LOCK_SHOW: 1}
"""How many names such a read has in place of keys, by its `asks`."""

_HINT: Final = (int, int)
"""Types of what a FORWARD_ITEMS tells of the use of an item."""

_REPORT: Final = (int, int, int)
"""Types of one group's member in a LEADERS_REPLY."""


def check_forward(item: tuple[Any, ...]) -> None:
    """Raise `PeerFrameError` unless `item` has the form of one of the FORWARD or LEADERS kinds."""
    kind = item[0]
    form = tuple(map(type, item))
    fits = form in _FORMS.get(kind, ())
    if fits and kind == FORWARD_WRITE:
        fits = _is_command(item[5])
    elif fits and kind == FORWARD_WRITES:
        fits = len(item[1]) <= WRITES_MAX and all(map(_is_write, item[1]))
    elif fits and kind == FORWARD_READ:
        fits = bool(item[3]) and all(type(key) is bytes for key in item[3])
        if len(item) == 6 and item[5] & LOCK_ASKS:
            fits = fits and len(item[3]) == _LOCK_NAMES.get(item[5])
    elif fits and kind == FORWARD_ITEMS:
        fits = all(found is None or type(found) is bytes for found in item[2])
        fits = fits and all(tuple(map(type, hint)) == _HINT for hint in item[3:])
    elif fits and kind == FORWARD_RESULT:
        fits = is_result(item[2])
    elif fits and kind == FORWARD_RELAY:
        inner = item[2]
        fits = len(inner) > 1 and inner[0] in (FORWARD_WRITE, FORWARD_READ)
        fits = fits and inner[1] == item[1]
        if fits:
            check_forward(inner)
    elif fits and kind == LEADERS_REQUEST:
        fits = all(type(group_id) is int for group_id in item[1])
    elif fits and kind == LEADERS_REPLY:
        fits = all(type(r) is tuple and tuple(map(type, r)) == _REPORT for r in item[1])
    if not fits:
        raise PeerFrameError(f"an item of kind {kind} of an unknown form")


def _is_command(command: tuple[Any, ...]) -> bool:
    return may_be_forwarded(command) and (
        command[OP] not in TRANSACTION_OPS or is_transaction(command)
    )


def _is_write(write: Any) -> bool:
    return type(write) is tuple and tuple(map(type, write)) == _WRITE and _is_command(write[4])
