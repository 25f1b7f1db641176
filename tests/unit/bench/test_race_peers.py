"""Who runs a race: where each runs, who is left out, and that nothing of it stays."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from quorumcache.bench import race_peers
from quorumcache.bench.cluster import MEMCACHED, ClusterOptions, wait_for
from quorumcache.bench.errors import BenchError, StartError, TargetError
from quorumcache.bench.race_peers import (
    PEERS,
    REDIS,
    LocalRedis,
    Places,
    find_places,
    redis_path,
    started_racers,
)

HERE = Places(servers=tuple(sorted(os.sched_getaffinity(0)))[:1], load=())
NEEDS_REDIS = pytest.mark.skipif(redis_path() is None, reason="needs redis-server")


def test_all_servers_share_one_processor_and_the_load_has_another() -> None:
    places = find_places([7, 3, 5], 3, core_per_node=False)
    assert places == Places(servers=(3,), load=(5,))
    assert [places.of(number) for number in range(3)] == [(3,)] * 3


def test_each_node_has_a_processor_where_there_are_enough() -> None:
    places = find_places([0, 1, 2, 3, 4], 3, core_per_node=True)
    assert places == Places(servers=(0, 1, 2), load=(3,))
    assert [places.of(number) for number in range(3)] == [(0,), (1,), (2,)]


@pytest.mark.parametrize(
    ("cpus", "each", "told"),
    [
        (3, True, "--core-per-node needs 4 processors, this process may use 3"),
        (1, False, "a race needs 2 processors, this process may use 1"),
    ],
)
def test_too_few_processors_are_told(cpus: int, each: bool, told: str) -> None:
    with pytest.raises(BenchError, match=told):
        find_places(list(range(cpus)), 3, core_per_node=each)


@NEEDS_REDIS
@pytest.mark.parametrize("replicas", [0, 2])
def test_a_redis_is_whole_when_it_is_handed_out_and_gone_afterwards(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, replicas: int
) -> None:
    monkeypatch.setattr(race_peers.tempfile, "tempdir", str(tmp_path))
    with LocalRedis(HERE, replicas=replicas) as redis:
        pids = redis.pids
        assert len(pids) == 1 + replicas
        assert redis.is_whole()
        (address,) = redis.addresses
        assert said(address, b"SET k v") == b"+OK"
        durable = said(address, b"CONFIG GET appendfsync", 5)
        assert (b"always" in durable) == bool(replicas)
        assert {min(os.sched_getaffinity(pid)) for pid in pids} == set(HERE.servers)
        if replicas:
            os.kill(pids[1], 9)
            with pytest.raises(StartError, match="ended with status -9"):
                wait_for("its end", lambda: redis.is_whole() and False)
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert [path.name for path in tmp_path.iterdir() if "redis" in path.name] == []


def said(address: tuple[str, int], command: bytes, lines: int = 1) -> bytes:
    with socket.create_connection(address, 10) as connection:
        connection.sendall(command + b"\r\n")
        file = connection.makefile("rb")
        return b"".join(file.readline() for _ in range(lines)).strip()


def test_a_redis_that_does_not_answer_is_not_whole() -> None:
    redis: Any = LocalRedis(HERE)
    with socket.create_server(("127.0.0.1", 0)) as server:
        redis._ports = [server.getsockname()[1]]
    with pytest.raises(TargetError, match="redis: "):
        redis.is_whole()


class Fake:
    """A target that does nothing."""

    def __init__(self, *_: object, **__: object) -> None:
        Fake.made.append(self)

    made: list[Fake] = []
    name = "quorumcache"
    addresses: list[tuple[str, int]] = []
    pids: list[int] = []
    is_started = False

    def __enter__(self) -> Fake:
        self.is_started = True
        return self

    def __exit__(self, *_: object) -> None:
        self.is_started = False


class FakeRedis(Fake):
    """One that has lost its replicas."""

    def is_whole(self) -> bool:
        return False


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    Fake.made = []
    yield
    assert not any(one.is_started for one in Fake.made)


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("LocalCluster", "LocalMemcached"):
        monkeypatch.setattr(race_peers, name, Fake)
    monkeypatch.setattr(race_peers, "LocalRedis", FakeRedis)
    monkeypatch.setattr(race_peers, "memcached_path", lambda: "there")
    monkeypatch.setattr(race_peers, "redis_path", lambda: "there")
    return monkeypatch


def raced(peers: tuple[str, ...] = PEERS) -> tuple[list[str], list[str]]:
    notes: list[str] = []
    Fake.made.clear()
    with started_racers(ClusterOptions(), HERE, notes, peers=peers) as racers:
        assert all(one.is_started for one in Fake.made)
        return [racer.name for racer in racers], list(notes)


def test_ours_is_the_first(fakes: pytest.MonkeyPatch) -> None:
    assert raced()[0] == ["quorumcache", MEMCACHED, REDIS]
    assert raced((REDIS,))[0] == ["quorumcache", REDIS]
    assert raced(()) == (["quorumcache"], [])


def test_who_is_not_installed_is_left_out_and_named(fakes: pytest.MonkeyPatch) -> None:
    fakes.setattr(race_peers, "memcached_path", lambda: None)
    fakes.setattr(race_peers, "redis_path", lambda: None)
    names, notes = raced()
    assert names == ["quorumcache"]
    assert notes == [
        "memcached is not installed, and is left out: apt-get install memcached",
        "redis is not installed, and is left out: apt-get install redis-server",
    ]


def test_a_redis_that_is_not_installed_is_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(race_peers, "redis_path", lambda: None)
    with pytest.raises(StartError, match="redis is not installed"):
        LocalRedis(HERE).__enter__()


def test_a_replica_that_was_lost_meanwhile_is_told(fakes: pytest.MonkeyPatch) -> None:
    notes: list[str] = []
    with started_racers(ClusterOptions(), HERE, notes, peers=(REDIS,)):
        assert notes == []
    assert notes == ["a replica of redis was lost: its sets were cheaper than they should be"]
