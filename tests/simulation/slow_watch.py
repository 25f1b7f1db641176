"""Who is closed for not reading, and who is not: looked at from the wire.

The network knows what a node does not: when the client's side last took something of what waits for
it, and whether there is room for more.

- A node closes a client as slow only when it has taken nothing for `slow_client_ms`, and has no
  room. (Or at once, when all clients together hold too much: see `UNREAD_BYTES_MAX`.)
- A client that takes nothing for so long, while much waits for it, is closed.
- What waits for one client is bounded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quorumcache.node.clients import context, replies
from quorumcache.node.clients import server as servers
from tests.simulation.checkers import InvariantViolation
from tests.simulation.transport import HIGH_WATER_BYTES

if TYPE_CHECKING:
    from tests.simulation.cluster import SimulatedNode
    from tests.simulation.network import Network
    from tests.simulation.transport import VirtualTransport

MS = 1_000_000
DRIFT = 1.005
"""No clock runs faster or slower than virtual time by more."""
TURN_NS = 200 * MS
"""Room that was made so short a time ago need not have been seen: a callback may take that long."""
LATE_NS = 500 * MS
"""Until a node finds out, besides its looks: ticks, callbacks that take long."""
LOOK_EVERY_CHECKS = 4

ANSWER_BYTES_MAX = 2 << 20
"""The largest answer that a run has, one window of many keys: one may come beyond the bound."""


class SlowWatch:
    """Looks at all connections of clients. `closed`: how many were closed rightly."""

    def __init__(self, network: Network, nodes: list[SimulatedNode]) -> None:
        self._network = network
        self._nodes = {node.name: node for node in nodes}
        self._looks = 0
        self._looked_ns = network.loop.now_ns
        self._stood_ns = 0
        """For how long computing has kept everybody from looking: nodes do not count that time."""
        self._stalls: dict[VirtualTransport, tuple[int, int, int]] = {}
        """Of an end with bytes that wait: when some were taken last, since when this is known, and
        for how long its process had stood still by then.
        """
        self._rooms: dict[VirtualTransport, tuple[int, int]] = {}
        """Of an end with room: since when, and for how long its process had stood still by then."""
        self._counted: dict[str, tuple[int, int]] = {}
        """Incarnation of a node, and its counter of closed clients, as of the last abort."""
        self.closed = 0
        self.stalled_most_ns = 0
        self.held_most_bytes = 0
        """By one connection."""

    # -- closed ------------------------------------------------------------------------------------

    def on_abort(self, end: VirtualTransport) -> None:
        """A process drops a connection. Raises `InvariantViolation`."""
        simulated = self._node_of(end)
        if simulated is None or simulated.node is None:
            return
        count = simulated.node.counters.slow_clients_closed
        incarnation, before = self._counted.get(simulated.name, (0, 0))
        if incarnation != simulated.incarnation:
            before = 0
        self._counted[simulated.name] = (simulated.incarnation, count)
        if count > before:
            self._check_closed(simulated, simulated.node, end)

    def _check_closed(self, simulated: SimulatedNode, node: Any, end: VirtualTransport) -> None:
        now_ns = self._network.loop.now_ns
        waited_ns = now_ns - end.taken_ns
        slow_ns = simulated.config.slow_client_ms * MS
        if slow_ns and waited_ns * DRIFT >= slow_ns:
            if self._room_seen_ns(end) > TURN_NS:
                raise InvariantViolation(
                    f"{simulated.name} closes {end.remote_host} as slow, though there has been room"
                    f" for its replies for {(now_ns - end.room_ns) // MS} ms",
                    rule="a client that reads is closed as slow",
                )
            self.closed += 1
            return
        held = sum(connection.unread_bytes for connection in node.server.connections.values())
        if held <= 2 * servers.UNREAD_BYTES_MAX or waited_ns * DRIFT < servers.STALLED_NS:
            raise InvariantViolation(
                f"{simulated.name} closes {end.remote_host} as slow {waited_ns // MS} ms after it "
                f"took something, with slow_client_ms={simulated.config.slow_client_ms} and "
                f"{held} bytes held for all clients",
                rule="a client that reads is closed as slow",
            )

    def _room_seen_ns(self, end: VirtualTransport) -> int:
        """For how long its process has run since there is room: it can see none while it stands."""
        if end.room_ns is None or end.process is None:
            return 0
        room_ns, paused_ns = self._rooms.get(end, (0, 0))
        if room_ns != end.room_ns:
            paused_ns = end.process.paused_ns
        return self._network.loop.now_ns - end.room_ns - (end.process.paused_ns - paused_ns)

    # -- not closed --------------------------------------------------------------------------------

    def look(self) -> None:
        """Called every few milliseconds. Raises `InvariantViolation`."""
        self._looks += 1
        if self._looks % LOOK_EVERY_CHECKS:
            return
        self._count_stood()
        stalls, self._stalls = self._stalls, {}
        rooms, self._rooms = self._rooms, {}
        for end in self._network.transports():
            simulated = self._node_of(end)
            if simulated is None or end.protocol is None or end.is_gone():
                continue
            self._check_held(simulated, end)
            if end.room_ns is not None and end.process is not None:
                room = rooms.get(end, (0, 0))
                is_new = room[0] != end.room_ns
                self._rooms[end] = (end.room_ns, end.process.paused_ns) if is_new else room
            if end.get_write_buffer_size() <= HIGH_WATER_BYTES:
                continue
            process = end.process
            assert process is not None
            now_ns = self._network.loop.now_ns
            stall = stalls.get(end)
            if stall is None or stall[0] != end.taken_ns or end.room_ns is not None:
                stall = (end.taken_ns, now_ns, process.paused_ns + self._stood_ns)
            self._stalls[end] = stall
            _, since_ns, stood_ns = stall
            waited_ns = now_ns - since_ns - (process.paused_ns + self._stood_ns - stood_ns)
            self.stalled_most_ns = max(self.stalled_most_ns, waited_ns)
            slow_ns = simulated.config.slow_client_ms * MS
            if slow_ns and waited_ns > slow_ns * DRIFT + 2 * servers.LOOK_NS + LATE_NS:
                raise InvariantViolation(
                    f"{simulated.name} has not closed {end.remote_host}, which has taken nothing "
                    f"for {waited_ns // MS} ms, with {end.get_write_buffer_size()} bytes that wait "
                    f"and slow_client_ms={simulated.config.slow_client_ms}",
                    rule="a slow client is not closed",
                )

    def _count_stood(self) -> None:
        """A node takes no more than two looks' time for the time between two of its looks."""
        now_ns = self._network.loop.now_ns
        elapsed_ns = now_ns - self._looked_ns
        self._looked_ns = now_ns
        if elapsed_ns > servers.LOOK_NS:
            self._stood_ns += elapsed_ns

    def _check_held(self, simulated: SimulatedNode, end: VirtualTransport) -> None:
        held = getattr(end.protocol, "unread_bytes", 0) + end.get_write_buffer_size()
        self.held_most_bytes = max(self.held_most_bytes, held)
        bound = context.REPLY_BYTES_MAX + replies.WRITE_CHUNK_BYTES + HIGH_WATER_BYTES
        if held > bound + ANSWER_BYTES_MAX:
            raise InvariantViolation(
                f"{simulated.name} holds {held} bytes of replies for {end.remote_host}",
                rule="too much is held for one client",
            )

    # -- of whom -----------------------------------------------------------------------------------

    def _node_of(self, end: VirtualTransport) -> SimulatedNode | None:
        """The node whose client's connection it is, at the node's end."""
        simulated = self._nodes.get(end.local_host)
        if simulated is None or end.local_port != simulated.address[1]:
            return None
        if end.process is not simulated.process or not simulated.is_serving:
            return None
        return simulated
