"""How this node leaves its cluster.

A node that was drained holds nothing any more. It takes no new clients, passes on what its clients
ask until they have left, and then has its name taken out of the map. One that is started again
meanwhile knows that by the map that it has stored, and takes no clients at all (`may_serve`). A
node that finds itself in no map any more was removed: there is nothing that it could do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from quorumcache.node.directory.question import OK, Done
from quorumcache.node.errors import NodeLeft
from quorumcache.node.telemetry.logs import event, get_logger
from quorumcache.ring import ClusterMap
from quorumcache.ring.node_info import DRAINED

if TYPE_CHECKING:
    from quorumcache.node.alarms import Alarms
    from quorumcache.node.clock import Clock

log = get_logger("node")

ALARM: Final = "drained"

ASK_MS: Final = 1000
"""Pause before it asks to leave again, after an answer that was no yes."""


class Departure:
    """See the module. `look` is called every few ticks."""

    def __init__(
        self,
        own_id: int,
        name: str,
        *,
        clock: Clock,
        alarms: Alarms,
        timeout_ms: int,
        leave: Callable[[Done], None],
        on_left: Callable[[NodeLeft], None],
    ) -> None:
        """`timeout_ms`: how long clients may stay. `leave` asks the directory; `on_left` hears once
        that this node is no member any more.
        """
        self._own_id = own_id
        self._name = name
        self._clock = clock
        self._alarms = alarms
        self._timeout_ns = timeout_ms * 1_000_000
        self._leave = leave
        self._on_left = on_left
        self.stop_accepting: Callable[[], None] = _nothing
        """Take no new clients."""
        self.serve: Callable[[], None] = _nothing
        """Take clients: called if `may_serve` said no, and the drain was taken back since."""
        self.count_clients: Callable[[], int] = _no_clients
        self._state = ""
        self._cluster_id = ""
        self._deadline_ns = 0
        """Until then clients may stay; 0 while this node is not drained."""
        self._next_ns = 0
        self._is_asking = False
        self._has_left = False
        self._is_closed = False
        """The listener was opened without taking clients, as `may_serve` said."""

    def may_serve(self, stored: ClusterMap | None) -> bool:
        """Whether this node may take clients from its start on. `stored`: the map that it has
        stored, which it takes for the newest when it has started; None if there is none.
        """
        if stored is None:
            return True
        own = next((n for n in stored.nodes if n.node_id == self._own_id), None)
        self._is_closed = own is None or own.state == DRAINED
        if own is not None and self._is_closed:
            self._raise_alarm()
        return not self._is_closed

    def learned(self, cluster_map: ClusterMap) -> None:
        """A newer map."""
        self._cluster_id = cluster_map.cluster_id
        own = next((n for n in cluster_map.nodes if n.node_id == self._own_id), None)
        if own is None:
            self._end(cluster_map.epoch)
        else:
            self._state = own.state

    def removed(self, epoch: int) -> None:
        """The map of this epoch does not name this node, which will not see it."""
        self._end(epoch)

    def look(self) -> None:
        """Do the next step of leaving, if this node was drained."""
        if self._state != DRAINED or self._has_left:
            if self._deadline_ns and not self._has_left:
                self._stay()
            return
        now_ns = self._clock.monotonic_ns()
        count = self.count_clients()
        if not self._deadline_ns:
            self._deadline_ns = now_ns + self._timeout_ns
            event(log, "info", "drained", clients=count)
            self._raise_alarm()
            if not self._is_closed:
                self.stop_accepting()
        is_due = count == 0 or now_ns >= self._deadline_ns
        if is_due and not self._is_asking and now_ns >= self._next_ns:
            self._is_asking = True
            self._next_ns = now_ns + ASK_MS * 1_000_000
            self._leave(self._answered)

    def _raise_alarm(self) -> None:
        self._alarms.raise_alarm(
            ALARM,
            f"node {self._name} was drained and leaves the cluster once its clients have left:"
            " it takes no new clients. Connect them to another node",
        )

    def _stay(self) -> None:
        """The drain was taken back. A listener that was closed opens again at the next start."""
        self._deadline_ns = 0
        if self._is_closed:
            self._is_closed = False
            self._alarms.clear(ALARM)
            self.serve()
            return
        self._alarms.raise_alarm(
            ALARM,
            f"node {self._name} was drained, and is to stay after all: it takes no new clients"
            " before it is restarted. Restart it",
        )

    def _answered(self, code: int, payload: bytes) -> None:
        self._is_asking = False
        if code == OK:
            self._end(0)
        else:
            event(log, "warning", "leave_waits", why=payload.decode(errors="replace"))

    def _end(self, epoch: int) -> None:
        if self._has_left:
            return
        self._has_left = True
        was_drained = self._state == DRAINED
        error = NodeLeft(self._name, self._cluster_id, epoch, was_drained=was_drained)
        event(log, "info" if was_drained else "error", "left_cluster", why=str(error))
        self._on_left(error)


def _nothing() -> None:
    """Nobody takes clients."""


def _no_clients() -> int:
    return 0
