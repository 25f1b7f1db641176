"""What each kind of request does on a client connection: one function per kind, and their table.

A handler answers at once, or makes one of `client_requests.py` and starts it in the lane of its
group. Whether there is room for it was asked before (`connection.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from node.client_requests import FlushAllShards, MultiGet, MultiTouch, PendingWrite, SingleGet
from node.protocol.requests import (
    Arithmetic,
    Cluster,
    Delete,
    FlushAll,
    Get,
    GetAndTouch,
    Immediate,
    Quit,
    RefusedStore,
    Stats,
    Store,
    Touch,
    Verbosity,
    Version,
)
from node.protocol.responses import OK_LINE
from node.read_levels import ANY_STALENESS_NS
from node.store.commands import OP_APPEND, OP_CAS, OP_DELETE, OP_PREPEND, OP_SET, OP_TOUCH

if TYPE_CHECKING:
    from node.connection import MemcachedConnection


def _get(connection: MemcachedConnection, request: Get) -> None:
    staleness_ns = connection.staleness_ns
    if connection.redirect and connection.redirected(request.keys, False, staleness_ns):
        return
    keys, with_cas = request
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
    connection.server.counters.cmd_touch += len(request.keys)
    MultiTouch(connection, request).start()


def _store(connection: MemcachedConnection, request: Store) -> None:
    connection.server.counters.cmd_set += 1
    op, key, data, exptime, unique, noreply = request
    args: tuple[object, ...]
    if op == OP_CAS:
        args = (data, exptime, unique)
    elif op in (OP_APPEND, OP_PREPEND):
        args = (data,)
    else:
        args = (data, exptime)
    _write(connection, op, key, args, len(key) + len(data), noreply)


def _refused_store(connection: MemcachedConnection, request: RefusedStore) -> None:
    connection.server.counters.store_too_large += 1
    reply = request.reply
    if request.op == OP_SET:
        # As in memcached: nobody may read what the client meant to replace.
        _write(connection, OP_DELETE, request.key, (), len(request.key), request.noreply, reply)
    elif not request.noreply:
        connection.reply(reply)


def _delete(connection: MemcachedConnection, request: Delete) -> None:
    _write(connection, OP_DELETE, request.key, (), len(request.key), request.noreply)


def _arithmetic(connection: MemcachedConnection, request: Arithmetic) -> None:
    _write(connection, request.op, request.key, (request.delta,), len(request.key), request.noreply)


def _touch(connection: MemcachedConnection, request: Touch) -> None:
    connection.server.counters.cmd_touch += 1
    _write(connection, OP_TOUCH, request.key, (request.exptime,), len(request.key), request.noreply)


def _write(
    connection: MemcachedConnection,
    op: int,
    key: bytes,
    args: tuple[object, ...],
    size: int,
    noreply: bool,
    reply: bytes | None = None,
) -> None:
    if connection.redirect and connection.redirected((key,), noreply):
        return
    slot = connection.take_slot(noreply)
    group_id = connection.server.group_of(key)
    pending = PendingWrite(connection, slot, group_id, op, key, args, size, reply)
    connection.in_lane(group_id, True, pending.start)


def _flush_all(connection: MemcachedConnection, request: FlushAll) -> None:
    connection.server.counters.cmd_flush += 1
    connection.run_alone(request, lambda: FlushAllShards(connection, request).start())


def _stats(connection: MemcachedConnection, request: Stats) -> None:
    connection.server.counters.cmd_other += 1
    connection.reply(connection.server.stats(request.args))


def _version(connection: MemcachedConnection, request: Version) -> None:
    connection.server.counters.cmd_other += 1
    connection.reply(connection.server.version_line)


def _verbosity(connection: MemcachedConnection, request: Verbosity) -> None:
    connection.server.counters.cmd_other += 1
    if not request.noreply:
        connection.reply(OK_LINE)


def _immediate(connection: MemcachedConnection, request: Immediate) -> None:
    if request.reply.startswith((b"ERROR", b"CLIENT_ERROR")):
        connection.server.counters.protocol_errors += 1
    connection.reply(request.reply)


def _cluster(connection: MemcachedConnection, request: Cluster) -> None:
    connection.server.counters.cmd_other += 1
    connection.reply(connection.server.cluster_command(connection, request.args))


def _quit(connection: MemcachedConnection, request: Quit) -> None:
    connection.close_after_replies()


HANDLERS: dict[type, Callable[[MemcachedConnection, Any], None]] = {
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
    Cluster: _cluster,
    Quit: _quit,
}
"""By the type of the request."""
