"""Goal: what meets a key that a transaction holds waits, in its order, until the key is free."""

from __future__ import annotations

from typing import Any

import pytest

from quorumcache.node.operations import hold_waits
from quorumcache.node.operations.failure import HELD_WHY, Failure
from quorumcache.node.operations.hold_waits import BAR_NS, PARK_NS, READ_NS, TOO_MANY_WAIT
from quorumcache.node.operations.read_levels import ANY_STALENESS_NS
from quorumcache.node.peers.items import (
    FORWARD_ITEMS,
    FORWARD_READ,
    FORWARD_REFUSED,
    FORWARD_RESULT,
    FORWARD_WRITE,
)
from quorumcache.node.store.commands import (
    OP_DELETE,
    OP_FLUSH,
    OP_SET,
    OP_TXN_PREPARE,
    OP_TXN_RESOLVE,
)
from quorumcache.node.store.item import wire_data
from quorumcache.node.store.results import (
    DELETED,
    HELD,
    NOT_FOUND,
    OK,
    STORED,
    TXN_CONFLICT,
    TXN_PREPARED,
    TXN_RELEASED,
)
from quorumcache.node.store.transactions import ANY
from tests.support.coordinator_world import DATA, ELSEWHERE, GROUP, HERE, THERE, World
from tests.support.item_tables import item_of

TXN, OTHER = bytes(16), bytes([1] * 16)
DEADLINE_MS = 10_000_000


class Leading(World):
    """A leader with a session, and transactions that come to it."""

    def __init__(self) -> None:
        super().__init__()
        self.lead(HERE)
        self.set(b"warm up")
        self.open_session_here()
        self.group.commit()
        assert self.outcomes == [STORED]
        self.outcomes.clear()
        self.waits = self.coordinator.serving.hold_waits
        self.counters = self.coordinator.counters

    def step(self, op: int, *args: Any) -> list[Any]:
        """A step of a transaction comes to the group; what its sender hears."""
        heard: list[Any] = []
        self.coordinator.write(GROUP, op, b"", args, 10, heard.append)
        return heard

    def prepare(
        self, *writes: bytes, checks: tuple[bytes, ...] = (), txn: bytes = TXN
    ) -> list[Any]:
        return self.step(
            OP_TXN_PREPARE,
            *(txn, 9, DEADLINE_MS, tuple((key, 0) for key in checks)),
            tuple((key, OP_SET, wire_data(0, b"new"), 0) for key in writes),
        )

    def hold(self, *writes: bytes, checks: tuple[bytes, ...] = (), txn: bytes = TXN) -> None:
        heard = self.prepare(*writes, checks=checks, txn=txn)
        self.group.commit()
        assert heard == [TXN_PREPARED]

    def resolve(self, committed: bool = True, txn: bytes = TXN) -> None:
        heard = self.step(OP_TXN_RESOLVE, txn, DEADLINE_MS, int(committed))
        self.group.commit()
        assert heard == [OK if committed else TXN_RELEASED]

    def submitted(self) -> list[tuple[int, bytes]]:
        return [(command[3], command[4]) for command in self.group.submitted]

    def forwarded(self, item: tuple[Any, ...], node_id: int = THERE) -> None:
        self.coordinator.on_forward(node_id, item)


@pytest.fixture
def world() -> Leading:
    return Leading()


def item_value(found: Any) -> bytes | None:
    return None if found is None else found[17:]


# -- reads -----------------------------------------------------------------------------------


@pytest.mark.parametrize("committed", [False, True])
def test_a_read_waits_for_the_decision(world: Leading, committed: bool) -> None:
    world.hold(b"k")
    world.read(b"k")
    world.read(b"other")
    assert world.outcomes == [[None]], "another key is read at once"
    world.pass_ms(300)
    assert len(world.outcomes) == 1
    assert world.waits.count == world.counters.hold_waits == 1
    world.resolve(committed)
    assert item_value(world.outcomes[1][0]) == (wire_data(0, b"new") if committed else None)
    assert world.waits.count == 0


def test_a_shared_hold_is_nothing_to_a_read(world: Leading) -> None:
    world.hold(checks=(b"k",))
    world.read(b"k")
    assert world.outcomes == [[None]]


def test_a_read_without_a_lease_waits_as_well(world: Leading) -> None:
    world.hold(b"k")
    world.group.lease = False
    world.read(b"k")
    (reader,) = world.group.reading
    reader.on_readable()
    assert world.outcomes == []
    world.resolve()
    assert len(world.outcomes) == 1


