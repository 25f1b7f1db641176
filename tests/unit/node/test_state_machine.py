"""What passes between a log and its state machine: batches, and what is refused of them."""

from typing import Any

import msgpack
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from quorumcache.node.directory.state import DirectoryState
from quorumcache.node.errors import CommandError
from quorumcache.node.state_machine import (
    BATCH_VERSION,
    DIRECTORY_GROUP_ID,
    TIMED,
    decode_batch,
    encode_batch,
    group_name,
)
from quorumcache.node.store.commands import OP_COUNT, OP_EXPIRE, OP_SET
from quorumcache.node.store.store import ShardStore

BATCH = [
    (0, 0, 0, OP_SET, b"key", b" 0 1\r\nx\r\n", -5),
    (2**63, 7, 3, OP_EXPIRE, b"", ((b"a", 1), (b"b", 2**64 - 1))),
]


def test_round_trip() -> None:
    assert decode_batch(encode_batch(7, BATCH, 2**41, 99)) == (7, tuple(BATCH), 2**41, 99)
    assert decode_batch(encode_batch(0, [], 5, 1)) == (0, (), 5, 1)


numbers = st.integers(-(1 << 63), (1 << 63) - 1) | st.sampled_from(
    [way + near for power in (5, 7, 8, 15, 16, 31, 32, 62) for way in (1 << power, -(1 << power))
     for near in (-1, 0, 1)]
)  # fmt: skip
texts = st.binary(max_size=20) | st.sampled_from([b"x" * 255, b"x" * 256, b"x" * 65535])
texts |= st.just(b"x" * 65536)
simple = st.lists(numbers | texts, max_size=18).map(tuple)
odd = st.sampled_from([1 << 63, -(1 << 63) - 1, True, None, "text", (), (1,), [1], 1.5])


@settings(max_examples=300)
@given(numbers, st.lists(simple, max_size=20), odd)
@example(0, [()] * 16, 1)
@example(0, [()] * 65536, 1)
@example(0, [(0,) * 65536], 1)
def test_the_bytes_of_a_batch_are_those_of_msgpack(
    number: int, commands: list[Any], what: Any
) -> None:
    if type(what) is int:
        what = str(what)  # msgpack has no such number.
    for batch in (commands, [*commands, (0, what)], tuple(commands)):
        expected = msgpack.packb((BATCH_VERSION, number, -number - 1, 1 << 20, batch))
        assert encode_batch(number, batch, -number - 1, 1 << 20) == expected


def test_a_batch_is_what_msgpack_makes_of_it() -> None:
    """The form is kept for good: it is in logs, and other nodes read it."""
    for commands in (
        [],
        BATCH,
        BATCH[:1],
        [*BATCH[:1], (1, 2, 3, OP_SET, b"k", b"v" * 300, 2**33)],
    ):
        assert encode_batch(7, commands, 2**41, 99) == msgpack.packb((2, 7, 2**41, 99, commands))


@pytest.mark.parametrize("payload", [msgpack.packb((5, ())), msgpack.packb((3, 5, 5, 1, ()))])
def test_a_batch_of_another_version_is_refused(payload: bytes) -> None:
    with pytest.raises(CommandError, match=r"version [13], .*this quorumcached reads version 2"):
        decode_batch(payload)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x93",
        encode_batch(1, BATCH)[:-1],
        encode_batch(1, BATCH) + b"\x00",
        msgpack.packb(7),
        msgpack.packb((2, 2, 3)),
        msgpack.packb((2, "now", 1, 1, ())),
        msgpack.packb((2, 1, 1, 1, 7)),
        msgpack.packb((2, 1, 1, 1, (7,))),
        msgpack.packb((2, 1, 1, 1, ((0, 0, 0, OP_SET),))),
        msgpack.packb((2, 1, 1, 1, ((0, 0, 0, OP_COUNT, b"key"),))),
        msgpack.packb((2, 1, 1, 1, ((0, 0, 0, 0, b"key"),))),
    ],
)
def test_what_is_no_batch(payload: bytes) -> None:
    with pytest.raises(CommandError):
        decode_batch(payload, OP_COUNT)


def test_each_state_machine_refuses_commands_that_it_does_not_know() -> None:
    """A log of a newer version is refused as a whole entry, before any of it is applied."""
    for machine in (ShardStore(), DirectoryState(lambda cluster_map: None)):
        known = [(0, 0, 0, machine.op_count - 1, b"key")]
        assert decode_batch(encode_batch(1, known), machine.op_count).commands == tuple(known)
        unknown = encode_batch(1, [(0, 0, 0, machine.op_count, b"key")])
        with pytest.raises(CommandError, match="invalid command"):
            decode_batch(unknown, machine.op_count)


def test_a_machine_without_keys_leaves_every_read_to_the_general_way() -> None:
    assert DirectoryState(lambda cluster_map: None).peek(b"key") is TIMED


def test_groups_have_names_for_people() -> None:
    assert [group_name(group) for group in (DIRECTORY_GROUP_ID, 1, 8)] == [
        "the directory",
        "shard 0",
        "shard 7",
    ]
