"""Goal: what is remembered of a proposed entry runs as the entry would, and each waiter hears its
own answer.
"""

import pytest

from quorumcache.node.replica.proposed import Proposed, apply_payload
from quorumcache.node.state_machine import Result, encode_batch
from quorumcache.node.store.commands import OP_DELETE, OP_SET, OP_TOUCH
from quorumcache.node.store.results import DELETED, NOT_FOUND, STORED
from quorumcache.node.store.store import ShardStore

COMMANDS: list[tuple[object, ...]] = [
    (0, 0, 0, OP_SET, b"k", b" 0 1\r\nx\r\n", 9),
    (0, 0, 0, OP_DELETE, b"k"),
    (0, 0, 0, OP_TOUCH, b"k", 9),
]


class Waiter:
    def __init__(self) -> None:
        self.heard: list[object] = []

    def on_result(self, result: Result) -> None:
        self.heard.append(result)

    def on_refused(self, why: str) -> None:
        self.heard.append(why)

    def on_lost(self) -> None:
        self.heard.append("lost")


PAYLOAD = encode_batch(5000, COMMANDS, 7000, 1 << 20)


def proposed(
    waiters: list[Waiter], commands: list[tuple[object, ...]] | None = COMMANDS
) -> Proposed:
    return Proposed(3, 5000, commands, 7000, 1 << 20, list(waiters), 90, 100)


@pytest.mark.parametrize("commands", [COMMANDS, None])
def test_it_runs_as_its_bytes_do(commands: list[tuple[object, ...]] | None) -> None:
    waiters = [Waiter(), Waiter(), Waiter()]
    machine, other = ShardStore(), ShardStore()
    results = proposed(waiters, commands).apply_to(machine, 1, PAYLOAD)
    assert results == [STORED, DELETED, NOT_FOUND]
    assert apply_payload(other, 1, PAYLOAD) == results
    assert machine.digest() == other.digest()
    assert (machine.last_now_ms, machine.last_wall_ms) == (5000, 7000)


def test_each_hears_its_own_answer() -> None:
    waiters = [Waiter(), Waiter()]
    entry = proposed(waiters)
    entry.answer([STORED, NOT_FOUND])
    entry.answer_all(DELETED)
    entry.lost()
    assert [w.heard for w in waiters] == [[STORED, DELETED, "lost"], [NOT_FOUND, DELETED, "lost"]]
    with pytest.raises(ValueError, match="shorter"):
        entry.answer([STORED])
