"""Goal: what is written directly is what the client gets, whole and in order; what the kernel does
not take goes to the transport, and nothing passes what the transport holds back.

Method: pairs of sockets, with the call of the native core in either form.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from quorumcache.node.clients import direct
from quorumcache.node.clients.direct import descriptor_of, write_now
from tests.support.native_core import native


def send_plainly(descriptor: int, data: bytes) -> int:
    """What the native call does."""
    try:
        return os.write(descriptor, data)
    except OSError:
        return 0


SENDS = [send_plainly]
if gets := native("gets"):
    SENDS.append(gets.send_now)


class Transport:
    """One end of a connection; keeps what it is given."""

    def __init__(self, endpoint: Any, *, is_encrypted: bool = False) -> None:
        self.info = {"socket": endpoint, "sslcontext": object() if is_encrypted else None}
        self.written: list[bytes] = []
        self.waiting = 0

    def get_extra_info(self, name: str) -> Any:
        return self.info.get(name)

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def write(self, data: bytes) -> None:
        self.written.append(data)


@pytest.fixture(params=SENDS)
def ends(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Any, socket.socket]]:
    """A transport, and the client's end."""
    monkeypatch.setattr(direct, "send_now", request.param)
    near, far = socket.socketpair()
    near.setblocking(False)
    far.setblocking(False)
    yield Transport(near), far
    near.close()
    far.close()


def test_what_the_kernel_takes_needs_no_transport(ends: tuple[Any, socket.socket]) -> None:
    transport, far = ends
    descriptor = descriptor_of(transport)
    assert descriptor == transport.get_extra_info("socket").fileno()
    assert write_now(transport, descriptor, [b"END\r\n"]) == 5
    assert write_now(transport, descriptor, [b"x" * 400, b"x" * 600]) == 1000
    assert far.recv(2000) == b"END\r\n" + b"x" * 1000
    assert transport.written == []


def test_what_the_kernel_does_not_take_is_the_transports(ends: tuple[Any, socket.socket]) -> None:
    transport, far = ends
    descriptor = descriptor_of(transport)
    data = os.urandom(1 << 20)
    assert write_now(transport, descriptor, [data]) == len(data)
    came = b""
    while len(came) < len(data) - len(transport.written[0]):
        came += far.recv(1 << 20)
    assert 0 < len(came) < len(data)
    assert came + b"".join(transport.written) == data
    transport.waiting = len(transport.written[0])
    write_now(transport, descriptor, [b"behind"])
    assert transport.written[1:] == [b"behind"], "there is room again, but it would overtake"


def test_a_broken_connection_is_for_the_transport_to_find(ends: tuple[Any, socket.socket]) -> None:
    transport, far = ends
    far.close()
    write_now(transport, descriptor_of(transport), [b"END\r\n"])
    assert transport.written == [b"END\r\n"]


def test_without_a_stream_of_bytes_all_goes_to_the_transport(
    ends: tuple[Any, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    transport, _ = ends
    endpoint = transport.get_extra_info("socket")
    assert descriptor_of(Transport(endpoint, is_encrypted=True)) == -1  # type: ignore[arg-type]
    assert descriptor_of(Transport(None)) == -1  # type: ignore[arg-type]
    write_now(transport, -1, [b"END\r\n"])
    assert transport.written == [b"END\r\n"]
    monkeypatch.setattr(direct, "send_now", direct.send_nothing)
    assert descriptor_of(transport) == -1


def test_the_sources_send_nothing_directly() -> None:
    send: Callable[[int, bytes], int] = direct.send_nothing
    assert send(0, b"x") == 0
