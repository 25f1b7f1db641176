"""What a client is told about an operation that had no result in time."""

from typing import Any

from quorumcache.node.clients.failures import failure_line
from quorumcache.node.peers.items import (
    FORWARD_REFUSED,
)
from quorumcache.node.replica.group import INFLIGHT_BYTES_MAX
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
