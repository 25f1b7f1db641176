"""The load of a race, against small servers: what it sends, and that it believes no wrong reply."""

from __future__ import annotations

import contextlib
import re
import shutil
import socketserver
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from quorumcache.bench import race_load
from quorumcache.bench.errors import StartError, TargetError
from quorumcache.bench.race_load import Generator, Lap, Load
from tests.support.generator import sanitized_generator
from tests.support.tiny_memcached import TinyMemcached

KEYS = 40
SECONDS = 0.1


def run(*servers: Any, fill: bool = True, seconds: float = SECONDS, **named: Any) -> Lap:
    options = ("is_resp", "owners", "seed")
    given = {name: named.pop(name) for name in options if name in named}
    load = Load(**{"connections": len(servers), "keys": KEYS, **named})
    ports = [server.address[1] for server in servers]
    return sanitized_generator().run(ports, load, seconds=seconds, fill=fill, **given)


def run_until(is_seen: Callable[[Lap], bool], *servers: Any, **named: Any) -> Lap:
    """A lap that is long enough for what has to be seen, however slow the machine is."""
    seconds = SECONDS
    while not is_seen(lap := run(*servers, seconds=seconds, **named)) and not lap.faults:
        seconds *= 4
        assert seconds < 60, lap
    return lap


# -- what is sent, and counted


@pytest.mark.parametrize(
    ("load", "gets", "sets"),
    [
        ({}, True, False),
        ({"gets": 0.0}, False, True),
        ({"gets": 0.5, "connections": 7, "depth": 30}, True, True),
        ({"keys_per_get": 13, "depth": 3}, True, False),
        ({"value_bytes": 1, "gets": 0.5}, True, True),
        ({"value_bytes": 300_000, "gets": 0.5, "depth": 4}, True, True),
    ],
)
def test_all_keys_are_stored_and_then_asked_for(
    load: dict[str, Any], gets: bool, sets: bool
) -> None:
    def has_all(lap: Lap) -> bool:
        return (lap.get.count > 0, lap.set.count > 0) == (gets, sets)

    with TinyMemcached() as server:
        lap = run_until(has_all, server, **load)
    assert lap.faults == 0, lap.told()
    assert lap.told() == ""
    assert lap.filled == KEYS == len(server.items)
    assert set(server.items) == {b"key:%010d" % number for number in range(KEYS)}
    values = set(server.items.values())
    assert {len(value) for value in values} == {load.get("value_bytes", 100)}
    if load.get("value_bytes") != 1:
        assert len(values) == KEYS, "two keys have one value: a mix-up would not be seen"
    assert lap.answered >= lap.filled + lap.get.count + lap.set.count
    assert 0 < lap.p50 <= lap.p99 <= max(lap.get.max, lap.set.max) < 60_000
    assert lap.per_second > 0


def test_with_no_time_it_only_stores() -> None:
    with TinyMemcached() as server:
        lap = run(server, seconds=0)
        assert (lap.filled, lap.answered, lap.per_second) == (KEYS, KEYS, 0)
        assert lap.p50 == lap.p99 == 0
        again = run(server, fill=False)
    assert (again.filled, again.faults) == (0, 0)


def test_each_server_is_asked_for_its_own_keys(tmp_path: Path) -> None:
    owners = tmp_path / "owners"
    owners.write_text("".join(f"{number % 3 % 2}\n" for number in range(KEYS)))
    with TinyMemcached() as first, TinyMemcached() as second:
        lap = run(first, second, owners=owners, connections=5, gets=0.9)
        assert lap.faults == 0, lap.told()
    own = {b"key:%010d" % number for number in range(KEYS) if number % 3 == 1}
    assert set(second.items) == own
    assert len(first.items) == KEYS - len(own)


