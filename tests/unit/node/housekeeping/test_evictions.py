"""A shard that takes more than its share shrinks without any write."""

import pytest

from quorumcache.node.housekeeping.evictions import Evictions
from quorumcache.node.store.commands import OP_EVICT
from quorumcache.node.store.eviction_queue import VICTIMS_MAX
from tests.unit.node.replica.test_evicting import GROUP, World


class Shrinking(World):
    """A group whose share has become smaller."""

    def __init__(self, items: int, percent: int) -> None:
        super().__init__(items)
        self.group.share_bytes = self.ahead * percent // 100
        self.log.lease_until_ns = 1 << 60
        self.group.lease_until_ns = 1 << 60
        self.evictions = Evictions(self.host)

    def sweep(self) -> list[int]:
        """How many victims each entry has that a sweep proposes, and what follows from it."""
        self.evictions.sweep()
        counts = []
        while True:
            commands = self.commands()
            if not commands:
                return counts
            assert {c[3] for c in commands} == {OP_EVICT}
            counts += [len(c[5]) for c in commands]
            self.commit_all()


def test_a_share_that_was_lowered_is_kept_after_one_sweep() -> None:
    world = Shrinking(200, 70)
    (count,) = world.sweep()
    assert 40 < count < 100
    assert world.ahead <= world.group.share_bytes
    assert world.counters.evictions == count
    assert world.sweep() == []


def test_a_shard_shrinks_entry_by_entry() -> None:
    world = Shrinking(VICTIMS_MAX + 500, 10)
    counts = world.sweep()
    assert len(counts) > 1
    assert max(counts) == VICTIMS_MAX
    assert world.ahead <= world.group.share_bytes


def test_there_is_one_entry_under_way_at_a_time() -> None:
    world = Shrinking(VICTIMS_MAX + 500, 10)
    world.evictions.sweep()
    world.evictions.sweep()
    world.turn()
    world.evictions.sweep()
    assert sum(len(c[5]) for c in world.commands()) <= 2 * VICTIMS_MAX
    assert len(world.log.proposed) == 1


@pytest.mark.parametrize("end", ["dropped", "lost"])
def test_a_sweep_that_came_to_nothing_is_made_again(end: str) -> None:
    world = Shrinking(100, 50)
    world.log.dropping = "handed over" if end == "dropped" else ""
    world.evictions.sweep()
    world.turn()
    world.log.dropping = ""
    if end == "lost":
        world.lose()
    world.group.lease_until_ns = 1 << 60
    assert world.store.planned_bytes == 0
    assert len(world.sweep()) == 1


def test_nobody_but_a_leader_that_may_evict_sweeps() -> None:
    world = Shrinking(100, 50)
    world.host.evicts = False
    assert world.sweep() == []
    world.host.evicts = True
    world.group.lease_until_ns = 0
    assert world.sweep() == []


def test_a_group_that_came_again_is_swept() -> None:
    world = Shrinking(100, 50)
    world.evictions.sweep()
    world.turn()
    world.evictions.forget(GROUP)
    world.lose()
    world.group.lease_until_ns = 1 << 60
    assert len(world.sweep()) == 1


def test_a_sweep_tells_the_time_for_hints() -> None:
    world = Shrinking(1, 1000)
    world.clock.ns = 50_000_000_000
    world.evictions.sweep()
    world.store.note_hit(b"old-0")
    assert world.store.hint(b"old-0") == (True, world.group.now_ms() // 1000)
