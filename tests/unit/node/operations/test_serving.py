"""What a leader does with an operation: memory, expiry, and what other nodes forward."""

from types import SimpleNamespace
from typing import Any

import pytest

from quorumcache.node.directory.state import DirectoryState
from quorumcache.node.peers.items import (
    FORWARD_ITEMS,
    FORWARD_LOST,
    FORWARD_READ,
    FORWARD_REFUSED,
    FORWARD_RESULT,
    FORWARD_WRITE,
)
from quorumcache.node.state_machine import DIRECTORY_GROUP_ID
from quorumcache.node.store.commands import (
    OP_CAS,
    OP_DELETE,
    OP_EXPIRE,
    OP_FENCED,
    OP_INCR,
    OP_PIECE,
    OP_REFUSE,
    OP_SESSION_OPEN,
    OP_SET,
)
from quorumcache.node.store.results import FENCE_STALE, NOT_FOUND, OUT_OF_MEMORY, STORED
from quorumcache.node.store.sessions import CLIENT_SESSION_MIN
from tests.support.coordinator_world import DATA, ELSEWHERE, GROUP, HERE, THERE, World
from tests.support.item_tables import item_of, items_of


def test_an_expired_item_is_removed_through_the_log_before_the_miss_is_told() -> None:
    world = World()
    world.lead(HERE)
    world.group.machine.apply(1, world.clock.wall_ms(), [(0, 0, 0, OP_SET, b"k", DATA, 1)])
    world.clock.ns += 2_000_000_000
    world.read()
    assert world.outcomes == [], "told the miss before the log knew"
    assert world.group.submitted[0][3] == OP_EXPIRE
    world.group.commit()
    assert world.outcomes == [[None]]
    assert b"k" not in world.group.machine.items


def test_at_the_memory_limit_a_set_is_refused_and_removes_the_old_value() -> None:
    world = World()
    world.lead(HERE)
    world.set()
    world.open_session_here()
    world.group.commit()
    world.bytes_used = 1000
    world.set()
    assert world.group.submitted[0][3] == OP_DELETE
    world.group.commit()
    assert world.outcomes == [STORED, OUT_OF_MEMORY]
    assert items_of(world.group.machine.items) == {}


def test_at_the_memory_limit_a_fenced_set_removes_the_old_value_under_its_fence() -> None:
    world = World()
    world.lead(HERE)
    world.set()
    world.open_session_here()
    world.group.commit()
    world.outcomes.clear()
    world.bytes_used = 1000
    for token, outcome in ((8, OUT_OF_MEMORY), (7, (FENCE_STALE, 8))):
        args = (b"lock", token, (OP_SET, DATA, 0))
        world.coordinator.write(GROUP, OP_FENCED, b"k", args, 10, world.outcomes.append)
        (command,) = world.group.submitted
        assert (command[3], command[7]) == (OP_FENCED, (OP_DELETE,))
        world.group.commit()
        assert world.outcomes.pop() == outcome
    args = (b"lock", 8, (OP_DELETE,))
    world.coordinator.write(GROUP, OP_FENCED, b"k", args, 10, world.outcomes.append)
    world.group.commit()
    assert world.outcomes == [NOT_FOUND], "what makes nothing grow is not refused"


def test_a_large_value_is_refused_for_memory_with_its_first_piece() -> None:
    """Not when most of it is here already, and has pushed out others."""
    world = World()
    world.lead(HERE)
    world.set()
    world.open_session_here()
    world.group.commit()
    for position, total, is_taken in ((0, 900, True), (0, 1001, False), (1, 1001, True)):
        world.outcomes.clear()
        args = (9, position, total, b"piece")
        world.coordinator.write(GROUP, OP_PIECE, b"k", args, 5, world.outcomes.append)
        assert bool(world.group.submitted) is is_taken
        assert world.outcomes == ([] if is_taken else [OUT_OF_MEMORY])
        world.group.submitted.clear()
        world.group.waiters.clear()


