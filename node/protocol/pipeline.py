"""Replies leave in request order, whatever order they become ready in."""


class ReplyPipeline:
    """The replies of one connection between request and socket.

    Slots are numbers that count up by one per request. The pipeline itself has no bound: its owner
    stops reading from the connection while `waiting` or `ready_bytes` is past the owner's.
    """

    __slots__ = ("_first", "_replies", "ready_bytes")

    def __init__(self) -> None:
        self._first = 0
        """Slot of `_replies[0]`."""
        self._replies: list[bytes | None] = []
        """By slot; None while the reply is not known."""
        self.ready_bytes = 0
        """Bytes filled in and not popped yet."""

    @property
    def waiting(self) -> int:
        """Requests whose reply was not handed out yet."""
        return len(self._replies)

    def push(self) -> int:
        """The slot of the next request's reply."""
        self._replies.append(None)
        return self._first + len(self._replies) - 1

    def push_ready(self, reply: bytes) -> None:
        """Take the next slot for a reply that is known at once."""
        self._replies.append(reply)
        self.ready_bytes += len(reply)

    def fill(self, slot: int, reply: bytes) -> None:
        """Give the reply of a slot, once. It may be empty, as after noreply."""
        at = slot - self._first
        assert at >= 0, f"slot {slot} was popped before"
        assert self._replies[at] is None, f"slot {slot} is filled already"
        self._replies[at] = reply
        self.ready_bytes += len(reply)

    def pop_ready(self) -> bytes:
        """All replies up to the first that is not known, joined."""
        replies = self._replies
        if not replies or replies[0] is None:
            return b""
        try:
            count = replies.index(None)
        except ValueError:
            count = len(replies)
        joined = b"".join(replies[:count])  # type: ignore[arg-type]
        del replies[:count]
        self._first += count
        self.ready_bytes -= len(joined)
        return joined
