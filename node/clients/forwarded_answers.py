"""Puts what another node answered to gets (`operations/get_bundles.py`) in the places of the
replies, and begins the general way for those that were not answered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from quorumcache.node.clients.conversation import Conversation
from quorumcache.node.clients.replies import Replies
from quorumcache.node.clients.retrievals import MultiGet, SingleGet
from quorumcache.node.clients.slots import Slot
from quorumcache.node.operations.get_bundles import (
    Bundle,
    FallenGet,
    GetsReceiver,
    Unanswered,
)
from quorumcache.node.protocol.responses import END_LINE
from quorumcache.node.store.item import ITEM_DATA


class ForwardedAnswers(GetsReceiver):
    """See the module. Each place is the `Slot` of a get of one key, or a `MultiGet`."""

    def came(self, bundle: Bundle, items: tuple[Any, ...], left: Unanswered) -> None:
        asked, places, clients = bundle.asked, bundle.places, bundle.clients
        conversation: Conversation
        filled: Replies | None = None
        is_whole = left.is_empty
        """None of them falls back so far."""
        count = hits = misses = 0
        for index, item in enumerate(items):
            place = places[index]
            if place is None:
                continue
            conversation = clients[index]
            group_id: int = asked[2 * index]
            if not is_whole and left.concerns(conversation, group_id):
                continue
            if type(item) is int:
                left.add(conversation, group_id, item)
                is_whole = False
                continue
            key: bytes = asked[2 * index + 1]
            replies = conversation.replies
            if type(place) is Slot:
                slot: Slot = place
                if item is None:
                    misses += 1
                    data = END_LINE
                elif replies.has_room(slot):
                    hits += 1
                    data = b"VALUE " + key + item[ITEM_DATA:] + END_LINE
                else:
                    left.clients[conversation] = None
                    is_whole = False
                    continue
                replies.came(bundle.reserved[index], 1, len(data))
                replies.reply_bytes += len(data)
                replies.made(len(data))
                if slot.is_empty and replies.slots[0] is slot and replies.stream is None:
                    replies.slots.popleft()
                    replies.out.append(data)
                else:
                    slot.pieces.append(data)
                    slot.done = True
                if replies is not filled:
                    if filled is not None:
                        send(filled)
                    filled = replies
            else:
                multi_get: MultiGet = place
                if item is not None and not multi_get.has_room():
                    left.clients[conversation] = None
                    is_whole = False
                    continue
                multi_get.came(key, item)
            places[index] = None
            count += 1
            conversation.order.quick_ended(group_id)
        if filled is not None:
            send(filled)
        if count:
            context = conversation.context
            counters = context.counters
            counters.get_hits += hits
            counters.get_misses += misses
            context.coordinator.bundles.took(bundle.asked_ns, count)

    def fell_back(self, gets: list[FallenGet]) -> None:
        by_group: dict[tuple[Conversation, int], list[FallenGet]] = {}
        for get in gets:
            by_group.setdefault((get.client, get.group_id), []).append(get)
        for (conversation, group_id), fallen in by_group.items():
            # The first one is the oldest. The others may wait as long.
            until_ns = conversation.coordinator.bundles.deadline_ns(fallen[0].asked_ns)
            starts = _starts(conversation, group_id, fallen)
            conversation.order.quick_fell(group_id, starts, until_ns)


def send(replies: Replies) -> None:
    """Some of these replies are complete."""
    replies.release()
    if replies.is_open:
        replies.schedule_pump()


def _starts(
    conversation: Conversation, group_id: int, gets: list[FallenGet]
) -> list[Callable[[int], None]]:
    """What reads these gets of one client and group in their lane, in the order in which they came;
    the keys that one retrieval asked for together."""
    lane = conversation.order.lane_of(group_id)
    starts: list[Callable[[int], None]] = []
    multi_get: MultiGet | None = None
    keys: list[bytes] = []
    for get in gets:
        if multi_get is not None and get.place is not multi_get:
            starts.append(multi_get.fell_back(group_id, tuple(keys)))
            multi_get, keys = None, []
        if isinstance(get.place, MultiGet):
            multi_get = get.place
            keys.append(get.key)
        else:
            conversation.replies.give_back(get.reserved)
            starts.append(SingleGet(conversation, lane, (get.key,), False, get.place).start)
    if multi_get is not None:
        starts.append(multi_get.fell_back(group_id, tuple(keys)))
    return starts
