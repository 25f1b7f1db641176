"""Goal: the ring is balanced by weight, moves as little as it can, and says the same everywhere."""

from __future__ import annotations

from collections import Counter

import pytest

from quorumcache.ring import HashRing, RingError, key_token

KEYS = [b"key-%d" % i for i in range(20_000)]


def test_owner_is_the_first_vnode_clockwise() -> None:
    ring = HashRing({"a": 1, "b": 1, "c": 1}, vnodes_per_weight=4)
    vnodes = list(ring.vnodes())
    assert vnodes == sorted(vnodes)
    assert len(vnodes) == 12
    for token, member in vnodes:
        assert ring.owner_of_token(token) == member
    # Past the last vnode the circle closes.
    assert ring.owner_of_token(vnodes[-1][0] + 1) == vnodes[0][1]
    assert ring.owner(b"k") == ring.owner_of_token(key_token(b"k"))


def test_vnodes_stand_at_published_places() -> None:
    ring = HashRing({"a": 1}, vnodes_per_weight=2)
    assert sorted(token for token, _ in ring.vnodes()) == sorted(
        [key_token(b"a-0"), key_token(b"a-1")]
    )


def test_preference_list_names_distinct_members_nearest_first() -> None:
    ring = HashRing(dict.fromkeys(range(1, 8), 1.0))
    for key in KEYS[:200]:
        preferred = ring.preference_list(key, 3)
        assert len(set(preferred)) == 3
        assert preferred[0] == ring.owner(key)
        assert ring.preference_list(key, 5)[:3] == preferred
        assert sorted(ring.preference_list(key, 100)) == list(range(1, 8))
        assert tuple(ring.walk(key_token(key))) == ring.preference_list(key, 7)


def test_a_member_gets_keys_by_its_weight() -> None:
    ring = HashRing({"small": 1, "middle": 2, "large": 4}, vnodes_per_weight=512)
    counts = Counter(map(ring.owner, KEYS))
    for member, weight in (("small", 1), ("middle", 2), ("large", 4)):
        assert 0.85 < counts[member] / (len(KEYS) * weight / 7) < 1.15


def test_a_member_that_comes_or_goes_moves_no_key_between_others() -> None:
    ring = HashRing(dict.fromkeys(range(1, 11), 1.0))
    wider = ring.with_member(11, 1.0)
    moved = 0
    for key in KEYS:
        before, after = ring.owner(key), wider.owner(key)
        if before != after:
            moved += 1
            assert after == 11
    assert moved <= 1.2 * len(KEYS) / 11
    assert list(wider.without_member(11).vnodes()) == list(ring.vnodes())


def test_order_of_the_members_does_not_matter() -> None:
    assert list(HashRing({"a": 1, "b": 2}).vnodes()) == list(HashRing({"b": 2, "a": 1}).vnodes())


@pytest.mark.parametrize("weight", [0, -1, float("nan"), float("inf")])
def test_a_weight_must_be_above_zero(weight: float) -> None:
    with pytest.raises(RingError, match="weight of 'a'"):
        HashRing({"a": weight})


def test_a_ring_is_never_empty() -> None:
    with pytest.raises(RingError, match="at least one member"):
        HashRing({})
    with pytest.raises(RingError, match="at least one member"):
        HashRing({"a": 1}).without_member("a")
    with pytest.raises(RingError, match="'b' is not a member"):
        HashRing({"a": 1}).without_member("b")
    with pytest.raises(RingError, match="vnodes_per_weight"):
        HashRing({"a": 1}, vnodes_per_weight=0)


def test_an_extreme_weight_is_bounded() -> None:
    ring = HashRing({"a": 1e300, "b": 1e-300})
    assert Counter(member for _, member in ring.vnodes()) == {"a": 65536, "b": 1}
    assert len(ring) == 2
    assert ring.members == ("a", "b")
