"""Goal: the answer to a bundle means what the bundle held, once, and nothing else is ever believed;
what is not answered does not pile up.

Method: bundles and answers by hand.
"""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from quorumcache.node.errors import PeerFrameError
from quorumcache.node.peers.bundles import (
    REMEMBERED_MAX,
    Bundle,
    Bundles,
    fields_of_answer,
    fields_of_bundle,
    pack_answer,
)
from quorumcache.node.peers.items import BUNDLE, BUNDLE_HELD

LIFE = 1 << 62


def unpack(packed: bytes) -> tuple[Any, ...]:
    item: tuple[Any, ...] = msgpack.unpackb(packed, use_list=False)
    return item


def sent(bundles: Bundles, node_id: int, *held: tuple[int, int, int]) -> int:
    """Send a bundle; its number."""
    bundle = Bundle()
    for each in held:
        bundle.add(b"run", each)
    number, packed = bundles.close(bundle)
    assert unpack(packed) == (BUNDLE, bundles.life, number, b"run" * len(held))
    bundles.sent(node_id, number, bundle)
    return number


def answer(number: int, *but: int, life: int = LIFE) -> tuple[Any, ...]:
    return unpack(pack_answer(life, number, list(but)))


def test_an_answer_stands_for_all_runs_but_those_it_names_and_counts_once() -> None:
    bundles = Bundles(LIFE)
    first = sent(bundles, 2, (1, 5, 10), (2, 6, 20), (3, 7, 30))
    second = sent(bundles, 2, (1, 5, 11))
    assert bundles.answered(2, answer(second), is_last=True) == [(1, 5, 11)]
    assert bundles.answered(2, answer(first, 0, 2), is_last=True) == [(2, 6, 20)]
    assert bundles.answered(2, answer(first), is_last=True) == []


def test_an_answer_to_another_process_or_of_another_peer_means_nothing() -> None:
    """The numbers begin anew in each process, and are the same for all peers."""
    bundles = Bundles(LIFE)
    number = sent(bundles, 2, (1, 5, 10))
    assert bundles.answered(2, answer(number, life=LIFE + 1), is_last=True) == []
    assert bundles.answered(3, answer(number), is_last=True) == []
    assert bundles.answered(2, answer(number + 1), is_last=True) == []
    assert bundles.answered(2, answer(number), is_last=True) == [(1, 5, 10)]


def test_an_answer_that_may_come_again_is_understood_again() -> None:
    bundles = Bundles(LIFE)
    number = sent(bundles, 2, (1, 5, 10))
    for is_last in (False, False, True):
        assert bundles.answered(2, answer(number), is_last=is_last) == [(1, 5, 10)]


def test_bundles_to_a_peer_that_was_lost_are_forgotten() -> None:
    bundles = Bundles(LIFE)
    number = sent(bundles, 2, (1, 5, 10))
    other = sent(bundles, 3, (1, 5, 10))
    bundles.lost(2)
    bundles.lost(4)
    assert bundles.answered(2, answer(number), is_last=True) == []
    assert bundles.answered(3, answer(other), is_last=True) == [(1, 5, 10)]


def test_of_bundles_that_nobody_answers_the_newest_are_remembered() -> None:
    bundles = Bundles(LIFE)
    held = [(group_id, 1, 1) for group_id in range(REMEMBERED_MAX // 8)]
    numbers = [sent(bundles, 2, *held) for _ in range(20)]
    known = [len(bundles.answered(2, answer(n), is_last=False)) > 0 for n in numbers]
    assert known == [False] * 12 + [True] * 8
    for number in numbers:
        bundles.answered(2, answer(number), is_last=True)
    assert bundles.unanswered[2].count == 0
    one = sent(bundles, 2, *((group_id, 1, 1) for group_id in range(2 * REMEMBERED_MAX)))
    assert bundles.answered(2, answer(one), is_last=True), "the newest is never forgotten"


def test_what_is_no_bundle_and_no_answer_is_refused() -> None:
    bundles = Bundles(LIFE)
    number = sent(bundles, 2, (1, 5, 10))
    for item in (
        (BUNDLE,),
        (BUNDLE, 1, 2, "runs"),
        (BUNDLE, 1, 2, b""),
        (BUNDLE, b"1", 2, b"x"),
        (BUNDLE, 1, None, b"x"),
        (BUNDLE, 1, 2, b"x", 3),
    ):
        with pytest.raises(PeerFrameError):
            fields_of_bundle(item)
    for but in (None, 1, b"", ("x",), (-1,), (True,), (0.0,)):
        with pytest.raises(PeerFrameError):
            fields_of_answer((BUNDLE_HELD, 1, 2, but))
    with pytest.raises(PeerFrameError):
        fields_of_answer((BUNDLE_HELD, 1, 2))
    with pytest.raises(PeerFrameError):
        fields_of_answer((BUNDLE_HELD, 1, "2", ()))
    with pytest.raises(PeerFrameError, match="run 1 of 1"):
        bundles.answered(2, answer(number, 1), is_last=True)
