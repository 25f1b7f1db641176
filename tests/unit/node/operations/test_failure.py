"""What a client is told about an operation that had no result in time."""

from typing import Any

import pytest

from quorumcache.node.clients.failures import failure_line
from quorumcache.node.operations.failure import (
    ROUTINE_REASONS,
    Failure,
    SessionGone,
    StaleSequence,
    timeout_reason,
)
from quorumcache.node.peers.items import (
    FORWARD_REFUSED,
    FORWARD_WRITE,
)
from quorumcache.node.replica.group import INFLIGHT_BYTES_MAX
from quorumcache.router.codec import ReplyParser
from quorumcache.router.errors import NotDone, OutcomeUnknown, RouterError, SessionForgotten
from quorumcache.router.errors import SessionGone as RouterSessionGone
from quorumcache.router.requests import delete
from tests.support.coordinator_world import HERE, THERE, World

BUSY = "too many writes in flight for this shard; retry more slowly"


def begun(world: World) -> None:
    world.lead(THERE)
    world.set()
    world.open_session_at(THERE)


def test_a_read_past_its_deadline_is_not_done() -> None:
    world = World()
    world.read()
    world.pass_ms(6000)
    assert failure_line(world.outcomes[0]).startswith(
        b"SERVER_ERROR not done: shard 4 had no leader"
    )


def test_the_reason_of_a_refusal_is_told_at_the_deadline() -> None:
    world = World()
    begun(world)
    world.read()
    for _ in range(99):
        for _, item in list(world.sent):
            world.coordinator.on_forward(THERE, (FORWARD_REFUSED, item[1], THERE, BUSY))
        world.sent.clear()
        world.pass_ms(51)
    lines = [failure_line(outcome) for outcome in world.outcomes]
    line = (
        b"SERVER_ERROR not done: shard 4 did not accept the request within 5000 ms: "
        + BUSY.encode()
    )
    assert lines == [line + b"\r\n"] * 2


def test_a_busy_group_says_so_to_its_own_clients() -> None:
    world = World()
    world.lead(HERE)
    world.set()
    world.open_session_here()
    submit = world.group.submit
    assert INFLIGHT_BYTES_MAX > 0

    def busy(command: Any, size: int, waiter: Any) -> None:
        waiter.on_refused(BUSY)

    world.group.submit = busy  # type: ignore[method-assign]
    world.set(b"other")
    world.pass_ms(5100)
    world.group.submit = submit  # type: ignore[method-assign]
    assert BUSY.encode() in failure_line(world.outcomes[-1])


def test_a_refusal_is_told_also_when_the_last_attempt_was_not_answered() -> None:
    """Refused for being too busy, then sent again, then silence until the deadline."""
    world = World()
    begun(world)
    _, item = world.take()
    world.coordinator.on_forward(THERE, (FORWARD_REFUSED, item[1], THERE, BUSY))
    world.pass_ms(50)
    assert world.take()[1][0] == FORWARD_WRITE
    world.pass_ms(4950)
    (failure,) = world.outcomes
    assert failure_line(failure) == (
        b"SERVER_ERROR outcome unknown: shard 4 did not answer within 5000 ms;"
        b" an earlier attempt was refused: " + BUSY.encode() + b"\r\n"
    )


@pytest.mark.parametrize("why", sorted(ROUTINE_REASONS))
@pytest.mark.parametrize("refusal", ["", BUSY])
@pytest.mark.parametrize("has_leader", [True, False])
def test_routine_reasons_are_told_in_the_words_of_the_shard(
    why: str, refusal: str, has_leader: bool
) -> None:
    text = timeout_reason(4, 5000, why, refusal, has_leader=has_leader)
    words = "did not answer within" if has_leader else "had no leader for"
    assert text.startswith(f"shard 4 {words} 5000 ms")
    assert text.endswith(refusal or "ms")


def test_a_reason_that_is_not_routine_is_told() -> None:
    assert timeout_reason(4, 5000, BUSY, "older", has_leader=True) == (
        f"shard 4 did not accept the request within 5000 ms: {BUSY}"
    )


@pytest.mark.parametrize(
    ("failure", "raised"),
    [
        (Failure(f"shard 4 did not accept it: {BUSY}", outcome_known=True), NotDone),
        (Failure(f"shard 4 did not answer; refused: {BUSY}", outcome_known=False), OutcomeUnknown),
        (SessionGone("", outcome_known=True), SessionForgotten),
        (SessionGone("", outcome_known=False), RouterSessionGone),
        (StaleSequence("", outcome_known=True), SessionForgotten),
        (StaleSequence("", outcome_known=False), RouterSessionGone),
    ],
)
def test_the_client_library_takes_each_line_for_what_it_is(
    failure: Failure, raised: type[RouterError]
) -> None:
    """Whatever the reason says: the kind of the line decides whether a write may be repeated."""
    line = failure_line(failure)
    assert line.endswith(b"\r\n")
    assert line.count(b"\n") == 1
    (reply,) = ReplyParser().feed(line)
    with pytest.raises(raised) as caught:
        delete(b"k").decode(reply)
    assert type(caught.value) is raised
    assert failure.why in str(caught.value)
