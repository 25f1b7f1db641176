"""What may be sent again, and after which pause."""

from __future__ import annotations

from random import Random

import pytest

from quorumcache.router import errors
from quorumcache.router.errors import Conflict, ConnectFailed, Moved, NotDone, RouterError
from quorumcache.router.pool import Choice, choose
from quorumcache.router.retry import CONFLICT_PAUSE_MAX_MS, Backoff, Effect, may_retry

CERTAINLY_NOT_EXECUTED = [
    NotDone("no leader"),
    Moved(1, 2, 0, ""),
    ConnectFailed("h:1", "refused"),
    errors.NotSent("h:1", "broke"),
    errors.NodeBusy("h:1"),
    errors.SessionForgotten("session gone"),
    errors.ClusterUnreachable("nobody"),
]
MAYBE_EXECUTED = [
    errors.OutcomeUnknown("timed out"),
    errors.ConnectionLost("h:1", "reset"),
    errors.ReplyTimeout("h:1"),
    errors.BadReply("garbage"),
]
FINAL = [
    errors.InvalidKey("empty"),
    errors.Refused("no"),
    errors.ValueTooLarge("2 MiB"),
    errors.NotANumber("x"),
    errors.OutOfMemory("full"),
    errors.StaleFence("a newer holder was here"),
    errors.FenceOfAnotherLock("another guards it"),
    errors.LockOfAnotherKind("a semaphore"),
    errors.LockTimeout("others hold it"),
    errors.LockNotHeld("not held"),
    errors.LockLost("lost"),
    errors.LockInUse("held already"),
    errors.DeadlineExceeded("late"),
    errors.NotACluster("h:1", "ERROR"),
    errors.PasswordNeeded("h:1", "none was given"),
    errors.WrongCluster("other"),
    errors.ClientClosed("closed"),
    errors.Conflict(b"k"),
    errors.ConditionFailed(b"k", "is not there"),
    errors.TransactionTooLarge("129 keys"),
    errors.TransactionTooLong("6 s"),
    errors.TransactionEnded("ended"),
    errors.NestedTransaction("nested"),
]


GONE = errors.SessionGone("session gone")


@pytest.mark.parametrize("error", CERTAINLY_NOT_EXECUTED)
def test_not_executed_is_always_repeated(error: RouterError) -> None:
    assert may_retry(Effect.READ, error)
    assert may_retry(Effect.WRITE, error)
    assert may_retry(Effect.NUMBERED_WRITE, error)


@pytest.mark.parametrize("error", MAYBE_EXECUTED)
def test_maybe_executed_is_repeated_for_reads_and_numbered_writes(error: RouterError) -> None:
    """Rule: a write without a number is never sent twice unless the first one certainly did
    nothing.
    """
    assert not error.outcome_known
    assert may_retry(Effect.READ, error)
    assert may_retry(Effect.NUMBERED_WRITE, error)
    assert not may_retry(Effect.WRITE, error)


def test_a_write_whose_session_is_gone_is_never_repeated() -> None:
    """Nobody can tell any more whether its first attempt was executed."""
    assert not GONE.outcome_known
    assert not may_retry(Effect.NUMBERED_WRITE, GONE)
    assert not may_retry(Effect.WRITE, GONE)


@pytest.mark.parametrize("error", FINAL)
def test_final_errors_are_not_repeated(error: RouterError) -> None:
    assert not may_retry(Effect.READ, error)
    assert not may_retry(Effect.WRITE, error)
    assert not may_retry(Effect.NUMBERED_WRITE, error)


def test_every_error_is_classified() -> None:
    """A new error class has to appear in one of the lists above."""
    listed = {type(error) for error in (*CERTAINLY_NOT_EXECUTED, *MAYBE_EXECUTED, *FINAL, GONE)}
    bases = {errors.RouterError, errors.InvalidRequest, errors.InvalidArgument}
    bases.add(errors.WrongEventLoop)  # never sent
    found = {
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, errors.RouterError)
    }
    assert found - listed - bases == {errors.PartialFailure}


def test_pauses_double_with_jitter_up_to_the_maximum() -> None:
    backoff = Backoff(Random(1), 10, 100)
    pauses = [backoff.pause_ms(NotDone("x"), False) for _ in range(60)]
    for pause, ceiling in zip(pauses, [10, 20, 40, 80, *[100] * 56], strict=True):
        assert ceiling / 2 <= pause <= ceiling
    assert len(set(pauses)) > 50


def test_pauses_after_conflicts_double_for_longer() -> None:
    """With pauses of 100 ms at most, 150 tasks that change one key made 50 attempts for each that
    got through, and many found no moment until their deadline.
    """
    backoff = Backoff(Random(1), 10, 100)
    pauses = [backoff.pause_ms(Conflict(b"k"), False) for _ in range(20)]
    ceilings = [10 << number for number in range(8)] + [CONFLICT_PAUSE_MAX_MS] * 12
    for pause, ceiling in zip(pauses, ceilings, strict=True):
        assert ceiling / 2 <= pause <= ceiling
    assert Backoff(Random(1), 10, 9_000).pause_ms(Conflict(b"k"), False) <= 10


def test_redirects_and_the_first_step_elsewhere_cost_no_pause() -> None:
    backoff = Backoff(Random(1), 10, 100)
    moved = Moved(1, 0, 2, "h:2")
    assert backoff.pause_ms(moved, True) == 0
    assert backoff.pause_ms(moved, True) == 0
    assert backoff.pause_ms(ConnectFailed("h:2", "refused"), True) == 0
    assert backoff.pause_ms(moved, True) > 0


def test_same_seed_same_pauses() -> None:
    def pauses(seed: int) -> list[float]:
        backoff = Backoff(Random(seed), 10, 100)
        return [backoff.pause_ms(NotDone("x"), False) for _ in range(5)]

    assert pauses(3) == pauses(3)
    assert pauses(3) != pauses(4)


def test_choice_of_a_connection() -> None:
    assert choose([], False, 2, 4) == Choice(-1, True)
    assert choose([], True, 2, 4) == Choice(-1, False)
    assert choose([3], False, 2, 4) == Choice(0, False)
    assert choose([4], False, 2, 4) == Choice(0, True)
    assert choose([4], True, 2, 4) == Choice(0, False)
    assert choose([9, 5], False, 2, 4) == Choice(1, False)
