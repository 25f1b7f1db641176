"""What the parts of a large value's block do for a client: `handlers.py` takes these into its
tables."""

from __future__ import annotations

from quorumcache.node.clients.conversation import Conversation
from quorumcache.node.clients.meta_args import meta_set_args
from quorumcache.node.clients.meta_writes import MetaWrite
from quorumcache.node.clients.slots import Slot
from quorumcache.node.clients.uploads import LargeWrite, Upload
from quorumcache.node.clients.write_room import TOO_MANY_WRITES
from quorumcache.node.clients.writes import PendingWrite
from quorumcache.node.operations.numbering import WriteId
from quorumcache.node.protocol.requests import MetaSet, ValueBegins, ValueEnds, ValuePiece
from quorumcache.node.protocol.responses import BAD_DATA_CHUNK_LINE
from quorumcache.node.store.commands import OP_META_SET, block_args


def value_begins(
    conversation: Conversation, request: ValueBegins, identity: WriteId | None = None
) -> None:
    """A storage command with a large value. If it is answered here, its pieces have no effect."""
    store, total_bytes, noreply = request
    if conversation.settings.redirect and conversation.redirected((store.key,), noreply):
        return
    upload = conversation.upload = Upload(conversation, store, total_bytes, noreply, identity)
    if not conversation.context.write_room.has_room(total_bytes):
        conversation.counters.writes_refused += 1
        upload.fail(TOO_MANY_WRITES)


def value_piece(conversation: Conversation, request: ValuePiece) -> None:
    """The next piece of it."""
    if conversation.upload is not None:
        conversation.upload.piece(request.piece)


def value_ends(conversation: Conversation, request: ValueEnds) -> None:
    """The end of its block."""
    upload, conversation.upload = conversation.upload, None
    if upload is None:
        return
    assert isinstance(upload, Upload)
    if not request.is_whole:
        upload.drop()
        conversation.counters.protocol_errors += 1
        if not upload.noreply:
            conversation.replies.reply(BAD_DATA_CHUNK_LINE)
        return
    conversation.counters.cmd_set += 1
    slot = conversation.replies.take_slot(upload.noreply)
    conversation.upload = upload  # Nothing else begins before it is in its lane.
    upload.when_settled(lambda: _store(conversation, upload, slot))


def _store(conversation: Conversation, upload: Upload, slot: Slot | None) -> None:
    """All pieces have their outcome: store the value, in its place among the writes."""
    if conversation.upload is upload:
        conversation.upload = None
    store = upload.request
    key: bytes = store.key
    order = conversation.order
    lane = order.lane_of(conversation.context.group_of(key))
    place = (conversation, slot, lane)
    pending: PendingWrite
    if isinstance(store, MetaSet):
        args = meta_set_args(store)
        pending = MetaWrite(*place, OP_META_SET, store, args, len(key), upload.identity)
    else:
        args = block_args(store.op, store.data, store.exptime, store.cas_unique)
        pending = PendingWrite(*place, store.op, key, args, len(key), None, upload.identity)
    pending.fence = upload.fence
    order.begin(lane, True, LargeWrite(upload, pending).start)
