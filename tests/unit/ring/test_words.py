"""Goal: words of a change are counted and split, and a wrong form is shown the right one."""

from __future__ import annotations

import pytest

from quorumcache.ring.errors import ChangeRefused
from quorumcache.ring.words import expect, pairs_of


def test_pairs_are_split_at_the_first_sign() -> None:
    assert pairs_of(["weight=2", "zone=a=b", "zone="]) == [
        ("weight", "2"),
        ("zone", "a=b"),
        ("zone", ""),
    ]
    with pytest.raises(ChangeRefused, match="'weight' sets nothing; write it as NAME=VALUE"):
        pairs_of(["weight"])


def test_words_are_counted() -> None:
    assert expect(["c"], "drain NAME", 1) == ["c"]
    with pytest.raises(ChangeRefused, match="write it as: drain NAME"):
        expect([], "drain NAME", 1)
