"""Listening on several addresses: which are bound, on which port, and what is said when not."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

from quorumcache.node.errors import ConfigError, StartupError
from quorumcache.node.settings.checks import check_config
from quorumcache.node.settings.config import NodeConfig
from quorumcache.node.system.listeners import Listener
from quorumcache.node.system.port_holder import process_name
from tests.support.hung_names import HungNames

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


@pytest.fixture(params=sorted(LOOPS))
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, Any]], Any]:
    def on_loop(work: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            return runner.run(work)

    return on_loop


class Closing(asyncio.Protocol):
    """Takes a connection and closes it."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


async def bound(*addresses: str) -> list[str]:
    """Listen, connect to all that was bound, and give the addresses."""
    listener = Listener(asyncio.get_running_loop(), "--listen")
    found = await listener.start(Closing, addresses)
    try:
        for address in found:
            host, _, port = address.rpartition(":")
            reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
            assert await reader.read() == b""
            writer.close()
    finally:
        listener.close()
        await listener.wait_closed()
    return found


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


Run = Callable[[Coroutine[Any, Any, Any]], Any]


def test_several_addresses(run: Run) -> None:
    found = run(bound("127.0.0.1:0", "127.0.0.2:0"))
    assert [address.rpartition(":")[0] for address in found] == ["127.0.0.1", "127.0.0.2"]


def test_a_name_stands_for_all_its_addresses_on_one_port(run: Run) -> None:
    async def main() -> list[str]:
        loop = asyncio.get_running_loop()
        listener = Listener(loop, "--listen")

        async def two(host: str, address: str) -> list[str]:
            return ["127.0.0.1", "127.0.0.2"]

        listener._resolve = two  # type: ignore[method-assign]
        found = await listener.start(Closing, ("two.example:0",))
        listener.close()
        return found

    found = run(main())
    assert [address.rpartition(":")[0] for address in found] == ["127.0.0.1", "127.0.0.2"]
    assert port_of(found[0]) == port_of(found[1]) > 0


@needs_ipv6
def test_all_addresses_are_both_families(run: Run) -> None:
    async def main() -> None:
        listener = Listener(asyncio.get_running_loop(), "--listen")
        (address,) = await listener.start(Closing, ("[::]:0",))
        assert address.startswith("[::]:")
        for host in ("127.0.0.1", "::1"):
            reader, writer = await asyncio.open_connection(host, port_of(address))
            assert await reader.read() == b""
            writer.close()
        listener.close()

    run(main())


def test_one_of_them_is_taken(run: Run) -> None:
    """The error names it, and nothing is left listening."""
    with socket.create_server(("127.0.0.2", 0)) as taken, socket.socket() as probe:
        port = taken.getsockname()[1]
        with pytest.raises(StartupError) as caught:
            run(bound(f"127.0.0.1:{port}", f"127.0.0.2:{port}"))
        assert str(caught.value) == (
            f"cannot listen on 127.0.0.2:{port}: the port is in use by process {os.getpid()}"
            f"{process_name(os.getpid())}. Stop that one, or choose another port with --listen"
        )
        probe.bind(("127.0.0.1", port))


@pytest.mark.parametrize("turns", range(8))
def test_a_start_that_is_cancelled_leaves_no_socket_open(run: Run, turns: int) -> None:
    """As when a node is stopped while it starts: in whichever turn of the loop that is."""
    hosts = ["127.0.0.2", "127.0.0.3"]
    with socket.create_server((hosts[0], 0)) as free:
        port = free.getsockname()[1]

    async def main() -> None:
        listener = Listener(asyncio.get_running_loop(), "--listen")

        async def two(host: str, address: str) -> list[str]:
            return hosts

        listener._resolve = two  # type: ignore[method-assign]
        start = asyncio.ensure_future(listener.start(Closing, (f"two.example:{port}",)))
        for _ in range(turns):
            await asyncio.sleep(0)
        start.cancel()
        await asyncio.wait({start})
        assert start.cancelled() or len(start.result()) == 2
        listener.close()
        for _ in range(3):
            await asyncio.sleep(0)  # uvloop closes sockets in its next turn.
        for host in hosts:
            with socket.create_server((host, port)):
                pass

    run(main())


