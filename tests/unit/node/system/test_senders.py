"""Goal: a reply is never lost, sent twice, out of order, or to another client, however little a
socket takes at once, and whenever its transport closes it.

Method: both forms of the sender over a pair of sockets and a transport moved by hand; then over
the transports of asyncio and uvloop, with TCP and Unix sockets.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from quorumcache.node.system.senders import PlainSender, Sender, sender_of
from tests.support.native_core import native

FORMS: list[Callable[..., Sender]] = [PlainSender]
if senders := native("senders"):
    FORMS.append(senders.Sender)

MUCH = bytes(range(256)) * 4096


class ByHand:
    """A transport and its socket. `waiting` is what it holds."""

    def __init__(self, make: Callable[..., Sender]) -> None:
        self.near, self.far = socket.socketpair()
        for end in (self.near, self.far):
            end.setblocking(False)
        self.near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        self.waiting = b""
        self.writes = 0
        self.is_ending = False
        self.descriptor: int | None = None
        """In place of the socket's own."""
        self.sender = make(self, self, None)

    def fileno(self) -> int:
        return self.near.fileno() if self.descriptor is None else self.descriptor

    def is_closing(self) -> bool:
        return self.is_ending

    def get_write_buffer_size(self) -> int:
        return len(self.waiting)

    def write(self, data: bytes | memoryview) -> None:
        self.writes += 1
        self.waiting += bytes(data)

    def arrived(self) -> bytes:
        """What the other side has received by now."""
        data = b""
        try:
            while piece := self.far.recv(1 << 16):
                data += piece
        except BlockingIOError:
            pass
        return data

    def send_waiting(self) -> None:
        """The transport's own turn: its buffer goes to the socket."""
        self.waiting = self.waiting[self.near.send(self.waiting) :]


@pytest.fixture(params=FORMS, ids=lambda form: form.__module__.rpartition(".")[2] + form.__name__)
def hand(request: pytest.FixtureRequest) -> Iterator[ByHand]:
    made = ByHand(request.param)
    yield made
    made.near.close()
    made.far.close()


def test_what_the_socket_takes_never_meets_the_transport(hand: ByHand) -> None:
    hand.sender.write(b"VALUE k 0 1\r\nx\r\nEND\r\n")
    assert hand.sender.try_write(b"END\r\n") == 5
    assert hand.arrived() == b"VALUE k 0 1\r\nx\r\nEND\r\nEND\r\n"
    assert hand.writes == 0


def test_nothing_is_nothing(hand: ByHand) -> None:
    hand.sender.write(b"")
    assert hand.sender.try_write(b"") == 0
    assert (hand.arrived(), hand.waiting) == (b"", b"")


def test_the_transport_has_the_rest(hand: ByHand) -> None:
    hand.sender.write(MUCH)
    received = hand.arrived()
    assert 0 < len(received) < len(MUCH)
    assert received + hand.waiting == MUCH
    assert hand.writes == 1


def test_what_waits_is_not_overtaken(hand: ByHand) -> None:
    """The socket has room again before the transport has sent what it holds."""
    hand.sender.write(MUCH)
    received = hand.arrived()
    assert hand.sender.try_write(b"too early") == 0
    hand.sender.write(b"last")
    assert hand.arrived() == b""
    assert received + hand.waiting == MUCH + b"last"


def test_it_goes_past_the_transport_again_once_that_holds_nothing(hand: ByHand) -> None:
    hand.sender.write(MUCH)
    received = b""
    while hand.waiting:
        received += hand.arrived()
        hand.send_waiting()
    hand.sender.write(b"last")
    assert hand.writes == 1
    assert received + hand.arrived() == MUCH + b"last"


def test_a_socket_that_takes_nothing_leaves_all_to_the_transport(hand: ByHand) -> None:
    while hand.sender.try_write(MUCH):
        pass
    hand.sender.write(b"x")
    assert hand.waiting == b"x"


def test_nothing_is_sent_once_the_transport_is_closing(hand: ByHand) -> None:
    """Its descriptor may still be open, for what it holds."""
    hand.is_ending = True
    assert hand.sender.try_write(b"x") == 0
    hand.sender.write(b"y")
    assert (hand.arrived(), hand.waiting) == (b"", b"y")


def test_nothing_is_sent_once_the_socket_has_no_descriptor(hand: ByHand) -> None:
    hand.sender.write(b"x")
    hand.descriptor = -1
    assert hand.sender.try_write(b"y") == 0
    assert hand.arrived() == b"x"


def test_an_error_is_left_to_the_transport(hand: ByHand) -> None:
    hand.far.close()
    hand.far = socket.socket()
    assert hand.sender.try_write(b"x") == 0
    hand.sender.write(b"y")
    assert hand.waiting == b"y"
    closed = socket.socket()
    hand.waiting, hand.descriptor = b"", closed.detach()
    os.close(hand.descriptor)
    assert hand.sender.try_write(b"x") == 0


def test_a_view_of_bytes_goes_to_the_transport_and_keeps_its_place(hand: ByHand) -> None:
    hand.sender.write(memoryview(b"ab"))
    hand.sender.write(b"c")
    assert hand.waiting == b"abc"


@pytest.mark.parametrize("form", FORMS)
def test_without_a_socket_all_is_the_transports(form: Callable[..., Sender]) -> None:
    """It is asked nothing: one that is only written to will do."""

    class Written:
        data = b""

        def write(self, data: bytes) -> None:
            self.data += data

    written = Written()
    sender = form(written, None, None)
    sender.write(b"a")
    assert sender.try_write(b"b") == 0
    sender.write(b"c")
    assert written.data == b"ac"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("count", [0, 2, 5])
