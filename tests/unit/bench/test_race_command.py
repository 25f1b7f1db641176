"""The command `race`: what its flags mean, what it cannot do, and its exit status."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from quorumcache.bench import __main__ as command
from quorumcache.bench import memory, options, race_command
from quorumcache.bench.errors import TargetError
from quorumcache.bench.measure import Progress
from quorumcache.bench.memory import Look
from quorumcache.bench.race import Figures, find_works
from quorumcache.bench.race_command import Race, redis_memory
from tests.unit.bench.test_race_report import measured


@pytest.fixture(autouse=True)
def four_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3})


def race_of(*words: str) -> Race:
    return Race.of(options.build_parser().parse_args(["race", *words]))


def test_flags_mean_what_they_say() -> None:
    race = race_of("--only", "get1,set50", "--rounds", "3", "--without", "redis", "--shards", "16")
    assert [work.name for work in race.works] == ["get1", "set50"]
    assert (race.peers, race.rounds, race.cluster.shards) == (("memcached",), 3, 16)
    assert (race.cluster.cpus, race.places.load) == ((0,), (1,))
    assert race.describe().endswith("beside it memcached; servers on processor 0, the load on 1")
    assert "beside it nobody" in race_of("--without", "redis", "--without", "memcached").describe()


def test_a_core_for_each_node() -> None:
    race = race_of("--core-per-node")
    assert [race.cluster.cpus_of(number) for number in range(3)] == [(0,), (1,), (2,)]
    assert race.places.load == (3,)
    assert [race_of().cluster.cpus_of(number) for number in range(3)] == [(0,)] * 3


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (["--only", "get2"], 1, "no race 'get2'"),
        (["--rounds", "0"], 2, "number from 1"),
        (["--without", "mysql"], 2, "invalid choice"),
    ],
)
def test_what_cannot_be_raced(
    words: list[str], status: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        ended = command.main(["race", *words])
    except SystemExit as error:
        ended = int(str(error.code))
    assert ended == status
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [0, 2])
def test_a_wrong_reply_is_status_3_and_everything_is_written(
    wrong: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = Figures(
        find_works(["get1"])[0],
        {"quorumcache": [measured(50, wrong=wrong)], "memcached": [measured(100)]},
    )

    def run(self: Race, notes: list[str], say: Any, show: Callable[[Figures], None]) -> Any:
        notes.append("redis is not installed")
        show(found)
        return [found]

    monkeypatch.setattr(Race, "run", run)
    words = ["race", "--rounds", "1", "--quiet", "--out", str(tmp_path / "out")]
    words += ["--json", str(tmp_path / "new" / "race.json"), "--svg", str(tmp_path / "race.svg")]
    assert command.main(words) == (3 if wrong else 0)
    printed = capsys.readouterr().out
    assert "redis is not installed\n" in printed
    assert "MISSED   get1, throughput by that of memcached: 0.5, goal: at least 0.95" in printed
    assert ("FAILED: get1 on quorumcache: 2 wrong replies" in printed) == bool(wrong)
    assert '"ratio": 0.5' in (tmp_path / "new" / "race.json").read_text()
    assert "0.50" in (tmp_path / "race.svg").read_text()
    assert "| get1 | quorumcache | 50 |" in (tmp_path / "out" / "report.md").read_text()


def test_a_race_is_run_with_all_that_it_needs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = Figures(find_works(["get1"])[0], {"quorumcache": [measured(50)]})
    seen: dict[str, Any] = {}

    class Started:
        def __init__(self, cluster: Any, places: Any, notes: list[str], *, peers: Any) -> None:
            seen["peers"] = peers
            notes.append("left out")

        def __enter__(self) -> list[str]:
            return ["ours"]

        def __exit__(self, *_: object) -> None:
            seen["is_ended"] = True

    def run_race(racers: Any, works: Any, plan: Any, generator: Any, say: Any) -> Any:
        assert plan.directory.is_dir()
        seen.update(racers=racers, plan=plan, generator=generator)
        return [found]

    monkeypatch.setattr(race_command, "Generator", lambda place: f"made in {place}")
    monkeypatch.setattr(race_command, "started_racers", Started)
    monkeypatch.setattr(race_command, "run_race", run_race)
    said: list[str] = []
    shown: list[Figures] = []
    assert race_of("--rounds", "2").run([], said.append, shown.append) == shown == [found]
    assert said == ["left out"]
    assert (seen["racers"], seen["plan"].rounds, seen["is_ended"]) == (["ours"], 2, True)
    assert seen["generator"] == f"made in {seen['plan'].directory}"
    assert not seen["plan"].directory.exists()


@pytest.mark.parametrize(("misses", "told"), [(0, ""), (3, "redis lost 6 of the items")])
def test_the_memory_of_redis_is_filled_in_its_own_words(
    misses: int, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    class Redis:
        name = "redis"
        addresses = (("h", 7),)
        pids = (1,)

        def __init__(self, places: Any) -> None:
            assert places.of(0) == (0,)

        def __enter__(self) -> Redis:
            return self

        def __exit__(self, *_: object) -> None: ...

    class Generator:
        def __init__(self, place: Path) -> None: ...

        def run(self, ports: Any, load: Any, **named: Any) -> Any:
            asked.append((ports, load.keys, load.value_bytes, named["is_resp"], named["fill"]))
            return measured(5, wrong=misses, filled=load.keys - misses).lap

    monkeypatch.setattr(race_command, "LocalRedis", Redis)
    monkeypatch.setattr(race_command, "Generator", Generator)
    monkeypatch.setattr(memory.time, "sleep", lambda seconds: None)
    resident = iter([1000, 12_000])
    monkeypatch.setattr(memory.procfs, "rss_bytes", lambda pid: next(resident, 11_000))
    if told:
        with pytest.raises(TargetError, match=told):
            redis_memory((), 1100, 50, Progress(quiet=True))
        return
    (use,) = redis_memory((), 1100, 50, Progress(quiet=True))
    assert asked == [([7], 1000, 50, True, True), ([7], 1100, 50, True, True)]
    assert (use.process, use.items) == ("redis", 100)
    assert (use.empty, use.stored, use.settled) == (Look(1000), Look(12_000), Look(11_000))