def test_equal_seeds_ask_for_equal_keys() -> None:
    asked: list[bytes] = []

    def hook(line: bytes) -> None:
        asked.append(line)

    with TinyMemcached(hook) as server:
        run(server, seconds=0)
        runs = []
        for seed in (1, 1, 2):
            asked.clear()
            run(server, fill=False, seed=seed, depth=20)
            runs.append(asked[:20])
    assert runs[0] == runs[1] != runs[2]


# -- what is wrong


@pytest.mark.parametrize(
    ("reply", "kind", "told"),
    [
        (b"SERVER_ERROR out of memory\r\n", "errors", "error: SERVER_ERROR out of memory"),
        (b"ERROR\r\n", "errors", "error: ERROR"),
        (b"END\r\n", "misses", ""),
        (b"VALUE key:0000000000 0 3\r\nabc\r\nEND\r\n", "wrong", "VALUE key:0000000000 0 3"),
        (b"VALUE key:%010d 7 100\r\n" % 1 + b"a" * 100 + b"\r\nEND\r\n", "wrong", "0000000001 7"),
        (b'HD "\\\x00\r\n', "wrong", "wrong reply: HD ???"),
        (b"x" * 2000, "wrong", "wrong reply: xxx"),
    ],
)
def test_a_get_that_is_not_answered_well_is_a_fault(reply: bytes, kind: str, told: str) -> None:
    with TinyMemcached(lambda line: reply if line.startswith(b"get") else None) as server:
        lap = run(server)
    assert getattr(lap, kind) > 0, lap
    assert lap.faults == getattr(lap, kind)
    assert told in lap.told()


def test_bytes_of_another_key_are_wrong_and_the_rest_goes_on() -> None:
    with TinyMemcached() as server:
        run(server, seconds=0)
        values = list(server.items.values())
        server.items = dict(zip(server.items, [*values[1:], values[0]], strict=True))
        lap = run(server, fill=False, depth=5)
    assert lap.wrong == lap.faults == lap.answered >= 5
    assert "wrong value: " in lap.told()


def test_a_reply_for_a_key_that_was_not_asked_for_is_wrong() -> None:
    with TinyMemcached() as server:
        run(server, seconds=0)
        value = server.items[b"key:0000000001"]
        reply = b"VALUE key:0000000099 0 100\r\n" + value + b"\r\nEND\r\n"
        server.hook = lambda line: reply
        lap = run(server, fill=False)
    assert lap.wrong == 1
    assert "key:0000000099" in lap.told()


def test_keys_that_are_missing_among_many_are_counted() -> None:
    with TinyMemcached() as server:
        run(server, seconds=0)
        del server.items[b"key:0000000000"]
        lap = run(server, fill=False, keys_per_get=KEYS)
    assert lap.misses > 0
    assert lap.faults == lap.misses
    assert "misses of stored keys" in lap.told()


@pytest.mark.parametrize("reply", [b"NOT_STORED\r\n", b"STORED!\r\n"])
def test_a_set_that_is_answered_otherwise_is_wrong(reply: bytes) -> None:
    with TinyMemcached(lambda line: reply if line.startswith(b"set") else None) as server:
        assert run(server, gets=0.0).wrong == 1


def test_more_replies_than_requests_are_wrong() -> None:
    with TinyMemcached(lambda line: b"STORED\r\nSTORED\r\n") as server:
        lap = run(server, gets=0.0, keys=1)
    assert lap.wrong == 1
    assert "not asked for" in lap.told()


def test_a_server_that_hangs_up_is_told() -> None:
    def hook(line: bytes) -> None:
        raise ConnectionResetError

    with (
        TinyMemcached(hook) as server,
        pytest.raises(TargetError, match=r"status 1: .*(closed a connection|reset by peer)"),
    ):
        run(server)


def test_nobody_there_is_told() -> None:
    with TinyMemcached() as server:
        gone = server
    with pytest.raises(TargetError, match="status 1: connect"):
        run(gone)


# -- redis' protocol


