"""The in-memory network: hosts, listeners, links with latency, and the faults of links.

A `Link` is one direction between two hosts. A partition either *holds* the bytes (they are
retransmitted and come late) or *loses* them (the connection is dead, and neither end hears so: its
own keepalive has to tell). What a write sends may be cut at any byte, so half frames are ordinary.
Everything random comes from the `Random` handed in.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.simulation.loop import VirtualLoop
from tests.simulation.process import PROCESS, Process
from tests.simulation.trace import Trace
from tests.simulation.transport import RESET, VirtualTransport

MS = 1_000_000
SYN_RETRY_SECONDS = (1.0, 2.0, 4.0, 8.0, 16.0)  # then the connect times out
RETRANSMIT_NS = 60 * MS
"""Until a lost segment is sent again: a kernel hears of it by the answers to what was sent behind
it, and between nodes there is a heartbeat every 50 ms."""

LOCAL_NAMES = ("", "localhost", "127.0.0.1", "0.0.0.0", "::", None)


@dataclass(slots=True, kw_only=True)
class NetworkConfig:
    """Latency of one direction is `latency_ns` plus up to `jitter_ns`, rarely up to `spike_ns`."""

    latency_ns: int = 200_000
    jitter_ns: int = 300_000
    spike_ns: int = 20 * MS
    spike_probability: float = 0.001
    quantum_ns: int = 0  # arrivals are rounded up to it, so that many fall into one loop turn
    split_probability: float = 0.05
    segment_bytes_max: int = 16 * 1024
    window_bytes: int = 128 * 1024
    datagram_loss: float = 0.01
    datagram_repeats: float = 0.02
    datagram_late_probability: float = 0.05  # by up to `datagram_late_ns`: others overtake it
    datagram_late_ns: int = 20 * MS
    datagram_stray_probability: float = 0.002  # late by up to `datagram_stray_ns`: its sender may
    datagram_stray_ns: int = 3_000 * MS  # have been started again


class Link:
    """One direction from a host to another.

    `fault` is None, "hold" or "lose"; several partitions may cut it at a time. `busy_until_ns`:
    when the bytes put on it so far have left, as far as its width goes.
    """

    def __init__(self) -> None:
        self.fault: str | None = None
        self.extra_latency_ns = 0
        self.bytes_per_second = 0
        """0: without limit."""
        self.loss = 0.0
        """Probability that a segment is lost on its way, each time it is sent."""
        self.busy_until_ns = 0
        self._cuts = {"hold": 0, "lose": 0}
        self._widths: list[int] = []

    def cut(self, fault: str, by: int) -> None:
        self._cuts[fault] = max(0, self._cuts[fault] + by)
        self.fault = "lose" if self._cuts["lose"] else "hold" if self._cuts["hold"] else None

    def narrow(self, bytes_per_second: int) -> None:
        self._widths.append(bytes_per_second)
        self.bytes_per_second = min(self._widths)

    def widen(self, bytes_per_second: int) -> None:
        """Undo one `narrow`."""
        if bytes_per_second in self._widths:
            self._widths.remove(bytes_per_second)
        self.bytes_per_second = min(self._widths, default=0)

    def heal(self) -> None:
        self._cuts = {"hold": 0, "lose": 0}
        self.fault = None
        self.extra_latency_ns = self.bytes_per_second = 0
        self.loss = 0.0
        self._widths.clear()

    @property
    def is_in_trouble(self) -> bool:
        """Some fault is at work on it."""
        return bool(self.fault or self.extra_latency_ns or self.bytes_per_second or self.loss)

    def departure_ns(self, now_ns: int, size: int) -> int:
        """When the last of `size` bytes has left a link of limited width."""
        begin_ns = max(now_ns, self.busy_until_ns)
        self.busy_until_ns = begin_ns + size * 1_000_000_000 // self.bytes_per_second
        return self.busy_until_ns


class VirtualServer(asyncio.AbstractServer):
    """A listener, owned by the process that opened it."""

    def __init__(
        self,
        network: Network,
        address: tuple[str, int],
        factory: Callable[[], Any],
        context: contextvars.Context,
        serves: bool,
    ) -> None:
        self.network = network
        self.address = address
        self.factory = factory
        self.context = context
        self.process: Process | None = context.get(PROCESS)
        self.sockets: tuple[Any, ...] = (_ListeningSocket(address),)
        self._serves = serves

    def close(self) -> None:
        self.network.stop_listening(self)
        self.sockets = ()

    async def wait_closed(self) -> None:
        """Closing is immediate."""

    def is_serving(self) -> bool:
        return bool(self.sockets) and self._serves

    async def start_serving(self) -> None:
        self._serves = True

    async def serve_forever(self) -> None:
        await self.network.loop.create_future()

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self.network.loop


class VirtualDatagramEnd(asyncio.DatagramTransport):
    """One socket for datagrams, owned by the process that opened it."""

    def __init__(
        self,
        network: Network,
        context: contextvars.Context,
        local: tuple[str, int],
        remote: tuple[str, int] | None,
    ) -> None:
        super().__init__()
        self.network = network
        self.context = context
        self.process: Process | None = context.get(PROCESS)
        self.local = local
        self.remote = remote
        self.protocol: Any = None
        self._is_closed = False

    def sendto(self, data: Any, addr: Any = None) -> None:
        if not self._is_closed:
            self.network.send_datagram(self, bytes(data))

    def get_write_buffer_size(self) -> int:
        return 0  # What is sent is on its way.

    def is_closing(self) -> bool:
        return self._is_closed

    def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self.network.close_datagrams(self)
            self.network.loop.call_soon(self.protocol.connection_lost, None, context=self.context)

    abort = close


class _ListeningSocket:
    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address

    def getsockname(self) -> tuple[str, int]:
        return self._address

    def fileno(self) -> int:
        return 0


class Network:
    """All hosts and connections of a world. Attaches itself to the loop."""

    def __init__(
        self,
        loop: VirtualLoop,
        random: Random,
        *,
        config: NetworkConfig | None = None,
        trace: Trace | None = None,
    ) -> None:
        self.loop = loop
        self.random = random
        self.config = config or NetworkConfig()
        self.trace = trace if trace is not None else Trace(loop)
        self.window_bytes = self.config.window_bytes
        self.bytes_sent = 0
        self.tap: Callable[[VirtualTransport, bytes], None] | None = None
        """Called with everything that is written to a connection, before it is on its way."""
        self.on_abort: Callable[[VirtualTransport], None] | None = None
        """Called with an end whose process drops the connection, before it does."""
        self._links: dict[tuple[str, str], Link] = {}
        self._servers: dict[tuple[str, int], VirtualServer] = {}
        self._transports: dict[VirtualTransport, None] = {}
        self._datagram_ends: dict[tuple[str, int], VirtualDatagramEnd] = {}
        self._hosts_down: set[str] = set()
        self._watched: dict[Process, None] = {}
        self._next_port = 40_000
        self._connections = 0
        self._context = contextvars.copy_context()  # of the network itself: no process
        loop.network = self

    # -- opening -----------------------------------------------------------------------------------

    async def listen(
        self,
        factory: Callable[[], Any],
        host: Any,
        port: Any,
        *,
        ssl: Any = None,
        start_serving: bool = True,
        **_: Any,
    ) -> VirtualServer:
        if ssl is not None:
            raise NotImplementedError("no TLS in the simulation")
        address = self._address(host, int(port or 0) or self._ephemeral_port())
        if address in self._servers:
            raise OSError(98, f"Address already in use: {address}")
        context = contextvars.copy_context()
        server = VirtualServer(self, address, factory, context, start_serving)
        self._watch(server.process)
        self._servers[address] = server
        return server

    def stop_listening(self, server: VirtualServer) -> None:
        if self._servers.get(server.address) is server:
            del self._servers[server.address]

    async def connect(
        self,
        factory: Callable[[], Any],
        host: Any,
        port: Any,
        *,
        ssl: Any = None,
        sock: Any = None,
        local_addr: Any = None,
        **_: Any,
    ) -> tuple[asyncio.Transport, Any]:
        if ssl is not None or sock is not None:
            raise NotImplementedError("no TLS and no ready sockets in the simulation")
        source = (self._own_host(), self._ephemeral_port())
        target = self._address(host, int(port))
        there, back = self.link(source[0], target[0]), self.link(target[0], source[0])
        for wait_seconds in (*SYN_RETRY_SECONDS, None):
            lost = self._is_lost(there) or self._is_lost(back)
            if not (there.fault or back.fault or target[0] in self._hosts_down or lost):
                break
            if wait_seconds is None:
                raise TimeoutError(110, f"Connect call failed {target}")
            await asyncio.sleep(wait_seconds)
        await asyncio.sleep(self._latency_ns(there) / 1e9)
        server = self._servers.get(target)
        is_dead = server is not None and server.process is not None and server.process.is_dead
        if server is None or is_dead or not server.is_serving():
            await asyncio.sleep(self._latency_ns(back) / 1e9)
            raise ConnectionRefusedError(111, f"Connect call failed {target}")
        self._connections += 1
        number = self._connections
        context = contextvars.copy_context()
        near = VirtualTransport(self, context, source, target, number)
        far = VirtualTransport(self, server.context.copy(), target, source, number)
        near.peer, far.peer = far, near
        for end in (near, far):
            self._transports[end] = None
            self._watch(end.process)
        self.trace.record("accept", number, source, target)
        self.loop.call_soon(self._accept, server, far, context=far.context)
        try:
            await asyncio.sleep(self._latency_ns(back) / 1e9)
        except asyncio.CancelledError:
            near.abort()
            raise
        protocol = factory()
        near.attach(protocol)
        return near, protocol

    def _accept(self, server: VirtualServer, transport: VirtualTransport) -> None:
        if transport.is_gone():
            return
        if not server.is_serving():
            transport.abort()
            return
        transport.attach(server.factory())

    def _address(self, host: Any, port: int) -> tuple[str, int]:
        if host in LOCAL_NAMES:
            return self._own_host(), port
        if not isinstance(host, str):
            raise TypeError(f"one host name expected, not {host!r}")
        return host, port

    def _own_host(self) -> str:
        process = PROCESS.get()
        return "test" if process is None else process.host

    def _ephemeral_port(self) -> int:
        self._next_port += 1
        return self._next_port

    # -- the wire ----------------------------------------------------------------------------------

    def send(self, sender: VirtualTransport, item: Any) -> None:
        """Put bytes or a FIN or RESET of `sender` on the wire; its peer will read them."""
        receiver = sender.peer
        link = sender.link
        if isinstance(item, bytes):
            self.bytes_sent += len(item)
        if sender.dead_ended:
            back = self.link(sender.remote_host, sender.local_host)
            if not (link.fault or back.fault or sender.remote_host in self._hosts_down):
                self._reset_dead_end(sender)
            return
        if link.fault == "lose" or receiver.local_host in self._hosts_down:
            sender.dead_ended = receiver.dead_ended = True
            return
        if not isinstance(item, bytes):
            self._transmit(link, receiver, item)
            return
        config = self.config
        if len(item) <= config.segment_bytes_max and not config.split_probability:
            self._transmit(link, receiver, item)
            return
        for segment in self._segments(item):
            self._transmit(link, receiver, segment)

    async def open_datagrams(
        self, factory: Callable[[], Any], *, local_addr: Any = None, remote_addr: Any = None
    ) -> tuple[VirtualDatagramEnd, Any]:
        """An endpoint that listens at `local_addr`, or one that sends to `remote_addr`."""
        host, port = local_addr if local_addr is not None else (None, 0)
        local = self._address(host, int(port) or self._ephemeral_port())
        if local in self._datagram_ends:
            raise OSError(98, f"Address already in use: {local}")
        remote = self._address(*remote_addr) if remote_addr is not None else None
        end = VirtualDatagramEnd(self, contextvars.copy_context(), local, remote)
        self._watch(end.process)
        self._datagram_ends[local] = end
        end.protocol = factory()
        end.protocol.connection_made(end)
        return end, end.protocol

    def close_datagrams(self, end: VirtualDatagramEnd) -> None:
        if self._datagram_ends.get(end.local) is end:
            del self._datagram_ends[end.local]

    def send_datagram(self, sender: VirtualDatagramEnd, data: bytes) -> None:
        """Lost, late or twice, as the network likes."""
        assert sender.remote is not None
        random, config = self.random, self.config
        link = self.link(sender.local[0], sender.remote[0])
        copies = 2 if random.random() < config.datagram_repeats else 1
        for _ in range(copies):
            is_lost = self._is_lost(link) or random.random() < config.datagram_loss
            if link.fault or is_lost or sender.remote[0] in self._hosts_down:
                continue
            late_ns = config.latency_ns + link.extra_latency_ns
            late_ns += int(random.random() * config.jitter_ns)
            if random.random() < config.datagram_late_probability:
                late_ns += int(random.random() * config.datagram_late_ns)
            if random.random() < config.datagram_stray_probability:
                late_ns += int(random.random() * config.datagram_stray_ns)
            self.loop.call_at_ns(
                self.loop.now_ns + late_ns,
                self._context,
                self._datagram_arrives,
                sender.local,
                sender.remote,
                data,
            )

    def _datagram_arrives(
        self, source: tuple[str, int], target: tuple[str, int], data: bytes
    ) -> None:
        end = self._datagram_ends.get(target)
        if end is not None and target[0] not in self._hosts_down:
            self.loop.call_soon(end.protocol.datagram_received, data, source, context=end.context)

    def _segments(self, data: bytes) -> list[bytes]:
        random, config = self.random, self.config
        segments = []
        while len(data) > config.segment_bytes_max:
            segments.append(data[: config.segment_bytes_max])
            data = data[config.segment_bytes_max :]
        if len(data) > 1 and random.random() < config.split_probability:
            cut = random.randrange(1, len(data))
            segments.append(data[:cut])
            data = data[cut:]
        segments.append(data)
        return segments

    def _transmit(self, link: Link, receiver: VirtualTransport, item: Any) -> None:
        if link.fault is not None or receiver.held:
            receiver.held.append(item)
            return
        departure_ns = self.loop.now_ns
        if link.bytes_per_second and isinstance(item, bytes):
            departure_ns = link.departure_ns(departure_ns, len(item))
        arrival_ns = departure_ns + self._latency_ns(link)
        if self.config.quantum_ns:
            arrival_ns += -arrival_ns % self.config.quantum_ns
        if receiver.in_flight:
            arrival_ns = max(arrival_ns, receiver.in_flight[-1][0])
        receiver.in_flight.append((arrival_ns, item))
        self.loop.call_at_ns(arrival_ns, receiver.context, self._arrive, receiver)

    def _arrive(self, receiver: VirtualTransport) -> None:
        if receiver.is_gone():
            self._answer_gone(receiver)
        else:
            receiver.arrive()

    def _answer_gone(self, receiver: VirtualTransport) -> None:
        """Data for a closed socket: the kernel answers with a reset."""
        had_bytes = any(isinstance(item, bytes) for _, item in receiver.in_flight)
        receiver.in_flight.clear()
        if had_bytes and not receiver.peer.is_gone():
            self.send(receiver, RESET)

    def _reset_dead_end(self, sender: VirtualTransport) -> None:
        """The path is whole again, but the connection is long forgotten: a write is answered by a
        reset.
        """
        if not sender.is_gone():
            sender.in_flight.clear()
            sender.held.clear()
            self._transmit(self.link(sender.remote_host, sender.local_host), sender, RESET)

    def _latency_ns(self, link: Link) -> int:
        config, random = self.config, self.random
        latency_ns = config.latency_ns + link.extra_latency_ns
        if config.jitter_ns:
            latency_ns += int(random.random() * config.jitter_ns)
        if config.spike_probability and random.random() < config.spike_probability:
            latency_ns += int(random.random() * config.spike_ns)
        while self._is_lost(link):  # What is behind it on the connection waits, too.
            latency_ns += RETRANSMIT_NS
        return latency_ns

    def _is_lost(self, link: Link) -> bool:
        return link.loss > 0.0 and self.random.random() < link.loss

    # -- ends of processes and hosts ---------------------------------------------------------------

    def _watch(self, process: Process | None) -> None:
        if process is not None and process not in self._watched:
            self._watched[process] = None
            process.exit_hooks.append(lambda silent: self._process_ended(process, silent))

    def _process_ended(self, process: Process, silent: bool) -> None:
        """The kernel closes what the process had open. In a power cut (`silent`) nobody does."""
        del self._watched[process]
        for server in [s for s in self._servers.values() if s.process is process]:
            self.stop_listening(server)
        for end in [e for e in self._datagram_ends.values() if e.process is process]:
            del self._datagram_ends[end.local]
        for transport in [t for t in self._transports if t.process is process]:
            peer = transport.peer
            if silent:
                transport.dead_ended = peer.dead_ended = True
                peer.in_flight.clear()
            else:
                # The kill may have come in the middle of the last write.
                if peer.in_flight and self.random.random() < 0.5:
                    peer.in_flight.pop()
                self.send(transport, RESET)
            self.forget(transport)

    def forget(self, transport: VirtualTransport) -> None:
        self._transports.pop(transport, None)

    def host_down(self, host: str) -> None:
        """The machine is off: connects to it hang, bytes to it vanish."""
        self._hosts_down.add(host)

    def host_up(self, host: str) -> None:
        self._hosts_down.discard(host)

    # -- faults ------------------------------------------------------------------------------------

    def link(self, source: str, target: str) -> Link:
        link = self._links.get((source, target))
        if link is None:
            link = self._links[source, target] = Link()
        return link

    def cut(self, source: str, target: str, *, fault: str = "hold") -> None:
        """Block one direction. See the module for what the faults mean."""
        assert fault in ("hold", "lose")
        self.link(source, target).cut(fault, 1)

    def partition(
        self, side: list[str], others: list[str], *, fault: str = "hold", one_way: bool = False
    ) -> list[tuple[str, str]]:
        """Cut every link between the sides; `one_way` only what goes from `side` to `others`.

        Returns the directions that were cut, for `mend`.
        """
        links = [(a, b) for a in side for b in others]
        if not one_way:
            links += [(b, a) for a, b in links]
        for source, target in links:
            self.cut(source, target, fault=fault)
        return links

    def mend(self, links: list[tuple[str, str]], *, fault: str = "hold") -> None:
        """The end of a partition: its links work again, unless another one cuts them, too."""
        for source, target in links:
            self.link(source, target).cut(fault, -1)
        self._release_held()

    def hosts_in_trouble(self) -> set[str]:
        """At the ends of links that are cut, slow or narrow, or lose something."""
        return {host for ends, link in self._links.items() if link.is_in_trouble for host in ends}

    def heal(self) -> None:
        """All links work again; what was held is on its way."""
        for link in self._links.values():
            link.heal()
        self._release_held()

    def _release_held(self) -> None:
        for transport in list(self._transports):
            link = transport.peer.link
            if transport.held and link.fault is None:
                held, transport.held = transport.held, []
                for item in held:
                    self._transmit(link, transport, item)

    def reset_connection(self, transport: VirtualTransport) -> None:
        """A middlebox resets a connection: both ends see it."""
        for end in (transport, transport.peer):
            if not end.is_gone():
                end.in_flight.clear()
                self._transmit(end.peer.link, end, RESET)

    def shut(self) -> None:
        """The world ends."""
        for transport in self._transports:
            transport.vanish()

    def transports(self) -> list[VirtualTransport]:
        return list(self._transports)
