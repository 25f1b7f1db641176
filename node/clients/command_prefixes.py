"""`cluster once` and `cluster fence`: what a client sends before a command, on how it is to run.

A prefix has no reply of its own. It belongs to the next line, and to no other, also when that line
is wrong. Both may go before one command, in either order. What is wrong with one of them, or with
the command for it, is told in place of the command's reply, and nothing was done then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from quorumcache.node.clients.conversation import Conversation, Handlers, Prefixes
from quorumcache.node.operations.numbering import WriteId
from quorumcache.node.protocol.lock_requests import Fence
from quorumcache.node.protocol.requests import Get, Immediate, Once, Quit
from quorumcache.node.protocol.responses import fence_error, once_error

WriteHandlers = Mapping[type, Callable[[Conversation, Any, WriteId | None], None]]
"""The writes of one key, and `mg`: by the type of the request."""

ONCE_TWICE_LINE: Final = once_error(b"only one may go before a command")
ONCE_KIND_LINE: Final = once_error(
    b"it may go before set, add, replace, append, prepend, cas, delete, incr, decr, touch,"
    b" mg, ms, md, ma and cluster lock acquire, renew or release only"
)
FENCE_TWICE_LINE: Final = fence_error(b"only one may go before a command")
FENCE_KIND_LINE: Final = fence_error(
    b"it may go before get and gets of one key, set, add, replace, append, prepend, cas, delete,"
    b" incr, decr, touch, mg, ms, md or ma only"
)


def with_prefixes(
    plain: Handlers,
    writes: WriteHandlers,
    lock_writes: WriteHandlers,
    fenced_get: Callable[[Conversation, Get], None],
    refuse: Callable[[Conversation, Any, bytes], None],
) -> Handlers:
    """Add the two prefixes to the handlers of a connection. Returns the handlers for the one line
    behind a prefix.

    `lock_writes`: commands that may have an identity, and no fence. `fenced_get`: of one key; it
    and `writes` find their fence in the conversation. `refuse`: answer a request with this line,
    unless it is silent.
    """
    behind: Handlers = {}

    def once(conversation: Conversation, request: Once) -> None:
        prefixes = _wait_for_command(conversation)
        if prefixes.once is not None:
            request = Once(0, 0, 0, ONCE_TWICE_LINE)
        prefixes.once = request

    def fence(conversation: Conversation, request: Fence) -> None:
        prefixes = _wait_for_command(conversation)
        if prefixes.fence is not None:
            request = Fence(b"", 0, FENCE_TWICE_LINE)
        prefixes.fence = request

    def _wait_for_command(conversation: Conversation) -> Prefixes:
        if conversation.prefixes is None:
            conversation.prefixes = Prefixes()
            conversation.handlers = behind
        return conversation.prefixes

    def take(conversation: Conversation) -> Prefixes:
        prefixes = conversation.prefixes
        assert prefixes is not None
        conversation.prefixes = None
        conversation.handlers = plain
        return prefixes

    def write(conversation: Conversation, request: Any) -> None:
        """A command that may have both."""
        prefixes = take(conversation)
        error = _error_of(prefixes)
        if error:
            refuse(conversation, request, error)
            return
        conversation.fence = prefixes.fence
        try:
            writes[type(request)](conversation, request, _identity_of(prefixes))
        finally:
            conversation.fence = None

    def lock_write(conversation: Conversation, request: Any) -> None:
        """A command that may have an identity."""
        prefixes = take(conversation)
        error = _error_of(prefixes)
        if not error and prefixes.fence is not None:
            error = FENCE_KIND_LINE
        if error:
            refuse(conversation, request, error)
        else:
            lock_writes[type(request)](conversation, request, _identity_of(prefixes))

    def get(conversation: Conversation, request: Get) -> None:
        """It may have a fence, if it is of one key."""
        prefixes = take(conversation)
        error = _error_of(prefixes)
        if not error and prefixes.once is not None:
            error = ONCE_KIND_LINE
        if not error and len(request.keys) > 1:
            error = FENCE_KIND_LINE
        if error:
            refuse(conversation, request, error)
            return
        conversation.fence = prefixes.fence
        try:
            fenced_get(conversation, request)
        finally:
            conversation.fence = None

    def unfit(conversation: Conversation, request: Any) -> None:
        """Anything else is not executed."""
        prefixes = take(conversation)
        unfit = FENCE_KIND_LINE if prefixes.once is None else ONCE_KIND_LINE
        refuse(conversation, request, _error_of(prefixes) or unfit)

    def wrong_line(conversation: Conversation, request: Immediate) -> None:
        """A line that would have been answered without being looked at any further."""
        take(conversation)
        plain[Immediate](conversation, request)

    plain[Once] = once
    plain[Fence] = fence
    behind.update(dict.fromkeys(plain, unfit))
    behind.update(dict.fromkeys(writes, write))
    behind.update(dict.fromkeys(lock_writes, lock_write))
    behind[Get] = get
    behind[Once] = once
    behind[Fence] = fence
    behind[Immediate] = wrong_line
    behind[Quit] = plain[Quit]
    return behind


def _identity_of(prefixes: Prefixes) -> WriteId | None:
    once = prefixes.once
    return None if once is None else (once.session, once.sequence, once.floor)


def _error_of(prefixes: Prefixes) -> bytes:
    """What is wrong with one of them; empty if all is well."""
    if prefixes.once is not None and prefixes.once.error:
        return prefixes.once.error
    return b"" if prefixes.fence is None else prefixes.fence.error
