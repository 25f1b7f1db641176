"""Goal: what the values of a log say of themselves, and that msgpack takes them as arrays."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorumcache.node.consensus.errors import ConfigurationRefused
from quorumcache.node.consensus.values import (
    Configuration,
    Entry,
    EntryKind,
    SnapshotMeta,
    SnapshotSource,
    configuration_of,
)

META = SnapshotMeta(9, 2, Configuration((1, 2, 3)))


@given(st.lists(st.binary(max_size=9), max_size=9), st.integers(0, 90), st.integers(1, 40))
def test_a_source_reads_as_if_it_were_one_piece(pieces: list[bytes], at: int, size: int) -> None:
    whole = b"".join(pieces)
    source = SnapshotSource(META, pieces)
    assert source.total_bytes == len(whole)
    assert source.read(at, size) == whole[at : at + size]


def test_members_are_all_who_receive_the_log() -> None:
    configuration = Configuration((3, 1), (7,), (2, 3))
    assert configuration.members() == (1, 2, 3, 7)
    assert [configuration.is_voter(i) for i in (1, 2, 3, 7)] == [True, True, True, False]


@pytest.mark.parametrize(
    ("configuration", "why"),
    [
        (Configuration(()), "voters must not be empty"),
        (Configuration((1, 2, 1)), "voters names a replica twice"),
        (Configuration((1,), (2, 2)), "learners names a replica twice"),
        (Configuration((1,), (), (0,)), "voters_outgoing must be positive replica ids"),
        (Configuration((1, 2), (2,)), r"voters and learners: \[2\]"),
        (Configuration((1, 2), (), (), -1), "decision must not be negative: -1"),
    ],
)
def test_what_cannot_be_a_configuration_is_refused(configuration: Configuration, why: str) -> None:
    with pytest.raises(ConfigurationRefused, match=why):
        configuration.validate()


def test_a_learner_may_be_on_its_way_out_of_the_voters() -> None:
    Configuration((1, 2), (3,), (1, 2, 3)).validate()


@pytest.mark.parametrize(
    "value",
    [
        Entry(5, 2, EntryKind.NORMAL, b"x"),
        Entry(6, 2, EntryKind.NOOP, b""),
        SnapshotMeta(7, 2, Configuration((1, 2), (3,))),
    ],
)
def test_values_are_msgpack_arrays_as_they_stand(value: tuple) -> None:
    assert msgpack.unpackb(msgpack.packb(value), use_list=False) == value


@pytest.mark.parametrize(
    ("configuration", "form"),
    [
        (Configuration((1, 2), (3,), (1,)), ((1, 2), (3,), (1,))),
        (Configuration(()), ((), (), ())),
        (Configuration((1, 2), (3,), (), 17), ((1, 2), (3,), (), 17)),
    ],
)
def test_a_configuration_without_a_decision_has_the_form_from_before_decisions(
    configuration: Configuration, form: tuple
) -> None:
    packed = msgpack.packb(configuration.form())
    assert packed == msgpack.packb(form)
    assert configuration_of(msgpack.unpackb(packed, use_list=False)) == configuration


@pytest.mark.parametrize(
    "form",
    [
        None,
        [(), (), ()],
        ((1,), ()),
        ((1,), (), (), 0),
        ((1,), (), (), -3),
        ((1,), (), (), True),
        ((1,), (), (), ()),
        ((1,), (), (), 4, 5),
        ((1, "2"), (), ()),
        ((1, True), (), ()),
        (1, (), ()),
    ],
)
def test_what_is_no_form_of_a_configuration_is_refused(form: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        configuration_of(form)
