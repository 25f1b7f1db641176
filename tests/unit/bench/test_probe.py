"""Small gets in an open loop: from when each counts, and which answers are wrong."""

import socket
import struct
import threading
import time

import pytest

from quorumcache.bench.errors import TargetError
from quorumcache.bench.probe import probe, small_items
from tests.support.tiny_memcached import TinyMemcached


def filled(server: TinyMemcached) -> None:
    server.items.update(small_items())


def test_a_get_counts_from_when_it_was_due() -> None:
    def hook(line: bytes) -> bytes | None:
        time.sleep(0.05)
        return None

    with TinyMemcached(hook) as server:
        filled(server)
        latency, wrong = probe([server.address], rate=100, seconds=0.1)
    assert (latency.count, wrong) == (10, 0)
    assert latency.max_value > 300_000_000, "the later ones waited for the earlier ones"


def test_a_slow_node_delays_no_get_of_another() -> None:
    def hook(line: bytes) -> bytes | None:
        time.sleep(0.1)
        return None

    with TinyMemcached(hook) as slow, TinyMemcached() as quick:
        filled(slow)
        filled(quick)
        alone, _ = probe([slow.address], rate=100, seconds=0.2)
        both, wrong = probe([slow.address, quick.address], rate=100, seconds=0.2)
    assert wrong == 0
    assert alone.count == both.count == 20
    assert alone.percentile(50) > 500_000_000 > both.percentile(45)


def test_misses_and_errors_are_wrong_and_later_answers_are_still_read() -> None:
    answers = iter([b"SERVER_ERROR busy\r\n", b"END\r\n", *[None] * 18])

    with TinyMemcached(lambda line: next(answers)) as server:
        filled(server)
        latency, wrong = probe([server.address], rate=200, seconds=0.1)
    assert (latency.count, wrong) == (20, 2)


def test_a_server_that_goes_is_told() -> None:
    def hook(line: bytes) -> bytes | None:
        raise ConnectionError

    with TinyMemcached(hook) as server, pytest.raises(TargetError, match="closed the connection"):
        probe([server.address], rate=100, seconds=0.1)


def test_an_answer_that_never_comes_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quorumcache.bench.probe.TIMEOUT_SECONDS", 0.2)
    ended = threading.Event()

    def hook(line: bytes) -> bytes | None:
        ended.wait()
        return None

    told = r"has not answered a small get for 0\.2 s"
    with TinyMemcached(hook) as server:
        try:
            with pytest.raises(TargetError, match=told):
                probe([server.address], rate=100, seconds=0.1)
        finally:
            ended.set()


def test_a_connection_that_is_refused_or_reset_is_told() -> None:
    told = "connection of the small gets: "
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = closed.getsockname()[:2]
    with pytest.raises(TargetError, match=told):
        probe([address], rate=100, seconds=0.1)

    def reset() -> None:
        connection, _ = server.accept()
        connection.recv(100)
        linger = struct.pack("ii", 1, 0)  # Closing answers with a reset.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        connection.close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=reset)
        thread.start()
        try:
            with pytest.raises(TargetError, match=told):
                probe([server.getsockname()[:2]], rate=100, seconds=0.1)
        finally:
            thread.join()


def test_another_value_is_told() -> None:
    told = "answered a small get with VALUE small-0 0 3"
    with (
        TinyMemcached(lambda line: b"VALUE small-0 0 3\r\nabc\r\nEND\r\n") as server,
        pytest.raises(TargetError, match=told),
    ):
        probe([server.address], rate=100, seconds=0.1)
