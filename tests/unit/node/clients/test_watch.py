"""When a client is closed: by what was seen of it at each look, and by a clock moved by hand."""

import socket
from typing import Any

import pytest

from quorumcache.node.clients.watch import (
    IDLE,
    SLOW,
    Watch,
    client_address,
    keep_alive,
    listen_address,
)

SECOND = 1_000_000_000


def looks(watch: Watch, *waiting: int, slow: int = 3, idle: int = 0, is_idle: bool = False) -> str:
    """One look per second; the last answer."""
    why = ""
    for at, size in enumerate(waiting, 1):
        why = watch.look(at * SECOND, size, is_idle, slow * SECOND, idle * SECOND)
    return why


def test_a_client_that_takes_nothing_is_slow_after_the_time() -> None:
    assert looks(Watch(0), 9, 9, 9) == ""
    assert looks(Watch(0), 9, 9, 9, 9) == SLOW
    assert looks(Watch(0), 9, 9, 9, 9, 9, slow=0) == ""


def test_a_client_that_takes_a_little_now_and_then_is_not() -> None:
    assert looks(Watch(0), 9, 9, 9, 8, 8, 8, 7, 7, 7) == ""
    assert looks(Watch(0), 9, 9, 0, 9, 9, 9) == ""
    assert looks(Watch(0), 0, 0, 0, 0, 0, 0) == ""


def test_a_client_that_takes_all_that_waits_between_two_looks_is_not_slow() -> None:
    """As much waits again at each look."""
    watch = Watch(0)
    for at in range(1, 10):
        watch.taken = True
        assert watch.look(at * SECOND, 9, False, 3 * SECOND, 0) == ""
    assert [watch.look(at * SECOND, 9, False, 3 * SECOND, 0) for at in (10, 11, 12)][-1] == SLOW


def test_a_client_that_says_nothing_is_idle_after_the_time() -> None:
    assert looks(Watch(0), 0, 0, idle=3, is_idle=True) == ""
    assert looks(Watch(0), 0, 0, 0, idle=3, is_idle=True) == IDLE
    assert looks(Watch(0), 0, 0, 0, 0, is_idle=True) == ""
    assert looks(Watch(0), 0, 0, 0, 0, idle=3, is_idle=False) == "", "it waits for something"
    watch = Watch(0)
    looks(watch, 0, 0, idle=3, is_idle=True)
    watch.heard = True
    assert watch.look(3 * SECOND, 0, True, 0, 3 * SECOND) == ""
    assert watch.look(5 * SECOND, 0, True, 0, 3 * SECOND) == ""
    assert watch.look(6 * SECOND, 0, True, 0, 3 * SECOND) == IDLE


class Transport:
    def __init__(self, endpoint: Any) -> None:
        self.endpoint = endpoint

    def get_extra_info(self, name: str) -> Any:
        return self.endpoint


def test_the_kernel_is_asked_to_find_out_who_is_gone() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as endpoint:
        transport: Any = Transport(endpoint)
        keep_alive(transport)
        assert endpoint.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        if hasattr(socket, "TCP_KEEPIDLE"):
            assert endpoint.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60
    keep_alive(Transport(None))  # type: ignore[arg-type]
    left, right = socket.socketpair()
    with left, right:
        keep_alive(Transport(left))  # type: ignore[arg-type]


class Ends:
    """The two ends of a connection, as a transport tells them."""

    def __init__(self, peername: Any, sockname: Any) -> None:
        self.ends = {"peername": peername, "sockname": sockname}

    def get_extra_info(self, name: str) -> Any:
        return self.ends[name]


@pytest.mark.parametrize(
    ("peer", "own", "client", "listen"),
    [
        (("1.2.3.4", 5), ("6.7.8.9", 10), "1.2.3.4:5", "6.7.8.9:10"),
        (("::1", 5, 0, 0), ("::1", 10, 0, 0), "[::1]:5", "[::1]:10"),
        ("", "/run/q.sock", "unix:/run/q.sock", "unix:/run/q.sock"),
        ("/tmp/its-own", "/run/q.sock", "unix:/run/q.sock", "unix:/run/q.sock"),
        (None, None, "", ""),
    ],
)
def test_where_a_client_is_and_came_in(peer: Any, own: Any, client: str, listen: str) -> None:
    transport: Any = Ends(peer, own)
    assert client_address(transport) == client
    assert listen_address(transport) == listen
