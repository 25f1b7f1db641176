"""For how long a lock is relied on."""

from __future__ import annotations

import pytest

from quorumcache.router.leases import Lease, piece_ms


def test_a_lease_counts_from_when_it_was_asked_for_and_ends_early() -> None:
    lease = Lease(sent_at=100.0, ttl_ms=9_000)
    assert lease.renew_at == pytest.approx(103.0)
    assert lease.ends_at == pytest.approx(108.1)


def test_the_shortest_lease_has_a_margin_as_well() -> None:
    assert Lease(sent_at=0.0, ttl_ms=100).ends_at == pytest.approx(0.09)


@pytest.mark.parametrize(
    ("ttl_ms", "left_ms", "piece"),
    [
        (10_000, float("inf"), 1_000),  # the most
        (900, float("inf"), 300),  # a third of the lock's time
        (100, float("inf"), 33),
        (10_000, 250.7, 250),  # what is left
        (10_000, -5.0, 1),
        (10_000, 0.0, 1),
    ],
)
def test_pieces_of_a_wait(ttl_ms: int, left_ms: float, piece: int) -> None:
    assert piece_ms(ttl_ms, left_ms, 1_000) == piece
