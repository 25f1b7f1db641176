"""Listening on several addresses as if they were one.

An address is `HOST:PORT`. A host name stands for every address it resolves to, and `[::]` for all
addresses of the machine, IPv6 and IPv4. With port 0 the first address gets a free port, and the
others of the same entry get the same one.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Sequence
from typing import Any

from quorumcache.node.errors import StartupError
from quorumcache.node.system.port_holder import port_holder
from quorumcache.node.telemetry.logs import event, get_logger
from quorumcache.ring.address import format_address, parse_address
from quorumcache.ring.forbidden import ALLOW
from quorumcache.ring.names import is_address, look_up

ANY_IPV4 = "0.0.0.0"
ANY_IPV6 = "::"
LOCALHOST = "localhost"

PORT_TRIES = 20
"""Free ports to try until one is free on every address of a host."""

_NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)

_log = get_logger("listeners")


class Listener:
    """All sockets of one purpose. `setting` is the flag that named the addresses."""

    def __init__(self, loop: asyncio.AbstractEventLoop, setting: str) -> None:
        self._loop = loop
        self._setting = setting
        self._servers: list[asyncio.Server] = []
        self._serves = True

    async def start(
        self,
        factory: Callable[[], asyncio.BaseProtocol],
        addresses: Sequence[str],
        *,
        serves: bool = True,
        **options: Any,
    ) -> list[str]:
        """Listen on all of `addresses`; the bound ones, as HOST:PORT. `serves` False: they are
        taken, but connections are refused until `serve`.

        StartupError names the address that is taken or does not exist; then none is listened on.
        """
        self._serves = serves
        bound: list[str] = []
        try:
            for address in addresses:
                bound += await self._start_one(factory, address, options)
        except BaseException:
            self.close()
            raise
        return list(dict.fromkeys(bound))

    async def serve(self) -> None:
        """Take connections from now on."""
        self._serves = True
        for server in self._servers:
            try:
                await server.start_serving()
                _check(server)
            except OSError as error:
                raise StartupError(f"cannot listen ({self._setting}): {error.strerror}") from error

    def close(self) -> None:
        """Take no more connections."""
        for server in self._servers:
            server.close()

    async def wait_closed(self) -> None:
        """Wait until the sockets are closed."""
        for server in self._servers:
            await server.wait_closed()

    async def _start_one(
        self, factory: Callable[[], asyncio.BaseProtocol], address: str, options: dict[str, Any]
    ) -> list[str]:
        host, port = parse_address(address)
        hosts = await self._resolve(host, address)
        for tries_left in reversed(range(1 if port else PORT_TRIES)):
            servers: list[asyncio.Server] = []
            try:
                found = await self._bind(factory, hosts, port, servers, options)
            except BaseException as error:
                for server in servers:
                    server.close()
                if not isinstance(error, OSError):
                    raise  # Such as a start that was cancelled.
                if error.errno != errno.EADDRINUSE or not tries_left:
                    raise self._refused(address, error) from error
            else:
                self._servers += servers
                return found
        raise AssertionError("not reached")

    async def _resolve(self, host: str, address: str) -> list[str]:
        if host == ANY_IPV6:
            return [ANY_IPV6, ANY_IPV4]
        if is_address(host):
            return [host]
        try:
            found = await look_up(self._loop, host, flags=socket.AI_PASSIVE)
        except OSError as error:  # socket.gaierror is one.
            raise StartupError(
                f"cannot resolve {host!r} in {self._setting} {address}: {error.strerror or error}"
            ) from error
        if host != LOCALHOST and all(map(_is_loopback, found)):
            # Such as 127.0.1.1, which Debian writes into /etc/hosts for the machine's own name.
            event(
                _log,
                "warning",
                "listens_on_loopback",
                setting=self._setting,
                address=address,
                why=f"this machine resolves {host} to {', '.join(found)}: other machines cannot"
                " connect to it",
            )
        return found

    async def _bind(
        self,
        factory: Callable[[], asyncio.BaseProtocol],
        hosts: list[str],
        port: int,
        servers: list[asyncio.Server],
        options: dict[str, Any],
    ) -> list[str]:
        """Listen on every address of one entry, on the same port; adds to `servers`."""
        bound: list[str] = []
        missing: OSError | None = None
        for host in hosts:
            try:
                # It serves only once it is among `servers`: a call that is cancelled after it has
                # begun to serve never returns the server, and its socket would stay open.
                server = await self._loop.create_server(
                    factory, host, port, start_serving=False, **options
                )
                servers.append(server)
                if self._serves:
                    await server.start_serving()
                _check(server)
            except OSError as error:
                if _errno_of(error) not in _NOT_HERE or len(hosts) == 1:
                    raise
                # Such as ::1 of the name localhost, on a machine without IPv6.
                missing = error
                event(_log, "warning", "listen_address_missing", address=host, why=error)
                continue
            sockets = getattr(server, "sockets", ())
            if sockets:
                port = sockets[0].getsockname()[1]
            if not (host == ANY_IPV4 and ANY_IPV6 in hosts and bound):
                bound.append(format_address(host, port))
        if not servers and missing is not None:
            raise missing
        return bound

    def _refused(self, address: str, error: OSError) -> StartupError:
        flag = self._setting
        number = _errno_of(error)
        if number == errno.EADDRINUSE:
            port = parse_address(address)[1]
            return StartupError(
                f"cannot listen on {address}: the port is in use by {port_holder(port)}. Stop that"
                f" one, or choose another port with {flag}"
            )
        if number in _NOT_HERE:
            return StartupError(
                f"cannot listen on {address}: this machine has no such address; see {flag}"
            )
        if number == errno.EACCES:
            return StartupError(
                f"cannot listen on {address}: not permitted (a port below 1024?). Choose another"
                f" port with {flag}"
            )
        if number == errno.EPERM and ALLOW not in str(error):
            return StartupError(
                f"cannot listen on {address} ({flag}): the system forbids bind or setsockopt:"
                f" {ALLOW}"
            )
        return StartupError(f"cannot listen on {address} ({flag}): {error.strerror or error}")


def _check(server: asyncio.Server) -> None:
    """uvloop keeps it to itself when the system forbids `socket` or `listen`."""
    sockets = getattr(server, "sockets", None)
    if sockets is not None and not all(one and one.fileno() >= 0 for one in sockets or [None]):
        raise OSError(errno.EPERM, f"the system forbids socket or listen: {ALLOW}")


def _is_loopback(address: str) -> bool:
    return address.startswith("127.") or address == "::1"


def _errno_of(error: OSError) -> int:
    return error.errno or 0
