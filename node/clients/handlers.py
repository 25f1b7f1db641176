"""What each kind of request does on a client connection: one function per kind, and their table.

A handler answers at once, or makes a request of `retrievals.py` or `writes.py` and
starts it in the lane of its group. Whether there is room for it was asked before (`connection.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from quorumcache.node.clients.retrievals import WINDOW_KEYS, MultiGet, MultiTouch, SingleGet
from quorumcache.node.clients.writes import FlushAllShards, OpenSession, PendingWrite
from quorumcache.node.operations.failure import Failure
from quorumcache.node.operations.numbering import WriteId
from quorumcache.node.operations.read_levels import ANY_STALENESS_NS
from quorumcache.node.protocol.numbers import strict_number
from quorumcache.node.protocol.requests import (
    Arithmetic,
    BinaryClient,
    Cluster,
    Delete,
    FlushAll,
    Get,
    GetAndTouch,
    Immediate,
    Once,
    Quit,
    RefusedStore,
    Stats,
    Store,
    Touch,
    Verbosity,
    Version,
)
from quorumcache.node.protocol.responses import OK_LINE, once_error
from quorumcache.node.store.commands import (
    OP_APPEND,
    OP_CAS,
    OP_DELETE,
    OP_PREPEND,
    OP_SET,
    OP_TOUCH,
)

if TYPE_CHECKING:
    from quorumcache.node.clients.connection import MemcachedConnection

TOO_MANY_WRITES: Final = "too many writes wait on this node; retry more slowly"

ONCE_TWICE_LINE: Final = once_error(b"only one may go before a command")
ONCE_KIND_LINE: Final = once_error(
    b"it may go before set, add, replace, append, prepend, cas, delete, incr, decr or touch only"
)


def _get(connection: MemcachedConnection, request: Get) -> None:
    staleness_ns = connection.staleness_ns
    if connection.redirect and connection.redirected(request.keys, False, staleness_ns):
        return
    keys, with_cas = request
    if len(keys) > WINDOW_KEYS and not connection.alone(request):
        return
    counters = connection.server.counters
    counters.cmd_get += len(keys)
    if staleness_ns:
        if staleness_ns < ANY_STALENESS_NS:
            counters.cmd_get_bounded += len(keys)
        else:
            counters.cmd_get_local += len(keys)
    if len(keys) > 1:
        MultiGet(connection, keys, with_cas).start()
        return
    group_id = connection.server.group_of(keys[0])
    get = SingleGet(connection, group_id, keys, with_cas)
    connection.in_lane(group_id, False, get.start)


def _get_and_touch(connection: MemcachedConnection, request: GetAndTouch) -> None:
    if connection.redirect and connection.redirected(request.keys, noreply=False):
        return
    if len(request.keys) > WINDOW_KEYS and not connection.alone(request):
        return
    connection.server.counters.cmd_touch += len(request.keys)
    MultiTouch(connection, request).start()


def _store(
    connection: MemcachedConnection, request: Store, identity: WriteId | None = None
) -> None:
    op, key, data, exptime, unique, noreply = request
    if connection.redirect and connection.redirected((key,), noreply):
        return
    connection.server.counters.cmd_set += 1
    args: tuple[object, ...]
    if op == OP_CAS:
        args = (data, exptime, unique)
    elif op in (OP_APPEND, OP_PREPEND):
        args = (data,)
    else:
        args = (data, exptime)
    _write(connection, op, key, args, len(key) + len(data), noreply, None, identity)


def _refused_store(
    connection: MemcachedConnection, request: RefusedStore, identity: WriteId | None = None
) -> None:
    reply, key, noreply = request.reply, request.key, request.noreply
    is_set = request.op == OP_SET
    is_asked = is_set or identity is not None
    if is_asked and connection.redirect and connection.redirected((key,), noreply):
        return
    connection.server.counters.store_too_large += 1
    if is_set:
        # As in memcached: nobody may read what the client meant to replace.
        _write(connection, OP_DELETE, key, (), len(key), noreply, reply, identity)
    elif identity is not None:
        # It may be a repetition of what a node with a larger limit has done. A cas with a unique
        # that no item has changes nothing, and the session tells.
        _write(connection, OP_CAS, key, (b"", 0, 0), len(key), noreply, reply, identity)
    elif not noreply:
        connection.reply(reply)


def _delete(
    connection: MemcachedConnection, request: Delete, identity: WriteId | None = None
) -> None:
    key, noreply = request
    if connection.redirect and connection.redirected((key,), noreply):
        return
    _write(connection, OP_DELETE, key, (), len(key), noreply, None, identity)


def _arithmetic(
    connection: MemcachedConnection, request: Arithmetic, identity: WriteId | None = None
) -> None:
    op, key, delta, noreply = request
    if connection.redirect and connection.redirected((key,), noreply):
        return
    _write(connection, op, key, (delta,), len(key), noreply, None, identity)


def _touch(
    connection: MemcachedConnection, request: Touch, identity: WriteId | None = None
) -> None:
    key, exptime, noreply = request
    if connection.redirect and connection.redirected((key,), noreply):
        return
    connection.server.counters.cmd_touch += 1
    _write(connection, OP_TOUCH, key, (exptime,), len(key), noreply, None, identity)


def _write(
    connection: MemcachedConnection,
    op: int,
    key: bytes,
    args: tuple[object, ...],
    size: int,
    noreply: bool,
    reply: bytes | None,
    identity: WriteId | None,
) -> None:
    slot = connection.take_slot(noreply)
    if not connection.write_room.has_room(size):
        connection.server.counters.writes_refused += 1
        refusal = Failure(TOO_MANY_WRITES, outcome_known=True)
        connection.fill(slot, connection.server.failed(refusal))
        return
    group_id = connection.server.group_of(key)
    pending = PendingWrite(connection, slot, group_id, op, key, args, size, reply, identity)
    connection.in_lane(group_id, True, pending.start)


def _flush_all(connection: MemcachedConnection, request: FlushAll) -> None:
    if connection.alone(request):
        connection.server.counters.cmd_flush += 1
        FlushAllShards(connection, request).start()


def _stats(connection: MemcachedConnection, request: Stats) -> None:
    connection.server.counters.cmd_other += 1
    _reply_checked(connection, connection.server.stats(request.args))


def _version(connection: MemcachedConnection, request: Version) -> None:
    connection.server.counters.cmd_other += 1
    connection.reply(connection.server.version_line)


def _verbosity(connection: MemcachedConnection, request: Verbosity) -> None:
    connection.server.counters.cmd_other += 1
    if not request.noreply:
        connection.reply(OK_LINE)


def _immediate(connection: MemcachedConnection, request: Immediate) -> None:
    if not request.reply.startswith(b"SERVER_ERROR"):
        connection.server.counters.protocol_errors += 1
    if request.reply:
        connection.reply(request.reply)


def _cluster(connection: MemcachedConnection, request: Cluster) -> None:
    connection.server.counters.cmd_other += 1
    args = request.args
    if len(args) == 3 and args[:2] == (b"session", b"open"):
        shard = strict_number(args[2], 0, connection.server.shard_count - 1)
        if shard is not None:
            _open_session(connection, shard + 1)
            return
    _reply_checked(connection, connection.server.cluster_command(connection, args))


def _reply_checked(connection: MemcachedConnection, reply: bytes) -> None:
    """Send the reply to a command that may have been wrong in its words."""
    if reply.startswith((b"ERROR", b"CLIENT_ERROR")):
        connection.server.counters.protocol_errors += 1
    connection.reply(reply)


def _open_session(connection: MemcachedConnection, group_id: int) -> None:
    if connection.redirect and connection.redirected_group(group_id):
        return
    OpenSession(connection, group_id).start()


def _once(connection: MemcachedConnection, request: Once) -> None:
    connection.once = request
    connection.handlers = HANDLERS_AFTER_ONCE


def _once_again(connection: MemcachedConnection, request: Once) -> None:
    connection.once = Once(0, 0, 0, ONCE_TWICE_LINE)


def _identified(connection: MemcachedConnection, request: Any) -> None:
    """A write with the identity that its client gave it."""
    once = _take_once(connection)
    if once.error:
        _refuse(connection, request, once.error)
    else:
        identity = (once.session, once.sequence, once.floor)
        WRITE_HANDLERS[type(request)](connection, request, identity)


def _unfit(connection: MemcachedConnection, request: Any) -> None:
    """Anything else after `cluster once`: not executed."""
    once = _take_once(connection)
    _refuse(connection, request, once.error or ONCE_KIND_LINE)


def _wrong_line(connection: MemcachedConnection, request: Immediate) -> None:
    """A line that would have been answered without being looked at any further."""
    _take_once(connection)
    _immediate(connection, request)


def _take_once(connection: MemcachedConnection) -> Once:
    once = connection.once
    assert once is not None
    connection.once = None
    connection.handlers = HANDLERS
    return once


def _refuse(connection: MemcachedConnection, request: Any, line: bytes) -> None:
    connection.server.counters.protocol_errors += 1
    noreply = isinstance(request, NOREPLY_KINDS) and request.noreply
    if not noreply:
        connection.reply(line)


def _binary_client(connection: MemcachedConnection, request: BinaryClient) -> None:
    connection.server.note_binary_client(connection.client_address)
    connection.reply(request.reply)


def _quit(connection: MemcachedConnection, request: Quit) -> None:
    connection.close_after_replies()


WRITE_HANDLERS: Final[dict[type, Callable[[MemcachedConnection, Any, WriteId], None]]] = {
    Store: _store,
    RefusedStore: _refused_store,
    Delete: _delete,
    Arithmetic: _arithmetic,
    Touch: _touch,
}
"""The writes of one key: those that a client may give an identity."""

NOREPLY_KINDS: Final = (Store, RefusedStore, Delete, Arithmetic, Touch, FlushAll, Verbosity)

Handlers = dict[type, Callable[["MemcachedConnection", Any], None]]

HANDLERS: Handlers = {
    Get: _get,
    GetAndTouch: _get_and_touch,
    Store: _store,
    RefusedStore: _refused_store,
    Delete: _delete,
    Arithmetic: _arithmetic,
    Touch: _touch,
    FlushAll: _flush_all,
    Stats: _stats,
    Version: _version,
    Verbosity: _verbosity,
    Immediate: _immediate,
    BinaryClient: _binary_client,
    Cluster: _cluster,
    Once: _once,
    Quit: _quit,
}
"""By the type of the request."""

HANDLERS_AFTER_ONCE: Handlers = {
    **dict.fromkeys(HANDLERS, _unfit),
    **dict.fromkeys(WRITE_HANDLERS, _identified),
    Once: _once_again,
    Immediate: _wrong_line,
    Quit: _quit,
}
"""The same, for the one request after a `cluster once`."""
