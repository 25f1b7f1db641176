"""Fuzz target for clients that have to give a password first.

`data` is what such a client sends, whole and cut.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from quorumcache.node.clients.authentication import LINE_BYTES_MAX, TOKEN_BYTES_MAX, Gate
from quorumcache.node.settings.users import Users
from quorumcache.node.telemetry.counters import Counters

USERS = Users([(b"u", b"p")])


class Behind:
    """The connection behind the gate: it keeps what it is told and handed."""

    def __init__(self) -> None:
        self.told: list[bytes] = []
        self.handed: list[bytes] = []
        self.closed = False
        self.unread_bytes = 0
        self.replies = SimpleNamespace(
            is_open=True, reply=self.told.append, schedule_pump=lambda: None
        )
        self.conversation = SimpleNamespace(closing=False)
        self.watch = SimpleNamespace(heard=False)

    def connection_made(self, transport: object) -> None:
        pass

    def data_received(self, data: bytes) -> None:
        self.handed.append(data)

    def finish(self) -> None:
        self.conversation.closing = self.closed = True

    def set_protocol(self, protocol: object) -> None:
        """Of the transport: the gate is open."""
        assert protocol is self
        self.handed.append(b"")


def _passed(parts: list[bytes]) -> Behind:
    behind: Any = Behind()
    gate = Gate(behind, USERS.has, Counters())
    gate.connection_made(behind)
    for part in parts:
        if behind.handed:
            behind.handed.append(part)
        else:
            gate.data_received(part)
            kept = len(gate._data)
            assert kept <= max(LINE_BYTES_MAX, TOKEN_BYTES_MAX + 2) + len(part), kept
    return behind  # type: ignore[no-any-return]


def password_gate(stream: bytes, parts: list[bytes]) -> None:
    """Never an exception, bounded memory, the same however cut; nobody is let in who has not said
    the password, and what comes behind it is handed on whole."""
    whole, cut = _passed([stream]), _passed(parts)
    for behind in (whole, cut):
        if behind.handed:
            assert behind.told[-1] == b"STORED\r\n"
            handed = b"".join(behind.handed)
            assert stream.endswith(handed)
            before = stream[: len(stream) - len(handed)]
            assert before.endswith(b"\r\n")
            assert b"set" in before
            assert b"u" in before
            assert b"p" in before
        assert behind.told.count(b"STORED\r\n") == bool(behind.handed)
    if max(map(len, stream.split(b"\n"))) < LINE_BYTES_MAX:
        assert (cut.told, cut.closed) == (whole.told, whole.closed)
        assert b"".join(cut.handed) == b"".join(whole.handed)
