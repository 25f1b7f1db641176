"""Answers `mg` lines on the spot, where the item alone decides the reply.

As `MemcachedConnection._plain_gets` does for gets: of keys whose shard this node leads under a
lease, and of items that live whatever the time is.
"""

from __future__ import annotations

from quorumcache.node.clients.context import ClientContext
from quorumcache.node.clients.replies import SLOTS_MAX, WRITE_CHUNK_BYTES, Replies
from quorumcache.node.protocol.meta_lines import GetFlags
from quorumcache.node.protocol.meta_replies import meta_hit, meta_miss
from quorumcache.node.state_machine import TIMED
from quorumcache.node.store.item import ITEM_DATA
from quorumcache.ring import key_token


def answer_plain_meta_gets(
    context: ClientContext,
    replies: Replies,
    keys: list[bytes],
    flags: GetFlags,
    start: int,
    size: int,
    now_ns: int,
    out: list[bytes],
) -> tuple[int, int]:
    """Answer `keys` from position `start` on, up to one that has to go the general way.

    `size`: bytes of replies that were made of this read of the socket. `now_ns`: a time after the
    read. Replies go to `out`, or behind those that others wait for. Returns the position of the
    first key that is not answered, and the new size.
    """
    groups = context.quick_groups
    shift = context.token_shift
    slots = replies.slots
    letters = flags.letters
    is_bare = flags.with_value and flags.compare is None and not letters
    bumps = not flags.no_bump
    hits = misses = 0
    position = start
    while position < len(keys):
        key = keys[position]
        group = groups.get((key_token(key) >> shift) + 1)
        if (
            group is None
            or now_ns >= group.lease_until_ns
            or size >= WRITE_CHUNK_BYTES
            or len(slots) >= SLOTS_MAX
        ):
            break
        item = group.machine.peek(key)
        if item is TIMED:
            break
        if item is None:
            misses += 1
            reply = meta_miss(flags.request(key).reply) if letters else flags.miss
        else:
            hits += 1
            if bumps:
                group.machine.note_hit(key)
            if is_bare:
                reply = b"VA" + item[item.index(b" ", ITEM_DATA + 1) :]
            else:
                reply = meta_hit(flags.request(key), item, 0, 0, False, False, False, 0)
            size += len(reply)
        if slots:
            replies.reply(reply)
        elif reply:
            out.append(reply)
        position += 1
    counters = context.counters
    counters.cmd_get += hits + misses
    counters.get_hits += hits
    counters.get_misses += misses
    counters.lease_reads += hits + misses
    return position, size
