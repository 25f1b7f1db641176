"""A host name whose server does not answer: it delays no other name, and keeps the addresses that
were found before where that is asked for."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
import uvloop

from quorumcache.ring import names
from quorumcache.ring.names import Names, look_up
from tests.support.hung_names import HungNames

Run = Callable[[Awaitable[Any]], Any]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[HungNames]:
    server = HungNames(monkeypatch)
    server.addresses.update(live="10.0.0.1", hung="10.0.0.2")
    yield server
    server.release()


@pytest.fixture(params=[asyncio.run, uvloop.run])
def run(request: pytest.FixtureRequest) -> Run:
    return request.param  # type: ignore[no-any-return]


def test_a_name_without_an_answer_delays_no_other_name(run: Run, server: HungNames) -> None:
    """It is asked for again and again, each time for a moment: one look-up is under way, and the
    end of the loop does not wait for it."""
    server.silent.add("hung")

    async def scenario() -> None:
        resolver = Names(asyncio.get_running_loop())
        for _ in range(50):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.001):
                    await resolver.resolve("hung")
        assert await resolver.resolve("live") == ["10.0.0.1"]
        assert server.asked == ["hung", "live"]

    run(scenario())
    assert server.under_way == 1, "the loop has waited for it"


def test_what_is_known_is_used_while_nothing_is_heard(
    run: Run, server: HungNames, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "SLOW_SECONDS", 0.001)

    async def scenario() -> None:
        resolver = Names(asyncio.get_running_loop(), remembers=True)
        assert await resolver.resolve("hung") == ["10.0.0.2"]
        server.addresses["hung"] = "10.0.0.3"
        server.silent.add("hung")
        for _ in range(3):
            assert await resolver.resolve("hung") == ["10.0.0.2"]
        server.release()
        monkeypatch.setattr(names, "SLOW_SECONDS", 10.0)
        assert await resolver.resolve("hung") == ["10.0.0.3"]
        del server.addresses["hung"]
        assert await resolver.resolve("hung") == ["10.0.0.3"], "a name that is gone for a while"

    run(scenario())


def test_a_client_is_told_that_a_name_is_gone(run: Run, server: HungNames) -> None:
    """It does not check who answers at an old address, so it keeps none."""

    async def scenario() -> None:
        resolver = Names(asyncio.get_running_loop())
        assert await resolver.resolve("hung") == ["10.0.0.2"]
        del server.addresses["hung"]
        with pytest.raises(OSError, match="Temporary failure in name resolution"):
            await resolver.resolve("hung")

    run(scenario())


def test_the_oldest_name_is_forgotten(
    run: Run, server: HungNames, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names, "NAMES_MAX", 1)

    async def scenario() -> None:
        resolver = Names(asyncio.get_running_loop(), remembers=True)
        for name in ("hung", "live"):
            await resolver.resolve(name)
        server.addresses.clear()
        assert await resolver.resolve("live") == ["10.0.0.1"]
        with pytest.raises(OSError, match="Temporary failure in name resolution"):
            await resolver.resolve("hung")

    run(scenario())


def test_what_nobody_knows_is_an_error(run: Run, server: HungNames) -> None:
    async def scenario() -> None:
        resolver = Names(asyncio.get_running_loop())
        for _ in range(2):
            with pytest.raises(OSError, match="Temporary failure in name resolution"):
                await resolver.resolve("nobody")

    run(scenario())


def test_a_name_that_no_resolver_takes_is_an_error(run: Run) -> None:
    async def scenario() -> None:
        with pytest.raises(OSError, match="is not a host name"):
            await Names(asyncio.get_running_loop()).resolve("x" * 70)

    run(scenario())


def test_addresses_are_looked_up_nowhere(server: HungNames) -> None:
    async def scenario() -> None:
        resolver = Names(asyncio.get_running_loop())
        assert await resolver.resolve("127.0.0.1") == ["127.0.0.1"]
        assert await resolver.resolve("::1") == ["::1"]

    asyncio.run(scenario())
    assert server.asked == []


def test_each_attempt_begins_with_another_address() -> None:
    """So one that says nothing takes the time of some attempts, not of all."""

    class Loop:
        def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
            self.create_task = loop.create_task
            self.tried: list[str] = []
            self.wrong = ("10.0.0.1",)

        async def getaddrinfo(self, host: str, port: Any, **_: Any) -> list[Any]:
            return [(2, 1, 6, "", (f"10.0.0.{number}", 0)) for number in (1, 2, 1)]

        async def create_connection(self, factory: Any, host: str, port: int) -> None:
            self.tried.append(host)
            if host in self.wrong:
                raise ConnectionRefusedError("refused")

    async def scenario() -> None:
        loop: Any = Loop(asyncio.get_running_loop())
        resolver = Names(loop)
        for turn in range(3):
            await resolver.connect(asyncio.Protocol, "n", 7, turn)
        assert loop.tried == ["10.0.0.1", "10.0.0.2", "10.0.0.2", "10.0.0.1", "10.0.0.2"]
        loop.wrong = ("10.0.0.1", "10.0.0.2")
        with pytest.raises(ConnectionRefusedError):
            await resolver.connect(asyncio.Protocol, "n", 7)

    asyncio.run(scenario())


def test_a_link_local_address_keeps_its_interface(run: Run) -> None:
    """Without its interface nothing can be dialed there, nor listened on."""
    host = f"fe80::1%{socket.if_indextoname(1)}"

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        assert await Names(loop).resolve(host) == ["fe80::1%1"]
        assert await look_up(loop, host) == ["fe80::1%1"]

    run(scenario())
