"""Answers `mg` on the spot, where this node leads the key's shard under a lease and the item is to
stay as it is.

`answer_plain_meta_gets` does for whole reads of the socket what `get_routes.py` does for gets.
`answer_at_once` does it for one `mg` among other requests.
"""

from __future__ import annotations

from quorumcache.node.clients.context import ClientContext
from quorumcache.node.clients.conversation import Conversation
from quorumcache.node.clients.pumps import REQUEST_BYTES
from quorumcache.node.clients.quick_gets import settled
from quorumcache.node.clients.replies import SLOTS_MAX, WRITE_CHUNK_BYTES, Replies
from quorumcache.node.protocol.meta_lines import GetFlags
from quorumcache.node.protocol.meta_replies import meta_hit, meta_miss
from quorumcache.node.protocol.requests import MetaGet
from quorumcache.node.replica.group import ReplicaGroup
from quorumcache.node.state_machine import TIMED, Peeked
from quorumcache.node.store.item import ITEM_DATA, STALE, WON, expires_at_ms
from quorumcache.node.store.store import shard_store


def _settled(group: ReplicaGroup, key: bytes) -> Peeked:
    """`settled`; TIMED also if the reader of a stale item is to win it."""
    item = settled(group, key)
    return TIMED if type(item) is bytes and item[0] & (STALE | WON) == STALE else item


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
    slots = replies.slots
    letters = flags.letters
    is_bare = flags.with_value and flags.compare is None and not letters
    bumps = not flags.no_bump
    hits = misses = 0
    position = start
    while position < len(keys):
        key = keys[position]
        group = groups.get(context.group_of(key))
        if (
            group is None
            or now_ns >= group.lease_until_ns
            or size >= WRITE_CHUNK_BYTES
            or len(slots) >= SLOTS_MAX
            or replies.is_spent
        ):
            break
        replies.made(REQUEST_BYTES)
        item = group.machine.peek(key)
        if item is TIMED:
            item = _settled(group, key)
            if item is TIMED:
                break
        if item is None:
            misses += 1
            reply = meta_miss(flags.request(key).reply) if letters else flags.miss
        else:
            hits += 1
            if bumps:
                group.machine.note_hit(key)
            if is_bare and not item[0] & WON:
                reply = b"VA" + item[item.index(b" ", ITEM_DATA + 1) :]
            else:
                reply = _hit(group, flags.request(key), item, False, 0)
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


def _hit(
    group: ReplicaGroup, request: MetaGet, item: bytes, was_hit: bool, last_access_s: int
) -> bytes:
    if not item[0]:
        if not last_access_s:
            return meta_hit(request, item, 0, 0, False, False, was_hit, 0)
        ends = 0
    else:
        ends = expires_at_ms(item)
    now_ms = group.now_ms()
    idle_s = max(0, now_ms // 1000 - last_access_s)
    return meta_hit(request, item, now_ms, ends, False, False, was_hit, idle_s)


def answer_at_once(conversation: Conversation, request: MetaGet) -> bool:
    """Answer an `mg` without an identity, if nothing is under way that it could overtake."""
    order = conversation.order
    if (
        order.lanes
        or order.barrier
        or conversation.settings.staleness_ns
        or request.exptime is not None
        or request.vivify is not None
        or request.recache is not None
    ):
        return False
    context = conversation.context
    key = request.key
    group_id = context.group_of(key)
    group = context.quick_groups.get(group_id)
    if group is None or context.monotonic_ns() >= group.lease_until_ns or group_id in order.quick:
        return False
    item = group.machine.peek(key)
    if item is TIMED:
        item = _settled(group, key)
        if item is TIMED:
            return False
    counters = context.counters
    counters.cmd_get += 1
    counters.lease_reads += 1
    if item is None:
        counters.get_misses += 1
        conversation.replies.reply(meta_miss(request.reply))
        return True
    counters.get_hits += 1
    letters = request.reply.letters
    was_hit, last_access_s = False, 0
    if b"h" in letters or b"l" in letters:
        was_hit, last_access_s = shard_store(group.machine).hint(key)
    if not request.no_bump:
        group.machine.note_hit(key)
    conversation.replies.reply(_hit(group, request, item, was_hit, last_access_s))
    return True
