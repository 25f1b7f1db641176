"""`quorumcache.router.identities`."""

from quorumcache.router.identities import KEPT_S, Identities
from quorumcache.router.transaction_requests import Begun

GIVEN = Begun(b"0123456789abcdef01234567fffffffe", 105_000)


def test_there_is_none_before_a_node_has_given_one() -> None:
    assert Identities().take(5_000, 0.0) is None


def test_it_counts_on_and_never_repeats_one() -> None:
    identities = Identities()
    identities.learn(GIVEN, 5_000, 7.0)
    taken = [identities.take(5_000, 7.0) for _ in range(3)]
    ids = [begun.transaction_id for begun in taken if begun is not None]
    assert ids == [
        GIVEN.transaction_id[:24] + end for end in (b"ffffffff", b"00000000", b"00000001")
    ]
    assert GIVEN.transaction_id not in ids


def test_deadlines_count_from_the_begin_of_each() -> None:
    identities = Identities()
    identities.learn(GIVEN, 5_000, 7.0)
    first, second = identities.take(5_000, 7.0), identities.take(200, 9.5)
    assert first is not None
    assert first.deadline_ms == 105_000
    assert second is not None
    assert second.deadline_ms == 100_000 + 2_500 + 200


def test_after_a_while_a_node_is_asked_again() -> None:
    identities = Identities()
    identities.learn(GIVEN, 5_000, 7.0)
    assert identities.take(5_000, 7.0 + KEPT_S - 0.1) is not None
    assert identities.take(5_000, 7.0 + KEPT_S) is None
    assert identities.take(5_000, 6.9) is None, "a clock that went back tells nothing"


def test_a_child_process_counts_on_by_itself_no_more() -> None:
    identities = Identities()
    identities.learn(GIVEN, 5_000, 7.0)
    identities.forget()
    assert identities.take(5_000, 7.0) is None