def test_a_read_that_waits_too_long_says_why(world: Leading) -> None:
    world.hold(b"k")
    world.read(b"k")
    world.pass_ms(5_001)
    (failure,) = world.outcomes
    assert isinstance(failure, Failure)
    assert HELD_WHY in failure.why
    assert failure.outcome_known
    assert world.waits.count == 0, "it is forgotten"
    world.resolve()
    assert len(world.outcomes) == 1


def test_a_later_read_of_a_connection_does_not_overtake_one_that_waits(world: Leading) -> None:
    world.hold(b"k")
    first = world.read(b"k")
    world.read(b"other", after=first)
    assert world.outcomes == []
    world.resolve()
    assert [item_value(items[0]) for items in world.outcomes] == [wire_data(0, b"new"), None]


def test_a_read_of_another_node_waits_and_is_sent_back_after_a_while(world: Leading) -> None:
    world.hold(b"k")
    world.forwarded((FORWARD_READ, 7, GROUP, (b"k",)))
    assert world.sent == []
    world.pass_ms(PARK_NS // 1_000_000 - 100)
    assert world.sent == []
    world.pass_ms(100)
    assert world.take() == (THERE, (FORWARD_REFUSED, 7, HERE, HELD_WHY))
    world.forwarded((FORWARD_READ, 8, GROUP, (b"other", b"k")))
    world.resolve()
    node_id, item = world.take()
    assert node_id == THERE
    assert item[:2] == (FORWARD_ITEMS, 8)
    assert item[2][0] is None
    assert item_value(item[2][1]) == wire_data(0, b"new")


def test_a_follower_does_not_tell_a_bounded_reader_what_is_held(world: Leading) -> None:
    world.set(b"k")
    world.group.commit()
    world.hold(b"k")
    world.lead(THERE)
    serving = world.coordinator.serving
    world.group.lease = False
    world.group.staleness_ns = lambda now_ns: 5  # type: ignore[attr-defined]
    group: Any = world.group
    assert serving.lookup_stale(group, (b"other",), 1_000) == [None]
    assert serving.lookup_stale(group, (b"k",), 1_000) is None, "the leader has to tell"
    (old,) = serving.lookup_stale(group, (b"k",), ANY_STALENESS_NS) or []
    assert item_value(old) == DATA, "local reads may be old"


# -- writes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("shared", [False, True])
def test_a_write_is_not_submitted_while_its_key_is_held(world: Leading, shared: bool) -> None:
    world.hold(*([] if shared else [b"k"]), checks=(b"k",) if shared else ())
    world.set(b"k")
    world.set(b"other")
    assert world.submitted() == [(OP_SET, b"other")]
    world.group.commit()
    world.resolve()
    assert world.submitted() == [(OP_SET, b"k")]
    world.group.commit()
    assert world.outcomes == [STORED, STORED]
    assert item_of(world.group.machine.items, b"k").endswith(DATA), (
        "it comes behind the transaction"
    )


def test_writes_that_wait_go_in_the_order_in_which_they_came(world: Leading) -> None:
    world.hold(b"k")
    first = world.set(b"k")
    world.coordinator.write(GROUP, OP_DELETE, b"k", (), 1, world.outcomes.append)
    world.set(b"other", after=first)
    assert world.submitted() == [], "a later write of the connection waits behind the first"
    world.resolve()
    assert world.submitted() == [(OP_SET, b"k"), (OP_SET, b"other"), (OP_DELETE, b"k")]
    world.group.commit()
    assert world.outcomes == [STORED, STORED, DELETED]


def test_a_write_that_waits_does_not_keep_answers_of_others(world: Leading) -> None:
    """The session's floor would stay at its sequence, and the answers above it be remembered."""
    world.hold(b"k")
    waiting = world.set(b"k")
    other = world.set(b"other")
    assert world.group.submitted[-1][2] == other.sequence, "the floor is above the one that waits"
    world.group.commit()
    world.resolve()
    assert world.group.submitted[-1][1] == waiting.sequence > other.sequence
    world.group.commit()
    assert world.outcomes == [STORED, STORED]


def test_a_write_that_may_have_been_executed_keeps_its_number(world: Leading) -> None:
    write = world.set(b"k")
    sequence = write.sequence
    write.on_lost()
    world.group.submitted.clear()
    world.group.waiters.clear()
    world.hold(b"k")
    world.pass_ms(50)
    assert world.waits.count == 1
    world.resolve()
    assert world.group.submitted[0][1] == write.sequence == sequence


def test_a_flush_waits_for_all_holds_of_its_shard(world: Leading) -> None:
    world.hold(b"k")
    world.hold(checks=(b"read",), txn=OTHER)
    world.coordinator.write(GROUP, OP_FLUSH, b"", (0,), 0, world.outcomes.append)
    assert world.submitted() == []
    world.resolve()
    assert world.submitted() == []
    world.resolve(txn=OTHER)
    assert world.submitted() == [(OP_FLUSH, b"")]


def test_writes_wait_for_an_overdue_flush_that_waits_for_holds(world: Leading) -> None:
    """They would be applied, and then go with what was there before the flush."""
    world.coordinator.write(GROUP, OP_FLUSH, b"", (2,), 0, world.outcomes.append)
    world.group.commit()
    world.hold(checks=(b"read",))
    world.set(b"other")
    world.group.commit()
    world.pass_ms(2_500)
    world.set(b"other")
    assert world.submitted() == []
    world.resolve()
    assert world.submitted() == [(OP_SET, b"other")]
    world.group.commit()
    assert world.outcomes == [OK, STORED, STORED]
    assert b"other" in world.group.machine.items


def test_a_write_of_another_node_waits_and_is_sent_back_after_a_while(world: Leading) -> None:
    world.hold(b"k")
    command = (0, 0, 0, OP_DELETE, b"k")
    world.forwarded((FORWARD_WRITE, 7, GROUP, 1, False, command))
    world.pass_ms(PARK_NS // 1_000_000)
    assert world.take() == (THERE, (FORWARD_REFUSED, 7, HERE, HELD_WHY))
    world.forwarded((FORWARD_WRITE, 8, GROUP, 1, True, command), ELSEWHERE)
    assert world.submitted() == []
    world.resolve(committed=False)
    world.group.commit()
    assert world.take() == (ELSEWHERE, (FORWARD_RESULT, 8, NOT_FOUND))


def test_what_this_node_forwarded_is_tried_again_and_gets_a_new_number(world: Leading) -> None:
    world.lead(THERE)
    write = world.set(b"k")
    _, item = world.take()
    sequence = write.sequence
    world.forwarded((FORWARD_REFUSED, item[1], THERE, HELD_WHY))
    assert world.sent == []
    world.set(b"other")
    assert world.take()[1][5][2] > sequence, "the floor is above it"
    world.pass_ms(50)
    _, again = world.take()
    assert again[5][1] == write.sequence > sequence


def test_keys_of_a_prepare_under_way_are_held_for_new_writes(world: Leading) -> None:
    heard = world.prepare(b"k", checks=(b"read",))
    world.set(b"k")
    world.set(b"read")
    world.set(b"other")
    world.read(b"k")
    assert world.submitted() == [(OP_TXN_PREPARE, b""), (OP_SET, b"other")]
    assert world.outcomes == [[None]], "nothing is decided yet: a read tells what is"
    world.group.commit()
    assert heard == [TXN_PREPARED]
    assert world.waits.count == 2
    world.resolve()
    assert sorted(world.submitted()) == [(OP_SET, b"k"), (OP_SET, b"read")]


@pytest.mark.parametrize("how", ["conflict", "refused", "lost"])
def test_a_prepare_that_holds_nothing_lets_writes_go_on(world: Leading, how: str) -> None:
    if how == "conflict":
        world.set(b"read")
        world.group.commit()
        world.outcomes.clear()
    world.prepare(b"k", checks=(b"read",))
    world.set(b"k")
    if how == "conflict":
        world.group.commit()
        assert world.submitted() == [(OP_SET, b"k")]
        return
    (waiter,) = world.group.waiters
    world.group.submitted.clear()
    world.group.waiters.clear()
    if how == "refused":
        waiter.on_refused("too busy")
        assert (OP_SET, b"k") in world.submitted()
    else:
        waiter.on_lost()
        world.group.lease = True
        world.pass_ms(50)
        # The prepare is repeated by its sender, before the write is looked at again.
        assert OP_TXN_PREPARE in [op for op, _ in world.submitted()]


def test_who_waits_goes_before_new_transactions(world: Leading) -> None:
    world.hold(checks=(b"k",))
    world.set(b"k")
    assert world.prepare(checks=(b"k",), txn=OTHER) == [(TXN_CONFLICT, b"k")]
    assert world.prepare(b"other", checks=(b"another",), txn=OTHER) == []
    world.group.commit()
    # The same transaction, sent again, is prepared already.
    assert world.prepare(checks=(b"k",)) == []


def test_a_read_goes_before_new_transactions_once_it_has_waited_for_a_while(world: Leading) -> None:
    world.hold(b"k")
    world.read(b"k")
    world.step(OP_TXN_RESOLVE, TXN, DEADLINE_MS, 1)
    assert world.prepare(b"k", txn=OTHER) == [], "one behind the other in the log"
    world.group.commit()
    assert world.outcomes == [], "it is held again"
    world.pass_ms(READ_NS // 1_000_000)
    world.step(OP_TXN_RESOLVE, OTHER, DEADLINE_MS, 1)
    assert world.prepare(b"k", txn=bytes([2] * 16)) == [(TXN_CONFLICT, b"k")]
    world.group.commit()
    assert len(world.outcomes) == 1


def test_a_read_does_not_wait_for_those_who_only_check(world: Leading) -> None:
    world.set(b"k")
    world.group.commit()
    world.hold(b"k")
    world.outcomes.clear()
    world.read(b"k")
    world.set(b"k")
    world.step(OP_TXN_RESOLVE, TXN, DEADLINE_MS, 0)
    args = (OTHER, 9, DEADLINE_MS, ((b"k", -1),), ())
    command = (0, 0, 0, OP_TXN_PREPARE, b"", *args)
    world.forwarded((FORWARD_WRITE, 7, GROUP, 1, True, command))
    world.group.commit()
    assert len(world.outcomes) == 1
    assert world.waits.count == 1, "the write does"


def test_a_waiting_flush_goes_before_all_new_transactions_of_its_shard(world: Leading) -> None:
    world.hold(b"k")
    world.coordinator.write(GROUP, OP_FLUSH, b"", (0,), 0, world.outcomes.append)
    assert world.prepare(b"other", txn=OTHER) == [(TXN_CONFLICT, b"other")]


def test_a_repeated_prepare_hears_what_the_log_says(world: Leading) -> None:
    """It may have been executed: a conflict would be no answer to that."""
    world.hold(checks=(b"k",))
    world.set(b"k")
    step = (OTHER, 9, DEADLINE_MS, ((b"k", 0),), ())
    command = (0, 0, 0, OP_TXN_PREPARE, b"", *step)
    world.forwarded((FORWARD_WRITE, 7, GROUP, 1, True, command))
    assert world.submitted() == [(OP_TXN_PREPARE, b"")]


# -- met by apply ------------------------------------------------------------------------------


def behind_a_prepare(world: Leading) -> None:
    """A prepare enters the log unseen, as at a leader before, and holds `k`."""
    step = (TXN, 9, DEADLINE_MS, (), ((b"k", OP_DELETE),))
    world.group.machine.apply(90, 1_000_000, [(0, 0, 0, OP_TXN_PREPARE, b"", *step)])


def test_what_apply_does_not_execute_is_tried_again(world: Leading) -> None:
    write = world.set(b"k")
    behind_a_prepare(world)
    world.group.commit()
    assert world.outcomes == []
    assert not write.finished
    world.pass_ms(50)
    assert world.waits.count == 1
    world.resolve(committed=False)
    world.group.commit()
    assert world.outcomes == [STORED]


def test_what_apply_does_not_execute_is_not_done_if_a_later_write_was(world: Leading) -> None:
    first = world.set(b"k")
    world.set(b"other", after=first)
    behind_a_prepare(world)
    world.group.commit()
    failure, outcome = world.outcomes
    assert isinstance(failure, Failure)
    assert failure.outcome_known
    assert failure.why == HELD_WHY
    assert outcome == STORED
    world.resolve(committed=False)
    world.group.commit()
    assert len(world.outcomes) == 2, "it does not come after the later one"


def test_another_node_tries_again_what_apply_has_not_executed(world: Leading) -> None:
    world.forwarded((FORWARD_WRITE, 7, GROUP, 1, False, (0, 0, 0, OP_DELETE, b"k")))
    (waiter,) = world.group.waiters
    waiter.on_result(HELD)
    assert world.take() == (THERE, (FORWARD_REFUSED, 7, HERE, HELD_WHY))


# -- snapshots ---------------------------------------------------------------------------------


def snapshot(world: Leading, *keys: bytes, txn: bytes = OTHER) -> list[Any]:
    checks = tuple((key, ANY) for key in keys)
    heard = world.step(OP_TXN_PREPARE, txn, 9, DEADLINE_MS, checks, ())
    world.group.commit()
    return heard


def test_a_refused_snapshot_bars_those_who_want_to_write_its_keys(world: Leading) -> None:
    world.hold(b"k")
    assert snapshot(world, b"k", b"j") == [(TXN_CONFLICT, b"k")]
    third = bytes([2] * 16)
    assert world.prepare(b"other", b"j", txn=third) == [(TXN_CONFLICT, b"j")], "the door is closed"
    assert world.submitted() == [], "the log has not seen it"
    world.hold(b"free", checks=(b"j",), txn=third)
    world.resolve(txn=third)
    world.resolve()
    assert world.prepare(b"k", txn=third) == [(TXN_CONFLICT, b"k")], "its turn is not over"
    assert snapshot(world, b"k", b"j") == [TXN_PREPARED]
    world.resolve(committed=False, txn=OTHER)
    world.hold(b"k", b"j", txn=bytes([3] * 16))


def test_a_bar_falls_when_its_snapshot_does_not_come_again(world: Leading) -> None:
    world.hold(b"k")
    assert snapshot(world, b"k", b"j") == [(TXN_CONFLICT, b"k")]
    third = bytes([2] * 16)
    world.pass_ms(BAR_NS // 1_000_000 - 1)
    assert world.prepare(b"j", txn=third) == [(TXN_CONFLICT, b"j")]
    world.pass_ms(1)
    world.hold(b"j", txn=third)
    # Each refusal sets it anew, also one by those that wait.
    world.set(b"k")
    assert snapshot(world, b"k") == [(TXN_CONFLICT, b"k")]
    world.resolve()
    world.group.commit()
    assert world.prepare(b"k") == [(TXN_CONFLICT, b"k")]


def test_so_many_keys_are_barred_and_no_more(
    world: Leading, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hold_waits, "BARS_MAX", 2)
    world.hold(b"k")
    assert snapshot(world, b"k", b"i", b"j") == [(TXN_CONFLICT, b"k")]
    third, fourth = bytes([2] * 16), bytes([3] * 16)
    assert world.prepare(b"i", txn=third) == [(TXN_CONFLICT, b"i")]
    world.hold(b"j", txn=third)
    world.pass_ms(BAR_NS // 1_000_000)
    assert snapshot(world, b"k", b"l") == [(TXN_CONFLICT, b"k")]
    assert world.prepare(b"l", txn=fourth) == [(TXN_CONFLICT, b"l")], "old ones have made room"


# -- bounds, and the end of leading --------------------------------------------------------------


def test_so_many_may_wait_and_no_more(world: Leading, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hold_waits, "PARKED_MAX", 2)
    world.hold(b"k")
    world.read(b"k")
    world.forwarded((FORWARD_READ, 6, GROUP, (b"k",)))
    world.forwarded((FORWARD_READ, 7, GROUP, (b"k",)))
    assert world.take() == (THERE, (FORWARD_REFUSED, 7, HERE, TOO_MANY_WAIT))
    write = world.set(b"k")
    assert write.why == TOO_MANY_WAIT
    world.resolve()
    world.pass_ms(50)
    world.group.commit()
    assert world.outcomes[-1] == STORED


def test_thousands_may_wait_for_one_key(world: Leading) -> None:
    world.hold(b"k")
    for number in range(5_000):
        world.read(b"k")
        if not number % 10:
            world.set(b"k")
    world.resolve()
    world.group.commit()
    assert len(world.outcomes) == 5_500
    assert world.waits.count == 0


def test_what_waits_goes_back_when_another_node_leads(world: Leading) -> None:
    world.hold(b"k")
    world.read(b"k")
    world.set(b"k")
    world.forwarded((FORWARD_READ, 7, GROUP, (b"k",)), ELSEWHERE)
    world.lead(THERE)
    kinds = sorted((node_id, item[0]) for node_id, item in world.sent)
    expected = [(THERE, FORWARD_READ), (THERE, FORWARD_WRITE), (ELSEWHERE, FORWARD_REFUSED)]
    assert kinds == sorted(expected)
    assert world.waits.count == 0


def test_a_key_that_became_free_unseen_is_found_by_the_sweep(world: Leading) -> None:
    world.hold(b"k")
    world.read(b"k")
    world.set(b"k")
    step = (TXN, DEADLINE_MS, 1)
    world.group.machine.apply(91, 1_000_000, [(0, 0, 0, OP_TXN_RESOLVE, b"", *step)])
    assert world.outcomes == []
    world.pass_ms(50)
    assert len(world.outcomes) == 1
    assert world.submitted() == [(OP_SET, b"k")]
