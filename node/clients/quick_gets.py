"""Answers gets on the spot, where this node leads the keys' shards under a lease and no item has to
be changed, removed or put together first.

`answer_plain_gets` does so for whole reads of the socket that are nothing but gets of one key each:
the data path of a client that routes by itself, so it is written out. `get_at_once` does so for
one get or gets, of any number of keys, among other requests. What neither answers goes the general
way (`retrievals.py`). `plain_meta_gets.py` has the same for `mg`.
"""

from __future__ import annotations

from typing import Final

from quorumcache.node.clients.context import ClientContext
from quorumcache.node.clients.conversation import Conversation
from quorumcache.node.clients.replies import SLOTS_MAX, WRITE_CHUNK_BYTES, Replies
from quorumcache.node.protocol.requests import Get
from quorumcache.node.protocol.responses import END_LINE, value_line
from quorumcache.node.replica.group import ReplicaGroup
from quorumcache.node.state_machine import TIMED, Peeked
from quorumcache.node.store.item import ITEM_DATA, PIECES
from quorumcache.node.store.store import shard_store

KEYS_MAX: Final = 256
"""Keys of one get that are answered in one go, in about 0.2 ms."""


def settled(group: ReplicaGroup, key: bytes) -> Peeked:
    """What `peek` called TIMED, by the time that it is: the item, or TIMED if it has to be removed
    or put together, or waited for.
    """
    item = shard_store(group.machine).lookup(key, group.now_ms())
    if type(item) is not bytes:
        return TIMED
    return TIMED if item[0] & PIECES else item


def settled_hit(group: ReplicaGroup, key: bytes) -> Peeked:
    """`settled`, and an item counts as hit."""
    item = settled(group, key)
    if item is not TIMED:
        group.machine.note_hit(key)
    return item


def answer_plain_gets(
    context: ClientContext,
    replies: Replies,
    groups: dict[int, ReplicaGroup],
    keys: list[bytes],
    start: int,
    size: int,
    now_ns: int,
    out: list[bytes],
) -> tuple[int, int]:
    """Answer `keys` from position `start` on, up to one that has to go the general way.

    `groups`: the context's `quick_groups`. `size`: bytes of replies that were made of this read of
    the socket. `now_ns`: a time after the read. Replies go to `out`, or behind those that others
    wait for. Returns the position of the first key that is not answered, and the new size.
    """
    slots = replies.slots
    misses = 0
    position = start
    count = len(keys)
    while position < count:
        key = keys[position]
        group = groups.get(context.group_of(key))
        if (
            group is None
            or now_ns >= group.lease_until_ns
            or size >= WRITE_CHUNK_BYTES
            or len(slots) >= SLOTS_MAX
        ):
            break
        item = group.machine.serve(key)
        if item is TIMED:
            item = settled_hit(group, key)
            if item is TIMED:
                break
        if item is None:
            misses += 1
            reply = END_LINE
        else:
            reply = b"VALUE " + key + item[ITEM_DATA:] + END_LINE
            size += len(reply)
        if slots:
            replies.reply(reply)
        else:
            out.append(reply)
        position += 1
    counters = context.counters
    answered = position - start
    counters.cmd_get += answered
    counters.get_hits += answered - misses
    counters.get_misses += misses
    counters.lease_reads += answered
    return position, size


def get_at_once(conversation: Conversation, request: Get) -> bool:
    """Answer a get or gets, if nothing is under way that it could overtake, and its answer is small
    enough to be made in one go.
    """
    order = conversation.order
    keys, with_cas = request
    if order.lanes or order.barrier or conversation.settings.staleness_ns or len(keys) > KEYS_MAX:
        return False
    context = conversation.context
    groups = context.quick_groups
    # Read after the request's bytes: a lease that holds now held after they were sent.
    now_ns = context.monotonic_ns()
    pieces: list[bytes] = []
    size = misses = 0
    for key in keys:
        group_id = context.group_of(key)
        group = groups.get(group_id)
        if group is None or now_ns >= group.lease_until_ns or group_id in order.quick:
            return False
        item = group.machine.serve(key)
        if item is TIMED:
            item = settled_hit(group, key)
            if item is TIMED:
                return False
        if item is None:
            misses += 1
            continue
        size += len(item)
        if size > WRITE_CHUNK_BYTES:
            return False
        if with_cas:
            pieces.append(value_line(key, item, True))
        else:
            pieces.append(b"VALUE " + key)
            pieces.append(item[ITEM_DATA:])
    pieces.append(END_LINE)
    counters = context.counters
    counters.cmd_get += len(keys)
    counters.get_hits += len(keys) - misses
    counters.get_misses += misses
    counters.lease_reads += 1
    conversation.replies.reply(b"".join(pieces) if len(pieces) > 1 else END_LINE)
    return True
