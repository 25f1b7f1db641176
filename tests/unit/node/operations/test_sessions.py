"""Writes under a client's own session, through the coordinator: the identity they carry, and that
they never get another one.
"""

from typing import Any

import pytest

from quorumcache.node.clients.failures import failure_line
from quorumcache.node.operations.failure import Failure, SessionGone, StaleSequence
from quorumcache.node.operations.forward_forms import check_forward
from quorumcache.node.peers.items import (
    FORWARD_LOST,
    FORWARD_REFUSED,
    FORWARD_RESULT,
)
from quorumcache.node.store.commands import (
    OP_ADD,
    OP_DELETE,
    OP_INCR,
    OP_REFUSE,
    OP_SESSION_OPEN,
    OP_SET,
)
from quorumcache.node.store.results import (
    NOT_FOUND,
    NUMBER,
    OK,
    OUT_OF_MEMORY,
    SESSION_GONE,
    STALE_SEQUENCE,
    STORED,
)
from quorumcache.node.store.sessions import CLIENT_SESSION_MIN
from quorumcache.node.store.store import ShardStore
from tests.support.coordinator_world import DATA, GROUP, HERE, THERE, World
from tests.support.item_tables import item_of, items_of

SESSION = CLIENT_SESSION_MIN + 5
IDENTITY = (SESSION, 3, 2)
ONE = b" 0 1\r\n1\r\n"


def write(
    world: World, op: int = OP_INCR, args: tuple[Any, ...] = (1,), after: Any = None, n: int = 3
) -> Any:
    return world.coordinator.write(
        GROUP, op, b"k", args, 10, world.outcomes.append, after, (SESSION, n, 2)
    )


def open_at(world: World) -> None:
    """The group knows the session, and a counter."""
    world.group.machine.apply(
        1, 0, [(SESSION, 0, 0, OP_SESSION_OPEN, b""), (0, 0, 0, OP_SET, b"k", ONE, 0)]
    )


def test_at_the_leader_no_session_of_the_node_is_needed() -> None:
    world = World()
    world.lead(HERE)
    open_at(world)
    write(world)
    assert world.group.submitted == [(*IDENTITY, OP_INCR, b"k", 1)]
    world.group.commit()
    write(world)
    world.group.commit()
    assert world.outcomes == [(NUMBER, 2), (NUMBER, 2)], "the repetition has the first result"


def test_the_identity_is_forwarded() -> None:
    world = World()
    world.lead(THERE)
    write(world)
    _, item = world.take()
    assert item[5] == (*IDENTITY, OP_INCR, b"k", 1)
    check_forward(item)
    world.coordinator.on_forward(THERE, (FORWARD_RESULT, item[1], (NUMBER, 9)))
    assert world.outcomes == [(NUMBER, 9)]


@pytest.mark.parametrize("loss", ["lost", "peer down", "refused"])
def test_attempts_inside_the_cluster_repeat_the_identity(loss: str) -> None:
    world = World()
    world.lead(THERE)
    write(world)
    _, first = world.take()
    if loss == "lost":
        world.coordinator.on_forward(THERE, (FORWARD_LOST, first[1]))
    elif loss == "refused":
        world.coordinator.on_forward(THERE, (FORWARD_REFUSED, first[1], 0, "busy"))
    else:
        world.coordinator.peer_down(THERE)
    world.coordinator.sweep()
    _, second = world.take()
    assert second[5] == first[5]
    assert second[4] is (loss != "refused"), "marked as a repetition when it may be one"


@pytest.mark.parametrize(
    ("result", "kind"), [(SESSION_GONE, SessionGone), (STALE_SEQUENCE, StaleSequence)]
)
@pytest.mark.parametrize("uncertain", [False, True])
def test_it_is_never_executed_under_another_identity(
    result: int, kind: type[Failure], uncertain: bool
) -> None:
    """The client may have sent it before, through another node: only it can tell."""
    world = World()
    world.lead(THERE)
    write(world)
    _, item = world.take()
    if uncertain:
        world.coordinator.on_forward(THERE, (FORWARD_LOST, item[1]))
        world.coordinator.sweep()
        _, item = world.take()
    world.coordinator.on_forward(THERE, (FORWARD_RESULT, item[1], result))
    world.pass_ms(100)
    (failure,) = world.outcomes
    assert type(failure) is kind
    assert failure.outcome_known is not uncertain
    assert world.sent == []