def test_a_transport_that_takes_bytes_itself_is_asked_by_the_same_rules(
    form: Callable[..., Sender], count: int
) -> None:
    class Takes(ByHand):
        taken = b""

        def take(self, data: bytes) -> int:
            self.taken += data[:count]
            return min(count, len(data))

    hand = Takes(form)
    sender = form(hand, None, hand.take)
    sender.write(b"abcde")
    assert (hand.taken, hand.waiting) == (b"abcde"[:count], b"abcde"[count:])
    if count < 5:
        sender.write(b"f")
        assert hand.taken + hand.waiting == b"abcdef"
    hand.waiting, hand.taken, hand.is_ending = b"", b"", True
    assert sender.try_write(b"abcde") == 0
    assert hand.taken == b""
    hand.near.close()
    hand.far.close()


# -- the transports of loops ---------------------------------------------------------------------

RUNS: list[Any] = [asyncio.run, uvloop.run]
"""Nodes run on uvloop; on asyncio's loop the same holds."""


class Server(asyncio.Protocol):
    """Sends by a sender, and writes down what happens to it."""

    def __init__(self) -> None:
        self.made = asyncio.Event()
        self.lost = asyncio.Event()
        self.resumed = asyncio.Event()
        self.pauses = 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.sender = sender_of(transport)
        self.made.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()

    def pause_writing(self) -> None:
        self.pauses += 1

    def resume_writing(self) -> None:
        self.resumed.set()


async def connect(kind: str, directory: Path) -> tuple[Server, socket.socket]:
    """A client's end, and the server's protocol of it."""
    loop = asyncio.get_running_loop()
    made: asyncio.Future[Server] = loop.create_future()

    def factory() -> Server:
        made.set_result(Server())
        return made.result()

    if kind == "unix":
        path = str(directory / "s")
        server = await loop.create_unix_server(factory, path)
        client = socket.socket(socket.AF_UNIX)
        client.setblocking(False)
        await loop.sock_connect(client, path)
    else:
        server = await loop.create_server(factory, "127.0.0.1", 0)
        client = socket.socket()
        client.setblocking(False)
        await loop.sock_connect(client, server.sockets[0].getsockname())
    protocol = await made
    await protocol.made.wait()
    server.close()
    return protocol, client


def is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_a_reply_is_there_as_soon_as_it_was_written(run: Any, kind: str, tmp_path: Path) -> None:
    async def main() -> None:
        server, client = await connect(kind, tmp_path)
        assert server.sender.try_write(b"STORED\r\n") == 8
        assert client.recv(100) == b"STORED\r\n"
        client.close()
        await server.lost.wait()

    run(main())


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_a_client_that_does_not_read_pauses_the_server_and_gets_all_in_order(
    run: Any, kind: str, tmp_path: Path
) -> None:
    async def main() -> None:
        server, client = await connect(kind, tmp_path)
        loop = asyncio.get_running_loop()
        sent = received = b""
        while not server.pauses:
            server.sender.write(MUCH[:100_000])
            server.sender.write(b"%d " % len(sent))
            sent += MUCH[:100_000] + b"%d " % len(sent)
        assert server.transport.get_write_buffer_size() > 0
        while len(received) < len(sent):
            received += await loop.sock_recv(client, 1 << 20)
        await server.resumed.wait()
        assert server.pauses == 1
        assert server.transport.get_write_buffer_size() == 0
        assert server.sender.try_write(b"last") == 4
        assert received + await loop.sock_recv(client, 100) == sent + b"last"
        client.close()
        await server.lost.wait()

    run(main())


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("end", ["close", "abort", "reset", "left"])
def test_a_number_that_another_client_has_by_now_gets_nothing(
    run: Any, end: str, tmp_path: Path
) -> None:
    """However the connection ended: by this side, or by its client, with a reset or without."""

    async def main() -> None:
        near, far = socket.socketpair()
        far.setblocking(False)
        server, client = await connect("tcp", tmp_path)
        number = server.transport.get_extra_info("socket").fileno()
        if end in ("close", "abort"):
            getattr(server.transport, end)()
            assert server.sender.try_write(b"x") == 0, "the transport is closing"
        elif end == "reset":
            linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            client.close()
        else:
            client.close()
        await server.lost.wait()
        for _ in range(100):
            if not is_open(number):
                break
            await asyncio.sleep(0)
        os.dup2(near.fileno(), number)
        assert server.sender.try_write(b"another client's") == 0
        os.close(number)
        with pytest.raises(BlockingIOError):
            far.recv(100)
        for end_of_a_pair in (near, far, client):
            end_of_a_pair.close()

    run(main())


@pytest.mark.parametrize("run", RUNS)
def test_a_transport_of_tls_gets_all_itself(run: Any) -> None:
    """The bytes of its socket are not those that are written to it."""

    class Tls:
        written = b""

        def get_extra_info(self, name: str, default: Any = None) -> Any:
            assert name in ("sslcontext", "socket", "try_write")
            return self if name != "try_write" else default

        def write(self, data: bytes) -> None:
            self.written += data

    async def main() -> None:
        transport: Any = Tls()
        sender = sender_of(transport)
        sender.write(b"secret")
        assert sender.try_write(b"secret") == 0
        assert transport.written == b"secret"

    run(main())
