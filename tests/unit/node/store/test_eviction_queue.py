"""The order in which items leave, and what a replica knows of accesses."""

from quorumcache.node.store.commands import EVICT_PAIRS
from quorumcache.node.store.eviction_queue import (
    SMALL_PARTS,
    SMALL_PARTS_MAX,
    SMALL_PARTS_MIN,
    STEPS_MAX,
    VICTIMS_MAX,
    EvictionQueue,
)
from quorumcache.node.store.hot_keys import new_sketch
from quorumcache.node.store.item import cas_unique, item_cost, pack_header, wire_data
from quorumcache.node.store.item_table import new_item_table
from quorumcache.node.store.stamps import HITS_MAX, MAIN, NOW_S_MAX, PLANNED, SMALL
from quorumcache.ring import key_token
from tests.support.item_tables import item_of, items_of, queued


class Shelf:
    """Items, and the queue that is told of them."""

    def __init__(self, names: str = "") -> None:
        self.items = new_item_table()
        self.queue = EvictionQueue(self.items)
        self.unique = 0
        for name in names:
            self.put(name)

    def put(self, name: str, size: int = 100) -> None:
        key = name.encode()
        self.unique += 1
        item = pack_header(0, 0, self.unique) + wire_data(0, bytes(size))
        if self.items.put(key, item, self.queue.now_s) is None and self.queue.has_ghosts:
            self.queue.added(key, item)

    def hit(self, names: str, times: int = 1) -> None:
        for name in names * times:
            self.items.note_hit(name.encode(), self.queue.now_s)

    def plan(self, count: int) -> str:
        """Choose about so many victims."""
        cost = self.items.bytes_used // max(1, len(self.items))
        plan = self.queue.victims(cost * count - cost // 2)
        if plan is None:
            return ""
        pairs = plan.command[EVICT_PAIRS]
        assert [key for key, _ in pairs] == list(plan.keys)
        assert all(cas_unique(item_of(self.items, key)) == unique for key, unique in pairs)
        return b"".join(plan.keys).decode()

    def evict(self, names: str) -> None:
        for name in names:
            key = name.encode()
            queue, stamp = self.items.queue_of(key), self.items.stamp(key)
            self.items.remove(key)
            self.queue.evicted(key, queue, stamp)

    @property
    def small(self) -> list[bytes]:
        return queued(self.items, SMALL)

    @property
    def main(self) -> list[bytes]:
        return queued(self.items, MAIN)

    @property
    def planned(self) -> list[bytes]:
        return queued(self.items, PLANNED)

    def check(self) -> None:
        """Each item is in one queue."""
        assert sorted(self.small + self.main + self.planned) == sorted(items_of(self.items))


def test_items_that_nobody_asks_for_leave_in_the_order_in_which_they_came() -> None:
    shelf = Shelf("abcdefgh")
    assert shelf.plan(3) == "abc"
    shelf.check()
    shelf.evict("abc")
    shelf.check()
    assert shelf.plan(2) == "de"


def test_what_was_hit_stays_when_its_turn_comes() -> None:
    shelf = Shelf("abcdefgh")
    shelf.hit("ac")
    assert shelf.plan(3) == "bde"
    assert shelf.main == [b"a", b"c"]
    shelf.check()


def test_the_main_queue_goes_round_once_for_each_hit() -> None:
    shelf = Shelf("abcd")
    shelf.hit("abcd", 2)
    shelf.put("e")
    assert shelf.plan(1) == "e"  # All others go to the main queue, with no hit left.
    shelf.evict("e")
    shelf.hit("a", 2)
    shelf.hit("b")
    assert shelf.plan(2) == "cd"
    assert shelf.plan(1) == "b"
    shelf.check()


def test_a_large_item_needs_more_hits_to_stay_and_three_are_always_enough() -> None:
    """It takes the room of many others, which were asked for as often."""
    shelf = Shelf("abcdefgh")
    for name, hits in (("X", 1), ("Y", 2), ("Z", 3)):
        shelf.put(name, 4000)
        shelf.hit(name, hits)
    for name in "ijklmnopqrstuvwxyz":
        shelf.put(name)
    mean = shelf.items.bytes_used // len(shelf.items)
    assert 2 * 2 * mean < item_cost(b"X", item_of(shelf.items, b"X"))
    assert shelf.plan(18).rstrip("jkl") == "abcdefghXYi"
    assert shelf.main == [b"Z"]
    shelf.check()


def test_an_item_that_is_not_much_larger_than_others_stays_for_one_hit() -> None:
    shelf = Shelf("abcdefgh")
    shelf.put("X", 250)
    shelf.hit("X")
    for name in "ijklmnop":
        shelf.put(name)
    assert shelf.plan(9) == "abcdefghi"
    assert shelf.main == [b"X"]


def test_a_key_that_comes_back_after_it_was_evicted_is_in_the_main_queue() -> None:
    shelf = Shelf("abcdefgh")
    shelf.evict(shelf.plan(2))
    shelf.put("a")
    shelf.put("x")
    assert shelf.main == [b"a"]
    shelf.items.remove(b"x")
    shelf.put("x")
    assert shelf.main == [b"a"]  # What its owner removed is no ghost.


def test_a_key_that_left_the_main_queue_is_remembered_too() -> None:
    shelf = Shelf("abcdefgh")
    shelf.hit("abcdefgh")
    gone = shelf.plan(1)
    shelf.evict(gone)
    shelf.put(gone)
    assert shelf.main[-1] == gone.encode()
    shelf.check()


def grown_up(count: int) -> tuple[Shelf, list[str]]:
    """A shelf most of whose items are in the main queue, and their names."""
    names = [chr(0x1000 + each) for each in range(count)]
    shelf = Shelf("".join(names))
    shelf.hit("".join(names))
    gone = shelf.plan(1)
    shelf.evict(gone)
    return shelf, [name for name in names if name not in gone]


def test_the_small_queue_grows_when_its_ghosts_come_back() -> None:
    shelf, names = grown_up(300)
    new = [chr(0x2000 + each) for each in range(40)]
    for name in new:
        shelf.put(name)
    shelf.hit("".join(names))
    for _ in range(100):
        before = shelf.queue.small_target_bytes
        gone = shelf.plan(20)
        shelf.evict(gone)
        for name in gone:
            shelf.put(name)
        shelf.check()
        if set(gone) <= set(new):
            assert shelf.queue.small_target_bytes > before
    shelf.plan(1)
    assert shelf.queue.small_target_bytes <= shelf.items.bytes_used // SMALL_PARTS_MIN


def test_the_small_queue_shrinks_when_ghosts_of_the_main_one_come_back() -> None:
    shelf, names = grown_up(300)
    shelf.queue.small_target_bytes = shelf.items.bytes_used
    gone = shelf.plan(20)
    assert set(gone) <= set(names)
    before = shelf.queue.small_target_bytes
    assert before == shelf.items.bytes_used // SMALL_PARTS_MIN
    shelf.evict(gone)
    for name in gone:
        shelf.put(name)
    assert shelf.queue.small_target_bytes < before
    shelf.queue.small_target_bytes = 1
    shelf.plan(1)
    assert shelf.queue.small_target_bytes >= (shelf.items.bytes_used - 300) // SMALL_PARTS_MAX


def test_with_a_large_small_queue_hits_last_one_round() -> None:
    shelf, names = grown_up(100)
    shelf.hit("".join(names[:50]), 3)
    shelf.queue.small_target_bytes = shelf.items.bytes_used
    first, second = shelf.plan(20), shelf.plan(50)
    assert set(first) <= set(names[50:])
    assert set(second) & set(names[:50])


def test_a_follower_makes_ghosts_of_what_its_leader_evicts() -> None:
    shelf = Shelf("abcd")
    shelf.evict("ab")
    shelf.put("b")
    assert shelf.main == [b"b"]
    shelf.check()


def test_the_small_queue_keeps_its_part_of_the_bytes() -> None:
    names = [chr(0x100 + each) for each in range(100)]
    shelf = Shelf()
    for name in names:
        shelf.put(name)
        shelf.hit(name, 2)
    assert shelf.plan(1) == names[0]  # Those before the last tenth were moved to the main queue.
    assert 7 <= shelf.items.small_count <= 10
    shelf.plan(5)
    assert 7 <= shelf.items.small_count <= 10
    shelf.put("L", 20 * 300)
    assert shelf.items.small_bytes * SMALL_PARTS > shelf.items.bytes_used
    shelf.put("x")
    assert shelf.plan(1) == "L"  # Those before it were hit.
    shelf.check()


def test_a_large_item_leaves_before_the_small_ones_that_are_asked_for() -> None:
    shelf = Shelf("abcdefgh")
    shelf.hit("abcdefgh", 2)
    shelf.put("L", 100_000)
    plan = shelf.queue.victims(1000)
    assert plan is not None
    assert plan.keys == [b"L"]


def test_a_plan_is_bounded_and_does_not_look_for_ever() -> None:
    shelf = Shelf()
    count = STEPS_MAX + 2 * VICTIMS_MAX
    names = [chr(0x1000 + each) for each in range(count)]
    for name in names:
        shelf.put(name, 1)
        shelf.hit(name, HITS_MAX)
    plan = shelf.queue.victims(1 << 40)
    assert plan is not None
    assert len(plan.keys) == VICTIMS_MAX
    assert shelf.items.small_count + shelf.items.main_count == count - VICTIMS_MAX
    shelf.check()


def test_an_empty_queue_has_no_victims() -> None:
    shelf = Shelf("ab")
    assert shelf.plan(5) == "ab"
    assert shelf.plan(5) == ""
    shelf.check()
    shelf.queue.clear()
    shelf.items.clear()
    shelf.check()
    assert shelf.plan(1) == ""


def test_planned_items_are_chosen_again_when_the_leadership_was_lost() -> None:
    shelf = Shelf("abcd")
    assert shelf.plan(1) == "a"
    assert shelf.plan(1) == "b"
    shelf.queue.spare([b"a", b"gone"])
    shelf.check()
    assert shelf.planned == [b"b"]
    shelf.queue.spare([b"b"])
    assert shelf.plan(4) == "cdab"


def test_a_planned_item_that_is_stored_again_stays() -> None:
    shelf = Shelf("abcd")
    assert shelf.plan(2) == "ab"
    shelf.put("a", 500)
    shelf.check()
    assert shelf.main == [b"a"]
    assert shelf.planned == [b"b"]


def test_what_was_known_of_victims_when_they_left() -> None:
    shelf = Shelf("abcdef")
    shelf.hit("bc")
    plan = shelf.queue.victims(1 << 40)
    assert plan is not None
    assert len(plan.keys) == 6
    assert plan.cost_bytes == shelf.items.bytes_used
    shelf.hit("d")
    shelf.put("e")
    shelf.evict("abcdef")
    assert shelf.queue.take_tallies() == (2, 1)  # a and f; d. No plan of this replica evicted e.
    assert shelf.queue.take_tallies() == (0, 0)


def test_hints_of_an_item() -> None:
    shelf = Shelf()
    queue = shelf.queue
    assert queue.hint(b"a") == (False, 0)
    queue.tick(5_999)
    shelf.put("a")
    assert queue.hint(b"a") == (False, 5)
    queue.tick(7_000)
    shelf.hit("a")
    assert queue.hint(b"a") == (True, 7)
    queue.tick(9_000)
    shelf.put("a")
    assert queue.hint(b"a") == (False, 9)
    assert shelf.plan(1) == "a"
    shelf.hit("a")
    assert queue.hint(b"a") == (True, 9)
    shelf.hit("z")  # Nothing is under this key.
    assert queue.hint(b"z") == (False, 0)


def test_hints_begin_anew_with_each_lead() -> None:
    shelf = Shelf()
    queue = shelf.queue
    queue.tick(5_000)
    shelf.put("a")
    shelf.hit("a")
    shelf.put("b")
    queue.lead(False, 0)
    queue.tick(7_000)
    shelf.put("a")
    queue.tick(8_000)
    shelf.put("c")
    queue.lead(True, 9_000)
    assert [queue.hint(key) for key in (b"a", b"b", b"c", b"z")] == [(False, 9)] * 3 + [(False, 0)]
    queue.lead(True, 11_000)  # In another term.
    assert queue.hint(b"a") == (False, 9)
    shelf.hit("a")
    assert queue.hint(b"a") == (True, 9)
    queue.tick(12_000)
    shelf.put("a")
    assert queue.hint(b"a") == (False, 12)


def test_a_queue_that_came_by_snapshot_knows_whether_its_replica_leads() -> None:
    before, after = Shelf("a"), Shelf("a")
    before.queue.lead(False, 0)
    after.queue.succeed(before.queue)
    after.hit("a")
    after.queue.lead(True, 9_000)
    assert after.queue.hint(b"a") == (False, 9)
    again = Shelf("a")
    again.queue.succeed(after.queue)
    assert again.queue.hint(b"a") == (False, 9)


def test_a_follower_notes_what_is_stored_again() -> None:
    """It sees no reads, but all stores."""
    shelf = Shelf("abcd")
    shelf.queue.lead(False, 0)
    shelf.put("a")
    shelf.put("b")
    shelf.queue.lead(True, 1_000)
    assert shelf.plan(2) == "cd"
    assert shelf.main == [b"a", b"b"]
    shelf.check()


def test_what_is_planned_when_the_lead_ends_may_still_be_replaced() -> None:
    shelf = Shelf("abc")
    assert shelf.plan(1) == "a"
    shelf.queue.lead(False, 0)
    shelf.put("a")
    assert not shelf.planned
    shelf.check()


def test_what_an_earlier_leader_saw_hit_is_spared_once() -> None:
    shelf = Shelf("abcdefgh")
    hot = new_sketch(64)
    for key in (b"a", b"c", b"d"):
        hot.add(key_token(key))
    shelf.queue.hear_hot(hot)
    assert shelf.plan(3) == "bef"
    assert shelf.main == [b"a", b"c", b"d"]
    assert shelf.plan(2) == "gh"
    again = Shelf("abcdefgh")
    again.queue.succeed(shelf.queue)  # Its items came with a snapshot.
    assert again.plan(3) == "bef"
    assert shelf.plan(3) == "acd"  # A second time they go.
    shelf.check()


def test_what_was_said_of_hits_is_forgotten_after_one_round() -> None:
    shelf = Shelf("ab")
    hot = new_sketch(64)
    hot.add(key_token(b"x"))
    shelf.queue.hear_hot(hot)
    shelf.evict(shelf.plan(2))
    for name in "cdx":
        shelf.put(name)
    assert shelf.plan(3) == "cdx"


def test_hits_of_an_item() -> None:
    shelf = Shelf("abcd")
    shelf.hit("a", 2)
    shelf.hit("b", 9)
    shelf.plan(1)
    assert [shelf.queue.hits(key) for key in (b"d", b"z")] == [0, 0]
    shelf = Shelf("ab")
    shelf.hit("a", 2)
    shelf.hit("b", 9)
    assert [shelf.queue.hits(key) for key in (b"a", b"b", b"z")] == [2, HITS_MAX, 0]


def test_only_the_ghosts_are_its_own_memory() -> None:
    shelf = Shelf()
    for number in range(1000):
        shelf.put(f"key-{number}")
    assert shelf.queue.memory_bytes < 300
    shelf.queue.victims(100_000)
    assert 400 < shelf.queue.memory_bytes < 10_000


def test_an_access_in_the_first_second_of_a_cluster_is_one() -> None:
    """Cluster time begins at 0."""
    shelf = Shelf()
    shelf.queue.tick(0)
    shelf.put("k")
    assert shelf.queue.hint(b"k") == (False, 1)
    shelf.hit("k")
    shelf.queue.tick(5_000)
    assert shelf.queue.hint(b"k") == (True, 1)


def test_accesses_are_told_though_the_seconds_of_stamps_begin_again() -> None:
    shelf = Shelf()
    queue = shelf.queue
    for round_ in (1, 3, 1 << 20):
        for early in (-2, -1, 0, 1):
            second = round_ * (NOW_S_MAX + 1) + early
            queue.tick(second * 1000)
            shelf.put("k")
            shelf.hit("k")
            queue.tick((second + 1) * 1000)
            assert queue.hint(b"k")[1] - second in ((0, 1) if early == 0 else (0,))
            queue.tick((second + 100) * 1000)
            assert queue.hint(b"k")[1] - second in ((0, 1) if early == 0 else (0,))
    assert shelf.plan(1) == "k"
