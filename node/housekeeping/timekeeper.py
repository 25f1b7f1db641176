"""Keeps a node's `ClusterTime` together with the other nodes, by items."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

from quorumcache.node.cluster_time import TELL_MS, ClusterTime, is_told_well
from quorumcache.node.errors import PeerFrameError
from quorumcache.node.peers.items import TIME
from quorumcache.node.telemetry.logs import event, get_logger

if TYPE_CHECKING:
    from quorumcache.node.alarms import Alarms

log = get_logger("time")

CLOCK_ALARM: Final = "clock_distrusted"


class TimePeers(Protocol):
    """The peer network, as far as time needs it."""

    def send(self, node_id: int, item: tuple[Any, ...]) -> bool: ...
    def flush(self) -> None: ...


class Timekeeper:
    """Tells the other nodes what this one's clocks show, and looks at the wall clocks."""

    def __init__(
        self,
        time: ClusterTime,
        alarms: Alarms,
        peers: TimePeers,
        others: Callable[[], list[int]],
    ) -> None:
        self._time = time
        self._alarms = alarms
        self._peers = peers
        self._others = others
        self._told_ms = -TELL_MS
        self._was_settled = False

    def peer_up(self, node_id: int) -> None:
        """A connection to a node is ready: the first item on it tells our times."""
        self._peers.send(node_id, (TIME, *self._time.tell()))

    def heard(self, node_id: int, item: tuple[Any, ...]) -> None:
        """A `TIME` item of a node. Raises PeerFrameError if it is none."""
        if not is_told_well(item):
            raise PeerFrameError(f"an item of kind {item[0]} of an unknown form")
        self._time.hear(node_id, *item[1:])
        if self._time.is_settled and not self._was_settled:
            self.sweep()  # The others hear of it before any vote that this node gives from now on.

    def sweep(self) -> None:
        """Called some twenty times a second; every `TELL_MS` there is something to do."""
        time = self._time
        now_ms = time.now_ms()
        if now_ms - self._told_ms < TELL_MS and time.is_settled == self._was_settled:
            return
        self._told_ms = now_ms
        if time.is_settled and not self._was_settled:
            self._was_settled = True
            event(log, "info", "time_settled", cluster_ms=now_ms, bridged_ms=time.bridged_ms)
        self.tell_all()
        complaint = time.look()
        if complaint:
            self._alarms.raise_alarm(CLOCK_ALARM, complaint)
        else:
            self._alarms.clear(CLOCK_ALARM)

    def tell_all(self) -> None:
        """Tell every node that is connected our times."""
        item = (TIME, *self._time.tell())
        for node_id in self._others():
            self._peers.send(node_id, item)
        self._peers.flush()