def test_a_gone_session_at_the_leader() -> None:
    world = World()
    world.lead(HERE)
    write(world)
    world.group.commit()
    (failure,) = world.outcomes
    assert type(failure) is SessionGone
    assert world.group.submitted == []


def test_writes_of_one_connection_keep_their_order_through_a_new_leader() -> None:
    world = World()
    world.lead(HERE)
    open_at(world)
    first = write(world, n=3)
    second = write(world, after=first, n=4)
    write(world, after=second, n=5)
    waiters = list(world.group.waiters)
    world.group.submitted.clear()
    world.group.waiters.clear()
    world.group.is_leader = False
    for waiter in waiters:
        waiter.on_lost()
    world.lead(HERE)
    world.coordinator.sweep()
    assert [command[1] for command in world.group.submitted] == [3, 4, 5]
    world.group.commit()
    assert world.outcomes == [(NUMBER, 2), (NUMBER, 3), (NUMBER, 4)]


def test_at_the_memory_limit_the_session_table_has_the_last_word() -> None:
    """A repetition that looks like a first attempt is answered as the first was."""
    world = World()
    world.lead(HERE)
    open_at(world)
    write(world, OP_SET, (DATA, 0))
    world.group.commit()
    write(world, OP_ADD, (DATA, 0), n=4)
    world.group.commit()
    first = list(world.outcomes)
    world.outcomes.clear()
    world.bytes_used = 1000
    write(world, OP_SET, (DATA, 0))
    assert world.group.submitted[-1] == (*IDENTITY, OP_DELETE, b"k")
    write(world, OP_ADD, (DATA, 0), n=4)
    assert world.group.submitted[-1][3] == OP_REFUSE
    world.group.commit()
    assert world.outcomes == first
    assert item_of(world.group.machine.items, b"k").endswith(DATA), "nothing was removed"


def test_what_was_refused_for_memory_stays_refused() -> None:
    world = World()
    world.lead(HERE)
    open_at(world)
    world.bytes_used = 1000
    write(world, OP_SET, (DATA, 0))
    write(world, OP_ADD, (DATA, 0), n=4)
    world.group.commit()
    assert world.outcomes == [OUT_OF_MEMORY, OUT_OF_MEMORY]
    world.bytes_used = 0
    write(world, OP_ADD, (DATA, 0), n=4)
    world.group.commit()
    assert world.outcomes[2] == OUT_OF_MEMORY
    assert items_of(world.group.machine.items) == {}
    world.bytes_used = 1000
    write(world, OP_SET, (DATA, 0), n=5)
    world.group.commit()
    assert world.outcomes[3] == OUT_OF_MEMORY, f"of the delete, whose result is {NOT_FOUND}"


def test_a_client_session_is_opened_through_the_log() -> None:
    world = World()
    world.lead(HERE)
    world.coordinator.open_client_session(GROUP, world.outcomes.append)
    ((session, _, _, op, _),) = world.group.submitted
    assert op == OP_SESSION_OPEN
    assert CLIENT_SESSION_MIN <= session < 1 << 63
    assert world.outcomes == []
    world.group.commit()
    assert world.outcomes == [session]
    assert world.group.machine.sessions.clients == 1


def test_every_attempt_to_open_has_an_id_of_its_own() -> None:
    """A late duplicate opens an orphan, never a session that had expired in use."""
    world = World()
    world.lead(THERE)
    world.coordinator.open_client_session(GROUP, world.outcomes.append)
    _, first = world.take()
    check_forward(first)
    world.coordinator.on_forward(THERE, (FORWARD_LOST, first[1]))
    world.coordinator.sweep()
    _, second = world.take()
    assert second[5][0] != first[5][0]
    world.coordinator.on_forward(THERE, (FORWARD_RESULT, second[1], OK))
    assert world.outcomes == [second[5][0]]


