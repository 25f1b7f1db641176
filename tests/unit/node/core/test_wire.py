"""Goal: the bytes between nodes and of the log are the same whatever makes them, and whatever reads
bytes makes the same of them: also of cut, damaged and random ones.

Method: each form beside msgpack, zlib and the form in Python, over sizes around each bound of the
formats, and over random values and bytes.
"""

from __future__ import annotations

from random import Random
from typing import Any
from zlib import crc32

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorumcache.node.consensus.raft.messages import Append
from quorumcache.node.consensus.runs import RUN_BYTES_MAX
from quorumcache.node.consensus.values import Entry, HardState
from quorumcache.node.wal.format import (
    GroupHead,
    Head,
    Mark,
    MarkKind,
    WalRecord,
    decode_frame,
    intact_frame_end,
)
from tests.support.wire_forms import FORMS, PLAIN, Form, wire

MEMBER_MAX = (1 << 64) - 1
MANY = 1 << 30

forms = pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)

numbers = st.integers(0, MEMBER_MAX - 10)


def random_runs(random: Random) -> list[tuple[int, Append]]:
    made = []
    for _ in range(random.randint(1, 5)):
        prev_index = random.choice((0, 1, random.getrandbits(63)))
        term = random.getrandbits(random.choice((3, 64)))
        entries = tuple(
            Entry(prev_index + 1 + at, term, 0, random.randbytes(random.choice((0, 1, 90))))
            for at in range(random.randint(1, 4))
        )
        members = (term, prev_index, random.getrandbits(64), random.getrandbits(64))
        made.append((random.getrandbits(32), Append(*members, entries)))
    return made


def outcome(function: Any, *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except ValueError as error:
        return str(error)


# --- runs


@forms
@pytest.mark.parametrize("seed", range(20))
def test_runs_have_the_same_bytes_and_come_back(form: Form, seed: int) -> None:
    sent = random_runs(Random(seed))
    data = b"".join(form.pack_run(*run) for run in sent)
    assert data == b"".join(PLAIN.pack_run(*run) for run in sent)
    runs = form.unpack_runs(data)
    assert runs == PLAIN.unpack_runs(data)
    assert [(run[0], Append(*run[1:5], tuple(run[5]))) for run in runs] == sent
    assert all(type(run) is tuple and type(run[5]) is list for run in runs)
    assert all(type(entry) is Entry for run in runs for entry in run[5])


@forms
@pytest.mark.parametrize("seed", range(10))
def test_damaged_runs_are_read_alike(form: Form, seed: int) -> None:
    random = Random(seed)
    data = b"".join(form.pack_run(*run) for run in random_runs(random))
    for end in range(len(data)):
        assert outcome(form.unpack_runs, data[:end]) == outcome(PLAIN.unpack_runs, data[:end])
    for _ in range(300):
        damaged = bytearray(data)
        for _ in range(random.randint(1, 4)):
            damaged[random.randrange(len(data))] = random.choice((0, 1, 127, 128, 255))
        found = outcome(form.unpack_runs, bytes(damaged))
        assert found == outcome(PLAIN.unpack_runs, bytes(damaged))


@forms
def test_the_last_index_of_a_run_may_be_the_largest(form: Form) -> None:
    run = (1, Append(7, MEMBER_MAX - 1, 7, 0, (Entry(MEMBER_MAX, 7, 0, b"x"),)))
    assert form.unpack_runs(form.pack_run(*run))[0][5] == [Entry(MEMBER_MAX, 7, 0, b"x")]


@forms
@pytest.mark.parametrize("count", [1, 2, 3])
def test_no_index_of_a_run_has_more_than_64_bits(form: Form, count: int) -> None:
    prev_index = MEMBER_MAX + 1 - count
    entries = (Entry(prev_index + 1, 7, 0, b"x"),) * count
    data = form.pack_run(1, Append(7, prev_index, 7, 0, entries))
    with pytest.raises(ValueError, match=f"^a run of {count} entries behind entry {prev_index}$"):
        form.unpack_runs(data)


@forms
@pytest.mark.parametrize("kind", [list, tuple])
def test_what_is_no_run_has_no_bytes(form: Form, kind: Any) -> None:
    def packed(*entries: Entry) -> bytes:
        return form.pack_run(1, Append(7, 4, 7, 3, kind(entries)))

    assert packed(Entry(5, 7, 0, b"x" * RUN_BYTES_MAX))
    assert packed(Entry(5, 7, 0, b"x" * RUN_BYTES_MAX), Entry(6, 7, 0, b""))
    for entries in (
        (),
        (Entry(5, 6, 0, b"a"),),
        (Entry(5, 7, 1, b""),),
        (Entry(5, 7, 0, b"a"), Entry(6, 7, 2, b"c")),
        (Entry(5, 6, 0, b"a"), Entry(6, 7, 0, b"c")),
        (Entry(5, 7, 0, b"x" * (RUN_BYTES_MAX + 1)),),
        (Entry(5, 7, 0, b"x" * RUN_BYTES_MAX), Entry(6, 7, 0, b"y")),
    ):
        assert packed(*entries) == b""


@pytest.mark.skipif(wire is None, reason="runs with the compiled form")
@pytest.mark.parametrize(
    "message",
    [
        None,
        (),
        (1, 2, 3, 4),
        (1, 2, 3, 4, None),
        (1, 2, 3, 4, b"entries"),
        (1, 2, 3, 4, (None,)),
        (1, 2, 3, 4, ((5, 1, 0),)),
        (1, 2, 3, 4, ((5, 1, 0, "text"),)),
        (1, 2, 3, 4, ((5, 1, None, b""),)),
        (1, 2, 3, 4, ((5, None, 0, b""),)),
        (-1, 2, 3, 4, ((5, 1, 0, b""),)),
        (1 << 64, 2, 3, 4, ((5, 1, 0, b""),)),
        (None, 2, 3, 4, ((5, 1, 0, b""),)),
    ],
)
def test_other_objects_are_refused(message: Any) -> None:
    assert wire is not None
    with pytest.raises((TypeError, OverflowError)):
        wire.pack_run(1, message)


@forms
@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=200))
def test_random_bytes_are_no_runs_to_any(form: Form, data: bytes) -> None:
    assert outcome(form.unpack_runs, data) == outcome(PLAIN.unpack_runs, data)


