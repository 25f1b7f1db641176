"""What a leader evicts, and when: victims go before the commands that need their room."""

from typing import Any

import pytest

from quorumcache.node.consensus.values import Role
from quorumcache.node.replica.evicting import SLACK_PARTS, memory_ahead
from quorumcache.node.state_machine import decode_batch
from quorumcache.node.store.commands import OP_EVICT, OP_SET
from quorumcache.node.store.item import cas_unique, item_cost, wire_data
from quorumcache.node.store.results import STORED
from quorumcache.node.store.store import ShardStore, shard_store
from tests.support.item_tables import item_of, items_of
from tests.support.scripted_log import Hears, HostWorld

GROUP = 5


class World(HostWorld):
    """One group that leads and may evict. Its items are large: the tables do not count."""

    def __init__(self, items: int = 0, share_bytes: int = 0) -> None:
        super().__init__(GROUP)
        self.host.may_use_new_ops = True
        self.group = self.groups[GROUP]
        self.log = self.logs[GROUP]
        self.store: ShardStore = shard_store(self.group.machine)
        self.log.lead()
        self.turn(GROUP)
        for number in range(items):
            self.put(b"old-%d" % number)
        self.turn()
        self.commit_all()
        self.group.share_bytes = share_bytes

    def put(self, key: bytes, size: int = 10_000) -> Hears:
        waiter = Hears()
        self.group.submit((0, 0, 0, OP_SET, key, wire_data(0, bytes(size)), 0), size, waiter)
        return waiter

    def commands(self) -> list[Any]:
        """Of the entries that were proposed in this turn."""
        self.turn()
        return [c for entry in self.log.proposed for c in decode_batch(entry.payload)[1]]

    def commit_all(self) -> None:
        entries, self.log.proposed = self.log.proposed, []
        if entries:
            self.log.commit(entries)
            self.turn(GROUP)

    def lose(self) -> None:
        """Lose the leadership, and what was proposed under it, and lead again."""
        self.log.proposed.clear()
        self.log.last_index = self.group.applied_index
        self.log.become(Role.FOLLOWER, 7)
        self.turn(GROUP)
        self.log.become(Role.LEADER, 8)
        self.turn(GROUP)

    @property
    def ahead(self) -> int:
        return memory_ahead(self.store, self.group.growing_bytes)

    @property
    def bytes_per_item(self) -> int:
        key, item = next(iter(items_of(self.store.items).items()))
        return item_cost(key, item)


def full(items: int = 40) -> World:
    """A shard that has room for half an item more than it holds."""
    world = World(items)
    world.group.share_bytes = world.ahead + world.bytes_per_item // 2
    return world


def test_a_batch_carries_its_victims_before_its_commands() -> None:
    world = full()
    waiters = [world.put(b"new-%d" % n) for n in range(3)]
    evict, *sets = world.commands()
    assert evict[3] == OP_EVICT
    assert [key for key, _ in evict[5]] == [b"old-0", b"old-1", b"old-2"]
    assert [c[4] for c in sets] == [b"new-0", b"new-1", b"new-2"]
    world.commit_all()
    assert [w.heard for w in waiters] == [[STORED]] * 3
    assert world.ahead <= world.group.share_bytes
    assert b"old-2" not in world.store.items
    assert b"new-2" in world.store.items
    assert world.counters.evictions == world.counters.evicted_unfetched == 3
    assert world.counters.evicted_active == 0
    assert (world.group.growing_bytes, world.store.planned_bytes) == (0, 0)


def test_batches_in_a_row_do_not_evict_for_the_same_bytes_twice() -> None:
    world = full()
    victims: list[bytes] = []
    for number in range(10):
        world.put(b"new-%d" % number)
        world.turn()
        assert world.ahead <= world.group.share_bytes
    victims = [key for c in world.commands() if c[3] == OP_EVICT for key, _ in c[5]]
    assert len(victims) == len(set(victims)) <= 11
    world.commit_all()
    assert (world.group.growing_bytes, world.store.planned_bytes) == (0, 0)
    assert world.counters.evictions == len(victims)


def test_a_store_that_takes_the_place_of_another_needs_no_victims() -> None:
    world = full()
    for number in range(40):
        world.put(b"old-%d" % number, 9_000)
    assert all(c[3] == OP_SET for c in world.commands())


def test_a_little_more_is_evicted_than_has_to_be() -> None:
    world = full(600)
    world.put(b"new")
    (evict, _) = world.commands()
    assert len(evict[5]) > world.group.share_bytes // SLACK_PARTS // world.bytes_per_item
    world.commit_all()
    world.put(b"newer")
    assert [c[3] for c in world.commands()] == [OP_SET]


@pytest.mark.parametrize("why_not", ["no share", "no-evict", "form 1"])
def test_nothing_is_evicted_where_it_must_not_be(why_not: str) -> None:
    world = full()
    if why_not == "no share":
        world.group.share_bytes = 0
    elif why_not == "no-evict":
        world.host.evicts = False
    else:
        world.host.may_use_new_ops = False
    assert not world.group.evicts
    world.put(b"new")
    assert [c[3] for c in world.commands()] == [OP_SET]


def test_a_follower_chooses_no_victims() -> None:
    world = full()
    world.log.become(Role.FOLLOWER, 2)
    world.turn(GROUP)
    assert not world.group.evicts
    waiter = world.put(b"new")
    assert world.commands() == []
    assert waiter.heard == ["refused"]
    assert world.store.planned_bytes == 0


@pytest.mark.parametrize("end", ["dropped", "lost", "another entry in its place"])
def test_victims_of_an_entry_that_came_to_nothing_are_chosen_again(end: str) -> None:
    world = full()
    world.log.dropping = "handed over" if end == "dropped" else ""
    world.put(b"new")
    world.turn()
    if end == "dropped":
        world.log.dropping = ""
    else:
        assert world.store.planned_bytes > 0
        if end == "another entry in its place":
            world.log.term += 1
            world.log.proposed[0] = world.log.proposed[0]._replace(term=world.log.term)
            world.log.commit([world.log.proposed[0]])
            world.turn(GROUP)
        world.lose()
    assert (world.group.growing_bytes, world.store.planned_bytes) == (0, 0)
    assert world.counters.evictions == 0
    items = world.store.items
    assert items.small_count + items.main_count == len(items)


def test_a_victim_that_is_stored_again_meanwhile_stays_and_is_not_counted() -> None:
    world = full()
    world.put(b"old-0")
    world.turn()
    world.put(b"new")
    (_, evict, _) = world.commands()
    assert [key for key, _ in evict[5]] == [b"old-0"]
    world.commit_all()
    assert b"old-0" in world.store.items
    assert world.counters.evictions == 0


def test_victims_that_are_hit_after_they_were_chosen_are_counted_as_active() -> None:
    world = full()
    world.put(b"new-0")
    world.put(b"new-1")
    world.turn()
    world.store.note_hit(b"old-1")
    world.commit_all()
    counters = world.counters
    assert (counters.evictions, counters.evicted_unfetched, counters.evicted_active) == (2, 1, 1)


def test_what_another_leader_evicted_is_not_counted_here() -> None:
    world = full()
    unique = cas_unique(item_of(world.store.items, b"old-0"))
    world.store.apply(99, 0, [(0, 0, 0, OP_EVICT, b"", ((b"old-0", unique),))])
    world.put(b"new-0")
    world.put(b"new-1")
    world.turn()
    world.commit_all()
    assert world.counters.evictions == world.counters.evicted_unfetched == 1