class TinyRedis(contextlib.AbstractContextManager["TinyRedis"]):
    """GET and SET in RESP, on a thread. `wrong`: what GETs are answered instead."""

    def __init__(self, wrong: bytes = b"") -> None:
        self.items: dict[bytes, bytes] = {}
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                while head := self.rfile.readline():
                    words = []
                    for _ in range(int(head[1:])):
                        size = int(self.rfile.readline()[1:])
                        words.append(self.rfile.read(size + 2)[:-2])
                    self.wfile.write(outer.answer(words, wrong))

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = self._server.server_address

    def answer(self, words: list[bytes], wrong: bytes) -> bytes:
        if words[0] == b"SET":
            self.items[words[1]] = words[2]
            return b"+OK\r\n"
        value = self.items.get(words[1])
        if wrong or value is None:
            return wrong or b"$-1\r\n"
        return b"$%d\r\n%b\r\n" % (len(value), value)

    def __enter__(self) -> TinyRedis:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.mark.parametrize("gets", [1.0, 0.0, 0.5])
def test_redis_is_asked_in_its_own_words(gets: float) -> None:
    def has_all(lap: Lap) -> bool:
        return (lap.get.count > 0, lap.set.count > 0) == (gets > 0, gets < 1)

    with TinyRedis() as server:
        lap = run_until(has_all, server, gets=gets, depth=3, connections=2, is_resp=True)
    assert lap.faults == 0, lap.told()
    assert len(server.items) == KEYS


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (b"-LOADING wait\r\n", "errors"),
        (b"$-1\r\n", "misses"),
        (b"$3\r\nabc\r\n", "wrong"),
        (b"$100\r\n" + b"a" * 100 + b"\r\n", "wrong"),
    ],
)
def test_redis_is_believed_no_more(reply: bytes, kind: str) -> None:
    with TinyRedis(reply) as server:
        lap = run(server, is_resp=True)
    assert lap.faults == getattr(lap, kind) > 0


# -- what cannot be run


@pytest.mark.parametrize(
    ("named", "told"),
    [
        ({"connections": 0}, "--connections 0 is not in 1..4096"),
        ({"depth": 5000}, "--depth 5000"),
        ({"gets": 1.5}, "--gets 1.5"),
        ({"keys_per_get": 2, "is_resp": True}, "memcached's protocol"),
    ],
)
def test_arguments_that_mean_nothing_are_refused(named: dict[str, Any], told: str) -> None:
    with TinyMemcached() as server, pytest.raises(TargetError, match=f"status 2: .*{told}"):
        run(server, **named)


@pytest.mark.parametrize("text", ["", "0\n0\n", "0\n" * 39 + "3\n", "0\n" * KEYS])
def test_owners_that_do_not_fit_are_refused(tmp_path: Path, text: str) -> None:
    owners = tmp_path / "owners"
    owners.write_text(text)
    with (
        TinyMemcached() as first,
        TinyMemcached() as second,
        pytest.raises(TargetError, match=r"status 2: .*(no owner of key|owns no key)"),
    ):
        run(first, second, owners=owners)


def test_without_a_compiler_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(race_load.shutil, "which", lambda name: None)
    with pytest.raises(StartError, match=r"apt-get install gcc"):
        Generator(tmp_path)


@pytest.fixture
def broken_sources(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "generator.c").write_text("int main(void) { return nothing; }\n")
    monkeypatch.setattr(race_load, "SOURCES", tmp_path)


@pytest.mark.skipif(not any(map(shutil.which, race_load.COMPILERS)), reason="needs a C compiler")
def test_what_the_compiler_says_is_shown(broken_sources: None, tmp_path: Path) -> None:
    with pytest.raises(StartError, match=re.compile("cannot compile.*nothing", re.DOTALL)):
        Generator(tmp_path)


def test_a_line_that_is_no_result_is_no_lap() -> None:
    for text in ("", "{}", "[]", '{"seconds": 1}'):
        with pytest.raises((ValueError, KeyError, TypeError)):
            Lap.from_json(text)
