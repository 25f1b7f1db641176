"""Meta commands of a `TextServer`: every one takes the way through the log, plainly.

A node reads first and writes only what changes (`node/clients/meta_requests.py`); what is decided
in the log must come out the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quorumcache.node.clients.meta_args import (
    meta_arithmetic_args,
    meta_delete_args,
    meta_get_args,
    meta_set_args,
)
from quorumcache.node.protocol.meta_replies import (
    DONE,
    EXISTS,
    META_NOOP_LINE,
    MISSING,
    NOT_STORED,
    meta_counted,
    meta_debug,
    meta_hit,
    meta_miss,
    meta_status,
    meta_stored,
)
from quorumcache.node.protocol.requests import (
    MetaArithmetic,
    MetaDebug,
    MetaDelete,
    MetaGet,
    MetaNoop,
    MetaSet,
    RefusedMetaSet,
    Request,
)
from quorumcache.node.protocol.responses import render
from quorumcache.node.state_machine import Result
from quorumcache.node.store import results
from quorumcache.node.store.commands import (
    OP_DELETE,
    OP_META_ARITHMETIC,
    OP_META_DELETE,
    OP_META_GET,
    OP_META_SET,
)
from quorumcache.node.store.item import ITEM_DATA, cas_unique, expires_at_ms, item_cost

if TYPE_CHECKING:
    from tests.support.text_server import TextServer

_STATUS = {
    results.DELETED: DONE,
    results.META_MARKED: DONE,
    results.STORED: DONE,
    results.NOT_FOUND: MISSING,
    results.NOT_STORED: NOT_STORED,
    results.EXISTS: EXISTS,
}


def meta_answer(server: TextServer, request: Request) -> bytes | None:
    """The reply to a meta command, None for any other."""
    match request:
        case MetaGet():
            return _get(server, request)
        case MetaSet():
            return _set(server, request)
        case RefusedMetaSet(key, answer, _, _):
            server.apply(OP_DELETE, key)
            return answer
        case MetaDelete():
            result = server.apply(OP_META_DELETE, request.key, *meta_delete_args(request))
            return meta_status(request.reply, _STATUS[_code(result)])
        case MetaArithmetic():
            return _arithmetic(server, request)
        case MetaDebug(key, reply):
            item = server.lookup(key)
            if item is None:
                return meta_miss(reply)
            hint = _hint(server, key)
            return meta_debug(reply, item, server.now_ms, *hint, item_cost(key, item))
        case MetaNoop():
            return META_NOOP_LINE
    return None


def _get(server: TextServer, request: MetaGet) -> bytes:
    key = request.key
    server.lookup(key)  # What has expired goes, and its hints with it.
    hint = _hint(server, key)
    result = server.apply(OP_META_GET, key, *meta_get_args(request))
    code = _code(result)
    if code == results.NOT_FOUND:
        return meta_miss(request.reply)
    old_end, item = _carried(result)
    return meta_hit(
        request,
        item,
        server.now_ms,
        old_end,
        code == results.META_MADE,
        code != results.META_HIT,
        *hint,
    )


def _set(server: TextServer, request: MetaSet) -> bytes:
    args = meta_set_args(request)
    # So that a reply may always show the CAS unique and the length.
    result = server.apply(OP_META_SET, request.key, args[0] + b"c", *args[1:])  # type: ignore[operator]
    if type(result) is not tuple:
        return meta_stored(request.reply, _STATUS[_code(result)], 0, 0)
    item = result[1]
    assert isinstance(item, bytes)
    length = int(item[item.index(b" ", ITEM_DATA + 1) : -2])
    return meta_stored(request.reply, DONE, cas_unique(item), length)


def _arithmetic(server: TextServer, request: MetaArithmetic) -> bytes:
    args = meta_arithmetic_args(request)
    result = server.apply(
        OP_META_ARITHMETIC,
        request.key,
        args[0] + b"c",  # type: ignore[operator]
        *args[1:],
    )
    code = _code(result)
    if code == results.NON_NUMERIC:
        return render(result)
    if type(result) is not tuple:
        return meta_status(request.reply, _STATUS[code])
    old_end, item = _carried(result)
    return meta_counted(
        request.reply,
        request.with_value,
        int(item[ITEM_DATA:]),
        cas_unique(item),
        server.now_ms,
        expires_at_ms(item),
        old_end,
        code == results.META_NUMBER_MADE,
    )


def _hint(server: TextServer, key: bytes) -> tuple[bool, int]:
    """Whether the item was hit, and the seconds since it was used."""
    if key not in server.store.items:
        return False, 0
    was_hit, used_s = server.store.hint(key)
    return was_hit, server.now_ms // 1000 - used_s


def _code(result: Result) -> int:
    return result[0] if type(result) is tuple else result  # type: ignore[return-value]


def _carried(result: Result) -> tuple[int, bytes]:
    """The old end, and the item."""
    assert type(result) is tuple
    carried = result[1]
    assert isinstance(carried, bytes)
    return int.from_bytes(carried[: results.OLD_END], "big"), carried[results.OLD_END :]
