"""The in-memory network behaves like TCP between hosts: ordered, lossless while it lasts, and able
to die badly.
"""

import asyncio
from collections.abc import Iterator
from random import Random

import pytest

from quorumcache.node.system.senders import sender_of
from tests.simulation.loop import VirtualLoop
from tests.simulation.network import Network, NetworkConfig
from tests.simulation.process import Process


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    loop = VirtualLoop(events_max=2_000_000)
    yield loop
    loop.close()
    assert loop.errors == []


class Recorder(asyncio.Protocol):
    """Writes down what happens to it."""

    def __init__(self, *, echo: bool = False) -> None:
        self.echo = echo
        self.data = b""
        self.reads = 0
        self.lost: list[Exception | None] = []
        self.eof = False
        self.pauses: list[str] = []

    def connection_made(self, transport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.data += data
        self.reads += 1
        if self.echo:
            self.transport.write(data)

    def eof_received(self) -> None:
        self.eof = True

    def connection_lost(self, error: Exception | None) -> None:
        self.lost.append(error)

    def pause_writing(self) -> None:
        self.pauses.append("pause")

    def resume_writing(self) -> None:
        self.pauses.append("resume")


class Pair:
    """Two hosts `a` and `b`; a process on each; `b` listens on port 7; `connect` comes from `a`."""

    def __init__(self, loop: VirtualLoop, *, seed: int = 1, echo: bool = False, **config) -> None:
        self.loop = loop
        self.network = Network(loop, Random(seed), config=NetworkConfig(**config))
        self.a = Process(loop, "a", host="a")
        self.b = Process(loop, "b", host="b")
        self.accepted: list[Recorder] = []
        self.echo = echo
        self.listen()

    def listen(self) -> None:
        def factory() -> Recorder:
            self.accepted.append(Recorder(echo=self.echo))
            return self.accepted[-1]

        self.server = self.run(self.b, self.loop.create_server(factory, "b", 7))

    def run(self, process: Process, coroutine):
        return self.loop.run_until_complete(process.spawn(coroutine))

    def connect(self) -> Recorder:
        _, protocol = self.run(self.a, self.loop.create_connection(Recorder, "b", 7))
        return protocol

    def wait(self, seconds: float) -> None:
        self.loop.run_until_complete(asyncio.sleep(seconds))


def test_streams_of_the_standard_library(loop):
    """asyncio.start_server and open_connection only need create_server and create_connection."""
    Network(loop, Random(1))
    a, b = Process(loop, "a", host="a"), Process(loop, "b", host="b")

    async def serve(reader, writer) -> None:
        while line := await reader.readline():
            writer.write(line.upper())
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def client() -> list[bytes]:
        reader, writer = await asyncio.open_connection("b", 11211)
        assert writer.get_extra_info("peername") == ("b", 11211)
        writer.writelines([b"one\n", b"two\n", b"x" * 50_000 + b"\n"])
        lines = [await reader.readline(), await reader.readline()]
        lines.append(await reader.readexactly(50_001))
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
        return lines

    loop.run_until_complete(b.spawn(asyncio.start_server(serve, "b", 11211)))
    lines = loop.run_until_complete(a.spawn(client()))
    assert lines == [b"ONE\n", b"TWO\n", b"X" * 50_000 + b"\n"]


def test_bytes_arrive_once_in_order_cut_anywhere(loop):
    pair = Pair(loop, split_probability=0.5, spike_probability=0.2, window_bytes=1000)
    client = pair.connect()
    random, sent = Random(5), b""
    for _ in range(300):
        data = random.randbytes(random.randrange(1, 300))
        sent += data
        client.transport.write(data)
    client.transport.close()
    pair.wait(60)
    assert pair.accepted[0].data == sent
    assert pair.accepted[0].eof
    assert pair.accepted[0].lost == [None]
    assert client.lost == [None]


def test_a_buffered_protocol_gets_the_same_bytes(loop):
    class Buffered(asyncio.BufferedProtocol):
        def __init__(self) -> None:
            self.buffer = bytearray(7)
            self.data = b""

        def get_buffer(self, sizehint: int) -> bytearray:
            return self.buffer

        def buffer_updated(self, count: int) -> None:
            self.data += self.buffer[:count]

    pair = Pair(loop, echo=True)
    transport, protocol = pair.run(pair.a, loop.create_connection(Buffered, "b", 7))
    transport.write(b"0123456789" * 10)
    pair.wait(1)
    assert protocol.data == b"0123456789" * 10


def test_a_reader_that_stops_makes_the_writer_pause(loop):
    pair = Pair(loop, window_bytes=10_000)
    client = pair.connect()
    client.transport.set_write_buffer_limits(high=5_000)
    pair.wait(1)
    pair.accepted[0].transport.pause_reading()
    client.transport.write(b"x" * 12_000)
    assert client.pauses == []
    client.transport.write(b"x" * 5_000)
    assert client.pauses == ["pause"]
    assert client.transport.get_write_buffer_size() == 7_000
    pair.wait(10)
    assert pair.accepted[0].data == b""
    pair.accepted[0].transport.resume_reading()
    pair.wait(1)
    assert client.pauses == ["pause", "resume"]
    assert len(pair.accepted[0].data) == 17_000


def test_nobody_listening_is_refused(loop):
    pair = Pair(loop)
    pair.server.close()
    with pytest.raises(ConnectionRefusedError):
        pair.connect()
    pair.listen()
    with pytest.raises(OSError, match="in use"):
        pair.listen()


def test_kill_resets_the_peer_after_a_part_of_the_last_bytes(loop):
    """Over many seeds: what was written arrives whole, in part or not at all, then the reset."""
    outcomes = set()
    for seed in range(40):
        inner = VirtualLoop()
        pair = Pair(inner, seed=seed, split_probability=0.7)
        client = pair.connect()
        pair.wait(0.1)
        pair.accepted[0].transport.write(b"reply")
        pair.b.crash()
        pair.wait(1)
        assert isinstance(client.lost[0], ConnectionResetError)
        assert b"reply".startswith(client.data)
        outcomes.add(len(client.data) if len(client.data) in (0, 5) else -1)
        assert pair.accepted[0].lost == []
        with pytest.raises(ConnectionRefusedError):
            pair.connect()
        inner.close()
    assert outcomes == {0, -1, 5}


def test_a_power_cut_is_silent_until_the_host_is_back(loop):
    pair = Pair(loop)
    client = pair.connect()
    pair.b.crash(silent=True)
    pair.network.host_down("b")
    client.transport.write(b"anyone?")
    pair.wait(30)
    assert client.lost == []
    with pytest.raises(TimeoutError):
        pair.connect()
    pair.network.host_up("b")
    pair.b = Process(loop, "b", host="b")
    pair.listen()
    client.transport.write(b"anyone?")
    pair.wait(1)
    assert isinstance(client.lost[0], ConnectionResetError)
    pair.connect()


def test_a_holding_partition_delivers_late(loop):
    pair = Pair(loop, echo=True)
    client = pair.connect()
    pair.network.partition(["a"], ["b"])
    client.transport.write(b"1")
    client.transport.write(b"2")
    pair.wait(5)
    assert pair.accepted[0].data == b""
    pair.network.heal()
    client.transport.write(b"3")
    pair.wait(1)
    assert pair.accepted[0].data == client.data == b"123"


def test_a_one_way_partition_blocks_one_direction(loop):
    pair = Pair(loop, echo=True)
    client = pair.connect()
    pair.network.partition(["b"], ["a"], one_way=True)
    client.transport.write(b"1")
    pair.wait(5)
    assert pair.accepted[0].data == b"1"
    assert client.data == b""
    pair.network.heal()
    pair.wait(1)
    assert client.data == b"1"


def test_a_losing_partition_leaves_both_ends_in_the_dark(loop):
    """Only an end that writes after the healing learns that the connection is gone."""
    pair = Pair(loop)
    client = pair.connect()
    pair.network.partition(["a"], ["b"], fault="lose")
    client.transport.write(b"lost")
    pair.wait(5)
    pair.network.heal()
    pair.wait(60)
    assert pair.accepted[0].data == b""
    assert client.lost == pair.accepted[0].lost == []
    client.transport.write(b"hello")
    pair.wait(1)
    assert isinstance(client.lost[0], ConnectionResetError)
    assert pair.accepted[0].lost == []


def test_connecting_through_a_partition_waits_for_the_healing_or_gives_up(loop):
    pair = Pair(loop)
    pair.network.partition(["b"], ["a"], one_way=True)
    loop.call_later(2, pair.network.heal)
    pair.connect()
    pair.network.partition(["a"], ["b"])
    with pytest.raises(TimeoutError):
        pair.connect()


def test_a_cancelled_connect_leaves_no_open_end(loop):
    pair = Pair(loop, latency_ns=100_000_000)

    async def impatient() -> None:
        await asyncio.wait_for(loop.create_connection(Recorder, "b", 7), 0.15)

    with pytest.raises(TimeoutError):
        pair.run(pair.a, impatient())
    pair.wait(1)
    assert pair.network.transports() == []


def test_bytes_for_a_paused_process_wait_and_fill_the_window(loop):
    pair = Pair(loop, window_bytes=1000)
    client = pair.connect()
    pair.b.pause()
    client.transport.write(b"x" * 5000)
    pair.wait(10)
    assert client.transport.get_write_buffer_size() == 4000
    other = pair.connect()  # the kernel of a stopped process still accepts
    pair.b.resume()
    pair.wait(1)
    assert len(pair.accepted[0].data) == 5000
    assert other.lost == []


def test_writing_to_a_closed_peer_is_answered_by_a_reset(loop):
    pair = Pair(loop)
    client = pair.connect()
    pair.wait(0.1)
    pair.accepted[0].transport.abort()
    client.transport.write(b"x")
    pair.wait(1)
    assert isinstance(client.lost[0], ConnectionResetError)
    client.transport.write(b"ignored")


def test_a_protocol_that_raises_loses_its_connection():
    loop = VirtualLoop()
    pair = Pair(loop)
    client = pair.connect()
    pair.wait(0.1)
    pair.accepted[0].data_received = lambda data: 1 / 0
    client.transport.write(b"x")
    pair.wait(1)
    assert isinstance(client.lost[0], ConnectionResetError)
    assert isinstance(loop.errors[0]["exception"], ZeroDivisionError)
    loop.close()


def test_the_same_seed_gives_the_same_trace():
    def run(seed: int) -> str:
        loop = VirtualLoop()
        pair = Pair(loop, seed=seed, echo=True, split_probability=0.3)
        clients = [pair.connect() for _ in range(5)]
        for round_number in range(50):
            clients[round_number % 5].transport.write(b"data" * round_number)
            pair.wait(0.0005)
        pair.wait(1)
        loop.close()
        return pair.network.trace.digest()

    assert run(3) == run(3)
    assert run(3) != run(4)


@pytest.mark.parametrize("seed", range(5))
def test_a_sender_sends_all_in_order_however_little_is_taken_at_once(
    loop: VirtualLoop, seed: int
) -> None:
    """As sockets do, it takes a part of some pieces, and nothing once the window is full."""
    pair = Pair(loop, window_bytes=1500)
    near = pair.connect()
    pair.wait(1)
    random = Random(seed)
    sender = sender_of(near.transport)
    sent, taken_of = b"", {"all": 0, "a part": 0, "nothing": 0}
    while min(taken_of.values()) < 5:
        piece = random.randbytes(random.randrange(1, 200))
        sent += piece
        taken = 0
        if random.random() < 0.5:
            taken = sender.try_write(piece)
            taken_of["all" if taken == len(piece) else "a part" if taken else "nothing"] += 1
        if taken < len(piece):
            sender.write(piece[taken:])
        if random.random() < 0.3:
            pair.wait(random.random() / 100)
    near.transport.close()
    assert sender.try_write(b"x") == 0
    pair.wait(10)
    assert pair.accepted[0].data == sent
    assert pair.accepted[0].eof
