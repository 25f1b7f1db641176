"""Who listens on a port, as far as this user may see it."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from quorumcache.node.system import port_holder as module
from quorumcache.node.system.port_holder import SOMEBODY, port_holder, process_name

OWN = f"process {os.getpid()} ({Path('/proc/self/comm').read_text().strip()})"


def test_the_process_that_listens_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert port_holder(port) == OWN
        with socket.create_connection(("127.0.0.1", port)) as client:
            assert port_holder(client.getsockname()[1]) == SOMEBODY, "it does not listen"
    assert port_holder(port) == SOMEBODY


def test_so_is_one_that_listens_by_ipv6() -> None:
    try:
        server = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6")
    with server:
        assert port_holder(server.getsockname()[1]) == OWN


def test_where_nothing_can_be_seen_it_is_somebody(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with monkeypatch.context() as patched:
            patched.setattr(module, "_TABLES", ("/proc/none",))
            assert port_holder(port) == SOMEBODY
        # A process of another user: its name may be read, and its files may not.
        monkeypatch.setattr(os, "listdir", not_permitted)
        assert port_holder(port) == SOMEBODY
    assert process_name(2**31 - 1) == ""


def not_permitted(path: str) -> list[str]:
    if path == "/proc":
        return ["1", "self", "77"]
    raise PermissionError(13, "Permission denied")
