"""What each kind of meta request does for a client: `handlers.py` takes these into its tables."""

from __future__ import annotations

from quorumcache.node.clients.conversation import Conversation
from quorumcache.node.clients.meta_args import (
    meta_arithmetic_args,
    meta_delete_args,
    meta_get_args,
    meta_get_asks,
    meta_set_args,
)
from quorumcache.node.clients.meta_requests import (
    MetaDebugging,
    MetaGetting,
)
from quorumcache.node.clients.meta_writes import MetaWrite, RefusedMetaWrite
from quorumcache.node.clients.plain_meta_gets import answer_at_once
from quorumcache.node.clients.write_room import TOO_MANY_WRITES
from quorumcache.node.operations.failure import Failure
from quorumcache.node.operations.meta_read import ASKS_HINT
from quorumcache.node.operations.numbering import WriteId
from quorumcache.node.operations.read_levels import ANY_STALENESS_NS
from quorumcache.node.protocol.meta_replies import META_NOOP_LINE
from quorumcache.node.protocol.requests import (
    MetaArithmetic,
    MetaDebug,
    MetaDelete,
    MetaGet,
    MetaNoop,
    MetaSet,
    RefusedMetaSet,
)
from quorumcache.node.store.commands import (
    OP_META_ARITHMETIC,
    OP_META_DELETE,
    OP_META_GET,
    OP_META_SET,
)


def meta_get(conversation: Conversation, request: MetaGet, identity: WriteId | None = None) -> None:
    """`mg`."""
    is_write = identity is not None or conversation.fence is not None
    if not is_write and answer_at_once(conversation, request):
        return
    settings = conversation.settings
    touches = request.exptime is not None
    is_write = is_write or (touches and not meta_get_asks(request) & ASKS_HINT)
    staleness_ns = 0 if is_write else settings.staleness_ns
    key = request.key
    if settings.redirect and conversation.redirected((key,), False, staleness_ns):
        return
    counters = conversation.counters
    if touches:
        counters.cmd_touch += 1
    else:
        counters.cmd_get += 1
        if staleness_ns:
            if staleness_ns < ANY_STALENESS_NS:
                counters.cmd_get_bounded += 1
            else:
                counters.cmd_get_local += 1
    if is_write:
        _write(conversation, OP_META_GET, request, meta_get_args(request), len(key), identity)
        return
    order = conversation.order
    lane = order.lane_of(conversation.context.group_of(key))
    order.begin(lane, False, MetaGetting(conversation, lane, request).start)


def meta_debug(conversation: Conversation, request: MetaDebug) -> None:
    """`me`."""
    settings = conversation.settings
    if settings.redirect and conversation.redirected((request.key,), False, settings.staleness_ns):
        return
    conversation.counters.cmd_meta += 1
    order = conversation.order
    lane = order.lane_of(conversation.context.group_of(request.key))
    order.begin(lane, False, MetaDebugging(conversation, lane, request).start)


def meta_set(conversation: Conversation, request: MetaSet, identity: WriteId | None = None) -> None:
    """`ms`."""
    key = request.key
    if conversation.settings.redirect and conversation.redirected((key,), False):
        return
    conversation.counters.cmd_set += 1
    size = len(key) + len(request.data)
    _write(conversation, OP_META_SET, request, meta_set_args(request), size, identity)


def refused_meta_set(
    conversation: Conversation, request: RefusedMetaSet, identity: WriteId | None = None
) -> None:
    """An `ms` that is too large."""
    key = request.key
    if conversation.settings.redirect and conversation.redirected((key,), False):
        return
    conversation.counters.store_too_large += 1
    if conversation.context.events.is_on:
        number, events = conversation.number, conversation.context.events
        events.stored(number, "set", key, "too_large", 0, 0, is_meta=True)
    if not _may_write(conversation, len(key)):
        return
    order = conversation.order
    lane = order.lane_of(conversation.context.group_of(key))
    slot = conversation.replies.take_slot()
    # As in memcached: no client may read what was to be replaced.
    pending = RefusedMetaWrite(conversation, slot, lane, request, identity)
    order.begin(lane, True, pending.start)


def meta_delete(
    conversation: Conversation, request: MetaDelete, identity: WriteId | None = None
) -> None:
    """`md`."""
    key = request.key
    if conversation.settings.redirect and conversation.redirected((key,), False):
        return
    _write(conversation, OP_META_DELETE, request, meta_delete_args(request), len(key), identity)


def meta_arithmetic(
    conversation: Conversation, request: MetaArithmetic, identity: WriteId | None = None
) -> None:
    """`ma`."""
    key = request.key
    if conversation.settings.redirect and conversation.redirected((key,), False):
        return
    args = meta_arithmetic_args(request)
    _write(conversation, OP_META_ARITHMETIC, request, args, len(key), identity)


def meta_noop(conversation: Conversation, request: MetaNoop) -> None:
    """`mn`: its place among the replies is all that it is for."""
    if not conversation.behind_silent_writes(request):
        return
    conversation.counters.cmd_other += 1
    conversation.replies.reply(META_NOOP_LINE)


def _may_write(conversation: Conversation, size: int) -> bool:
    """Whether a write may begin; if not, it is answered."""
    context = conversation.context
    if context.write_room.has_room(size):
        return True
    conversation.counters.writes_refused += 1
    refusal = Failure(TOO_MANY_WRITES, outcome_known=True)
    conversation.replies.reply(context.failed(refusal))
    return False


def _write(
    conversation: Conversation,
    op: int,
    request: MetaGet | MetaSet | MetaDelete | MetaArithmetic,
    args: tuple[object, ...],
    size: int,
    identity: WriteId | None,
) -> None:
    if not _may_write(conversation, size):
        return
    order = conversation.order
    lane = order.lane_of(conversation.context.group_of(request.key))
    slot = conversation.replies.take_slot()
    pending = MetaWrite(conversation, slot, lane, op, request, args, size, identity)
    order.begin(lane, True, pending.start)
