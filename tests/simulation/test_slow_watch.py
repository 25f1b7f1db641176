"""When a client that takes nothing should have been closed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest

from quorumcache.node.clients import server as servers
from tests.simulation.checkers import InvariantViolation
from tests.simulation.slow_watch import LATE_NS, LOOK_EVERY_CHECKS, MS, TURN_NS, SlowWatch
from tests.simulation.transport import HIGH_WATER_BYTES

SLOW_MS = 2_000
LOOK_MS = 20


class Wire:
    """A node and a client's connection to it, of which nothing is ever taken."""

    def __init__(self) -> None:
        self.loop = SimpleNamespace(now_ns=1_000 * MS)
        process = SimpleNamespace(paused_ns=0)
        self.node: Any = SimpleNamespace(
            name="n1",
            address=("n1", 11211),
            process=process,
            is_serving=True,
            config=SimpleNamespace(slow_client_ms=SLOW_MS),
        )
        end = self.end = Mock(
            local_host="n1",
            local_port=11211,
            remote_host="x1",
            process=process,
            protocol=SimpleNamespace(unread_bytes=0),
            taken_ns=0,
            room_ns=None,
        )
        end.is_gone.return_value = False
        end.get_write_buffer_size.return_value = HIGH_WATER_BYTES + 1
        network: Any = SimpleNamespace(loop=self.loop, transports=lambda: [end])
        self.watch = SlowWatch(network, [self.node])

    def pass_ms(self, milliseconds: int, *, step_ms: int = LOOK_MS) -> None:
        for _ in range(milliseconds // step_ms):
            self.loop.now_ns += step_ms * MS
            for _ in range(LOOK_EVERY_CHECKS):
                self.watch.look()


LATE_MS = SLOW_MS * 5 // 1000 + (2 * servers.LOOK_NS + LATE_NS) // MS


def test_a_client_that_takes_nothing_is_to_be_closed_in_time() -> None:
    wire = Wire()
    wire.pass_ms(SLOW_MS + LATE_MS)
    with pytest.raises(InvariantViolation, match="n1 has not closed x1"):
        wire.pass_ms(10 * LOOK_MS)


def test_time_in_which_nobody_could_look_does_not_count() -> None:
    """As much of it as comes together in a long run with a processor that is held up often."""
    wire = Wire()
    for _ in range(10):
        wire.pass_ms(SLOW_MS // 10)
        wire.pass_ms(300, step_ms=300)
    wire.pass_ms(LATE_MS - 10 * LOOK_MS)
    with pytest.raises(InvariantViolation, match="n1 has not closed x1"):
        wire.pass_ms(20 * LOOK_MS)


def test_room_that_was_made_while_the_node_stood_still_cannot_have_been_seen() -> None:
    wire = Wire()
    wire.end.room_ns = wire.loop.now_ns
    wire.pass_ms(LOOK_MS)
    wire.node.process.paused_ns += 1_000 * MS
    wire.loop.now_ns += 1_000 * MS
    assert wire.watch._room_seen_ns(wire.end) <= LOOK_MS * MS
    wire.pass_ms(400)
    assert wire.watch._room_seen_ns(wire.end) > TURN_NS