def test_the_first_piece_of_a_large_value_asks_for_the_room_of_all() -> None:
    world = World()
    world.lead(HERE)
    asked: list[int] = []
    memory: Any = world.coordinator.serving.memory
    memory.refuses = lambda group, size, item_bytes: asked.append(size)
    for position in range(3):
        command = (0, 0, 0, OP_PIECE, b"k", 77, position, 3_000_000, b"x" * 1000)
        waiter: Any = None
        group: Any = world.group
        world.coordinator.serving.submit(group, command, 1001, waiter, retry=False)
    assert asked == [3_000_000, 0, 0]


@pytest.mark.parametrize("retry", [False, True])
def test_what_stands_in_for_a_refused_store_is_remembered_as_a_refusal(retry: bool) -> None:
    """And not as what a cas finds under the key. A cas of a client always has data."""
    world = World()
    world.lead(HERE)
    group: Any = world.group
    results: list[Any] = []
    waiter: Any = SimpleNamespace(on_result=results.append)
    stands_in, cas = ((CLIENT_SESSION_MIN, 3, 1, OP_CAS, b"k", data, 0, 0) for data in (b"", DATA))
    for command in (stands_in, cas):
        world.coordinator.serving.submit(group, command, 1, waiter, retry=retry)
    assert world.group.submitted == [(CLIENT_SESSION_MIN, 3, 1, OP_REFUSE, b"k"), cas]
    session = (CLIENT_SESSION_MIN, 0, 0, OP_SESSION_OPEN, b"")
    first, again = world.group.machine.apply(1, 1, [session, *world.group.submitted])[1:]
    assert first == again == OUT_OF_MEMORY


def test_a_repeated_attempt_is_not_refused_for_memory() -> None:
    """The first attempt may have been executed: only the session table may answer."""
    world = World()
    world.lead(THERE)
    world.bytes_used = 5000
    world.group.is_leader = True
    command = (77, 1, 1, OP_SET, b"k", DATA, 0)
    world.coordinator.on_forward(THERE, (FORWARD_WRITE, 9, GROUP, 10, True, command))
    assert world.group.submitted == [command]


def test_forwarded_to_a_replica_that_does_not_lead_it_is_refused_with_the_leader() -> None:
    world = World()
    world.lead(ELSEWHERE)
    command = (77, 1, 1, OP_INCR, b"k", 1)
    world.coordinator.on_forward(THERE, (FORWARD_WRITE, 9, GROUP, 10, False, command))
    to, item = world.take()
    assert (to, item[:3]) == (THERE, (FORWARD_REFUSED, 9, ELSEWHERE))


def test_answers_to_other_nodes_are_followed_by_a_flush() -> None:
    world = World()
    world.lead(HERE)
    command = (CLIENT_SESSION_MIN, 0, 0, OP_SESSION_OPEN, b"")
    world.coordinator.on_forward(THERE, (FORWARD_WRITE, 9, GROUP, 10, False, command))
    world.group.commit()
    assert world.take()[1][:2] == (FORWARD_RESULT, 9)
    assert not world.is_left_behind
    world.coordinator.on_forward(THERE, (FORWARD_READ, 10, GROUP, (b"k",)))
    assert world.take()[1][:2] == (FORWARD_ITEMS, 10)
    assert not world.is_left_behind


def test_a_forwarded_read_is_refused_by_a_replica_that_does_not_lead() -> None:
    """Whatever it holds: it may lack what was acknowledged."""
    world = World()
    world.lead(ELSEWHERE)
    world.group.lease = False
    world.group.machine.apply(1, world.clock.wall_ms(), [(0, 0, 0, OP_SET, b"k", DATA, 0)])
    world.coordinator.on_forward(THERE, (FORWARD_READ, 9, GROUP, (b"k",)))
    to, item = world.take()
    assert (to, item[:3]) == (THERE, (FORWARD_REFUSED, 9, ELSEWHERE))