def test_what_is_no_address_of_this_machine(run: Run) -> None:
    with pytest.raises(StartupError, match=r"192\.0.2.1:0: this machine has no such address; see"):
        run(bound("192.0.2.1:0"))
    with pytest.raises(StartupError, match=r"cannot resolve 'no\.such\.name\.invalid' in --listen"):
        run(bound("no.such.name.invalid:0"))


class TwoHosts:
    """A loop on which a name has two addresses, one of which is missing or taken."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.ports = iter((4000, 4001, 4002))

    async def getaddrinfo(self, host: str, port: int, **_: object) -> list[Any]:
        return [(2, 1, 6, "", (address, port)) for address in ("10.0.0.1", "10.0.0.2")]

    async def create_server(self, factory: object, host: str, port: int, **_: object) -> Any:
        if host == "10.0.0.2" and (self.number != errno.EADDRINUSE or port == 4000):
            raise OSError(self.number, "no")
        return OneServer(port or next(self.ports))


class OneServer:
    def __init__(self, port: int) -> None:
        self.port = port
        self.sockets = (self,)

    def fileno(self) -> int:
        return 7

    def getsockname(self) -> tuple[str, int]:
        return "", self.port

    async def start_serving(self) -> None:
        pass

    def close(self) -> None:
        pass


def test_an_address_of_a_name_that_this_machine_lacks_is_left_out() -> None:
    listener = Listener(TwoHosts(errno.EADDRNOTAVAIL), "--listen")  # type: ignore[arg-type]
    assert asyncio.run(listener.start(Closing, ("two:0",))) == ["10.0.0.1:4000"]


def test_a_free_port_is_free_on_all_addresses() -> None:
    listener = Listener(TwoHosts(errno.EADDRINUSE), "--listen")  # type: ignore[arg-type]
    assert asyncio.run(listener.start(Closing, ("two:0",))) == ["10.0.0.1:4001", "10.0.0.2:4001"]


def test_a_port_below_1024() -> None:
    listener = Listener(TwoHosts(errno.EACCES), "--http")  # type: ignore[arg-type]
    with pytest.raises(StartupError, match=r"two:80: not permitted .*below 1024.* with --http"):
        asyncio.run(listener.start(Closing, ("two:80",)))


def test_settings() -> None:
    check_config(NodeConfig(listen="127.0.0.1:1, [::1]:1", http="127.0.0.1:2,127.0.0.2:2"))
    for listen, words in (
        ("[fe80::1]:7400", r"needs its interface, as in \[fe80::1%eth0\]:7400"),
        ("127.0.0.1:1,", "is not HOST:PORT"),
        ("127.0.0.1:1,nowhere", "is not HOST:PORT"),
        ("127.0.0.1:1,127.0.0.1:1", "twice"),
        (",".join(f"127.0.0.{i}:1" for i in range(1, 18)), "17 addresses, at most 16"),
    ):
        with pytest.raises(ConfigError, match=words):
            check_config(NodeConfig(listen=listen))


def test_one_address_is_told_to_others() -> None:
    config = NodeConfig(listen="127.0.0.1:1,127.0.0.2:1")
    assert config.advertised("127.0.0.1:1,127.0.0.2:1") == "127.0.0.1:1"
    assert config.reachable("127.0.0.1:1,127.0.0.2:1") == "127.0.0.1:1"


def test_a_name_that_is_loopback_on_this_machine_is_a_warning(
    run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As with /etc/hosts of Debian. Only this machine reaches what was meant for all."""
    server = HungNames(monkeypatch)
    server.addresses.update({"host-a": "127.0.0.1", "localhost": "127.0.0.1"})

    async def listen(address: str) -> None:
        listener = Listener(asyncio.get_running_loop(), "--peer")
        await listener.start(Closing, (address,))
        listener.close()

    with caplog.at_level("WARNING"):
        run(listen("localhost:0"))
        run(listen("127.0.0.1:0"))
        assert caplog.records == []
        run(listen("host-a:0"))
    [record] = caplog.records
    assert record.message == "listens_on_loopback"
    assert "resolves host-a to 127.0.0.1" in str(vars(record))