# --- msgpack

EDGES = [
    sign * (1 << bits) + by
    for sign in (1, -1)
    for bits in (0, 5, 7, 8, 15, 16, 31, 32, 63, 64)
    for by in (-1, 0, 1)
    if -(1 << 63) <= sign * (1 << bits) + by <= MEMBER_MAX
]

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), MEMBER_MAX)
    | st.sampled_from(EDGES)
    | st.binary(max_size=300)
    | st.floats(allow_nan=False)
    | st.text(max_size=4),
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)


@forms
@settings(max_examples=300, deadline=None)
@given(value=values)
def test_values_are_packed_as_by_msgpack(form: Form, value: Any) -> None:
    assert form.pack(value) == msgpack.packb(value)


@forms
def test_values_at_each_bound_are_packed_as_by_msgpack(form: Form) -> None:
    for number in EDGES:
        assert form.pack((number, MarkKind.INSTALLED)) == msgpack.packb((number, 2))
    for size in (0, 1, 255, 256, 65_535, 65_536):
        assert form.pack(b"x" * size) == msgpack.packb(b"x" * size)
    for count in (0, 15, 16, 65_535, 65_536):
        assert form.pack([7] * count) == msgpack.packb([7] * count)
    nested: Any = ()
    for _ in range(20):
        nested = (nested, b"x", bytearray(b"y"), memoryview(b"z"))
        assert form.pack(nested) == msgpack.packb(nested)


@forms
@pytest.mark.parametrize("value", [1 << 64, -(1 << 63) - 1, {1, 2}, object(), [1, (1 << 64,)]])
def test_what_msgpack_does_not_pack_is_refused(form: Form, value: Any) -> None:
    for _ in range(2):
        with pytest.raises((TypeError, OverflowError, ValueError)):
            form.pack(value)
        assert form.pack((1, 2.5)) == msgpack.packb((1, 2.5)), "nothing is left of what failed"


# --- frames between nodes


@forms
def test_a_frame_holds_its_items(form: Form) -> None:
    for count in (0, 1, 15, 16, 65_535, 65_536):
        packed = [msgpack.packb((count, b"x"))] * count
        frame = form.frame_of_items(packed, MANY)
        assert frame is not None
        assert frame == PLAIN.frame_of_items(packed, MANY)
        payloads: list[bytes] = []
        assert form.intact_frames(frame, payloads, MANY, False) == len(frame)
        assert msgpack.unpackb(payloads[0]) == [[count, b"x"]] * count
    assert form.frame_of_items([b"abc"], 4) is not None
    assert form.frame_of_items([b"abc"], 3) is None


@forms
@pytest.mark.parametrize("seed", range(10))
def test_intact_frames_are_found_alike_in_cut_and_damaged_bytes(form: Form, seed: int) -> None:
    random = Random(seed)
    data = b""
    for _ in range(random.randint(1, 4)):
        packed = [random.randbytes(random.choice((0, 3, 70))) for _ in range(random.randint(0, 3))]
        frame = PLAIN.frame_of_items(packed, MANY)
        assert frame is not None
        data += frame

    def check(data: bytes) -> None:
        for bytes_max in (0, 40, MANY):
            for is_one_enough in (False, True):
                found: list[bytes] = []
                expected: list[bytes] = []
                at = form.intact_frames(data, found, bytes_max, is_one_enough)
                assert at == PLAIN.intact_frames(data, expected, bytes_max, is_one_enough)
                assert found == expected

    for end in range(len(data) + 1):
        check(data[:end])
    for _ in range(100):
        damaged = bytearray(data)
        damaged[random.randrange(len(data))] = random.choice((0, 1, 128, 255))
        check(bytes(damaged))