def test_a_session_that_cannot_be_opened_in_time() -> None:
    world = World()
    world.coordinator.open_client_session(GROUP, world.outcomes.append)
    world.pass_ms(5000)
    (failure,) = world.outcomes
    assert failure.outcome_known
    assert failure_line(failure) == b"SERVER_ERROR not done: shard 4 had no leader for 5000 ms\r\n"
    world.lead(HERE)
    world.pass_ms(100)
    assert world.group.submitted == [], "nobody waits for it any more"


def test_sessions_of_the_node_and_of_clients_are_told_apart() -> None:
    world = World()
    world.lead(HERE)
    world.set()
    assert world.group.submitted[0][0] < CLIENT_SESSION_MIN
    world.group.commit()
    world.group.commit()
    assert world.outcomes == [STORED]
    assert world.group.machine.sessions.clients == 0


def test_the_floor_is_the_oldest_unanswered_sequence() -> None:
    world = World()
    world.lead(HERE)
    world.set(b"a")
    world.open_session_here()
    world.set(b"b")
    assert [command[2] for command in world.group.submitted] == [1, 1]
    world.group.commit()
    world.set(b"c")
    assert world.group.submitted[0][:3] == (world.group.submitted[0][0], 3, 3)


def test_a_gone_session_is_opened_anew_only_if_nothing_can_have_been_executed() -> None:
    world = World()
    world.lead(THERE)
    world.set()
    world.open_session_at(THERE)
    _, item = world.take()
    world.coordinator.on_forward(THERE, (FORWARD_RESULT, item[1], SESSION_GONE))
    world.open_session_at(THERE)
    _, again = world.take()
    assert again[5][0] != item[5][0]
    world.coordinator.on_forward(THERE, (FORWARD_LOST, again[1]))
    world.coordinator.sweep()
    _, repeated = world.take()
    world.coordinator.on_forward(THERE, (FORWARD_RESULT, repeated[1], SESSION_GONE))
    assert isinstance(world.outcomes[0], Failure)
    assert not world.outcomes[0].outcome_known


def test_writes_that_wait_for_a_session_are_numbered_in_their_order() -> None:
    world = World()
    world.lead(HERE)
    for key in (b"a", b"b", b"c"):
        world.set(key)
    assert len(world.group.submitted) == 1, "one opening for all of them"
    world.open_session_here()
    assert [command[1:5:3] for command in world.group.submitted] == [
        (1, b"a"),
        (2, b"b"),
        (3, b"c"),
    ]


def test_why_a_session_is_not_opened_is_told_to_the_writes_that_wait_for_it() -> None:
    """Those that came before the refusal, and those that came after it."""
    world = World()
    world.lead(THERE)
    world.set(b"before")
    _, item = world.take()
    world.coordinator.on_forward(THERE, (FORWARD_REFUSED, item[1], THERE, "the disk is slow"))
    world.set(b"after")
    world.up.clear()
    world.clock.ns += 5_000_000_000
    world.coordinator.deadlines.expire(world.clock.ns)
    assert [b"the disk is slow" in failure_line(outcome) for outcome in world.outcomes] == [
        True,
        True,
    ]


def test_a_write_that_was_never_executed_leaves_a_session_that_is_gone() -> None:
    """With its old number it would be refused by the log, and one behind it, which has a new
    number, executed.
    """
    world = World()
    world.lead(HERE)
    world.set()
    world.open_session_here()
    world.group.commit()
    world.group.refuses = "no room"
    first = world.set(b"a")
    world.group.refuses = ""
    old, world.group.machine = first.session, ShardStore()
    world.set(b"b")
    world.group.commit()
    world.open_session_here()
    world.group.commit()
    assert world.outcomes == [STORED, STORED]
    second = world.set(b"c", after=first)
    world.pass_ms(50)
    assert first.session is second.session is not old
    assert [command[4] for command in world.group.submitted] == [b"a", b"c"]
    world.group.commit()
    assert world.outcomes == [STORED] * 4
