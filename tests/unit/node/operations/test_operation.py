"""One operation by itself: what it keeps, and what it drops for lack of room."""

import weakref

from quorumcache.node.peers.items import (
    FORWARD_ITEMS,
)
from quorumcache.node.store.results import STORED
from tests.support.coordinator_world import DATA, GROUP, HERE, THERE, Room, World


def test_a_finished_write_keeps_nothing_alive() -> None:
    world = World()
    world.lead(HERE)
    last = world.set()
    world.open_session_here()
    first = last
    for _ in range(10):
        last = world.set(after=last)
    world.group.commit()
    assert last.finished
    assert first.after is None
    assert last.after is None
    assert last.args == ()
    world.outcomes.append(last.done("ignored"))
    assert world.outcomes == [STORED] * 11 + [None]


def test_an_answered_read_keeps_nothing_of_its_client_alive() -> None:
    world = World()
    world.lead(THERE)
    room = Room()
    read = world.coordinator.read(GROUP, (b"k",), world.outcomes.append, room=room)
    assert read in world.coordinator.deadlines.queue
    alive = weakref.ref(room)
    del room
    _, asked = world.take()
    world.coordinator.on_forward(THERE, (FORWARD_ITEMS, asked[1], (DATA,)))
    assert world.outcomes == [[DATA]]
    assert read in world.coordinator.deadlines.queue
    assert alive() is None


def test_a_value_is_dropped_and_read_again_while_its_client_does_not_read() -> None:
    world = World()
    world.lead(THERE)
    room = Room()
    room.is_full = True
    world.coordinator.read(GROUP, (b"k",), world.outcomes.append, room=room)
    _, first = world.take()
    world.coordinator.on_forward(THERE, (FORWARD_ITEMS, first[1], (b"large",)))
    world.pass_ms(4900)
    assert world.outcomes == []
    assert not world.sent, "asked again although there is no room"
    world.pass_ms(5000)
    assert world.outcomes == [], "the time of a client that does not read is not the shard's"
    room.is_full = False
    room.parked.pop().unpark()
    _, again = world.take()
    assert again[1] != first[1]
    world.coordinator.on_forward(THERE, (FORWARD_ITEMS, again[1], (b"large",)))
    assert world.outcomes == [[b"large"]]
