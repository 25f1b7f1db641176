"""Answers the gets that a client's data begins with, as far as the items alone answer them."""

from __future__ import annotations

from typing import Final

from quorumcache.node.clients.conversation import Conversation
from quorumcache.node.clients.get_routes import GetRoutes
from quorumcache.node.system.senders import Sender

KEY_BYTES: Final = 256
"""As so many bytes of replies counts it to look a key up, see `pumps.py`."""


def answer_routed_gets(
    conversation: Conversation, routes: GetRoutes, sender: Sender | None, data: bytes
) -> int:
    """Answer them, so that none overtakes what is under way. The position behind what was answered.

    Replies go to `sender` at once, or behind those that others wait for.
    """
    context, replies = conversation.context, conversation.replies
    counters = context.counters
    busy = conversation.order.busy()
    # Read after the requests' bytes: a lease that holds now held after they were sent.
    now_ns = context.monotonic_ns()
    now_ms = position = size = keys = misses = 0
    while True:
        lines = 0
        if replies.slots or replies.out or sender is None:
            answered = routes.answer(data, position, now_ns, now_ms, busy)
            if answered is not None:
                reply, position, lines, keys, misses = answered
                replies.reply(reply)
        else:
            sent = routes.send(sender, data, position, now_ns, now_ms, busy)
            if sent is not None:
                size, position, lines, keys, misses = sent
                counters.bytes_written += size
                replies.made(size)
        if not lines:
            now_ms = context.go_on(now_ms)
            if now_ms < 0:
                break
            continue
        replies.made(KEY_BYTES * keys)
        counters.cmd_get += keys
        counters.get_hits += keys - misses
        counters.get_misses += misses
        counters.lease_reads += lines
        if position == len(data) or replies.is_paused or replies.is_full or replies.is_spent:
            break
    return position
