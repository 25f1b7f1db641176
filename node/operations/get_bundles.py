"""Gets that another node answers, many in one item: the usual case of a read that is forwarded.

All gets of one key each that reach this node in a turn of the loop, and whose shards one other node
leads, go to it as one FORWARD_GETS. It answers them in one pass under its leases with one
FORWARD_FOUND (`found_items.py`). A get has no object of its own here, no lane and no deadline. What
is not usual falls back: it is read the general way (`coordinator.py`), with all its attempts, as if
it had just been begun there. So an answer is never needed here, and one may be dropped.

    asked -> open bundle -> sent -> answered
                 |           |         `-> fell back: what was not answered, and what is behind it
                 `-----------`-> fell back: connection lost, no answer for 0.25 s, overtaken,
                                 another leader

A client must not see time run backwards (`order.py`). One way keeps the order: gets of a client and
a group are under way to one node only, and only until they are answered or fall back. So:

 1. answers are taken in the order of the bundles: with one that comes, those before it fall back;
 2. when a get falls back, those of its client and group behind it do, too: their answers may be
    older than the one that it gets in the end;
 3. a group's way changes only when all its gets have fallen back.

While a client has such gets of a group under way, nothing else of it that concerns the group begins
(`clients/order.py`), and the other way round.

Bounds, per node that is asked: GETS_MAX gets in a bundle, BUNDLES_MAX bundles without an answer;
further gets go the general way. A key has 250 bytes at most, so both are 2 MiB.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

from quorumcache.node.errors import PeerFrameError
from quorumcache.node.operations.leaders import Leaders
from quorumcache.node.operations.serving import Serving
from quorumcache.node.peers.items import FORWARD_GETS, GETS_MAX, NOT_LED, UNANSWERED

if TYPE_CHECKING:
    from quorumcache.node.telemetry.timings import Timings

GETS_FORM: Final = 3
"""A node of this form understands FORWARD_GETS."""

BUNDLES_MAX: Final = 32
"""Bundles without an answer that one node may have."""

SILENT_NS: Final = 250_000_000
"""Without an answer for this long they fall back: the general way asks for another leader then."""

PAUSE_NS: Final = 1_000_000_000
"""After that the node gets no bundles for so long."""


class FallenGet:
    """A get that is to be read the general way."""

    __slots__ = ("asked_ns", "client", "group_id", "key", "place", "reserved")

    def __init__(
        self, client: Any, group_id: int, key: bytes, place: Any, reserved: int, asked_ns: int
    ) -> None:
        self.client = client
        self.group_id = group_id
        self.key = key
        self.place = place
        self.reserved = reserved
        self.asked_ns = asked_ns


class Unanswered:
    """Which gets fall back, of those that are under way."""

    __slots__ = ("clients", "groups", "pairs")

    def __init__(self) -> None:
        self.groups: dict[int, None] = {}
        """All of these groups."""
        self.clients: dict[Any, None] = {}
        """All of these clients."""
        self.pairs: dict[tuple[Any, int], None] = {}
        """Those of a client and a group."""

    @property
    def is_empty(self) -> bool:
        """Does none fall back?"""
        return not (self.pairs or self.groups or self.clients)

    def add(self, client: Any, group_id: int, found: int) -> None:
        """A get was answered with this in place of an item."""
        if found == NOT_LED:
            self.groups[group_id] = None
        else:
            self.pairs[client, group_id] = None

    def concerns(self, client: Any, group_id: int) -> bool:
        """Does such a get fall back?"""
        return group_id in self.groups or client in self.clients or (client, group_id) in self.pairs


class Bundle:
    """Gets that go to one node together. The lists are parallel: a get has no object of its own."""

    __slots__ = ("asked", "asked_ns", "clients", "places", "request_id", "reserved")

    def __init__(self, request_id: int, asked_ns: int) -> None:
        self.request_id = request_id
        self.asked_ns = asked_ns
        """When the first one was asked."""
        self.asked: list[Any] = []
        """Group and key of each, by turns: as they are sent."""
        self.places: list[Any] = []
        """Where the answer goes; None once it is answered or has fallen back."""
        self.clients: list[Any] = []
        """The conversation of each."""
        self.reserved: list[int] = []
        """The room that is kept for each answer."""

    def add(self, group_id: int, key: bytes, place: Any, client: Any, reserved: int) -> None:
        """One more."""
        self.asked.append(group_id)
        self.asked.append(key)
        self.places.append(place)
        self.clients.append(client)
        self.reserved.append(reserved)

    def leave(self, start: int, left: Unanswered) -> None:
        """What has a place, from position `start` on, gets no answer."""
        for index in range(start, len(self.places)):
            if self.places[index] is not None:
                left.add(self.clients[index], self.asked[2 * index], UNANSWERED)

    def take(self, which: Unanswered | None, fallen: list[FallenGet]) -> None:
        """Move those that fall back to `fallen`; all if `which` is None."""
        places = self.places
        for index, place in enumerate(places):
            if place is None:
                continue
            client, group_id = self.clients[index], self.asked[2 * index]
            if which is not None and not which.concerns(client, group_id):
                continue
            places[index] = None
            key, reserved = self.asked[2 * index + 1], self.reserved[index]
            fallen.append(FallenGet(client, group_id, key, place, reserved, self.asked_ns))


class GetsReceiver:
    """Who asked, and puts the answers in their places: `clients/forwarded_gets.py`."""

    def came(self, bundle: Bundle, items: tuple[Any, ...], left: Unanswered) -> None:
        """Take the answers to the first gets of a bundle, in order: packed items, None for misses,
        numbers for what is not answered. What is taken has no place any more; what is not, and so
        is not answered in this way at all, is put into `left`.
        """
        raise NotImplementedError

    def fell_back(self, gets: list[FallenGet]) -> None:
        """Read these the general way, each before what its client asked later."""
        raise NotImplementedError


class Way:
    """Bundles to one node."""

    __slots__ = ("node_id", "open", "paused_until_ns", "sent")

    def __init__(self, node_id: int) -> None:
        self.node_id = node_id
        self.open: Bundle | None = None
        """What leaves at the end of this turn."""
        self.sent: deque[Bundle] = deque()
        """Without an answer, the oldest first."""
        self.paused_until_ns = 0
        """It did not answer: it is not asked so until then."""

    def find(self, request_id: int) -> Bundle | None:
        """The bundle of this id, if it has no answer yet."""
        for bundle in self.sent:
            if bundle.request_id == request_id:
                return bundle
        return None

    def take(self, which: Unanswered | None, fallen: list[FallenGet]) -> None:
        """Move those that fall back to `fallen`, in the order in which they were asked."""
        for bundle in self.sent:
            bundle.take(which, fallen)
        if self.open is not None:
            self.open.take(which, fallen)


class GetBundles:
    """See the module docstring."""

    def __init__(
        self,
        serving: Serving,
        leaders: Leaders,
        timings: Timings,
        first_id: int,
        timeout_ns: int,
    ) -> None:
        """`first_id`: anywhere, so that answers to an earlier life of this node match nothing.
        `timeout_ns`: from the beginning of a read to its deadline.
        """
        self.receiver = GetsReceiver()
        """Set before any client is taken in."""
        self._peers = serving.peers
        self._host = serving.host
        self._clock = serving.clock
        self._counters = serving.counters
        self._leaders = leaders
        self._forward_seconds = timings.forward_seconds
        self._next_id = first_id
        self._timeout_ns = timeout_ns
        self._ways: dict[int, Way] = {}
        """By node."""
        self._routes: dict[int, Way] = {}
        """The way of each group: all its gets that are under way went there (rule 3)."""
        self._barred: dict[int, None] = {}
        """Groups that a node refused to answer for, until the next look."""

    # -- asking ----------------------------------------------------------------------------

    def bundle_for(self, group_id: int, count: int = 1) -> Bundle | None:
        """Where to add so many gets of the group; None: they have to go the general way."""
        way = self._routes.get(group_id)
        if way is None:
            way = self._find(group_id)
            if way is None:
                return None
        bundle = way.open
        if bundle is not None:
            if len(bundle.places) + count <= GETS_MAX:
                return bundle
            if len(way.sent) >= BUNDLES_MAX - 1:
                return None
            self._send(way)
            if self._routes.get(group_id) is not way:
                return None  # The connection was closing, and all have fallen back.
        elif len(way.sent) >= BUNDLES_MAX:
            return None
        way.open = bundle = Bundle(self._next_id, self._clock.monotonic_ns())
        self._next_id += 1
        self._host.flush_soon()
        return bundle

    def _find(self, group_id: int) -> Way | None:
        """The way of a group that has had none."""
        if group_id in self._barred:
            return None
        node_id, is_relayed = self._leaders.way_to(group_id)
        if not node_id or is_relayed or self._peers.form_of(node_id) < GETS_FORM:
            return None
        way = self._ways.get(node_id)
        if way is None:
            way = self._ways[node_id] = Way(node_id)
        if way.paused_until_ns > self._clock.monotonic_ns():
            return None
        self._routes[group_id] = way
        return way

    def send(self) -> None:
        """The turn ends: let the open bundles go."""
        for way in self._ways.values():
            if way.open is not None:
                self._send(way)

    def _send(self, way: Way) -> None:
        bundle, way.open = way.open, None
        assert bundle is not None
        way.sent.append(bundle)
        item = (FORWARD_GETS, bundle.request_id, tuple(bundle.asked))
        if self._peers.send(way.node_id, item):
            self._counters.forwarded_out += len(bundle.places)
            self._host.flush_soon()
        else:
            self._give_up(way)

    # -- answers ---------------------------------------------------------------------------

    def answered(self, node_id: int, item: tuple[Any, ...]) -> None:
        """A node's FORWARD_FOUND. `PeerFrameError` if it has another form, or too many items."""
        if len(item) != 3 or type(item[1]) is not int or type(item[2]) is not tuple:
            raise PeerFrameError("an answer to gets of an unknown form")
        _, request_id, items = item
        way = self._ways.get(node_id)
        bundle = way.find(request_id) if way is not None else None
        if way is None or bundle is None:
            return  # It has fallen back meanwhile.
        if len(items) > len(bundle.places):
            raise PeerFrameError(f"{len(items)} answers to {len(bundle.places)} gets")
        for found in items:
            if found is not None and type(found) is not bytes and type(found) is not int:
                raise PeerFrameError("an answer to gets that holds no items")
        left = Unanswered()
        fallen: list[FallenGet] = []
        while True:
            before = way.sent.popleft()
            if before is bundle:
                break
            before.leave(0, left)  # Rule 1: it was overtaken.
            before.take(None, fallen)
        self.receiver.came(bundle, items, left)
        bundle.leave(len(items), left)
        if not left.is_empty:  # Rule 2.
            self._left(bundle, left, fallen)

    def _left(self, bundle: Bundle, left: Unanswered, fallen: list[FallenGet]) -> None:
        """These fall back: of a bundle that was answered, and of all behind it."""
        bundle.take(left, fallen)
        for group_id in left.groups:
            self._barred[group_id] = None
            self._routes.pop(group_id, None)
        for way in self._ways.values():
            way.take(left, fallen)
        self._fall(fallen)

    def _fall(self, fallen: list[FallenGet]) -> None:
        if fallen:
            self._counters.gets_fallen_back += len(fallen)
            self.receiver.fell_back(fallen)

    def deadline_ns(self, asked_ns: int) -> int:
        """Of a read that was asked then."""
        return asked_ns + self._timeout_ns

    def took(self, asked_ns: int, count: int) -> None:
        """So many were answered, which were asked then."""
        spent_ns = self._clock.monotonic_ns() - asked_ns
        self._forward_seconds.observe_many(spent_ns / 1e9, count)

    # -- what ends a way -------------------------------------------------------------------

    def changed(self, group_id: int) -> None:
        """The way to the group's leader is another one, perhaps."""
        self._barred.pop(group_id, None)
        if self._routes.pop(group_id, None) is None:
            return  # Then nothing is under way.
        which = Unanswered()
        which.groups[group_id] = None
        fallen: list[FallenGet] = []
        for way in self._ways.values():
            way.take(which, fallen)
        self._fall(fallen)

    def peer_down(self, node_id: int) -> None:
        """Answers of this node may be lost."""
        way = self._ways.get(node_id)
        if way is not None:
            self._give_up(way)

    def _give_up(self, way: Way) -> None:
        """All that is under way to a node falls back."""
        fallen: list[FallenGet] = []
        way.take(None, fallen)
        way.sent.clear()
        way.open = None
        for group_id in [g for g, other in self._routes.items() if other is way]:
            del self._routes[group_id]
        self._fall(fallen)

    def look(self, now_ns: int) -> dict[int, None]:
        """Let fall back what has no answer for too long: the groups of it. Called every few
        ticks."""
        self._barred.clear()
        silent: dict[int, None] = {}
        for way in self._ways.values():
            if way.sent and now_ns - way.sent[0].asked_ns >= SILENT_NS:
                for bundle in way.sent:
                    silent.update(dict.fromkeys(bundle.asked[::2]))
                way.paused_until_ns = now_ns + PAUSE_NS
                self._give_up(way)
        return silent
