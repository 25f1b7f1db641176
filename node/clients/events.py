"""What clients do, for those who watch: log lines for `watch`, and counts for `stats detail`.

As a rule nobody watches, and then nothing here is called: the general way of a request looks at
`is_on`, and the quick way of gets is switched off while reads are watched (`on_reads_watched`), so
it has nothing to look at.

Bounds: WATCHERS_MAX watchers, each with as many bytes of lines that it has not read as its
connection keeps. A line that finds no room, or that is one too many for its WINDOW_NS, is dropped,
and the watcher is told how many it has missed (`skipped=N`) before its next line. So a watcher
holds up nobody, whether it reads or not. The lines are those of memcached 1.6.45 (logger.c).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from urllib.parse import quote_from_bytes

from quorumcache.node.clients.prefixes import PrefixCounts
from quorumcache.node.protocol.admin_lines import (
    CONNEVENTS,
    DELETIONS,
    EVICTIONS,
    FETCHERS,
    MUTATIONS,
)
from quorumcache.node.protocol.requests import ITEM_CLASS
from quorumcache.node.state_machine import Result
from quorumcache.node.store.commands import (
    BLOCK_OPS,
    COMMANDS,
    OP_APPEND,
    OP_CAS,
    OP_DELETE,
    OP_PREPEND,
    OP_SET,
)
from quorumcache.node.store.item import value_bytes
from quorumcache.node.store.results import (
    DELETED,
    EXISTS,
    NOT_FOUND,
    NOT_STORED,
    OUT_OF_MEMORY,
    STORED,
)
from quorumcache.node.telemetry.counters import Counters

WATCHERS_MAX: Final = 20
"""As in memcached."""

WINDOW_NS: Final = 100_000_000
LINES_PER_WINDOW_MAX: Final = 2_000
"""20,000 lines a second, which take about a tenth of a processor: more are dropped before anybody
writes them."""

STORE_UINT32_MAX: Final = (1 << 32) - 1

_UINT32_MAX: Final = (1 << 32) - 1


class Watcher:
    """One client that watches."""

    __slots__ = ("_offer", "kinds", "skipped")

    def __init__(self, kinds: int, offer: Callable[[bytes], bool]) -> None:
        """`kinds`: bits of `admin_lines.py`. `offer`: takes lines for the client; False if there is
        no room for them.
        """
        self.kinds = kinds
        self._offer = offer
        self.skipped = 0
        """Lines that it has missed since the last one that it got."""

    def put(self, line: bytes) -> bool:
        """Hand a line over; False if it was dropped."""
        if self.skipped:
            line = b"skipped=%d\n%b" % (self.skipped, line)
        if self._offer(line):
            self.skipped = 0
            return True
        self.skipped += 1
        return False


class ClientEvents:
    """One per node; see the module docstring."""

    __slots__ = (
        "_counters",
        "_evictions_are_watched",
        "_gid",
        "_lines_left",
        "_monotonic_ns",
        "_prefixes",
        "_reads_are_watched",
        "_wall_ms",
        "_watchers",
        "_window_ends_ns",
        "is_counting",
        "is_on",
        "kinds",
        "on_evictions_watched",
        "on_reads_watched",
    )

    def __init__(
        self, counters: Counters, monotonic_ns: Callable[[], int], wall_ms: Callable[[], int]
    ) -> None:
        self._counters = counters
        self._monotonic_ns = monotonic_ns
        self._wall_ms = wall_ms
        self._watchers: list[Watcher] = []
        self._prefixes = PrefixCounts()
        self._gid = 0
        """Number of the line written last."""
        self._window_ends_ns = 0
        self._lines_left = 0
        """Lines that may still be written in the window."""
        self._reads_are_watched = False
        self._evictions_are_watched = False
        self.kinds = 0
        """What at least one watcher wants to see: bits of `admin_lines.py`."""
        self.is_counting = False
        """`stats detail` is on."""
        self.is_on = False
        """Invariant: is_on == (kinds != 0 or is_counting)."""
        self.on_reads_watched: Callable[[bool], None] = _nobody
        """Told when reads begin to be watched or counted, and when they no longer are."""
        self.on_evictions_watched: Callable[[bool], None] = _nobody
        """The same of evictions."""

    # -- who watches -------------------------------------------------------------------------

    def add(self, watcher: Watcher) -> bool:
        """Let it watch; False: there are too many."""
        if len(self._watchers) >= WATCHERS_MAX:
            return False
        self._watchers.append(watcher)
        self._changed()
        return True

    def remove(self, watcher: Watcher) -> None:
        """It watches no more."""
        if watcher in self._watchers:
            self._watchers.remove(watcher)
            self._changed()

    def count_prefixes(self, is_on: bool) -> None:
        """`stats detail on` and `off`. What was counted stays until `forget_prefixes`."""
        self.is_counting = is_on
        self._changed()

    def delimit_prefixes(self, delimiter: bytes) -> None:
        """What ends a prefix, in place of `:`."""
        self._prefixes.delimiter = delimiter

    def forget_prefixes(self) -> None:
        """`stats reset`."""
        self._prefixes.clear()

    def prefix_lines(self) -> bytes:
        """What `stats detail dump` answers, without END."""
        return self._prefixes.lines()

    def _changed(self) -> None:
        self._counters.log_watchers = len(self._watchers)
        kinds = 0
        for watcher in self._watchers:
            kinds |= watcher.kinds
        self.kinds = kinds
        self.is_on = kinds != 0 or self.is_counting
        reads_are_watched = kinds & FETCHERS != 0 or self.is_counting
        if reads_are_watched != self._reads_are_watched:
            self._reads_are_watched = reads_are_watched
            self.on_reads_watched(reads_are_watched)
        evictions_are_watched = kinds & EVICTIONS != 0
        if evictions_are_watched != self._evictions_are_watched:
            self._evictions_are_watched = evictions_are_watched
            self.on_evictions_watched(evictions_are_watched)

    # -- what happens. `client` is the number of the connection ------------------------------

    def fetched(
        self, client: int, key: bytes, item: bytes | None, *, is_meta: bool = False
    ) -> None:
        """A key was read: the packed item, or None for a miss. `is_meta`: by `mg`, which memcached
        does not count for its prefix.
        """
        if self.is_counting and not is_meta:
            self._prefixes.note_get(key, item is not None)
        if self.kinds & FETCHERS and self._may_write(FETCHERS):
            found = item is not None
            size = 0 if item is None else value_bytes(item)
            status = b"found" if found else b"not_found"
            self._write(
                FETCHERS,
                b"type=item_get key=%b status=%b clsid=%d cfd=%d size=%d",
                (_quoted(key), status, ITEM_CLASS if found else 0, client, size),
            )

    def wrote(
        self,
        client: int,
        op: int,
        key: bytes,
        args: tuple[object, ...],
        result: Result,
    ) -> None:
        """A classic write of one key was executed: its op and arguments, and its result."""
        if op == OP_DELETE:
            self.deleted("delete", key, result == DELETED)
        elif op in BLOCK_OPS:
            data = args[0]
            assert type(data) is bytes
            is_bare = op in (OP_APPEND, OP_PREPEND)
            exptime = 0 if is_bare else args[1]
            assert type(exptime) is int
            size = len(data) if is_bare else _length(data)
            self.stored(client, COMMANDS[op].name, key, _status(op, result), exptime, size)

    def stored(
        self,
        client: int,
        command: str,
        key: bytes,
        status: str,
        exptime: int,
        size: int,
        *,
        is_meta: bool = False,
    ) -> None:
        """A store has ended. `command` is memcached's word, `status` one of STORE_STATUSES;
        `exptime` is that of the request, `size` counts the value that came with it. `is_meta`: by
        `ms`, see `fetched`.
        """
        if self.is_counting and not is_meta:
            self._prefixes.note_set(key)
        if self.kinds & MUTATIONS and self._may_write(MUTATIONS):
            if exptime > 30 * 86_400:
                exptime -= self._wall_ms() // 1000
            clsid = ITEM_CLASS if status == "stored" else 0
            self._write(
                MUTATIONS,
                b"type=item_store key=%b status=%b cmd=%b ttl=%d clsid=%d cfd=%d size=%d",
                (
                    *(_quoted(key), status.encode(), command.encode(), exptime & _UINT32_MAX),
                    *(clsid, client, size),
                ),
            )

    def deleted(self, command: str, key: bytes, is_hit: bool) -> None:
        """A delete has ended; `command` is `delete` or `md`."""
        if self.is_counting and command == "delete":
            self._prefixes.note_delete(key)
        if is_hit and self.kinds & DELETIONS and self._may_write(DELETIONS):
            self._write(
                DELETIONS,
                b"type=deleted key=%b cmd=%b clsid=%d size=0",
                (_quoted(key), command.encode(), ITEM_CLASS),
            )

    def evicted(self, key: bytes, size: int, was_fetched: bool, ttl_s: int, idle_s: int) -> None:
        """A leader here has evicted an item whose value had so many bytes; `ttl_s` is -1 for an
        item that would never have expired.
        """
        if self.kinds & EVICTIONS and self._may_write(EVICTIONS):
            self._write(
                EVICTIONS,
                b"type=eviction key=%b fetch=%b ttl=%d la=%d clsid=%d size=%d",
                (
                    *(_quoted(key), b"yes" if was_fetched else b"no"),
                    *(ttl_s, idle_s, ITEM_CLASS, size),
                ),
            )

    def connected(self, client: int, address: str) -> None:
        """A client was taken in. `address`: HOST:PORT, or anything else for a Unix socket."""
        if self.kinds & CONNEVENTS and self._may_write(CONNEVENTS):
            self._write(CONNEVENTS, b"type=conn_new %b cfd=%d", (_place(address), client))

    def closed(self, client: int, address: str, reason: str) -> None:
        """A client that was taken in is gone; `reason` is one of CLOSE_REASONS."""
        if self.kinds & CONNEVENTS and self._may_write(CONNEVENTS):
            self._write(
                CONNEVENTS,
                b"type=conn_close %b reason=%b cfd=%d",
                (_place(address), reason.encode(), client),
            )

    # -- lines -------------------------------------------------------------------------------

    def _may_write(self, kind: int) -> bool:
        """Is there room for one more line in this window?"""
        now_ns = self._monotonic_ns()
        if now_ns >= self._window_ends_ns:
            self._window_ends_ns = now_ns + WINDOW_NS
            self._lines_left = LINES_PER_WINDOW_MAX
        if self._lines_left:
            self._lines_left -= 1
            return True
        self._counters.log_worker_dropped += 1
        for watcher in self._watchers:
            if watcher.kinds & kind:
                watcher.skipped += 1
        return False

    def _write(self, kind: int, form: bytes, facts: tuple[object, ...]) -> None:
        counters = self._counters
        self._gid += 1
        wall_ms = self._wall_ms()
        head = (wall_ms // 1000, wall_ms % 1000, self._gid)
        line = (b"ts=%d.%03d000 gid=%d " + form + b"\n") % (*head, *facts)
        counters.log_worker_written += 1
        for watcher in self._watchers:
            if watcher.kinds & kind:
                if watcher.put(line):
                    counters.log_watcher_sent += 1
                else:
                    counters.log_watcher_skipped += 1


def _length(data: bytes) -> int:
    """Length of a value, from its wire form `b" <flags> <length>\\r\\n..."`."""
    end = data.index(b"\r\n")
    return int(data[data.rindex(b" ", 0, end) + 1 : end])


def _quoted(key: bytes) -> bytes:
    """As in a URL, with all but letters, digits and `-._~` escaped."""
    return quote_from_bytes(key, safe="").encode()


def _place(address: str) -> bytes:
    host, separator, port = address.rpartition(":")
    if not separator or not port.isdigit():
        return b"rip=unix rport=0 transport=local"
    return b"rip=%b rport=%b transport=tcp" % (host.strip("[]").encode(), port.encode())


def _status(op: int, result: Result) -> str:
    """One of STORE_STATUSES, as the reply says it (`PendingWrite` in writes.py)."""
    if result == STORED:
        return "stored"
    if result == NOT_STORED:
        return "not_stored"
    if op == OP_CAS and result in (EXISTS, NOT_FOUND):
        return "exists" if result == EXISTS else "not_found"
    if result in (OUT_OF_MEMORY, DELETED) or (op == OP_SET and result == NOT_FOUND):
        return "no_memory"  # A set refused for memory runs as a delete.
    return "too_large"


def _nobody(is_watched: bool) -> None:
    """Stands in for the server while there is none."""
