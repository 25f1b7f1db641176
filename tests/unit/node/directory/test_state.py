"""Group 0's state machine: the map, replaced by compare-and-set."""

import pytest

from quorumcache.node.directory.state import DirectoryState
from quorumcache.node.store.results import EXISTS, OK
from quorumcache.ring import ClusterMap
from tests.support.directory import first_map, info, set_map


def test_a_map_is_set_once_per_epoch() -> None:
    told: list[ClusterMap] = []
    state = DirectoryState(told.append)
    second = first_map().with_node(info("b", "moved:1"))
    third = first_map().with_node(info("c", "moved:1"))
    assert state.apply(1, 1000, [set_map(0, first_map())]) == [OK]
    assert state.apply(2, 1001, [set_map(1, second), set_map(1, third)]) == [OK, EXISTS]
    assert state.apply(3, 1002, [set_map(0, first_map())]) == [EXISTS]
    assert state.cluster_map == second
    assert [m.epoch for m in told] == [1, 2]


def test_an_unknown_command_is_not_passed_over() -> None:
    state = DirectoryState(lambda m: None)
    with pytest.raises(AssertionError, match="unknown command 9"):
        state.apply(1, 1, [(0, 0, 0, 9, b"", 0, b"")])


@pytest.mark.parametrize("with_map", [False, True])
def test_a_snapshot_restores_map_and_time(with_map: bool) -> None:
    state = DirectoryState(lambda m: None)
    state.apply(1, 5000, [set_map(0, first_map())] if with_map else [])
    told: list[ClusterMap] = []
    other = DirectoryState(told.append)
    other.restore(b"".join(state.encode_view(state.view())))
    assert other.digest() == state.digest()
    assert other.last_now_ms == 5000
    assert told == ([first_map()] if with_map else [])
