"""Configurations: their form in an entry, and which is in force."""

from __future__ import annotations

import pytest

from quorumcache.node.consensus.errors import ConfigurationRefused
from quorumcache.node.consensus.raft.configurations import (
    decode_configuration,
    encode_configuration,
)
from quorumcache.node.consensus.values import Configuration, Entry, EntryKind, SnapshotMeta
from tests.support.raft_solo import Solo


@pytest.mark.parametrize(
    ("configuration", "payload"),
    [
        (Configuration((3, 1, 2)), b"3,1,2;;"),
        (Configuration((1,), (4, 5)), b"1;4,5;"),
        (Configuration((1, 2), (3,), (1, 2, 3)), b"1,2;3;1,2,3"),
        (Configuration((1, 2), (3,), (), 17), b"1,2;3;;17"),
        (Configuration((1, 2), (), (1, 2, 3), 1 << 62), b"1,2;;1,2,3;4611686018427387904"),
    ],
)
def test_form_in_an_entry(configuration: Configuration, payload: bytes) -> None:
    """Both ways; the order of the voters is kept, since elections go by it."""
    assert encode_configuration(configuration) == payload
    assert decode_configuration(payload) == configuration


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"1;2",
        b"1;;;4;5",
        b"1;;;0",
        b"1;;;-1",
        b"1;;;",
        b"1;;;a",
        b"a;;",
        b"1,1;;",
        b";;",
        b"1;1;",
    ],
)
def test_anything_else_is_refused(payload: bytes) -> None:
    with pytest.raises((ValueError, ConfigurationRefused)):
        decode_configuration(payload)


def entries(*configurations: Configuration) -> tuple[Entry, ...]:
    return tuple(
        Entry(index, 1, EntryKind.CONFIG, encode_configuration(configuration))
        for index, configuration in enumerate(configurations, 1)
    )


def test_a_restart_finds_the_newest_in_the_log() -> None:
    solo = Solo(term=1)
    from quorumcache.node.consensus.raft import Raft

    raft = Raft(
        solo.raft.config,
        solo.raft.random,
        configuration=Configuration((1, 2, 3)),
        hard_state=(1, 0),
        entries=entries(Configuration((1, 2)), Configuration((1, 2, 4))),
    )
    assert raft.configuration == Configuration((1, 2, 4))


def test_a_snapshot_carries_the_configuration_of_its_end() -> None:
    """Not the newest: that one may not be committed."""
    from quorumcache.node.consensus.raft.messages import Append

    solo = Solo(term=1)
    first = solo.raft.configuration
    second, third = Configuration((1, 2)), Configuration((1, 2, 4))
    filler = Entry(1, 1, 0, b"")
    second_entry = Entry(2, 1, EntryKind.CONFIG, encode_configuration(second))
    third_entry = Entry(3, 1, EntryKind.CONFIG, encode_configuration(third))
    solo.step(2, Append(1, 0, 0, 2, (filler, second_entry, third_entry)))
    solo.flush()
    assert solo.raft.configuration == third
    assert solo.raft.snapshot_meta(1) == SnapshotMeta(1, 1, first)
    assert solo.raft.snapshot_meta(2) == SnapshotMeta(2, 1, second)
    solo.raft.compact(2)
    assert solo.raft.snapshot_meta(2) == SnapshotMeta(2, 1, second)
    # The compaction point still answers for the configuration below a truncated one.
    solo.step(3, Append(2, 2, 1, 2, (Entry(3, 2, 0, b""),)))
    assert solo.raft.configuration == second
