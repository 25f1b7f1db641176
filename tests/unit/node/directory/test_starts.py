"""Which groups a leader tells the directory of."""

from types import SimpleNamespace
from typing import Any

import pytest

from quorumcache.node.directory.starts import shards_of, started_here
from tests.support.founding import record_of

MAP = record_of("a", "b", "c").first_map()


def group(*, leads: bool = True, applied: int = 7, term_start: int = 7) -> Any:
    log = SimpleNamespace(term_start_index=term_start)
    return SimpleNamespace(is_leader=leads, applied_index=applied, log=log)


def test_a_group_has_started_once_its_leader_has_applied_an_entry_of_its_term() -> None:
    groups = {
        0: group(),  # The directory is no shard.
        1: group(),
        2: group(leads=False),
        3: group(applied=6),
        4: group(applied=0, term_start=0),  # Of no term yet.
    }
    assert started_here(groups, MAP) == 0b0001


def test_what_the_map_knows_is_not_told_again() -> None:
    groups = {1: group(), 2: group(), 4: group()}
    assert shards_of(started_here(groups, MAP.with_started([1]))) == [0, 3]


@pytest.mark.parametrize("shards", [[], [0], [2, 3, 70]])
def test_bits_and_shards(shards: list[int]) -> None:
    assert shards_of(sum(1 << shard for shard in shards)) == shards
