"""Fencing tokens: which are refused, what is remembered, and what is forgotten how."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from quorumcache.node.store import fences
from quorumcache.node.store.fences import (
    FENCED_LOCKS_MAX,
    FLOORS,
    GUARDED_KEYS_MAX,
    FenceTable,
    floor_of,
)
from quorumcache.node.store.results import FENCE_OTHER_LOCK, FENCE_STALE
from quorumcache.ring.hashing import SHARD_COUNT_MAX, shard_of


def restored(table: FenceTable) -> FenceTable:
    other = FenceTable()
    for image in table.images():
        other.add(image)
    return other


def test_an_older_token_is_refused_and_the_same_one_is_not() -> None:
    table = FenceTable()
    assert table.check(b"lock", 5, b"k") is None
    assert table.check(b"lock", 5, b"k") is None
    assert table.check(b"lock", 4, b"k") == (FENCE_STALE, 5)
    assert table.check(b"lock", 4, b"another key") == (FENCE_STALE, 5)
    assert table.check(b"lock", 9, b"another key") is None
    assert table.check(b"lock", 5, b"k") == (FENCE_STALE, 9), "whatever key has shown the newer one"
    assert table.newest(b"lock") == 9


@pytest.mark.parametrize("token", [0, -1, -(1 << 63)])
def test_a_number_that_is_no_token_is_refused(token: int) -> None:
    table = FenceTable()
    assert table.check(b"lock", token, b"k") == (FENCE_STALE, 0)
    assert (len(table), table.memory_bytes) == (0, 0)


def test_the_tokens_of_two_locks_do_not_meet() -> None:
    table = FenceTable()
    table.check(b"lock", 50, b"k")
    assert table.check(b"other", 1, b"j") is None


def test_a_key_is_guarded_by_one_lock() -> None:
    table = FenceTable()
    table.check(b"lock", 5, b"k")
    before = table.images()
    assert table.check(b"other", 9, b"k") == FENCE_OTHER_LOCK
    assert table.images() == before, "nothing is done, nor noted"
    assert table.check(b"lock", 6, b"k") is None


def test_an_old_token_is_refused_as_such_also_for_a_key_of_another_lock() -> None:
    table = FenceTable()
    table.check(b"lock", 5, b"k")
    table.check(b"other", 9, b"j")
    assert table.check(b"other", 8, b"k") == (FENCE_STALE, 9)


def test_a_refusal_is_no_use() -> None:
    """Who is refused over and over does not keep its lock in memory."""
    table = FenceTable()
    table.check(b"a", 5, b"k")
    table.check(b"b", 5, b"j")
    table.check(b"a", 4, b"k")
    assert list(table.seen) == [b"a", b"b"]
    table.check(b"a", 5, b"k")
    assert list(table.seen) == [b"b", b"a"]
    assert list(table.guards) == [b"j", b"k"]


def test_a_lock_that_is_forgotten_leaves_its_floor(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (FENCED_LOCKS_MAX, GUARDED_KEYS_MAX) == (16_384, 65_536)
    monkeypatch.setattr(fences, "FENCED_LOCKS_MAX", 2)
    table = FenceTable()
    table.check(b"old", 70, b"k")
    table.check(b"b", 1, b"j")
    table.check(b"c", 1, b"i")
    assert list(table.seen) == [b"b", b"c"]
    assert table.newest(b"old") == 70
    assert table.check(b"old", 69, b"k") == (FENCE_STALE, 70)
    assert table.check(b"old", 70, b"k") is None, "its holder goes on"
    assert table.floors == {floor_of(b"old"): 70, floor_of(b"b"): 1}
    assert restored(table).newest(b"b") == 1


def test_a_floor_never_sinks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fences, "FENCED_LOCKS_MAX", 1)
    monkeypatch.setattr(fences, "floor_of", lambda lock: 7)
    table = FenceTable()
    table.check(b"a", 50, b"k")
    table.check(b"b", 50, b"j")
    table.floors[7] = 80
    table.check(b"b", 60, b"j")
    table.floors[7] = 10
    table.check(b"c", 60, b"i")
    assert table.floors == {7: 60}
    table.floors[7] = 90
    table.check(b"d", 95, b"h")
    assert table.floors == {7: 90}, "60 is forgotten, 90 counts"


def test_a_lock_with_an_entry_is_not_measured_by_its_floor() -> None:
    table = FenceTable()
    table.check(b"lock", 5, b"k")
    table.floors[floor_of(b"lock")] = 100
    assert table.check(b"lock", 5, b"k") is None


def test_locks_of_two_shards_share_no_floor() -> None:
    assert FLOORS == SHARD_COUNT_MAX
    floors: dict[int, set[int]] = {}
    for number in range(20_000):
        lock = b"lock-%d" % number
        assert 0 <= floor_of(lock) < FLOORS
        floors.setdefault(floor_of(lock), set()).add(shard_of(lock, SHARD_COUNT_MAX))
    assert all(len(shards) == 1 for shards in floors.values())


def test_guards_are_forgotten_beyond_their_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fences, "GUARDED_KEYS_MAX", 2)
    table = FenceTable()
    for key in (b"1", b"2", b"1", b"3"):
        table.check(b"lock", 5, key)
    assert list(table.guards) == [b"1", b"3"]
    assert table.check(b"other", 1, b"2") is None
    assert table.check(b"lock", 4, b"2") == (FENCE_STALE, 5), "tokens are not forgotten with them"


def test_a_snapshot_brings_all_back_in_its_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fences, "FENCED_LOCKS_MAX", 3)
    table = FenceTable()
    for number in (7, 3, 9, 1, 3, 8):
        table.check(b"lock-%d" % number, number, b"key-%d" % number)
    other = restored(table)
    assert other.images() == table.images()
    assert len(other) == len(table) == len(table.images())
    assert other.memory_bytes == table.memory_bytes > 0
    assert len(table.floors) == 2
    for one in (table, other):
        one.check(b"new", 1, b"key")
    assert other.images() == table.images()
    floors = [image[1] for image in table.images() if image[0] == fences.FLOOR_IMAGE]
    assert floors == sorted(table.floors)


@pytest.mark.parametrize(
    "image",
    [
        (),
        7,
        None,
        (1, b"lock"),
        (1, b"lock", 5, 0),
        (3, b"lock", 5),
        (-1, b"lock", 5),
        (True, b"lock", 5),
        ("1", b"lock", 5),
        (1, "lock", 5),
        (1, b"", 5),
        (1, b"n" * 251, 5),
        (1, b"there", 5),
        (1, b"lock", None),
        (1, b"lock", -1),
        (1, b"lock", 1 << 64),
        (1, b"lock", True),
        (2, b"k", 5),
        (2, b"", 5),
        (2, 7, 5),
        (0, b"lock", 5),
        (0, -1, 5),
        (0, FLOORS, 5),
        (0, 7, 5),
        (0, 8, -1),
        (0, True, 5),
    ],
)
def test_an_image_that_is_no_fence(image: Any) -> None:
    table = FenceTable()
    for good in ((0, 7, 1), (1, b"there", 1), (2, b"k", 1)):
        table.add(good)
    before = table.images()
    with pytest.raises((ValueError, TypeError)):
        table.add(image)
    assert table.images() == before


def test_a_snapshot_with_more_than_may_be_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fences, "FENCED_LOCKS_MAX", 1)
    monkeypatch.setattr(fences, "GUARDED_KEYS_MAX", 1)
    table = FenceTable()
    table.add((1, b"a", 1))
    table.add((2, b"a", 1))
    for form in (1, 2):
        with pytest.raises(ValueError, match="too many"):
            table.add((form, b"b", 1))


@pytest.mark.parametrize("seed", range(10))
def test_long_uses_of_a_table_that_forgets(seed: int) -> None:
    random = Random(seed)
    locks = [b"lock-%d" % number for number in range(6)]
    uses = [
        (random.choice(locks), random.randint(0, 40), b"key-%d" % number, not random.randrange(9))
        for number in range(100)
    ]
    forget(uses, random.randint(1, 3), 4)


def forget(uses: list[tuple[bytes, int, bytes, bool]], locks_max: int, keys_max: int) -> None:
    """No old token is taken. What is refused wrongly is never newer than all that was forgotten."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fences, "FENCED_LOCKS_MAX", locks_max)
        patch.setattr(fences, "GUARDED_KEYS_MAX", keys_max)
        # All locks are of one shard here, and share the floor.
        patch.setattr(fences, "floor_of", lambda lock: 7)
        table = FenceTable()
        newest: dict[bytes, int] = {}
        for lock, token, key, cut in uses:
            result = table.check(lock, token, key)
            if result is None:
                assert token >= max(newest.get(lock, 0), 1)
                newest[lock] = token
            elif result != FENCE_OTHER_LOCK:
                assert token < max([1, *newest.values()])
            assert len(table.seen) <= locks_max
            assert len(table.guards) <= keys_max
            if cut:
                other = FenceTable()
                for image in table.images():
                    other.add(image)
                assert other.images() == table.images()
                table = other