def test_a_forwarded_read_without_a_lease_waits_for_a_read_index() -> None:
    world = World()
    world.lead(HERE)
    world.group.lease = False
    world.coordinator.on_forward(THERE, (FORWARD_READ, 9, GROUP, (b"k",)))
    assert world.sent == []
    world.group.reading[0].on_readable()
    assert world.take() == (THERE, (FORWARD_ITEMS, 9, [None]))


def test_a_forwarded_read_of_an_expired_item_removes_it_through_the_log_first() -> None:
    world = World()
    world.lead(HERE)
    world.group.machine.apply(1, world.clock.wall_ms(), [(0, 0, 0, OP_SET, b"k", DATA, 1)])
    world.clock.ns += 2_000_000_000
    world.coordinator.on_forward(THERE, (FORWARD_READ, 9, GROUP, (b"k",)))
    assert world.sent == [], "told before the log knew"
    assert world.group.submitted[0][3] == OP_EXPIRE
    world.group.commit()
    assert world.take() == (THERE, (FORWARD_ITEMS, 9, [None]))


def test_an_answer_too_long_for_a_frame_comes_in_parts() -> None:
    leader = World()
    leader.lead(HERE)
    keys = tuple(b"k%d" % number for number in range(7))
    value = b" 0 %d\r\n%b\r\n" % (1 << 20, b"v" * (1 << 20))
    commands = [(0, 0, 0, OP_SET, key, value, 0) for key in keys]
    leader.group.machine.apply(1, 1000, commands)
    world = World()
    world.lead(THERE)
    world.coordinator.read(GROUP, keys, world.outcomes.append)
    parts = 0
    while not world.outcomes:
        _, item = world.take()
        leader.coordinator.on_forward(THERE, item)
        _, answer = leader.take()
        assert sum(map(len, answer[2])) < 6 << 20
        world.coordinator.on_forward(THERE, (*answer[:2], tuple(answer[2])))
        parts += 1
    assert parts == 2
    assert world.outcomes == [[item_of(leader.group.machine.items, key) for key in keys]]


COMMAND = (1, 2, 1, OP_SET, b"k", DATA, 0)


def test_nobody_writes_to_the_directory_from_outside() -> None:
    world = World()
    world.lead(HERE)
    world.group.group_id = DIRECTORY_GROUP_ID
    world.group.machine = DirectoryState(lambda cluster_map: None)  # type: ignore[assignment]
    world.groups[DIRECTORY_GROUP_ID] = world.group
    write = (FORWARD_WRITE, 1, DIRECTORY_GROUP_ID, 10, False, COMMAND)
    for item in (write, (FORWARD_READ, 1, DIRECTORY_GROUP_ID, (b"k",))):
        world.coordinator.on_forward(THERE, item)
        assert world.take()[1][0] == FORWARD_REFUSED
    assert not world.group.submitted


def test_values_that_find_no_room_between_the_nodes_are_refused_with_that_reason() -> None:
    """The reader holds the read and asks again; it does not wait for an answer."""
    world = World()
    world.lead(HERE)
    world.send_bulk = lambda node_id, item: False  # type: ignore[method-assign]
    world.coordinator.on_forward(THERE, (FORWARD_READ, 9, GROUP, (b"k",)))
    to, item = world.take()
    assert (to, item[:3]) == (THERE, (FORWARD_REFUSED, 9, HERE))
    assert "too many values are queued" in item[3]


def test_a_leader_that_lost_a_write_does_not_call_it_refused() -> None:
    world = World()
    world.lead(HERE)
    world.coordinator.on_forward(THERE, (FORWARD_WRITE, 9, GROUP, 10, False, COMMAND))
    world.group.waiters[0].on_lost()
    assert world.take() == (THERE, (FORWARD_LOST, 9))
