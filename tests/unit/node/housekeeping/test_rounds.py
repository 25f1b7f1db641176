"""What is called when, in ticks and sweeps."""

import pytest

from quorumcache.node.housekeeping.rounds import BUG_MS, SWEEP_MS, Rounds


@pytest.mark.parametrize(("tick_ms", "ticks"), [(1, 50), (10, 5), (20, 2), (50, 1), (400, 1)])
def test_a_sweep_comes_with_the_first_tick_and_then_every_so_many(tick_ms: int, ticks: int) -> None:
    rounds, called = Rounds(tick_ms), []
    passed = [0]
    rounds.in_sweeps(lambda: called.append(passed[0]))
    for passed[0] in range(3 * ticks):
        rounds.tick()
    assert called == [0, ticks, 2 * ticks]


def test_the_order_is_that_in_which_duties_were_added_and_ticks_come_first() -> None:
    rounds, called = Rounds(SWEEP_MS), []
    rounds.in_sweeps(lambda: called.append("a"), lambda: called.append("b"))
    rounds.in_sweeps(lambda: called.append("c"), every_ms=3 * SWEEP_MS)
    rounds.in_every_tick(lambda: called.append("tick"))
    turns = []
    for _ in range(4):
        rounds.tick()
        turns.append("".join(called).replace("tick", "."))
        called.clear()
    assert turns == [".abc", ".ab", ".ab", ".abc"]


def test_a_duty_that_is_added_later_is_done_in_the_next_sweep() -> None:
    rounds, called = Rounds(SWEEP_MS), []
    rounds.tick()
    rounds.in_sweeps(lambda: called.append("late"), every_ms=10 * SWEEP_MS)
    rounds.tick()
    rounds.tick()
    assert called == ["late"]


def test_a_duty_that_fails_rests_and_the_others_go_on() -> None:
    """Its bug would end the node, and each other one that does the same in its place."""
    rounds, called, bugs = Rounds(SWEEP_MS), [], []

    def broken() -> None:
        called.append("broken")
        raise ZeroDivisionError

    rounds.in_sweeps(broken, lambda: called.append("other"), on_bug=lambda *bug: bugs.append(bug))
    for _ in range(BUG_MS // SWEEP_MS + 1):
        rounds.tick()
    assert called.count("broken") == 2
    assert called.count("other") == BUG_MS // SWEEP_MS + 1
    assert [type(error) for _, error in bugs] == [ZeroDivisionError] * 2
    assert "broken failed" in bugs[0][0]


def test_a_failure_that_nobody_hears_ends_the_round() -> None:
    rounds = Rounds(SWEEP_MS)
    rounds.in_sweeps(lambda: [][0])
    with pytest.raises(IndexError):
        rounds.tick()
