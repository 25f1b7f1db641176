"""Goal: tokens that do not grow, and locks that two hold, are found in what clients were told.

Method: answers by hand.
"""

from __future__ import annotations

from tests.simulation.history import INFO, OK
from tests.simulation.lock_watch import Asked, holder_fault, token_fault
from tests.simulation.serializability import NEVER, Transaction

L = b"lock-0"
MS = 1_000_000


class TrueTime:
    """The cluster's time is the true one."""

    def earliest_ms(self, begin_ns: int, end_ns: int | None) -> int:
        return begin_ns // MS

    def latest_ms(self, end_ns: int | None) -> int:
        assert end_ns is not None
        return end_ns // MS


def ask(
    verb: str,
    owner: str,
    token: int,
    begin_ms: int,
    end_ms: int,
    *,
    ttl_ms: int = 100,
    shared: bool = False,
    lock: bytes = L,
    known: bool = True,
) -> Asked:
    """Positions are the times."""
    record = Transaction(1, owner, "lock", outcome=OK if known else INFO, invoked=begin_ms)
    record.invoked_ns = begin_ms * MS
    record.returned = end_ms if known else NEVER
    record.returned_ns = end_ms * MS if known else None
    return Asked(verb, lock, owner.encode(), record, ttl_ms, shared, token)


def take(owner: str, token: int, begin_ms: int, end_ms: int, **facts: object) -> Asked:
    return ask("acquire", owner, token, begin_ms, end_ms, **facts)  # type: ignore[arg-type]


# -- tokens ----------------------------------------------------------------------------------------


def test_tokens_that_grow() -> None:
    assert not token_fault([take("a", 1, 1, 2), take("b", 2, 3, 4), take("a", 3, 5, 6)])


def test_an_owner_that_asks_again_hears_its_token_again() -> None:
    assert not token_fault([take("a", 1, 1, 2), take("a", 1, 3, 4), take("b", 2, 5, 6)])


def test_of_two_asked_for_at_once_either_may_be_the_first() -> None:
    assert not token_fault([take("a", 2, 1, 9), take("b", 1, 1, 8), take("c", 3, 10, 11)])


def test_readers_that_ask_again_keep_their_tokens() -> None:
    readers = [take("a", 1, 1, 2, shared=True), take("b", 2, 3, 4, shared=True)]
    assert not token_fault([*readers, take("a", 1, 5, 6, shared=True)])


def test_a_token_that_goes_back() -> None:
    assert "does not grow" in token_fault([take("a", 5, 1, 2), take("b", 4, 3, 4)])


def test_a_token_of_two_owners() -> None:
    assert "two owners" in token_fault([take("a", 5, 1, 2), take("b", 5, 3, 4)])


def test_tokens_of_different_locks_have_nothing_to_do_with_each_other() -> None:
    assert not token_fault([take("a", 5, 1, 2), take("b", 1, 3, 4, lock=b"lock-1")])


# -- holders ---------------------------------------------------------------------------------------


def held_by_two(*asked: Asked) -> bool:
    return bool(holder_fault(asked, TrueTime()))


def test_a_second_holder_while_the_lease_of_the_first_lasts() -> None:
    assert held_by_two(take("a", 1, 0, 2), take("b", 2, 50, 60))


def test_a_second_holder_when_the_lease_has_ended() -> None:
    assert not held_by_two(take("a", 1, 0, 2), take("b", 2, 50, 100))


def test_a_second_holder_when_the_first_has_released_or_may_have() -> None:
    assert not held_by_two(take("a", 1, 0, 2), ask("release", "a", 0, 10, 90), take("b", 2, 50, 60))


def test_a_lease_that_was_renewed() -> None:
    first = take("a", 1, 0, 2), ask("renew", "a", 1, 90, 92)
    assert held_by_two(*first, take("b", 2, 150, 160))
    assert not held_by_two(*first, take("b", 2, 150, 190))


def test_a_lease_that_was_renewed_for_a_shorter_time() -> None:
    assert not held_by_two(
        take("a", 1, 0, 2), ask("renew", "a", 1, 10, 12, ttl_ms=20), take("b", 2, 50, 60)
    )


def test_a_renewal_that_was_refused_tells_that_the_lease_had_ended() -> None:
    assert not held_by_two(take("a", 1, 0, 2), ask("renew", "a", 0, 10, 12), take("b", 2, 50, 60))


def test_an_owner_of_which_something_is_not_known() -> None:
    late = ask("renew", "a", 0, 10, 0, ttl_ms=20, known=False)
    assert not held_by_two(take("a", 1, 0, 2), late, take("b", 2, 50, 60))


def test_readers_hold_together_and_never_with_a_writer() -> None:
    first = take("a", 1, 0, 2, shared=True)
    assert not held_by_two(first, take("b", 2, 50, 60, shared=True))
    assert held_by_two(first, take("b", 2, 50, 60))
    assert held_by_two(take("a", 1, 0, 2), take("b", 2, 50, 60, shared=True))


def test_two_that_were_given_at_once_may_have_come_in_either_order() -> None:
    """The first may have released, and not have said so yet."""
    assert not held_by_two(take("a", 1, 0, 55), take("b", 2, 50, 60))
