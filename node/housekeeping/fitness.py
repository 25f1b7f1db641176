"""Whether this node is fit to lead, and which others say that they are not.

A leader whose disk does not answer, or whose event loop is late all the time, goes on to answer
heartbeats: nobody elects another. So a node looks at itself. It is *unfit*

- as soon as its disk has not answered for an election timeout (`DiskKeeper` says so), since from
  then on what it takes in may be held up by it;
- when its loop has been late by an eighth of an election timeout for two seconds. One long pause
  does not count: leases end in it, and others lead.

Then it gives its leaderships away (`leadership.py`) and *rests*: it tells the others for how long
they shall give it none. A rest ends some time after the cause, and each further one takes twice as
long, so a node that is well only while it leads nothing is not asked again and again. Where the
loop is late, only a node whose own loop is not, or much less, gets something: in a cluster whose
machines are all overloaded everything stays where it is.

A node that is well tells nothing. Peers of a form before 2 do not know the item and are sent none:
from them no leadership is kept away, and for a late loop they get none, since they do not say how
they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from quorumcache.node.errors import PeerFrameError
from quorumcache.node.peers.items import FITNESS
from quorumcache.node.telemetry.logs import event, get_logger

if TYPE_CHECKING:
    from quorumcache.node.alarms import Alarms
    from quorumcache.node.clock import Clock

log = get_logger("housekeeper")

MS_NS: Final = 1_000_000

FITNESS_FORM: Final = 2
"""Nodes of this form, or a later one, know the item."""

LOOK_MS: Final = 500
"""Time between two looks; the lateness of the loop is measured over it."""

LATE_FRACTION: Final = 8
"""A loop is late from this part of an election timeout on: heartbeats still come in time then, so
no election ends it, but every request waits for it several times on its way."""

LATE_NS: Final = 2_000_000_000
LATE_LOOKS: Final = 2
"""A loop that was late for so long, and at so many looks in a row, makes a node unfit. (Looks come
late, too: a single one may tell of one long pause.)"""

BETTER_FACTOR: Final = 4
"""A loop is much less late than another if it is so by this factor."""

DISK_NOW_NS: Final = 100 * MS_NS
"""What `DiskKeeper` last said of the disk counts for so long; it says it in every tick."""

REST_MS: Final = 10_000
"""The first rest, after the cause has gone."""

REST_DOUBLINGS_MAX: Final = 6
"""The longest rest is 10 minutes."""

FORGIVEN_NS: Final = 1_200_000_000_000
"""After 20 minutes without a rest the next one is a first one again."""

TOLD_NS: Final = 10 * LOOK_MS * MS_NS
"""What a node says of its loop counts for so long. It is said again at every look, and the looks of
a late loop are late."""

REST_MS_MAX: Final = 2 * (REST_MS << REST_DOUBLINGS_MAX)
"""No node keeps leaderships away from itself for longer by one item."""


class Peers(Protocol):
    """Of the peer network."""

    @property
    def node_ids(self) -> tuple[int, ...]: ...
    def is_up(self, node_id: int) -> bool: ...
    def form_of(self, node_id: int) -> int: ...
    def send(self, node_id: int, item: tuple[Any, ...]) -> bool: ...


class Told(NamedTuple):
    """What another node said of itself."""

    late_ms: int
    until_ns: int  # so long it counts
    rests_until_ns: int


class Fitness:
    """See the module. `tick` is called in every tick of the host, `look` every `LOOK_MS`."""

    def __init__(
        self,
        *,
        clock: Clock,
        election_ms: int,
        tick_ms: int,
        alarms: Alarms,
        peers: Peers,
        flush_soon: Callable[[], None],
    ) -> None:
        """`flush_soon` is called after what was given to `peers`."""
        self._clock = clock
        self._flush_soon = flush_soon
        self._late_ms_max = max(1, election_ms // LATE_FRACTION)
        self._tick_ns = tick_ms * MS_NS
        self._alarms = alarms
        self._peers = peers
        self._last_tick_ns = 0
        """Of this loop; 0 before the first."""
        self._gaps_ns = 0
        self._gaps_squared = 0
        """Sums over the gaps between the ticks since the last look."""
        self.late_ms = 0
        """By how much the loop was late at the average moment between the last two looks."""
        self._looked_ns = 0
        """When it last looked."""
        self._late_looks = 0
        """How many looks in a row have found the loop late."""
        self._late_since_ns = 0
        """The look before those."""
        self._is_late = False
        self._disk_bad_ns = 0
        """When the disk was last seen not to answer; 0: never."""
        self._rests_until_ns = 0
        self._rests = 0
        """How often it has rested, but for the first time."""
        self._has_told = False
        self._told: dict[int, Told] = {}

    # -- this node -----------------------------------------------------------------------

    def tick(self) -> None:
        """A tick of the loop."""
        now_ns = self._clock.monotonic_ns()
        last_ns, self._last_tick_ns = self._last_tick_ns, now_ns
        if last_ns:
            gap_ns = now_ns - last_ns
            self._gaps_ns += gap_ns
            self._gaps_squared += gap_ns * gap_ns

    def disk_waits(self) -> bool:
        """The disk does not answer. True if that is new."""
        now_ns = self._clock.monotonic_ns()
        is_new = now_ns - self._disk_bad_ns > DISK_NOW_NS
        self._disk_bad_ns = now_ns
        self._rest(now_ns)
        return is_new

    def look(self) -> None:
        """See how late the loop was since the last look, and tell the others what they have to
        know.
        """
        now_ns = self._clock.monotonic_ns()
        self._measure()
        before_ns, self._looked_ns = self._looked_ns or now_ns, now_ns
        if self.late_ms >= self._late_ms_max:
            if not self._late_looks:
                self._late_since_ns = before_ns
            self._late_looks += 1
        elif not self._is_late or self.late_ms < self._late_ms_max // 2:
            self._late_looks = 0
        is_late = self._late_looks >= LATE_LOOKS and now_ns - self._late_since_ns >= LATE_NS
        if is_late != self._is_late:
            self._is_late = is_late
            event(log, "warning", "loop_late" if is_late else "loop_well", late_ms=self.late_ms)
        if is_late:
            self._rest(now_ns)
            self._alarms.raise_alarm(
                "loop_late",
                f"the node has been late with all that it does, by {self._late_ms_max} ms or more"
                " for 2 s: its machine has too little processor time for it. It gives its"
                " leaderships to nodes that are better off. Look for other processes on the"
                " machine, or give it more processors",
            )
        else:
            self._alarms.clear("loop_late")
        self._tell(now_ns)

    def _measure(self) -> None:
        mean_ns = self._gaps_squared // self._gaps_ns if self._gaps_ns else 0
        self.late_ms = max(0, mean_ns - self._tick_ns) // MS_NS
        self._gaps_ns = self._gaps_squared = 0

    def _rest(self, now_ns: int) -> None:
        """There is a cause to rest now."""
        if now_ns >= self._rests_until_ns:
            is_forgiven = now_ns - self._rests_until_ns > FORGIVEN_NS
            first = not self._rests_until_ns or is_forgiven
            self._rests = 0 if first else min(self._rests + 1, REST_DOUBLINGS_MAX)
        self._rests_until_ns = now_ns + (REST_MS << self._rests) * MS_NS

    def _tell(self, now_ns: int) -> None:
        rest_ms = max(0, self._rests_until_ns - now_ns) // MS_NS
        has_something = rest_ms > 0 or self.late_ms * BETTER_FACTOR >= self._late_ms_max
        if has_something or self._has_told:  # Once more at the end: it is well.
            item = (FITNESS, self.late_ms, rest_ms)
            for node_id in self._peers.node_ids:
                if self._knows(node_id):
                    self._peers.send(node_id, item)
            self._flush_soon()
        self._has_told = has_something

    @property
    def is_disk_slow(self) -> bool:
        """Whether the disk does not answer just now."""
        return 0 < self._clock.monotonic_ns() - self._disk_bad_ns + 1 <= DISK_NOW_NS

    @property
    def is_late(self) -> bool:
        """Whether the loop is late all the time."""
        return self._is_late

    @property
    def rests(self) -> bool:
        """Whether this node wants no leadership now."""
        return self._clock.monotonic_ns() < self._rests_until_ns

    # -- the others ----------------------------------------------------------------------

    def heard(self, node_id: int, item: tuple[Any, ...]) -> None:
        """What a node says of itself. `PeerFrameError` if it has another form."""
        if tuple(map(type, item)) != (int, int, int) or item[1] < 0 or item[2] < 0:
            raise PeerFrameError(f"an item of kind {FITNESS} of an unknown form")
        now_ns = self._clock.monotonic_ns()
        rest_ms = min(item[2], REST_MS_MAX)
        self._told[node_id] = Told(item[1], now_ns + TOLD_NS, now_ns + rest_ms * MS_NS)

    def _knows(self, node_id: int) -> bool:
        """Whether a node can be told, and says itself how it is."""
        return self._peers.form_of(node_id) >= FITNESS_FORM and self._peers.is_up(node_id)

    def met(self, node_id: int) -> None:
        """The process of a node has introduced itself. What it said before counts no longer, as it
        may be another one: who is still unfit says so again at its next look.
        """
        self._told.pop(node_id, None)

    def may_lead(self, node_id: int) -> bool:
        """Whether another node may be given leaderships, as far as it has said."""
        told = self._told.get(node_id)
        return told is None or self._clock.monotonic_ns() >= told.rests_until_ns

    def is_better_off(self, node_id: int) -> bool:
        """Whether the loop of another node is much less late than this one's."""
        if not self._knows(node_id):
            return False
        told = self._told.get(node_id)
        if told is None or self._clock.monotonic_ns() >= told.until_ns:
            return True
        return told.late_ms * BETTER_FACTOR <= self.late_ms
