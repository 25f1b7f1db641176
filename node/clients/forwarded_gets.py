"""Gets that another node answers, many in one item: how a client's gets are given to it.

`operations/get_bundles.py` sends them, `forwarded_answers.py` puts the answers in their places.
Here it is decided which gets go so: linearizable ones of a group in which nothing else of their
client is under way (`RequestOrder.lanes`), while answers are not too large to come in one item.
What does not go so goes the general way (`retrievals.py`). Keys whose shard this node leads are
answered on the spot, in between.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from quorumcache.node.clients.conversation import Conversation
from quorumcache.node.clients.pumps import REQUEST_BYTES
from quorumcache.node.clients.quick_gets import settled_hit
from quorumcache.node.clients.replies import SLOTS_MAX
from quorumcache.node.clients.slots import Slot
from quorumcache.node.operations.reply_room import ReplyRoom
from quorumcache.node.protocol.responses import END_LINE
from quorumcache.node.replica.group import ReplicaGroup
from quorumcache.node.state_machine import TIMED, Peeked
from quorumcache.node.store.item import ITEM_DATA

EXPECTED_BYTES_MAX: Final = 32 << 10
"""A client whose answers are expected to be larger asks the general way: few of them would come in
one item (`FOUND_BYTES_MAX`), and the others would be asked twice."""


class KeysRead(ReplyRoom):
    """A retrieval of many keys, which hears of each that was read."""

    __slots__ = ()

    def came(self, key: bytes, item: bytes | None) -> None:
        """A key was read: its packed item, or None."""
        raise NotImplementedError


def forward_plain_gets(
    conversation: Conversation,
    groups: dict[int, ReplicaGroup],
    keys: list[bytes],
    start: int,
    now_ns: int,
) -> int:
    """Answer or forward gets of one key each from position `start` on, up to one that has to go the
    general way, or to wait. Returns its position.

    `groups`: the context's `quick_groups`; nothing is done while reads are watched. `now_ns`: a
    time after the read of the socket.
    """
    replies = conversation.replies
    context = conversation.context
    if groups is not context.groups:
        return start
    bundles = context.coordinator.bundles
    order = conversation.order
    lanes, quick, slots = order.lanes, order.quick, replies.slots
    # Who is to be told where a shard is led hears that from the general way.
    may_forward = (
        replies.expected_bytes <= EXPECTED_BYTES_MAX and not conversation.settings.redirect
    )
    bytes_max = context.reply_bytes_max
    position = start
    count = len(keys)
    local = misses = 0
    while position < count and len(slots) < SLOTS_MAX and replies.reply_bytes < bytes_max:
        if replies.is_spent:
            break
        replies.made(REQUEST_BYTES)
        key = keys[position]
        group_id = context.group_of(key)
        if lanes and group_id in lanes:
            break
        group = groups.get(group_id)
        if group is not None and now_ns < group.lease_until_ns:
            if quick and group_id in quick:
                break  # It was led elsewhere a moment ago, and an answer may still fall back.
            item: Peeked = group.machine.serve(key)
            if item is TIMED:
                item = settled_hit(group, key)
                if item is TIMED:
                    break
            local += 1
            if item is None:
                misses += 1
                replies.reply(END_LINE)
            else:
                replies.reply_item(b"VALUE " + key, item, ITEM_DATA)
        else:
            bundle = bundles.bundle_for(group_id) if may_forward else None
            if bundle is None:
                break
            slot = Slot()
            slots.append(slot)
            bundle.add(group_id, key, slot, conversation, replies.reserve(1))
            quick[group_id] = quick.get(group_id, 0) + 1
        position += 1
    counters = context.counters
    counters.cmd_get += position - start
    counters.get_hits += local - misses
    counters.get_misses += misses
    counters.lease_reads += local
    return position


def forward_get(conversation: Conversation, key: bytes) -> bool:
    """Forward a get of one key, among other requests."""
    context = conversation.context
    groups = context.quick_groups
    if conversation.settings.staleness_ns:
        return False
    return forward_plain_gets(conversation, groups, [key], 0, context.monotonic_ns()) == 1


def read_quickly(
    conversation: Conversation,
    read: KeysRead,
    group_id: int,
    keys: Collection[bytes],
    now_ns: int,
) -> bool:
    """Read some keys of one group for a retrieval of many, on the spot or by another node; `read`
    hears of each. False, and nothing was done, if they have to be read the general way.
    """
    context = conversation.context
    groups = context.quick_groups
    order = conversation.order
    if groups is not context.groups or group_id in order.lanes:
        return False
    group = groups.get(group_id)
    if group is not None and now_ns < group.lease_until_ns:
        return group_id not in order.quick and _read_here(read, group, keys)
    if conversation.replies.expected_bytes > EXPECTED_BYTES_MAX:
        return False
    bundle = context.coordinator.bundles.bundle_for(group_id, len(keys))
    if bundle is None:
        return False
    for key in keys:
        bundle.add(group_id, key, read, conversation, 0)
    order.quick[group_id] = order.quick.get(group_id, 0) + len(keys)
    return True


def _read_here(read: KeysRead, group: ReplicaGroup, keys: Collection[bytes]) -> bool:
    if not read.has_room():
        return False
    found: list[bytes | None] = []
    for key in keys:
        item: Peeked = group.machine.serve(key)
        if item is TIMED:
            item = settled_hit(group, key)
            if item is TIMED:
                return False
        found.append(item)
    for key, each in zip(keys, found, strict=True):
        read.came(key, each)
    return True
