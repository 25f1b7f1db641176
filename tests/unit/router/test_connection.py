"""One pipelined connection: what leaves when, whose reply is whose, and what ends it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from quorumcache.router.config import ClientConfig
from quorumcache.router.connection import Connection
from quorumcache.router.errors import BadReply, ConnectionLost, NotSent, ReplyTimeout
from quorumcache.router.levels import Local
from quorumcache.router.requests import arithmetic, delete, get
from tests.simulation.loop import VirtualLoop


class Wire:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.is_aborted = False
        self.connection: Connection | None = None

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def is_closing(self) -> bool:
        return self.is_aborted

    def abort(self) -> None:
        if not self.is_aborted:
            self.is_aborted = True
            assert self.connection is not None
            asyncio.get_running_loop().call_soon(self.connection.connection_lost, None)

    def get_extra_info(self, name: str) -> None:
        return None


class Bench:
    """A connection on a loop of virtual time."""

    def __init__(self, **settings: Any) -> None:
        loop = asyncio.get_running_loop()
        self.unusable: list[Connection] = []
        config = ClientConfig(stall_ms=1000, **settings)
        self.connection = Connection("n:1", loop, config, self.unusable.append)
        self.wire = Wire()
        self.wire.connection = self.connection
        self.connection.connection_made(self.wire)  # type: ignore[arg-type]

    def later(self, seconds: float = 10.0) -> float:
        return asyncio.get_running_loop().time() + seconds


async def turn() -> None:
    await asyncio.sleep(0)
    await asyncio.sleep(0)


def on_virtual_loop(main: Any) -> None:
    loop = VirtualLoop()
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()


def test_requests_of_one_turn_leave_in_one_write_and_get_their_replies_in_order() -> None:
    async def main() -> None:
        bench = Bench()
        first = bench.connection.submit(get(b"a"), bench.later())
        second = bench.connection.submit(delete(b"b"), bench.later())
        assert bench.wire.written == []
        await turn()
        assert bench.wire.written == [b"get a\r\ndelete b\r\n"]
        assert bench.connection.load == 2
        bench.connection.data_received(b"VALUE a 0 1\r\nx\r\nEND\r\nDEL")
        assert await first == b"x"
        assert not second.done()
        bench.connection.data_received(b"ETED\r\n")
        assert await second is True
        assert bench.connection.load == 0

    on_virtual_loop(main)


def test_who_works_alone_waits_for_no_turn() -> None:
    async def main() -> None:
        bench = Bench()
        bench.connection.submit(get(b"a"), bench.later(), True)
        assert bench.wire.written == [b"get a\r\n"]
        bench.connection.submit(get(b"b"), bench.later(), True)
        assert len(bench.wire.written) == 1, "behind another it leaves with its turn"

    on_virtual_loop(main)


def test_a_cancelled_request_keeps_its_place_once_it_has_left() -> None:
    async def main() -> None:
        bench = Bench()
        gone = bench.connection.submit(get(b"a"), bench.later())
        never = bench.connection.submit(get(b"b"), bench.later())
        never.cancel()
        kept = bench.connection.submit(get(b"c"), bench.later())
        await turn()
        assert bench.wire.written == [b"get a\r\nget c\r\n"]
        gone.cancel()
        bench.connection.data_received(b"VALUE a 0 1\r\nx\r\nEND\r\n")
        assert not kept.done()
        bench.connection.data_received(b"VALUE c 0 1\r\ny\r\nEND\r\n")
        assert await kept == b"y"

    on_virtual_loop(main)


@pytest.mark.parametrize(
    ("data", "error"),
    [(b"what?\r\n", ConnectionLost), (b"VALUE b 0 1\r\nx\r\nEND\r\n", BadReply)],
)
def test_bytes_that_fit_no_request_end_the_connection(data: bytes, error: type[Exception]) -> None:
    async def main() -> None:
        bench = Bench()
        asked = bench.connection.submit(get(b"a"), bench.later())
        behind = bench.connection.submit(delete(b"b"), bench.later())
        await turn()
        bench.connection.data_received(data)
        with pytest.raises(error):
            await asked
        with pytest.raises(ConnectionLost, match="a malformed reply"):
            await behind
        assert bench.unusable == [bench.connection]

    on_virtual_loop(main)


def test_a_reply_that_nobody_asked_for_ends_the_connection() -> None:
    async def main() -> None:
        bench = Bench()
        bench.connection.data_received(b"SERVER_ERROR too late\r\n")
        await bench.connection.closed
        assert (
            bench.connection.lost_why == "the node sent 'SERVER_ERROR too late' without a request"
        )

    on_virtual_loop(main)


def test_what_was_sent_may_have_happened_and_what_was_not_has_not() -> None:
    async def main() -> None:
        bench = Bench()
        sent = bench.connection.submit(delete(b"a"), bench.later())
        await turn()
        bench.connection.pause_writing()
        unsent = bench.connection.submit(delete(b"b"), bench.later())
        await turn()
        bench.connection.connection_lost(None)
        with pytest.raises(ConnectionLost, match="the node closed the connection"):
            await sent
        with pytest.raises(NotSent, match="the node closed the connection"):
            await unsent
        assert not bench.connection.is_usable

    on_virtual_loop(main)


def test_writing_goes_on_when_the_socket_has_room() -> None:
    async def main() -> None:
        bench = Bench()
        bench.connection.pause_writing()
        bench.connection.submit(get(b"a"), bench.later(), True)
        await turn()
        assert bench.wire.written == []
        bench.connection.resume_writing()
        assert bench.wire.written == [b"get a\r\n"]

    on_virtual_loop(main)


def test_a_deadline_ends_the_wait_and_silence_ends_the_use() -> None:
    async def main() -> None:
        bench = Bench()
        hasty = bench.connection.submit(get(b"a"), bench.later(0.5))
        patient = bench.connection.submit(get(b"b"), bench.later(5))
        await turn()
        with pytest.raises(ReplyTimeout):
            await hasty
        assert bench.connection.is_usable
        await asyncio.sleep(0.6)
        assert not bench.connection.is_usable, "it owes replies and was silent for stall_ms"
        assert not patient.done(), "its reply may still come"
        bench.connection.data_received(b"END\r\nEND\r\n")
        assert await patient is None
        await bench.connection.closed

    on_virtual_loop(main)


def test_places_are_given_in_order_of_arrival() -> None:
    async def main() -> None:
        bench = Bench(inflight_requests_max=1)
        connection = bench.connection
        first = connection.submit(get(b"a"), bench.later())
        order: list[str] = []

        async def caller(name: str) -> None:
            await connection.room(7, bench.later())
            order.append(name)
            await connection.submit(get(name.encode()), bench.later())

        callers = [asyncio.create_task(caller(name)) for name in "bcd"]
        await turn()
        assert order == []
        assert not connection.has_room(7)
        callers[1].cancel()
        connection.data_received(b"END\r\n")
        await turn()
        assert await first is None
        assert order == ["b"]
        connection.data_received(b"END\r\n")
        await turn()
        assert order == ["b", "d"]
        connection.data_received(b"END\r\n")
        await asyncio.gather(*callers, return_exceptions=True)

    on_virtual_loop(main)


def test_who_waits_for_a_place_is_told_when_there_is_none() -> None:
    async def main() -> None:
        bench = Bench(inflight_requests_max=1)
        bench.connection.submit(get(b"a"), bench.later())
        with pytest.raises(NotSent):
            await bench.connection.room(7, bench.later(0.1))
        waits = asyncio.create_task(bench.connection.room(7, bench.later()))
        await turn()
        bench.connection.retire()
        with pytest.raises(NotSent):
            await waits

    on_virtual_loop(main)


def test_a_level_is_put_in_force_before_the_read_that_needs_it() -> None:
    async def main() -> None:
        bench = Bench()
        for request in (
            get(b"a", Local()),
            arithmetic(b"incr", b"n", 1),
            get(b"b", Local()),
            get(b"c"),
        ):
            bench.connection.submit(request, bench.later())
        await turn()
        assert b"".join(bench.wire.written) == (
            b"cluster read local\r\nget a\r\nincr n 1\r\nget b\r\n"
            b"cluster read linearizable\r\nget c\r\n"
        )

    on_virtual_loop(main)


def test_a_retired_connection_closes_when_nobody_waits_any_more() -> None:
    async def main() -> None:
        bench = Bench()
        asked = bench.connection.submit(get(b"a"), bench.later())
        await turn()
        bench.connection.retire()
        await turn()
        assert not bench.wire.is_aborted
        bench.connection.data_received(b"END\r\n")
        assert await asked is None
        await bench.connection.closed
        assert bench.connection.lost_why == "the connection was retired"

    on_virtual_loop(main)
