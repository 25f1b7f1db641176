"""A read that may become a write keeps its place in the order of its connection."""

from __future__ import annotations

from typing import Any

from quorumcache.node.operations.failure import Failure
from quorumcache.node.operations.meta_read import ASKS_HINT, NO_BUMP, MetaRead
from quorumcache.node.peers.items import FORWARD_ITEMS, FORWARD_READ, FORWARD_REFUSED
from quorumcache.node.store.commands import OP_SET
from quorumcache.node.store.results import META_WON
from tests.support.coordinator_world import DATA, GROUP, HERE, THERE, World
from tests.support.item_tables import item_of

ITEM = bytes(17) + DATA
WON = (META_WON, bytes(8) + ITEM)


class Asked:
    """One `mg` of a client: what it found, and whether that was enough."""

    def __init__(
        self,
        world: World,
        *,
        changes: bool,
        asks: int = 0,
        key: bytes = b"k",
        after: Any = None,
        staleness_ns: int = 0,
    ) -> None:
        self.world = world
        self.changes = changes
        self.found: list[bytes | None] = []
        self.began = 0
        self.outcomes: list[Any] = []
        deadline_ns = world.coordinator.deadline_ns()
        self.read = MetaRead(
            world.coordinator,
            GROUP,
            deadline_ns,
            key,
            self.outcomes.append,
            staleness_ns,
            asks,
            self.needs_change,
            self.change,
        )
        self.read.after = after
        world.coordinator.begin(self.read, False)

    def needs_change(self, item: bytes | None) -> bool:
        self.found.append(item)
        return self.changes

    def change(self) -> None:
        self.began += 1


def led() -> World:
    world = World()
    world.group.is_leader = True
    world.group.machine.apply(1, 1, [(0, 0, 0, OP_SET, b"k", DATA, 0)])
    return world


def followed() -> World:
    world = World()
    world.group.leader_id = THERE
    return world


def test_a_read_that_needs_no_change_is_a_read() -> None:
    world = led()
    asked = Asked(world, changes=False)
    [[item]] = asked.outcomes
    assert item == item_of(world.group.machine.items, b"k")
    assert (asked.found, asked.began, asked.read.result) == ([item], 0, None)


def test_one_that_needs_a_change_ends_with_its_write() -> None:
    asked = Asked(led(), changes=True)
    assert (asked.began, asked.outcomes, asked.read.finished) == (1, [], False)
    asked.read.changed(WON)
    assert (asked.outcomes, asked.read.result) == ([[None]], WON)
    asked.read.changed(WON)
    assert len(asked.outcomes) == 1


def test_a_failed_write_is_the_failure_of_the_read() -> None:
    asked = Asked(led(), changes=True)
    failure = Failure("no", outcome_known=False)
    asked.read.changed(failure)
    assert asked.outcomes == [failure]


def test_its_own_deadline_does_not_end_it_while_the_write_is_under_way() -> None:
    world = led()
    asked = Asked(world, changes=True)
    world.clock.ns += 6_000_000_000
    world.coordinator.sweep()
    assert not asked.outcomes
    asked.read.changed(WON)
    assert asked.outcomes == [[None]]


def test_a_later_read_of_the_connection_is_made_again_behind_the_write() -> None:
    """Its first answer is of before the write: the client would see the win before it was won."""
    world = followed()
    first = Asked(world, changes=True)
    second = world.read(after=first.read)
    third = Asked(world, changes=False, after=second)
    [(_, one), (_, two), (_, three)] = world.sent
    for item in (one, two, three):
        world.coordinator.on_forward(THERE, (FORWARD_ITEMS, item[1], (ITEM,)))
    assert not world.outcomes
    assert not third.outcomes
    first.read.changed(WON)
    again = world.sent[3:]
    assert [item[0] for _, item in again] == [FORWARD_READ]
    newer = ITEM[:-3] + b"y\r\n"
    world.coordinator.on_forward(THERE, (FORWARD_ITEMS, again[0][1][1], (newer,)))
    assert world.outcomes == [[newer]]
    assert [item[0] for _, item in world.sent[4:]] == [FORWARD_READ]


def test_a_later_read_whose_answer_comes_behind_the_write_is_made_again() -> None:
    """It was sent before the write was made: what it tells may be of before the win."""
    world = followed()
    first = Asked(world, changes=True)
    world.read(after=first.read)
    [(_, one), (_, two)] = world.sent
    world.coordinator.on_forward(THERE, (FORWARD_ITEMS, one[1], (ITEM,)))
    first.read.changed(WON)
    world.coordinator.on_forward(THERE, (FORWARD_ITEMS, two[1], (ITEM,)))
    assert not world.outcomes
    assert [item[0] for _, item in world.sent[2:]] == [FORWARD_READ]


def test_a_read_that_answers_before_an_earlier_one_does_not_decide_yet() -> None:
    world = followed()
    first = world.read()
    second = Asked(world, changes=True, after=first)
    [(_, one), (_, two)] = world.sent
    world.coordinator.on_forward(THERE, (FORWARD_ITEMS, two[1], (ITEM,)))
    assert second.found == []
    world.coordinator.on_forward(THERE, (FORWARD_ITEMS, one[1], (ITEM,)))
    assert (second.found, len(world.sent)) == ([], 3), "it asks again"


def test_what_it_asks_besides_travels_with_it() -> None:
    world = followed()
    asked = Asked(world, changes=False, asks=ASKS_HINT | NO_BUMP)
    [(to, item)] = world.sent
    assert (to, item[0], item[3:]) == (THERE, FORWARD_READ, ((b"k",), 0, 3))
    world.coordinator.on_forward(THERE, (FORWARD_ITEMS, item[1], (ITEM,), (1, 42)))
    assert (asked.outcomes, asked.read.hint) == ([[ITEM]], (1, 42))


def test_the_leader_tells_the_use_of_an_item_before_the_read() -> None:
    world = led()
    asks = (ASKS_HINT | NO_BUMP, ASKS_HINT, ASKS_HINT)
    for number, ask in enumerate(asks):
        world.coordinator.on_forward(THERE, (FORWARD_READ, number, GROUP, (b"k",), 0, ask))
    hints = [item[3] for _, item in world.sent]
    assert [was_hit for was_hit, _ in hints] == [0, 0, 1], "the first one is no use of it"
    world.sent.clear()
    world.group.is_leader = False
    world.coordinator.on_forward(THERE, (FORWARD_READ, 9, GROUP, (b"k",), 0, ASKS_HINT))
    assert world.sent[0][1][0] == FORWARD_REFUSED
    assert HERE != THERE


def test_a_read_here_tells_it_likewise() -> None:
    world = led()
    hints = [Asked(world, changes=False, asks=ASKS_HINT).read.hint for _ in range(2)]
    assert [hint and hint[0] for hint in hints] == [0, 1]
    assert Asked(world, changes=False).read.hint is None


def test_what_is_not_there_or_has_ended_was_not_used() -> None:
    """memcached shows h0 l0 of the item that N then makes."""
    world = led()
    machine = world.group.machine
    machine.apply(2, world.group.now_ms(), [(0, 0, 0, OP_SET, b"ends", DATA, 1)])
    machine.note_hit(b"ends")
    assert Asked(world, changes=False, asks=ASKS_HINT, key=b"ends").read.hint == (1, 0)
    world.pass_ms(60_000)
    for key in (b"ends", b"missing"):
        assert Asked(world, changes=False, asks=ASKS_HINT, key=key).read.hint == (0, 0)