@forms
def test_each_bit_of_a_frame_counts(form: Form) -> None:
    frame = form.frame_of_items([b"an item of thirty-some bytes..", b"another"], MANY)
    assert frame is not None
    for bit in range(8 * len(frame)):
        damaged = bytearray(frame)
        damaged[bit // 8] ^= 1 << bit % 8
        payloads: list[bytes] = []
        assert form.intact_frames(bytes(damaged), payloads, MANY, False) == 0
        assert payloads == []


# --- the log


def random_items(random: Random) -> list[Any]:
    made: list[Any] = []
    for _ in range(random.randint(0, 8)):
        group = random.randint(1, 4)
        first = random.choice((1, 2, 3, 5, random.getrandbits(40)))
        entries = [
            Entry(first + at, 3, random.choice((0, 1)), random.randbytes(random.choice((0, 200))))
            for at in range(random.randint(0, 3))
        ]
        hard_state = random.choice((None, None, None, HardState(3, 1)))
        made.append(WalRecord(group, hard_state, random.choice((list, tuple))(entries)))
        if random.random() < 0.2:
            made.append(Mark(group, random.choice(tuple(MarkKind)), first, 2))
    return made


@forms
@pytest.mark.parametrize("seed", range(20))
def test_frames_of_the_log_have_the_same_bytes(form: Form, seed: int) -> None:
    random = Random(seed)
    items = random_items(random)
    if random.random() < 0.5:
        items.insert(0, Head(seed, (GroupHead(1, 2, 3, 4, 5, 6), GroupHead(2, 0, 0, 0, 0, 0))))
    offset, salt = random.getrandbits(32), random.getrandbits(32)
    frame = form.log_frame(items, offset, salt, MANY)
    assert frame == PLAIN.log_frame(items, offset, salt, MANY)
    assert frame is not None
    frame = form.log_frame(items, 128, salt, MANY)
    assert frame is not None
    data = bytes(128) + frame
    assert intact_frame_end(data, 128, salt) == len(data)
    read = decode_frame(data, 128, len(data), "path")
    again = form.log_frame(read, 128, salt, MANY)
    assert again == frame


@forms
def test_a_frame_of_the_log_has_a_bound(form: Form) -> None:
    items = [WalRecord(1, None, (Entry(2, 3, 0, b"x" * 300),))]
    size = len(msgpack.packb(items))
    assert form.log_frame(items, 0, 0, size) is not None
    assert form.log_frame(items, 0, 0, size - 1) is None
    odd = [("text", 1.5)]  # Nothing of the log has such members.
    assert form.log_frame(odd, 0, 0, MANY) == PLAIN.log_frame(odd, 0, 0, MANY)
    assert form.log_frame(odd, 0, 0, 3) is None


@forms
@pytest.mark.parametrize("seed", range(200))
def test_the_usual_items_are_taken_up_to_the_first_that_is_not(form: Form, seed: int) -> None:
    random = Random(seed)
    items = random_items(random)
    for found in (items, tuple(items)):
        last_indexes = {group: random.choice((0, 1, 2, 4)) for group in range(1, 4)}
        touched = {1: last_indexes[1]}
        tables = (dict(last_indexes), dict(touched))
        for position in range(len(found) + 1):
            at = form.take_following(found, position, last_indexes, touched)
            assert at == PLAIN.take_following(found, position, *tables)
            assert (last_indexes, touched) == tables


@forms
def test_which_items_are_usual(form: Form) -> None:
    def taken(*items: Any) -> tuple[int, dict[int, int], dict[int, int]]:
        last_indexes, touched = {1: 4, 2: 0}, {7: 7}
        return form.take_following(items, 0, last_indexes, touched), last_indexes, touched

    def record(group: int, first: int, last: int = 0) -> WalRecord:
        entries = tuple(Entry(index, 1, 0, b"") for index in range(first, (last or first) + 1))
        return WalRecord(group, None, entries)

    assert taken() == (0, {1: 4, 2: 0}, {7: 7})
    assert taken(record(1, 5, 9), record(1, 10)) == (2, {1: 10, 2: 0}, {7: 7, 1: 10})
    others = (
        record(1, 4),
        record(1, 7),
        record(2, 1),
        record(3, 1),
        WalRecord(1, None, ()),
        WalRecord(1, HardState(1, 1), record(1, 5).entries),
        Mark(1, MarkKind.COMPACTED, 5, 1),
    )
    for other in others:
        assert taken(other) == (0, {1: 4, 2: 0}, {7: 7})
        assert taken(record(1, 5), other)[0] == 1


# --- the checksum


@pytest.mark.skipif(wire is None, reason="runs with the compiled form")
@pytest.mark.parametrize("is_portable", [False, True])
def test_the_checksum_is_that_of_zlib(is_portable: bool) -> None:
    assert wire is not None
    random = Random(1)
    for length in (*range(300), 1023, 4096, 70_001):
        data = random.randbytes(length)
        for start in (0, 1, 0xFFFFFFFF, random.getrandbits(32)):
            assert wire.crc32(data, start, is_portable) == crc32(data, start)
