"""Handlers of what those ask who look after a server: `watch`, the dumps of keys, `verbosity`,
`cache_memlimit`, `shutdown`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from quorumcache.node.clients.conversation import Conversation
from quorumcache.node.clients.events import Watcher
from quorumcache.node.clients.key_dump import KeyDumping
from quorumcache.node.protocol.admin_lines import (
    BUSY_LINE,
    MEMLIMIT_FAILED_LINE,
    NO_METADUMP_LINE,
    NO_MGDUMP_LINE,
    NO_WATCH_LINE,
    SHUTDOWN_MODE_LINE,
    TOO_MANY_WATCHERS_LINE,
)
from quorumcache.node.protocol.requests import (
    CacheMemlimit,
    KeyDump,
    Shutdown,
    Verbosity,
    Watch,
)
from quorumcache.node.protocol.responses import OK_LINE, SHUTDOWN_LINE

WATCHER_BYTES_MAX: Final = 256 << 10
"""Lines that wait for one watcher, as in memcached; as much again may wait in its transport."""


class Watching:
    """A client that watches. From then on it says nothing that counts, as in memcached: it gets
    lines until it goes. They are the reply to its `watch`, which does not end before.
    """

    def __init__(self, conversation: Conversation, kinds: int) -> None:
        self._events = conversation.context.events
        self._replies = conversation.replies
        self._watcher = Watcher(kinds, self._offer)
        if not self._events.add(self._watcher):
            conversation.ended_alone()
            conversation.replies.reply(TOO_MANY_WATCHERS_LINE)
            return
        slot = conversation.replies.take_slot()
        assert slot is not None
        self._slot = slot
        self._offer(OK_LINE)
        conversation.closing = True
        conversation.watching = self._end

    def _offer(self, line: bytes) -> bool:
        replies = self._replies
        if replies.unread_bytes + len(line) > WATCHER_BYTES_MAX:
            return False
        replies.reply_bytes += len(line)
        self._slot.pieces.append(line)
        replies.release()
        replies.schedule_pump()
        return True

    def _end(self) -> None:
        self._events.remove(self._watcher)
        if self._replies.is_open:
            self._replies.fill(self._slot, b"")


def _refuse(conversation: Conversation, line: bytes) -> None:
    conversation.counters.cmd_other += 1
    conversation.counters.protocol_errors += 1
    conversation.replies.reply(line)


def _watch(conversation: Conversation, request: Watch) -> None:
    if not conversation.context.controls.may_watch:
        _refuse(conversation, NO_WATCH_LINE)
    elif conversation.alone(request):
        conversation.counters.cmd_other += 1
        Watching(conversation, request.kinds)


def _key_dump(conversation: Conversation, request: KeyDump) -> None:
    context = conversation.context
    if not context.controls.may_dump:
        _refuse(conversation, NO_MGDUMP_LINE if request.is_meta else NO_METADUMP_LINE)
        return
    if not conversation.alone(request):
        return
    conversation.counters.cmd_other += 1
    if context.is_dumping():
        conversation.ended_alone()
        conversation.replies.reply(BUSY_LINE)
        return
    conversation.counters.lru_crawler_starts += 1
    dumping = KeyDumping(conversation, request)
    context.is_dumping = dumping.is_running
    dumping.start()


def _verbosity(conversation: Conversation, request: Verbosity) -> None:
    conversation.counters.cmd_other += 1
    conversation.context.controls.set_verbosity(request.level)
    if not request.noreply:
        conversation.replies.reply(OK_LINE)


def _cache_memlimit(conversation: Conversation, request: CacheMemlimit) -> None:
    conversation.counters.cmd_other += 1
    is_done = conversation.context.controls.limit_memory(request.megabytes << 20)
    if not request.noreply:
        conversation.replies.reply(OK_LINE if is_done else MEMLIMIT_FAILED_LINE)


def _shutdown(conversation: Conversation, request: Shutdown) -> None:
    conversation.counters.cmd_other += 1
    shut_down = conversation.context.controls.shut_down
    if shut_down is not None and request.is_known:
        conversation.close_reason = "shutdown"
        conversation.close_after_replies()
        shut_down()
        return
    if not request.noreply:
        line = SHUTDOWN_LINE if shut_down is None else SHUTDOWN_MODE_LINE
        conversation.replies.reply(line)


ADMIN_HANDLERS: Final[dict[type, Callable[[Conversation, Any], None]]] = {
    Watch: _watch,
    KeyDump: _key_dump,
    Verbosity: _verbosity,
    CacheMemlimit: _cache_memlimit,
    Shutdown: _shutdown,
}
"""By the type of the request."""
