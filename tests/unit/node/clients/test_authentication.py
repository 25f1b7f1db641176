"""Clients that have to give a password: nothing is done for them before, and all is as ever after.

Source of the answers: memcached 1.6.45, ASCII authentication.
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorumcache.node.clients.authentication import (
    LINE_BYTES_MAX,
    TOKEN_BYTES_MAX,
    UNREAD_BYTES_MAX,
    Gate,
)
from quorumcache.node.clients.server import MemcachedServer
from quorumcache.node.settings.users import Users
from tests.support.fake_server import FakeServer, FakeTransport

USERS = Users([(b"ann", b"secret"), (b"bob", b"pw")])
UNAUTHENTICATED = b"CLIENT_ERROR unauthenticated\r\n"
FAILURE = b"CLIENT_ERROR authentication failure\r\n"
FORMAT = b"CLIENT_ERROR bad authentication token format\r\n"
TERMINATION = b"CLIENT_ERROR bad command line termination\r\n"
VERSION = b"VERSION 1\r\n"


def token(text: bytes, *, key: bytes = b"k", end: bytes = b"\r\n") -> bytes:
    return b"set %b 0 0 %d\r\n%b%b" % (key, len(text), text, end)


class Transport(FakeTransport):
    """Hands what comes to the protocol of the moment."""

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol


class Caller:
    """A client of a server that wants passwords."""

    def __init__(self, *, connections_max: int = 3, high: int = 64 << 10) -> None:
        self.context = FakeServer()
        self.loop: Any = self.context.loop
        self.server = MemcachedServer(
            self.context,
            connections_max=connections_max,
            slow_client_ms=0,
            idle_timeout_ms=0,
            is_user=USERS.has,
        )
        self.high = high
        self.transport = self.call()

    def call(self) -> Transport:
        gate = self.server._new_client()
        assert isinstance(gate, Gate)
        transport = Transport(self.high)
        transport.protocol = gate
        made: Any = transport
        gate.connection_made(made)
        return transport

    def send(self, data: bytes) -> bytes:
        self.transport.protocol.data_received(data)
        self.loop.run()
        return self.transport.drain()

    @property
    def is_let_in(self) -> bool:
        return not isinstance(self.transport.protocol, Gate)


@pytest.mark.parametrize("user", [b"ann secret", b"bob pw", b" ann  secret ", b"ann secret more"])
def test_the_right_password_opens_the_gate(user: bytes) -> None:
    caller = Caller()
    assert caller.send(token(user)) == b"STORED\r\n"
    assert caller.is_let_in
    assert caller.context.coordinator.started == [], "nothing was stored"
    assert caller.send(b"version\r\n") == VERSION
    counters = caller.context.counters
    assert (counters.auth_cmds, counters.auth_errors) == (1, 0)


@pytest.mark.parametrize(
    ("data", "reply"),
    [
        *(
            (line + b"\r\n", UNAUTHENTICATED)
            for line in (b"get k", b"version", b"stats", b"", b"mn", b"set", b"set k 0 0 x")
        ),
        (b"set k 0 0\r\n", UNAUTHENTICATED),
        (b"set k 0 0 -1\r\n", UNAUTHENTICATED),
        (b"SET k 0 0 10\r\n", UNAUTHENTICATED),
        (b"add k 0 0 10\r\nann secret\r\n", UNAUTHENTICATED * 2),
        (b"flush_all noreply\r\n", UNAUTHENTICATED),
        (token(b"ann wrong"), FAILURE),
        (token(b"bob secret"), FAILURE),
        (token(b"eve secret"), FAILURE),
        (token(b"ann"), FORMAT),
        (token(b""), FORMAT),
        (token(b"  "), FORMAT),
        (token(b"ann secret", end=b"xx"), TERMINATION),
        (b"set k 0 0 %d\r\n" % (TOKEN_BYTES_MAX + 1), b"CLIENT_ERROR auth token too long\r\n"),
        (token(b"x" * TOKEN_BYTES_MAX), FORMAT),
    ],
)
def test_all_else_is_refused(data: bytes, reply: bytes) -> None:
    caller = Caller()
    assert caller.send(data) == reply
    assert not caller.is_let_in
    assert caller.context.coordinator.started == []
    tried = reply == FAILURE
    counters = caller.context.counters
    assert (counters.auth_cmds, counters.auth_errors) == (tried, tried)
    assert caller.send(token(b"ann secret")) == b"STORED\r\n", "it may try again"
    assert caller.send(b"version\r\n") == VERSION


def test_the_flags_the_time_and_noreply_of_the_line_do_not_count() -> None:
    caller = Caller()
    assert caller.send(b"set k x y 10 noreply\r\nann secret\r\n") == b"STORED\r\n"
    assert caller.is_let_in
    key = b"x" * 300
    assert Caller().send(token(b"ann secret", key=key)) == b"STORED\r\n"


def test_what_was_sent_behind_the_password_is_answered_in_order() -> None:
    caller = Caller()
    data = b"get k\r\n" + token(b"ann no") + token(b"ann secret") + b"version\r\nversion\r\n"
    assert caller.send(data) == UNAUTHENTICATED + FAILURE + b"STORED\r\n" + VERSION * 2
    assert caller.context.counters.bytes_read == len(data)


@given(cuts=st.lists(st.integers(0, 80), max_size=6))
@settings(max_examples=50, deadline=None)
def test_it_does_not_matter_how_the_bytes_are_split(cuts: list[int]) -> None:
    caller = Caller()
    data = b"get k\r\n\n" + token(b"ann no") + token(b"ann secret") + b"version\r\nversion\r\n"
    replies = b""
    edges = sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})
    for start, end in itertools.pairwise(edges):
        replies += caller.send(data[start:end])
    assert replies == UNAUTHENTICATED * 2 + FAILURE + b"STORED\r\n" + VERSION * 2
    assert caller.context.counters.bytes_read == len(data)


@pytest.mark.parametrize("data", [b"quit\r\nversion\r\n", b"\x80" + bytes(23), b"\x80\n"])
def test_quit_and_the_binary_protocol_close(data: bytes) -> None:
    caller = Caller()
    assert caller.send(data) == b""
    assert caller.transport.closed
    caller.send(token(b"ann secret"))
    assert not caller.is_let_in


def test_a_line_without_an_end_is_closed() -> None:
    caller = Caller()
    caller.send(b"x" * LINE_BYTES_MAX)
    assert not caller.transport.closed
    caller.send(b"x")
    assert caller.transport.closed


def test_who_reads_no_answers_is_closed() -> None:
    caller = Caller(high=1)
    while not caller.transport.aborted:
        caller.transport.protocol.data_received(b"\r\n" * 1000)
        caller.loop.run()
        assert caller.server.connections[1].unread_bytes < UNREAD_BYTES_MAX + (64 << 10)


def test_clients_without_a_password_count_and_leave() -> None:
    caller = Caller(connections_max=1)
    assert caller.context.counters.curr_connections == 1
    refused = caller.call()
    assert bytes(refused.unread) == b"ERROR Too many open connections\r\n"
    refused.protocol.data_received(token(b"ann secret"))
    assert isinstance(refused.protocol, Gate)
    caller.transport.protocol.eof_received()
    caller.loop.run()
    assert caller.transport.closed
    caller.transport.protocol.connection_lost(None)
    assert caller.context.counters.curr_connections == 0
