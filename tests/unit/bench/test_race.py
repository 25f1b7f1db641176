"""A race: whose turn it is, on which server, with which keys; and when it stops."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from quorumcache.bench import race
from quorumcache.bench.errors import TargetError, WorkloadError
from quorumcache.bench.loadgen import Routes
from quorumcache.bench.race import (
    WORKS,
    Figures,
    Plan,
    find_works,
    owners_text,
    run_race,
    takes_part,
)
from quorumcache.bench.race_load import Lap, Load, Times
from quorumcache.bench.race_peers import Places, Racer
from quorumcache.ring.hashing import shard_of

KEYS = 30
ROUTES = Routes((("h", 1), ("h", 2)), (0, 1, 1, 0))


class Target:
    """Found by its port."""

    def __init__(self, name: str, *ports: int) -> None:
        self.name = name
        self.addresses = [("h", port) for port in ports]
        self.pids = [ports[0]]


def racers() -> list[Any]:
    ours, alone = Target("quorumcache", 1, 2), Target("memcached", 3)
    reads, writes = Target("redis", 4), Target("redis", 5)
    fields: list[Any] = [
        {"name": "quorumcache", "reads": ours, "writes": ours},
        {"name": "memcached", "reads": alone, "writes": alone},
        {"name": "redis", "reads": reads, "writes": writes, "is_resp": True},
    ]
    return [Racer(**one) for one in fields]


def lap(filled: int = 0, wrong: int = 0) -> Lap:
    times = Times(count=10, p50=1, p99=2, p999=3, max=4)
    faults = {"errors": 0, "misses": 0, "unanswered": 0, "first_error": ""}
    return Lap(
        seconds=1.7,
        filled=filled,
        answered=50,
        wrong=wrong,
        load_cpu=9,
        **faults,
        get=times,
        set=times,
    )


class Generator:
    """Notes what it is told to do, and answers it with `laps`, or well."""

    def __init__(self, *laps: Lap) -> None:
        self.asked: list[tuple[tuple[int, ...], Load, dict[str, Any]]] = []
        self.owners: list[str] = []
        self.laps = list(laps)

    def run(self, ports: Sequence[int], load: Load, **named: Any) -> Lap:
        self.asked.append((tuple(ports), load, named))
        owners = named["owners"]
        self.owners.append(owners.read_text() if owners else "")
        if named["fill"]:
            return lap(filled=KEYS)
        return self.laps.pop(0) if self.laps else lap()


class Meter:
    """Everybody else takes 30 % all the time."""

    def __init__(self, pids: Any) -> None:
        assert pids() == [1, 3, 4, 5]

    def percent(self) -> float:
        return 30.0


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    def find_routes(addresses: Any, mode: str) -> Routes:
        return ROUTES if len(addresses) > 1 else Routes(tuple(addresses))

    used: list[float] = [0.0]

    def cpu(pids: Sequence[int]) -> float:
        used[0] += 0.001
        return used[0]

    monkeypatch.setattr(race, "find_routes", find_routes)
    monkeypatch.setattr(race.procfs, "total_cpu_seconds", cpu)
    monkeypatch.setattr(race.procfs, "OthersMeter", Meter)
    places = Places(servers=(0,), load=(1,))
    return Plan(rounds=2, seconds=1.7, keys=KEYS, places=places, directory=tmp_path)


def run(plan: Plan, generator: Any, *names: str) -> list[Figures]:
    return list(run_race(racers(), find_works(names), plan, generator, lambda text: None))


def test_every_server_is_filled_once_and_then_they_take_turns(plan: Plan) -> None:
    generator = Generator()
    (found,) = run(plan, generator, "set50")
    ports = [ports for ports, _, _ in generator.asked]
    assert ports[:4] == [(1, 2), (3,), (4,), (5,)]
    assert ports[4:] == [(1, 2), (3,), (5,), (5,), (3,), (1, 2)]
    assert [named["fill"] for _, _, named in generator.asked] == [True] * 4 + [False] * 6
    assert [named["seconds"] for _, _, named in generator.asked] == [0] * 4 + [1.7] * 6
    assert {named["cpus"] for _, _, named in generator.asked} == {(1,)}
    assert [named["is_resp"] for _, _, named in generator.asked[:4]] == [False, False, True, True]
    assert {load.keys for _, load, _ in generator.asked} == {KEYS}
    assert list(found.laps) == ["quorumcache", "memcached", "redis"]
    assert {len(laps) for laps in found.laps.values()} == {2}
    ours = found.laps["quorumcache"][0]
    assert (ours.ours_idle, ours.others) == (0.0, 30.0)
    assert ours.cpu_us == pytest.approx(1e6 * 0.002 / 50)
    assert found.laps["redis"][0].ours_idle == pytest.approx(100 * 0.002 / 2.0)


def test_gets_are_asked_of_the_redis_that_keeps_nothing(plan: Plan) -> None:
    generator = Generator()
    run(plan, generator, "get1")
    assert {ports for ports, _, _ in generator.asked[4:]} == {(1, 2), (3,), (4,)}


def test_redis_takes_no_part_where_it_has_no_such_request(plan: Plan) -> None:
    (found,) = run(plan, Generator(), "mget50")
    assert list(found.laps) == ["quorumcache", "memcached"]
    out = [work.name for work in WORKS if not takes_part(racers()[2], work)]
    assert out == ["mget50"]


def test_a_key_is_asked_of_its_leader_only_where_that_is_the_race(plan: Plan) -> None:
    generator = Generator()
    run(plan, generator, "get1", "any1")
    routed = owners_text(ROUTES, KEYS)
    laps = list(zip(generator.asked, generator.owners, strict=True))[4:]
    ours = [owners for (ports, _, _), owners in laps if ports == (1, 2)]
    assert ours == [routed, routed, "", ""]
    assert {owners for (ports, _, _), owners in laps if ports != (1, 2)} == {""}
    lines = routed.splitlines()
    assert len(lines) == KEYS
    for number, line in enumerate(lines):
        assert int(line) == ROUTES.owners[shard_of(b"key:%010d" % number, 4)]


def test_a_fault_ends_the_race_after_its_round_and_is_kept(plan: Plan) -> None:
    found = run(plan, Generator(lap(), lap(wrong=1)), "get1", "get16")
    assert [(figures.work.name, figures.faults) for figures in found] == [("get1", 1)]
    assert {len(laps) for laps in found[0].laps.values()} == {1}


def test_a_server_that_does_not_store_all_keys_is_not_raced(plan: Plan) -> None:
    class Small(Generator):
        def run(self, *args: Any, **named: Any) -> Lap:
            return lap(filled=KEYS - 1)

    with pytest.raises(TargetError, match="quorumcache stored 29 of 30 keys"):
        run(plan, Small(), "get1")


def test_works_have_names_of_their_own() -> None:
    assert [work.name for work in find_works(["set50", "get1"])] == ["set50", "get1"]
    assert find_works([]) == list(WORKS)
    assert len({work.name for work in WORKS}) == len(WORKS)
    with pytest.raises(WorkloadError, match="no race 'get2'; there are: get1, get16"):
        find_works(["get2"])
