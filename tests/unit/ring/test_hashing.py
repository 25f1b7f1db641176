"""Goal: a key has the same token and shard in every language. Method: published vectors, and a
second implementation of the hash."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorumcache.ring import key_token, shard_of
from quorumcache.ring.hashing import (
    SHARD_COUNT_MAX,
    default_shard_count,
    is_shard_count,
    shard_start,
)
from tests.support.murmur3 import murmur3_x64_128

VECTORS = json.loads(
    (Path(__file__).parents[3] / "docs" / "hashing-vectors.json").read_text(encoding="utf-8")
)["vectors"]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["key_hex"][:16] or "empty")
def test_published_vectors(vector: dict) -> None:
    key = bytes.fromhex(vector["key_hex"])
    assert f"{key_token(key):016x}" == vector["token"]
    assert {int(count): shard_of(key, int(count)) for count in vector["shards"]} == {
        int(count): shard for count, shard in vector["shards"].items()
    }


@given(st.binary(max_size=300))
def test_token_agrees_with_the_reference_algorithm(key: bytes) -> None:
    assert key_token(key) == murmur3_x64_128(key)[0]


@given(st.binary(max_size=40), st.integers(0, 12))
def test_shard_is_the_arc_that_holds_the_token(key: bytes, bits: int) -> None:
    count = 1 << bits
    shard = shard_of(key, count)
    assert 0 <= shard < count
    start = shard_start(shard, count)
    assert start <= key_token(key) < start + (1 << 64) // count


def test_shard_counts_are_powers_of_two_up_to_4096() -> None:
    allowed = [value for value in range(-1, 10_000) if is_shard_count(value)]
    assert allowed == [1 << bits for bits in range(13)]


def test_few_founders_get_few_shards_that_still_spread_well() -> None:
    counts = [default_shard_count(founders) for founders in range(1, 1000)]
    assert counts[:7] == [16, 16, 16, 32, 32, 32, 64]
    assert counts == sorted(counts)
    assert all(is_shard_count(count) for count in counts)
    for founders, count in enumerate(counts[:800], start=1):
        most_led = -(-count // founders)
        assert most_led * founders <= 1.2 * count, founders
    assert counts[-1] == SHARD_COUNT_MAX
