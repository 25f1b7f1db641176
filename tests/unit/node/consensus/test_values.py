"""The values of a replicated log that have something to get wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorumcache.node.consensus.errors import ConfigurationRefused
from quorumcache.node.consensus.values import Configuration, SnapshotMeta, SnapshotSource

META = SnapshotMeta(9, 2, Configuration((1, 2, 3)))


@given(st.lists(st.binary(max_size=9), max_size=9), st.integers(0, 90), st.integers(1, 40))
def test_a_source_reads_as_if_it_were_one_piece(pieces: list[bytes], at: int, size: int) -> None:
    whole = b"".join(pieces)
    source = SnapshotSource(META, pieces)
    assert source.total_bytes == len(whole)
    assert source.read(at, size) == whole[at : at + size]


def test_members_are_each_named_once() -> None:
    joint = Configuration((2, 1), (5,), (3, 2))
    assert joint.members() == (1, 2, 3, 5)
    assert [replica for replica in range(7) if joint.is_voter(replica)] == [1, 2, 3]


@pytest.mark.parametrize(
    ("configuration", "why"),
    [
        (Configuration(()), "voters must not be empty"),
        (Configuration((1, 1)), "voters names a replica twice"),
        (Configuration((1,), (0,)), "learners must be positive"),
        (Configuration((1, 2), (2,)), "cannot be voters and learners"),
    ],
)
def test_what_cannot_be_a_group_is_refused(configuration: Configuration, why: str) -> None:
    with pytest.raises(ConfigurationRefused, match=why):
        configuration.validate()
