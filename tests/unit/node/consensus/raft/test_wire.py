"""Goal: Raft's messages come back whole, and those that may overtake others are the right ones."""

from __future__ import annotations

import pytest

from quorumcache.node.consensus.raft.messages import (
    MESSAGE_TYPES,
    Append,
    AppendReply,
    Heartbeat,
    SnapshotChunk,
    SnapshotReply,
    Vote,
)
from quorumcache.node.consensus.raft.wire import WIRE
from quorumcache.node.consensus.values import Configuration, Entry, EntryKind, Message

NOOP = Entry(7, 3, EntryKind.NOOP, b"")
COMMAND = Entry(8, 3, EntryKind.NORMAL, b"x")


def test_entries_and_configurations_are_of_their_classes_again() -> None:
    append = WIRE.decoders[MESSAGE_TYPES.index(Append)]((3, 6, 2, 5, (tuple(NOOP),)))
    assert append == Append(3, 6, 2, 5, (NOOP,))
    assert isinstance(append, Append)
    assert type(append.entries[0]) is Entry
    chunk = WIRE.decoders[MESSAGE_TYPES.index(SnapshotChunk)](
        (3, 9, 2, ((1, 2), (3,), (1,)), 0, 4, b"data")
    )
    assert isinstance(chunk, SnapshotChunk)
    assert type(chunk.configuration) is Configuration


@pytest.mark.parametrize(
    ("entries", "expected"),
    [((NOOP,), True), ((), False), ((COMMAND,), False), ((NOOP, COMMAND), False)],
)
def test_only_what_a_new_leader_sends_first_overtakes(
    entries: tuple[Entry, ...], expected: bool
) -> None:
    assert WIRE.is_first(Append(3, 6, 2, 5, entries)) is expected


def test_snapshots_never_go_as_datagrams() -> None:
    assert not {SnapshotChunk, SnapshotReply} & {*WIRE.copies}


@pytest.mark.parametrize(
    ("message", "fits"),
    [
        (Vote(3, 10, 2, False), True),
        (Vote(3, "10", 2, False), False),  # type: ignore[arg-type]
        (Append(3, 6, 2, 5, (Entry(7, 3, 1, b""),)), True),
        (Append(3, 6, 2, 5, (Entry(7, 3, 2, "x"),)), False),  # type: ignore[arg-type]
        (AppendReply(3, 6, False, 0, 0), True),
        (Heartbeat(3, 8, None, 7), False),  # type: ignore[arg-type]
        (SnapshotChunk(3, 9, 2, Configuration((1,)), 0, 4, b"data"), True),
        (SnapshotChunk(3, 9, 2, Configuration((1,)), 0, 4, 7), False),  # type: ignore[arg-type]
        (SnapshotChunk(3, 9, 2, Configuration(("1",)), 0, 4, b""), False),  # type: ignore[arg-type]
        (SnapshotChunk(3, 9, 2, Configuration((1,), decision=5), 0, 4, b""), True),
        (SnapshotChunk(3, 9, 2, Configuration((1,), decision="5"), 0, 4, b""), False),  # type: ignore[arg-type]
    ],
)
def test_members_of_another_type_are_found(message: Message, fits: bool) -> None:
    assert WIRE.fits(message) is fits
