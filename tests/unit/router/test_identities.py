"""Identities made of one that was told: nobody else has them, and no deadline is too late."""

from __future__ import annotations

from quorumcache.router.identities import FRESH_S, LIMIT_MS_LEAST, Identities
from quorumcache.router.transaction_requests import Begun


def begun(number: int, deadline_ms: int) -> Begun:
    return Begun(b"%032x" % number, deadline_ms)


def test_numbers_follow_the_one_that_was_told() -> None:
    identities = Identities()
    assert identities.take(5_000, 100.0) is None
    identities.learn(begun(7, 1_005_000), 5_000, 100.0)
    assert identities.take(5_000, 100.0) == begun(8, 1_005_000)
    assert identities.take(2_000, 103.5) == begun(9, 1_005_500)
    identities.learn(begun(70, 1_010_000), 5_000, 104.0)
    assert identities.take(5_000, 104.0) == begun(71, 1_010_000)
    identities.forget()
    assert identities.take(5_000, 104.0) is None


def test_the_last_number_is_followed_by_the_first() -> None:
    identities = Identities()
    identities.learn(begun((1 << 128) - 1, 6_000), 5_000, 0.0)
    assert identities.take(5_000, 0.0) == begun(0, 6_000)


def test_one_serves_for_a_while_and_not_for_little_time() -> None:
    identities = Identities()
    identities.learn(begun(7, 6_000), 5_000, 50.0)
    assert identities.take(LIMIT_MS_LEAST - 1, 50.0) is None
    assert identities.take(LIMIT_MS_LEAST, 50.0 + FRESH_S - 0.01) is not None
    assert identities.take(LIMIT_MS_LEAST, 50.0 + FRESH_S) is None
