"""Answers gets on the spot, where this node leads the keys' shards under a lease and no item has to
be changed, removed or put together first.

`get_at_once` does so for a get or gets of any number of keys, of what `get_routes.py` has left and
among other requests. What it does not answer goes to other nodes (`forwarded_gets.py`), or the
general way (`retrievals.py`). `plain_meta_gets.py` has the same for `mg`.
"""

from __future__ import annotations

from typing import Final

from quorumcache.node.clients.conversation import Conversation
from quorumcache.node.clients.replies import WRITE_CHUNK_BYTES
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


def get_at_once(conversation: Conversation, request: Get) -> bool:
    """Answer a get or gets, if nothing is under way in its groups that it could overtake, and its
    answer is small enough to be made in one go.
    """
    order = conversation.order
    keys, with_cas = request
    if order.barrier or conversation.settings.staleness_ns or len(keys) > KEYS_MAX:
        return False
    context = conversation.context
    groups, busy = context.quick_groups, order.busy()
    # Read after the request's bytes: a lease that holds now held after they were sent.
    now_ns = context.monotonic_ns()
    pieces: list[bytes] = []
    size = misses = 0
    for key in keys:
        group_id = context.group_of(key)
        group = groups.get(group_id)
        if group is None or now_ns >= group.lease_until_ns or group_id in busy:
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
