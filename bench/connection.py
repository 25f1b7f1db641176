"""One connection of the load: sends requests of its tape, checks every reply, measures.

Closed loop: `depth` requests are kept in flight; a reply is followed at once by the next request.
Open loop: requests are offered at their intended times; what finds no free slot waits here, and its
latency still counts from the intended time, so that a stalled server is charged for all that it
delayed (no coordinated omission).

The hot path is `data_received` with replies that are byte for byte what the tape expects: one
comparison per reply, one clock reading and one write per turn. Anything else (a miss, an error, a
piece of a reply) goes through `_classify`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import cast

from quorumcache.bench.histogram import Histogram
from quorumcache.bench.workload import DELETE, GET, INCR, Tape

UNLIMITED = 1 << 62
# `limit` of a connection in an open loop: it sends what is offered and nothing by itself.
UNLIMITED_OPEN = UNLIMITED + 1
ERROR_KINDS_MAX = 20
_LINE_BYTES_MAX = 2048
_OTHER_ERROR = "(other errors)"


class LoadStats:
    """Counts of one load process, shared by its connections.

    `completed`: replies, misses included, errors not. `unsent`: offered (open loop) but never sent.
    `unanswered`: sent, but no reply came before the end. `reset` starts the measured part.
    """

    __slots__ = (
        "completed",
        "error_kinds",
        "errors",
        "lost_connections",
        "misses",
        "read",
        "send_lag",
        "unanswered",
        "unsent",
        "write",
    )

    def __init__(self) -> None:
        self.read = Histogram()
        self.write = Histogram()
        # Open loop: how late requests left, measured from the intended start.
        self.send_lag = Histogram()
        self.error_kinds: dict[str, int] = {}
        self.completed = self.misses = self.errors = 0
        self.lost_connections = self.unsent = self.unanswered = 0

    def reset(self) -> None:
        """Back to nothing, in place."""
        self.read.clear()
        self.write.clear()
        self.send_lag.clear()
        self.error_kinds.clear()
        self.completed = self.misses = self.errors = 0
        self.lost_connections = self.unsent = self.unanswered = 0

    def error(self, text: str, times: int = 1) -> None:
        """Count an error under its text. The number of different texts is bounded."""
        self.errors += times
        if text not in self.error_kinds and len(self.error_kinds) >= ERROR_KINDS_MAX:
            text = _OTHER_ERROR
        self.error_kinds[text] = self.error_kinds.get(text, 0) + times


class LoadConnection(asyncio.Protocol):
    """See the top of the file.

    `start`: where on the tape to begin. `limit`: how many requests to send in all. `clock_ns`: a
    monotonic clock. `on_idle(connection)`: called when `limit` is used up and the last reply is
    in. `on_lost(connection)`: called once when the connection ends without `close()`.
    """

    __slots__ = (
        "_at",
        "_backlog",
        "_clock_ns",
        "_closing",
        "_depth",
        "_on_idle",
        "_on_lost",
        "_pieces",
        "_pieces_bytes",
        "_reply_at",
        "_sent",
        "_stats",
        "_tape",
        "_transport",
        "_wanted_bytes",
        "node",
        "remaining",
    )

    def __init__(
        self,
        tape: Tape,
        stats: LoadStats,
        clock_ns: Callable[[], int],
        *,
        depth: int = 1,
        start: int = 0,
        limit: int = UNLIMITED,
        node: int = 0,
        on_idle: Callable[[LoadConnection], None] | None = None,
        on_lost: Callable[[LoadConnection], None] | None = None,
    ) -> None:
        self._tape = tape
        self._stats = stats
        self._clock_ns = clock_ns
        self._depth = depth
        # Position on the tape of the next request, and of the next expected reply.
        self._at = self._reply_at = start % len(tape.requests)
        # Requests that may still be sent. 0 = this connection is coming to its end.
        self.remaining = limit
        self.node = node
        self._on_idle = on_idle
        self._on_lost = on_lost
        # Start times (ns) of the requests in flight, oldest first; intended ones in an open loop.
        self._sent: deque[int] = deque()
        # Intended start times of requests that wait for a free slot.
        self._backlog: deque[int] = deque()
        # A reply of which a part is here: its pieces, their bytes, and the bytes worth looking at.
        self._pieces: list[bytes] = []
        self._pieces_bytes = 0
        self._wanted_bytes = 0
        self._transport: asyncio.WriteTransport | None = None
        self._closing = False

    # --- the loop's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; nothing is sent before `begin` or `offer`."""
        # A cast and no check: uvloop's transports are not of asyncio's classes.
        self._transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        """Replies. Each complete one frees a slot, and free slots are filled at once."""
        now = self._clock_ns()
        if self._pieces_bytes:
            self._pieces.append(data)
            self._pieces_bytes += len(data)
            if self._pieces_bytes < self._wanted_bytes:
                return
            data = b"".join(self._pieces)
            self._pieces.clear()
            self._pieces_bytes = 0
        replies = self._tape.replies
        at = self._reply_at
        sent = self._sent
        if not sent:
            self._abort("reply without a request")
            return
        if len(sent) == 1 and data == replies[at]:  # depth 1: the commonest case by far
            histogram = self._stats.write if self._tape.kinds[at] else self._stats.read
            histogram.record(now - sent.popleft())
            self._stats.completed += 1
            at += 1
            self._reply_at = at if at < len(replies) else 0
            self._refill(1)
            return
        self._take_replies(data, now)

    def connection_lost(self, exc: Exception | None) -> None:
        """What was in flight is an error each; the owner decides about a new connection."""
        if self._closing:
            return
        self._closing = True
        stats = self._stats
        stats.lost_connections += 1
        reason = f": {exc}" if exc else ""
        stats.error(f"connection lost{reason}", max(1, len(self._sent)))
        self._sent.clear()
        if self._on_lost is not None:
            self._on_lost(self)

    # --- the generator's side

    @property
    def in_flight(self) -> int:
        """Requests sent and not yet answered."""
        return len(self._sent)

    @property
    def waiting(self) -> int:
        """Offered requests that have not been sent yet."""
        return len(self._backlog)

    @property
    def closed(self) -> bool:
        """True once the connection is of no more use."""
        return self._closing

    def begin(self) -> None:
        """Closed loop: fill all slots."""
        self._send_closed(self._depth)

    def offer(self, intended_ns: int) -> None:
        """Open loop: one request that should start at `intended_ns` (not in the future)."""
        self._backlog.append(intended_ns)
        if len(self._sent) < self._depth:
            self._send_waiting()

    def finish(self) -> None:
        """Send nothing new (a backlog is still worked off); `on_idle` follows."""
        self.remaining = 0
        self._check_idle()

    def close(self) -> None:
        """End now. What is still open is counted as unanswered and unsent."""
        self._stats.unanswered += len(self._sent)
        self._stats.unsent += len(self._backlog)
        self._sent.clear()
        self._backlog.clear()
        self._closing = True
        if self._transport is not None:
            self._transport.abort()

    # --- replies

    def _take_replies(self, data: bytes, now: int) -> None:
        stats, tape, sent = self._stats, self._tape, self._sent
        replies, kinds = tape.replies, tape.kinds
        at, length = self._reply_at, len(replies)
        position, end, answered = 0, len(data), 0
        # Requests that left together share their time: they are recorded together.
        run_ns, run_kind, run = -1, -1, 0
        while position < end:
            if not sent:
                self._reply_at = at
                self._abort("reply without a request")
                return
            wanted = replies[at]
            kind = kinds[at]
            if wanted and data.startswith(wanted, position):
                position += len(wanted)
                good = True
            else:
                size, good = self._classify(data, position, kind, wanted)
                if size == 0:
                    break
                position += size
            started = sent.popleft()
            at += 1
            if at == length:
                at = 0
            answered += 1
            if not good:
                continue
            if started == run_ns and kind == run_kind:
                run += 1
                continue
            if run:
                (stats.write if run_kind else stats.read).record(now - run_ns, run)
                stats.completed += run
            run_ns, run_kind, run = started, kind, 1
        if run:
            (stats.write if run_kind else stats.read).record(now - run_ns, run)
            stats.completed += run
        self._reply_at = at
        if position < end:
            rest = data[position:]
            self._pieces.append(rest)
            self._pieces_bytes = len(rest)
            # `_wanted_bytes` was set by `_classify`: the size of the reply as far as it is known.
        if answered:
            self._refill(answered)

    def _classify(self, data: bytes, position: int, kind: int, wanted: bytes) -> tuple[int, bool]:
        """(bytes of the reply at `position`, whether it counts as done); (0, _) = incomplete."""
        line_end = data.find(b"\r\n", position)
        if line_end < 0:
            if len(data) - position > _LINE_BYTES_MAX:
                self._abort("reply line without an end")
                return 0, False
            self._wanted_bytes = len(data) - position + 1
            return 0, False
        line = data[position:line_end]
        size = line_end + 2 - position
        if kind == GET:
            if line == b"END":
                self._stats.misses += 1
                return size, True
            if line.startswith(b"VALUE "):
                last = line.rpartition(b" ")[2]
                if last.isdigit():
                    size += int(last) + 7  # data, \r\n, END\r\n
                    if len(data) - position < size:
                        self._wanted_bytes = size
                        return 0, False
                    self._stats.error("value that was never written under this key")
                    return size, False
        elif kind == INCR:
            if line.isdigit():
                return size, True
            if line == b"NOT_FOUND":
                self._stats.misses += 1
                return size, True
        elif kind == DELETE and line == b"NOT_FOUND":
            self._stats.misses += 1
            return size, True
        self._stats.error(line[:80].decode("utf-8", "replace"))
        return size, False

    # --- requests

    def _refill(self, slots: int) -> None:
        if self.remaining:
            if self._backlog:
                self._send_waiting()
            elif self.remaining != UNLIMITED_OPEN:
                self._send_closed(slots)
                if not self.remaining:
                    self._check_idle()
        else:
            if self._backlog:
                self._send_waiting()
            self._check_idle()

    def _send_closed(self, slots: int) -> None:
        transport = self._transport
        if self._closing or transport is None:
            return
        count = slots if slots < self.remaining else self.remaining
        self.remaining -= count
        requests, at = self._tape.requests, self._at
        if count == 1:
            self._sent.append(self._clock_ns())
            transport.write(requests[at])
            at += 1
            self._at = at if at < len(requests) else 0
        elif count:
            self._sent.extend([self._clock_ns()] * count)
            transport.write(self._next_requests(count))

    def _send_waiting(self) -> None:
        transport = self._transport
        if self._closing or transport is None:
            return
        count = min(len(self._backlog), self._depth - len(self._sent))
        if count <= 0:
            return
        now = self._clock_ns()
        for _ in range(count):
            intended = self._backlog.popleft()
            self._sent.append(intended)
            self._stats.send_lag.record(now - intended)
        transport.write(self._next_requests(count))

    def _next_requests(self, count: int) -> bytes:
        requests, at = self._tape.requests, self._at
        end = at + count
        if end <= len(requests):
            self._at = end if end < len(requests) else 0
            return b"".join(requests[at:end])
        chosen = [requests[(at + step) % len(requests)] for step in range(count)]
        self._at = end % len(requests)
        return b"".join(chosen)

    def _check_idle(self) -> None:
        done = not self.remaining and not self._sent and not self._backlog
        if done and self._on_idle is not None:
            self._on_idle(self)

    def _abort(self, why: str) -> None:
        if self._transport is not None and not self._closing:
            self._stats.error(why)
            self._transport.abort()  # connection_lost follows
