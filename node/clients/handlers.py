"""What each kind of request does for a client: one function per kind, and their table.

A handler answers at once, or makes a request of `retrievals.py` or `writes.py` and
begins it in the lane of its group. Whether there is room for it was asked before
(`Conversation.is_blocked`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from quorumcache.node.clients.admin_words import ADMIN_HANDLERS
from quorumcache.node.clients.command_prefixes import with_prefixes
from quorumcache.node.clients.conversation import Conversation, Handlers
from quorumcache.node.clients.fenced_gets import fenced_get
from quorumcache.node.clients.forwarded_gets import forward_get
from quorumcache.node.clients.large_handlers import value_begins, value_ends, value_piece
from quorumcache.node.clients.lock_handlers import LOCK_HANDLERS, LOCK_WRITE_HANDLERS
from quorumcache.node.clients.meta_handlers import (
    meta_arithmetic,
    meta_debug,
    meta_delete,
    meta_get,
    meta_noop,
    meta_set,
    refused_meta_set,
)
from quorumcache.node.clients.operator_words import OPERATOR_WORDS, PROOFS_WRONG_MAX
from quorumcache.node.clients.quick_gets import get_at_once
from quorumcache.node.clients.retrievals import MultiGet, SingleGet
from quorumcache.node.clients.touches import MultiTouch
from quorumcache.node.clients.transaction_handlers import TRANSACTION_HANDLERS
from quorumcache.node.clients.windows import runs_alone
from quorumcache.node.clients.writes import (
    FlushAllShards,
    OpenSession,
    PendingWrite,
    refuse_write,
)
from quorumcache.node.operations.numbering import WriteId
from quorumcache.node.operations.read_levels import ANY_STALENESS_NS
from quorumcache.node.protocol.numbers import strict_number
from quorumcache.node.protocol.requests import (
    Arithmetic,
    BinaryClient,
    CacheMemlimit,
    Cluster,
    Delete,
    FlushAll,
    Get,
    GetAndTouch,
    Immediate,
    MetaArithmetic,
    MetaDebug,
    MetaDelete,
    MetaGet,
    MetaNoop,
    MetaSet,
    Quit,
    RefusedMetaSet,
    RefusedStore,
    Shutdown,
    Stats,
    Store,
    Touch,
    ValueBegins,
    ValueEnds,
    ValuePiece,
    Verbosity,
    Version,
)
from quorumcache.node.protocol.responses import FLUSH_NOT_ALLOWED_LINE
from quorumcache.node.store.commands import (
    COMMANDS,
    OP_CAS,
    OP_DELETE,
    OP_SET,
    OP_TOUCH,
    block_args,
)


def _get(conversation: Conversation, request: Get) -> None:
    staleness_ns = conversation.settings.staleness_ns
    if conversation.settings.redirect and conversation.redirected(
        request.keys, False, staleness_ns
    ):
        return
    if get_at_once(conversation, request):
        return
    keys, with_cas = request
    if len(keys) == 1 and not with_cas and forward_get(conversation, keys[0]):
        return
    is_alone = len(keys) > 1 and runs_alone(conversation.replies, len(keys), False)
    if is_alone and not conversation.alone(request):
        return
    counters = conversation.counters
    counters.cmd_get += len(keys)
    if staleness_ns:
        if staleness_ns < ANY_STALENESS_NS:
            counters.cmd_get_bounded += len(keys)
        else:
            counters.cmd_get_local += len(keys)
    if len(keys) > 1:
        MultiGet(conversation, keys, with_cas, is_alone).begin()
        return
    order = conversation.order
    lane = order.lane_of(conversation.context.group_of(keys[0]))
    order.begin(lane, False, SingleGet(conversation, lane, keys, with_cas).start)


def _get_and_touch(conversation: Conversation, request: GetAndTouch) -> None:
    if conversation.settings.redirect and conversation.redirected(request.keys, noreply=False):
        return
    is_alone = runs_alone(conversation.replies, len(request.keys), True)
    if is_alone and not conversation.alone(request):
        return
    conversation.counters.cmd_touch += len(request.keys)
    MultiTouch(conversation, request, is_alone).begin()


def _store(conversation: Conversation, request: Store, identity: WriteId | None = None) -> None:
    op, key, data, exptime, unique, noreply = request
    if conversation.settings.redirect and conversation.redirected((key,), noreply):
        return
    conversation.counters.cmd_set += 1
    args = block_args(op, data, exptime, unique)
    _write(conversation, op, key, args, len(key) + len(data), noreply, None, identity)


def _refused_store(
    conversation: Conversation, request: RefusedStore, identity: WriteId | None = None
) -> None:
    reply, key, noreply = request.reply, request.key, request.noreply
    is_set = request.op == OP_SET
    is_asked = is_set or identity is not None
    if is_asked and conversation.settings.redirect and conversation.redirected((key,), noreply):
        return
    conversation.counters.store_too_large += 1
    if conversation.context.events.is_on:
        word = COMMANDS[request.op].name
        conversation.context.events.stored(conversation.number, word, key, "too_large", 0, 0)
    if is_set:
        # As in memcached: no client may read what was to be replaced.
        _write(conversation, OP_DELETE, key, (), len(key), noreply, reply, identity)
    elif identity is not None:
        conversation.fence = None  # Nothing is written.
        # It may be a repetition of what a node with a larger limit has done: the session tells. A
        # cas without data changes nothing; the leader makes a refusal of it (`Serving.submit`).
        _write(conversation, OP_CAS, key, (b"", 0, 0), len(key), noreply, reply, identity)
    elif not noreply:
        conversation.replies.reply(reply)


def _delete(conversation: Conversation, request: Delete, identity: WriteId | None = None) -> None:
    key, noreply = request
    if conversation.settings.redirect and conversation.redirected((key,), noreply):
        return
    _write(conversation, OP_DELETE, key, (), len(key), noreply, None, identity)


def _arithmetic(
    conversation: Conversation, request: Arithmetic, identity: WriteId | None = None
) -> None:
    op, key, delta, noreply = request
    if conversation.settings.redirect and conversation.redirected((key,), noreply):
        return
    _write(conversation, op, key, (delta,), len(key), noreply, None, identity)


def _touch(conversation: Conversation, request: Touch, identity: WriteId | None = None) -> None:
    key, exptime, noreply = request
    if conversation.settings.redirect and conversation.redirected((key,), noreply):
        return
    conversation.counters.cmd_touch += 1
    _write(conversation, OP_TOUCH, key, (exptime,), len(key), noreply, None, identity)


def _write(
    conversation: Conversation,
    op: int,
    key: bytes,
    args: tuple[object, ...],
    size: int,
    noreply: bool,
    reply: bytes | None,
    identity: WriteId | None,
) -> None:
    slot = conversation.replies.take_slot(noreply)
    if not conversation.context.write_room.has_room(size):
        refuse_write(conversation, slot)
        return
    order = conversation.order
    lane = order.lane_of(conversation.context.group_of(key))
    pending = PendingWrite(conversation, slot, lane, op, key, args, size, reply, identity)
    if order.starts(lane, True):
        pending.start(0)
    else:
        order.wait(lane, True, pending.start)


def _flush_all(conversation: Conversation, request: FlushAll) -> None:
    if not conversation.context.flush_enabled:
        conversation.counters.cmd_flush += 1
        if not request.noreply:
            conversation.replies.reply(FLUSH_NOT_ALLOWED_LINE)
    elif conversation.alone(request):
        conversation.counters.cmd_flush += 1
        FlushAllShards(conversation, request).start()


def _stats(conversation: Conversation, request: Stats) -> None:
    if conversation.alone(request):  # It tells of all that came before it.
        conversation.counters.cmd_other += 1
        reply = conversation.context.stats(request.args)
        conversation.ended_alone()
        _reply_checked(conversation, reply)


def _version(conversation: Conversation, request: Version) -> None:
    if not conversation.behind_silent_writes(request):
        return
    conversation.counters.cmd_other += 1
    conversation.replies.reply(conversation.context.version_line)


def _immediate(conversation: Conversation, request: Immediate) -> None:
    if not request.reply.startswith(b"SERVER_ERROR"):
        conversation.counters.protocol_errors += 1
    if request.reply:
        conversation.replies.reply(request.reply)


def _cluster(conversation: Conversation, request: Cluster) -> None:
    conversation.counters.cmd_other += 1
    args = request.args
    if len(args) == 3 and args[:2] == (b"session", b"open"):
        shard = strict_number(args[2], 0, conversation.context.shard_count - 1)
        if shard is not None:
            _open_session(conversation, shard + 1)
            return
    if args and args[0] in OPERATOR_WORDS:
        _operate(conversation, args)
        return
    _reply_checked(conversation, conversation.context.cluster(conversation.settings, args))


def _reply_checked(conversation: Conversation, reply: bytes) -> None:
    """Send the reply to a command that may have been wrong in its words."""
    if reply.startswith((b"ERROR", b"CLIENT_ERROR")):
        conversation.counters.protocol_errors += 1
    conversation.replies.made(16 * len(reply))  # It is put together anew of many small parts.
    conversation.replies.reply(reply)


def _operate(conversation: Conversation, args: tuple[bytes, ...]) -> None:
    replies, settings = conversation.replies, conversation.settings
    slot = replies.take_slot()

    def done(reply: bytes) -> None:
        if reply.startswith(b"CLIENT_ERROR"):
            conversation.counters.protocol_errors += 1
        replies.fill(slot, reply)

    conversation.context.operator(settings, conversation.client_address, args, done)
    if settings.wrong_proofs >= PROOFS_WRONG_MAX:
        conversation.close_after_replies()


def _open_session(conversation: Conversation, group_id: int) -> None:
    if conversation.settings.redirect and conversation.redirected_group(group_id):
        return
    OpenSession(conversation, group_id).start()


def _refuse(conversation: Conversation, request: Any, line: bytes) -> None:
    conversation.counters.protocol_errors += 1
    noreply = isinstance(request, NOREPLY_KINDS) and request.noreply
    if not noreply:
        conversation.replies.reply(line)


def _binary_client(conversation: Conversation, request: BinaryClient) -> None:
    conversation.context.note_binary_client(conversation.client_address)
    conversation.replies.reply(request.reply)


def _quit(conversation: Conversation, request: Quit) -> None:
    if not conversation.behind_silent_writes(request):
        return
    conversation.close_reason = "normal"
    conversation.close_after_replies()


WRITE_HANDLERS: Final[dict[type, Callable[[Conversation, Any, WriteId | None], None]]] = {
    Store: _store,
    RefusedStore: _refused_store,
    Delete: _delete,
    Arithmetic: _arithmetic,
    Touch: _touch,
    ValueBegins: value_begins,
    MetaGet: meta_get,
    MetaSet: meta_set,
    RefusedMetaSet: refused_meta_set,
    MetaDelete: meta_delete,
    MetaArithmetic: meta_arithmetic,
}
"""The writes of one key: those that a client may give an identity."""

NOREPLY_KINDS: Final = (
    Store,
    RefusedStore,
    Delete,
    Arithmetic,
    Touch,
    ValueBegins,
    FlushAll,
    Verbosity,
    CacheMemlimit,
    Shutdown,
)

HANDLERS: Handlers = {
    Get: _get,
    GetAndTouch: _get_and_touch,
    Store: _store,
    RefusedStore: _refused_store,
    Delete: _delete,
    Arithmetic: _arithmetic,
    Touch: _touch,
    MetaGet: meta_get,
    MetaSet: meta_set,
    RefusedMetaSet: refused_meta_set,
    MetaDelete: meta_delete,
    MetaArithmetic: meta_arithmetic,
    MetaDebug: meta_debug,
    MetaNoop: meta_noop,
    ValueBegins: value_begins,
    ValuePiece: value_piece,
    ValueEnds: value_ends,
    FlushAll: _flush_all,
    Stats: _stats,
    Version: _version,
    **ADMIN_HANDLERS,
    **TRANSACTION_HANDLERS,
    Immediate: _immediate,
    BinaryClient: _binary_client,
    Cluster: _cluster,
    **LOCK_HANDLERS,
    Quit: _quit,
}
"""By the type of the request; those of the prefixes are added below."""

HANDLERS_BEHIND_PREFIX: Handlers = with_prefixes(
    HANDLERS, WRITE_HANDLERS, LOCK_WRITE_HANDLERS, fenced_get, _refuse
)
"""The same, for the one request after `cluster once` or `cluster fence`."""
