"""Goal: what a client of the load meets is counted as what it is."""

from __future__ import annotations

from collections.abc import Callable

from quorumcache.bench.cluster import wait_for
from quorumcache.bench.mixed_load import PLAIN, MixedLoad
from tests.support.tiny_memcached import TinyMemcached


def until(check: Callable[[], bool]) -> None:
    wait_for("a test's condition", check, 20.0)


def test_answers_are_samples_and_a_client_leaves_between_two() -> None:
    with TinyMemcached() as server:
        load = MixedLoad(rate=1000)
        load.start()
        try:
            first = load.add_plain(server.address)
            until(lambda: len(load.samples) > 10)
            load.leave(first)
            count = len(load.samples)
            second = load.add_plain(server.address)
            until(lambda: len(load.samples) > count + 10)
        finally:
            load.stop()
    assert {s.client for s in load.samples[count:]} == {second}
    assert not load.errors
    assert not load.wrong
    assert load.present[first][1] <= load.present[second][0]
    assert load.expected[first].acknowledged
    assert set(load.kinds.values()) == {PLAIN}


def test_a_lost_write_is_a_wrong_read() -> None:
    with TinyMemcached(lambda line: b"END\r\n" if line.startswith(b"get") else None) as server:
        load = MixedLoad(rate=1000)
        load.start()
        try:
            load.add_plain(server.address)
            until(lambda: bool(load.wrong))
        finally:
            load.stop()


def test_an_error_reply_and_a_lost_connection_are_errors() -> None:
    replies = iter([b"SERVER_ERROR not done: no leader\r\n"])
    with TinyMemcached(lambda line: next(replies, None)) as server:
        load = MixedLoad(rate=1000)
        load.start()
        try:
            load.add_plain(server.address)
            load.add_plain(("127.0.0.1", 1))
            until(lambda: {client for client, _, _ in load.errors} == {0, 1})
        finally:
            load.stop()
    assert "SERVER_ERROR not done: no leader" in {text for _, _, text in load.errors}
    assert any(text.startswith("connection: ") for _, _, text in load.errors)
    assert not load.wrong
