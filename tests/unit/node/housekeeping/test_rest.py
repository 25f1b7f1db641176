"""When memory is given back: after each spell of work, and not while clients wait."""

from __future__ import annotations

import pytest

from quorumcache.node.housekeeping.rest import (
    MOVED_BYTES,
    READ_PASSES,
    READS_MAX,
    REST_PASSES,
    Rest,
)
from quorumcache.node.telemetry.counters import Counters


class World:
    def __init__(self) -> None:
        self.counters = Counters()
        self.given_back = 0
        self.rest = Rest(self.counters, self._give_back)

    def _give_back(self) -> None:
        self.given_back += 1

    def look(self, times: int = 1, *, reads: int = 0) -> int:
        for _ in range(times):
            self.counters.cmd_get += reads
            self.rest.look()
        return self.given_back


def test_a_node_that_did_nothing_has_nothing_to_give() -> None:
    assert World().look(1000) == 0


def test_once_after_each_spell_of_work() -> None:
    world = World()
    world.counters.entries_applied = 5
    assert world.look(REST_PASSES) == 0
    assert world.look() == 1
    assert world.look(1000) == 1
    world.counters.entries_applied = 6
    assert world.look(REST_PASSES) == 1
    assert world.look(1000) == 2


def test_at_rest_after_each_snapshot_and_under_load_after_none() -> None:
    world = World()
    world.counters.entries_applied = 5
    assert world.look(REST_PASSES + 1) == 1
    for number in range(1, 5):
        world.counters.snapshots_taken = number
        assert world.look() == 1 + number, "all of it at once would be a stall"
        assert world.look() == 1 + number
    for number in range(5, 50):
        world.counters.entries_applied += 1
        world.counters.snapshots_taken = number
        assert world.look() == 5


def test_work_puts_it_off() -> None:
    world = World()
    for number in range(100):
        world.counters.entries_applied = number
        assert world.look(REST_PASSES) == 0


def test_readers_put_it_off_but_not_for_ever() -> None:
    world = World()
    world.counters.entries_applied = 5
    assert world.look(READ_PASSES, reads=READS_MAX + 1) == 0
    assert world.look(reads=READS_MAX + 1) == 1
    world.counters.entries_applied = 6
    assert world.look(REST_PASSES + 1, reads=READS_MAX) == 2, "so few do not count"


def test_a_reset_of_the_statistics_is_no_work() -> None:
    world = World()
    world.counters.entries_applied = 5
    world.look(REST_PASSES + 1)
    world.counters.reset()
    assert world.look(1000) == 1


@pytest.mark.parametrize(
    "name", ["bytes_read", "bytes_written", "peer_bytes_sent", "peer_bytes_received"]
)
def test_after_much_has_come_and_gone_though_nothing_was_written(name: str) -> None:
    """Replies that were not read, and half of large values: their clients are gone."""
    world = World()
    setattr(world.counters, name, MOVED_BYTES - 1)
    assert world.look(1000) == 0
    setattr(world.counters, name, MOVED_BYTES)
    assert world.look() == 1
    assert world.look(1000) == 1
    setattr(world.counters, name, 2 * MOVED_BYTES)
    assert world.look(3, reads=READS_MAX + 1) == 1, "not while there are readers"
    assert world.look(REST_PASSES) == 2
    world.counters.reset()
    assert world.look(1000) == 2
