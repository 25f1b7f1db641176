"""The named workloads that are there, and what a user is told about one that is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from quorumcache.bench import scenarios
from quorumcache.bench.errors import WorkloadError


def test_every_scenario_can_be_run_and_says_what_it_is() -> None:
    loaded = scenarios.load_all(())
    assert [workload.name for workload in loaded] == scenarios.names()
    assert len(loaded) > 1
    for workload in loaded:
        assert workload.validate() is workload
        assert workload.description, workload.name


def test_the_chosen_ones_come_in_the_order_in_which_they_were_named() -> None:
    last_first = scenarios.names()[::-1][:2]
    assert [workload.name for workload in scenarios.load_all(last_first)] == last_first


def test_a_name_that_is_none_is_answered_with_those_that_are() -> None:
    with pytest.raises(WorkloadError, match="no scenario 'gte'; there are: ") as caught:
        scenarios.load("gte")
    assert all(name in str(caught.value) for name in scenarios.names())


@pytest.mark.parametrize("name", ["../scenarios/get", "get\0", ""])
def test_a_name_is_no_path(name: str) -> None:
    with pytest.raises(WorkloadError, match="no scenario"):
        scenarios.load(name)


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("get = 1.0\nkeys = 7\n")
    workload = scenarios.load(str(path))
    assert (workload.name, workload.keys) == ("mine", 7)


@pytest.mark.parametrize(
    ("content", "why"),
    [(None, "No such file"), (b"get = ", "not a TOML file"), (b"\xff", "not a TOML file")],
    ids=["missing", "no TOML", "no text"],
)
def test_a_file_that_cannot_be_read_is_named(
    tmp_path: Path, content: bytes | None, why: str
) -> None:
    path = tmp_path / "mine.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WorkloadError, match=why) as caught:
        scenarios.load(str(path))
    assert str(path) in str(caught.value)
