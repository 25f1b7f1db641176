"""Plain sets of one client that came together: begun one after the other, without a detour.

Each becomes what `handlers.py` makes of a `Store`: a place among the replies, a lane, a write. What
they have in common is looked up once: their deadline, and what the client has chosen.
"""

from __future__ import annotations

from typing import Any

from quorumcache.node.clients.conversation import Conversation
from quorumcache.node.clients.pumps import REQUEST_BYTES
from quorumcache.node.clients.set_reader import FIELDS
from quorumcache.node.clients.writes import PendingWrite, refuse_write
from quorumcache.node.protocol.parser import Parser
from quorumcache.node.protocol.requests import Request, Store
from quorumcache.node.store.commands import OP_SET


def _are_plain(conversation: Conversation) -> bool:
    """Whether sets that come now are what they seem to be, and nothing waits before them."""
    return not (
        conversation.backlog
        or conversation.prefixes is not None
        or conversation.upload is not None
        or conversation.settings.redirect
    )


def begin_plain_sets(conversation: Conversation, parser: Parser, data: bytes) -> bytes:
    """Begin the plain sets that `data` starts with, behind what it completes of a set that has come
    in part. As far as there is no room for them they go to the backlog. The rest of the data, which
    is to be fed.
    """
    if parser.is_in_set:
        requests, data = parser.finish_set(data)
        for request in requests:
            if conversation.backlog or conversation.is_blocked():
                conversation.backlog.append(request)
            else:
                conversation.handlers[type(request)](conversation, request)
    if data[:4] == b"set " and parser.is_between and _are_plain(conversation):
        return data[_begin(conversation, data, parser.sure_bytes) :]
    return data


def _begin(conversation: Conversation, data: bytes, value_bytes_max: int) -> int:
    """Begin plain sets; how many bytes of the data they take."""
    context = conversation.context
    found = context.set_reader.read(data, 0, value_bytes_max)
    if found is None:
        return 0
    fields, end = found
    count = len(fields)
    replies, order, room = conversation.replies, conversation.order, context.write_room
    deadline_ns = conversation.coordinator.deadline_ns()
    at = 0
    while at < count and not conversation.is_blocked():
        key: bytes = fields[at]
        args: tuple[bytes, int] = fields[at + 1]
        group_id: int = fields[at + 2]
        noreply: bool = fields[at + 3]
        at += FIELDS
        replies.made(2 * REQUEST_BYTES)
        size = len(key) + len(args[0])
        slot = replies.take_slot(noreply)
        if not room.has_room(size):
            refuse_write(conversation, slot)
            continue
        lane = order.lane_of(group_id)
        pending = PendingWrite(conversation, slot, lane, OP_SET, key, args, size, None)
        if order.starts(lane, True):
            pending.start_until(deadline_ns, False)
        else:
            order.wait(lane, True, pending.start)
    conversation.counters.cmd_set += at // FIELDS
    if at < count:
        conversation.backlog.extend(_requests(fields, at))
    return end


def _requests(fields: list[Any], at: int) -> list[Request]:
    """The sets from a place on, as the parser hands them out."""
    found: list[Request] = []
    for place in range(at, len(fields), FIELDS):
        data, exptime = fields[place + 1]
        found.append(Store(OP_SET, fields[place], data, exptime, 0, fields[place + 3]))
    return found
