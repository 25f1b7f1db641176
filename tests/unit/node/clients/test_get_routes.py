"""What each form of the routes promises: the examples, and random bytes beside the other form and
beside what the general parser makes of them.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from quorumcache.node.clients.get_routes import (
    KEYS_MAX,
    REPLIES_BYTES_MAX,
    GetRoutes,
    new_get_routes,
)
from quorumcache.node.protocol.lines import RETRIEVAL_LINE_BYTES_MAX
from quorumcache.node.protocol.parser import Parser
from quorumcache.node.protocol.requests import Get
from quorumcache.node.protocol.responses import END_LINE, value_line
from quorumcache.node.store.item import ENDS, PIECES, STALE, WON, pack_header, wire_data
from quorumcache.node.store.item_table import ItemTable
from quorumcache.node.store.read_gate import ReadGate
from quorumcache.node.store.stamps import FETCHED
from quorumcache.ring import shard_of
from tests.support.get_forms import FORMS, Form
from tests.test_layering import ROOT

LEASE_NS = 1000
NOW_S = 9
NOW_MS = 9500
APPLIED_MS = 9000


class World(NamedTuple):
    """All shards of a node behind one gate and one table."""

    form: Form
    routes: GetRoutes
    gate: ReadGate
    table: ItemTable

    def answer(self, data: bytes, **more: Any) -> Any:
        asked = {"start": 0, "now_ns": LEASE_NS - 1, "now_ms": 0, "busy": {}, **more}
        return self.routes.answer(
            data, asked["start"], asked["now_ns"], asked["now_ms"], asked["busy"]
        )


def world(form: Form, shards: int = 64) -> World:
    routes, gate, table = form.routes(shards), form.gate(), form.table()
    gate.table = table
    gate.lease_until_ns = LEASE_NS
    gate.applied(APPLIED_MS, NOW_S, True)
    for shard in range(shards):
        routes.set(shard, gate)
    made = World(form, routes, gate, table)
    for key, item in ITEMS.items():
        table.put(key, item, 1)
    return made


def plain(value: bytes, flags: int = 0, unique: int = 1, bits: int = 0) -> bytes:
    return pack_header(bits, 0, unique) + wire_data(flags, value)


ITEMS = {
    b"a": plain(b"one"),
    b"b": plain(b"", 7, (1 << 64) - 1),
    b"c\r": plain(b"\r\nEND\r\n", (1 << 32) - 1, 0),
    b"\0": plain(b"\n", 1, 10),
    b"k" * 250: plain(b"x" * 300, 0, 99),
    b"stale": plain(b"s", 0, 5, STALE | WON),
    b"odd": pack_header(0, 0, 3) + b" 07 2\r\nhi\r\n",
    b"ending": pack_header(ENDS, NOW_MS + 1, 4) + wire_data(0, b"soon"),
    b"ended": pack_header(ENDS, NOW_MS, 4) + wire_data(0, b"over"),
    b"large": pack_header(PIECES, 0, 4) + b" 0 9\r\n" + bytes(8),
}

FORM = pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)


def hit(key: bytes, with_unique: bool = False) -> bytes:
    return value_line(key, ITEMS[key], with_unique)


@FORM
def test_gets_are_answered_line_by_line(form: Form) -> None:
    data = b"get a\r\nget nothing\nget  a b  a \r\ngets b c\r\r\ngets \0\r\n"
    answers = [
        hit(b"a") + END_LINE,
        END_LINE,
        hit(b"a") + hit(b"b") + hit(b"a") + END_LINE,
        hit(b"b", True) + hit(b"c\r", True) + END_LINE,
        hit(b"\0", True) + END_LINE,
    ]
    assert world(form).answer(data) == (b"".join(answers), len(data), 5, 8, 1)
    start = len(b"get a\r\n")
    assert world(form).answer(data, start=start) == (b"".join(answers[1:]), len(data), 4, 7, 1)
    assert world(form).answer(data, start=len(data)) is None


@FORM
def test_the_longest_line_is_answered(form: Form) -> None:
    for end in (b"\n", b"\r\n"):
        spaces = b" " * (RETRIEVAL_LINE_BYTES_MAX + 1 - len(b"geta" + end))
        line = b"get" + spaces + b"a" + end
        assert len(line) == RETRIEVAL_LINE_BYTES_MAX + 1
        assert world(form).answer(line) == (hit(b"a") + END_LINE, len(line), 1, 1, 0)
        assert world(form).answer(line.replace(b" ", b"  ", 1)) is None


@FORM
@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"g",
        b"get",
        b"get ",
        b"get \r\n",
        b"get\r\n",
        b"gets\r\n",
        b"gets  \r\n",
        b"get a",
        b"get a\r",
        b"get a b",
        b" get a\r\n",
        b"get\ta\r\n",
        b"GET a\r\n",
        b"gett a\r\n",
        b"getsa b\r\n",
        b"gat 0 a\r\n",
        b"mg a v\r\n",
        b"get " + b"k" * 251 + b"\r\n",
        b"get a " + b"k" * 251 + b" b\r\n",
        b"get " + b"a " * (KEYS_MAX + 1) + b"\r\n",
        b"get" + b" " * RETRIEVAL_LINE_BYTES_MAX + b"a\r\n",
        b"get large\r\n",
        b"get a large\r\n",
        b"gets odd\r\n",
        b"get ended\r\n",
        b"set a 0 0 1\r\nx\r\n",
    ],
)
def test_it_stops_before_a_line_that_it_cannot_answer_and_does_nothing_of_it(
    form: Form, line: bytes
) -> None:
    made = world(form)
    assert made.answer(line, now_ms=NOW_MS) is None
    assert made.routes.missing == -1
    before = b"get b\r\n"
    expected = (hit(b"b") + END_LINE, len(before), 1, 1, 0)
    after = before if line.endswith(b"\n") else b""
    assert made.answer(before + line + after, now_ms=NOW_MS) == expected
    assert made.table.stamp(b"b") == NOW_S << 3 | FETCHED | 1
    for key in ITEMS:
        if key != b"b":
            assert made.table.stamp(key) == 1 << 3, "it was not hit"


@FORM
def test_the_longest_key_and_the_most_keys_are_answered(form: Form) -> None:
    key = b"k" * 250
    assert world(form).answer(b"get %b\r\n" % key)[0] == hit(key) + END_LINE
    most = b"get" + b" a" * KEYS_MAX + b"\r\n"
    assert world(form).answer(most)[0] == hit(b"a") * KEYS_MAX + END_LINE


@FORM
def test_what_is_stale_or_has_another_text_is_answered_as_it_is(form: Form) -> None:
    assert world(form).answer(b"get stale odd\r\n")[0] == hit(b"stale") + hit(b"odd") + END_LINE
    assert world(form).answer(b"gets stale\r\n")[0] == hit(b"stale", True) + END_LINE


@FORM
def test_a_hit_is_noted_in_the_present_second(form: Form) -> None:
    made = world(form)
    made.answer(b"get a n\r\nget a\r\n")
    assert made.table.stamp(b"a") == NOW_S << 3 | FETCHED | 2
    made.gate.applied(APPLIED_MS, NOW_S + 1, True)
    made.answer(b"gets a\r\n")
    assert made.table.stamp(b"a") == (NOW_S + 1) << 3 | FETCHED | 3


@FORM
def test_nothing_is_answered_from_the_end_of_the_lease_on(form: Form) -> None:
    made = world(form)
    assert made.answer(b"get a\r\n", now_ns=LEASE_NS - 1)
    assert made.answer(b"get a\r\n", now_ns=LEASE_NS) is None
    made.gate.lease_until_ns = 0
    assert made.answer(b"get a\r\n", now_ns=0) is None
    assert made.answer(b"get nothing\r\n", now_ns=0) is None


@FORM
def test_nothing_is_answered_while_items_may_not_be_what_they_seem(form: Form) -> None:
    made = world(form)
    made.gate.applied(APPLIED_MS, NOW_S, False)
    assert made.answer(b"get a\r\n") is None
    assert made.answer(b"get nothing\r\n") is None


@FORM
def test_the_time_decides_about_what_has_an_expiry(form: Form) -> None:
    made = world(form)
    assert made.answer(b"get ending\r\n") is None
    assert made.routes.timed == shard_of(b"ending", 64)
    assert made.answer(b"get ending\r\n", now_ms=NOW_MS)[0] == hit(b"ending") + END_LINE
    assert made.routes.timed == -1
    assert made.answer(b"get ending\r\n", now_ms=NOW_MS + 1) is None
    assert made.routes.timed == -1
    made.gate.applied(NOW_MS + 1, NOW_S, True)
    assert made.answer(b"get ending\r\n", now_ms=NOW_MS) is None, "the state is of a later time"


@FORM
def test_a_shard_without_a_gate_is_named(form: Form) -> None:
    made = world(form)
    routes = form.routes(64)
    assert routes.answer(b"get a\r\n", 0, 0, 0, {}) is None
    shard = shard_of(b"a", 64)
    assert routes.missing == shard
    routes.set(shard, made.gate)
    assert routes.answer(b"get a\r\n", 0, 0, 0, {}) is not None
    assert routes.missing == -1
    made.gate.table = None
    assert routes.answer(b"get a\r\n", 0, 0, 0, {}) is None
    assert routes.missing == shard, "shut for good is as good as none"


@FORM
def test_another_table_behind_the_gate_is_read_from_then_on(form: Form) -> None:
    made = world(form)
    other = form.table()
    other.put(b"a", plain(b"two"), 1)
    made.gate.table = other
    assert made.answer(b"get a b\r\n")[0] == b"VALUE a 0 3\r\ntwo\r\n" + END_LINE


@FORM
def test_gets_of_groups_that_are_busy_are_left_alone(form: Form) -> None:
    made = world(form)
    group = shard_of(b"a", 64) + 1
    others = {other: None for other in range(66) if other != group}
    assert made.answer(b"get a\r\n", busy=others)[0] == hit(b"a") + END_LINE
    assert made.answer(b"get a\r\n", busy={group: None}) is None
    assert made.routes.missing == -1


@FORM
def test_replies_end_at_their_bound(form: Form) -> None:
    made = world(form)
    head = len(b"VALUE v 0 100000\r\n\r\n") + len(END_LINE)
    most = REPLIES_BYTES_MAX - head
    made.table.put(b"v", plain(b"v" * most), 1)
    (reply, *answered) = made.answer(b"get v\r\nget v\r\n")
    assert len(reply) == REPLIES_BYTES_MAX
    assert answered == [len(b"get v\r\n"), 1, 1, 0]
    made.table.put(b"v", plain(b"v" * (most + 1)), 1)
    assert made.answer(b"get v\r\n") is None
    made.table.put(b"v", plain(b"v" * (REPLIES_BYTES_MAX // 2)), 1)
    assert made.answer(b"get v v\r\n") is None


@FORM
def test_shards_are_those_of_the_ring(form: Form) -> None:
    """By the vectors that are published for other languages, and by many keys of each length."""
    vectors = json.loads((ROOT / "docs/hashing-vectors.json").read_text())["vectors"]
    keys = [bytes.fromhex(vector["key_hex"]) for vector in vectors]
    keys += [bytes(33 + (7 * i + length) % 90 for i in range(length)) for length in range(1, 251)]
    asked = 0
    for key in keys:
        if not 0 < len(key) <= 250 or b" " in key or b"\n" in key or key.endswith(b"\r"):
            continue
        for shards in (1, 2, 64, 1024, 4096):
            routes = form.routes(shards)
            assert routes.answer(b"get %b\r\n" % key, 0, 0, 0, {}) is None
            assert routes.missing == shard_of(key, shards)
            asked += 1
    assert asked > 1200


@FORM
@pytest.mark.parametrize("shards", [0, 3, 8192])
def test_the_number_of_shards_is_a_power_of_two(form: Form, shards: int) -> None:
    with pytest.raises(ValueError, match="shards"):
        form.routes(shards)


@FORM
def test_what_does_not_exist_is_refused(form: Form) -> None:
    made = world(form)
    with pytest.raises(ValueError, match="shard 64"):
        made.routes.set(64, made.gate)
    for start in (-1, 8):
        with pytest.raises(ValueError, match="start"):
            made.answer(b"get a\r\n", start=start)


def test_the_process_has_a_form_of_its_own() -> None:
    assert type(new_get_routes(64)) in [type(form.routes(64)) for form in FORMS]


BITS = b"get|gets|get |gets | |  |\r\n|\n|\r|\t|set|mg |none|a b|get a\r\n|get stale ending\r\n"
WORDS = st.sampled_from([*BITS.split(b"|"), *ITEMS, b"k" * 251])
STREAMS = st.lists(WORDS | st.binary(max_size=3), max_size=30).map(b"".join)


def reference(data: bytes) -> tuple[bytes, int]:
    """The replies to gets, by the general parser, and how many there were."""
    parser = Parser()
    replies = []
    for request in parser.feed(data):
        assert type(request) is Get
        keys, with_unique = request
        found = [hit(key, with_unique) for key in keys if key in ITEMS]
        replies.append(b"".join(found) + END_LINE)
    assert parser.buffered_bytes == 0
    return b"".join(replies), len(replies)


@settings(max_examples=400)
@given(
    data=STREAMS,
    now_ms=st.sampled_from([0, NOW_MS]),
    busy=st.sets(st.integers(0, 17), max_size=17),
)
@example(data=b"get a\r\nget a b\r\ngets stale\r\nget a", now_ms=0, busy=set())
def test_random_bytes_have_the_answers_of_the_general_parser(
    data: bytes, now_ms: int, busy: set[int]
) -> None:
    before: Any = None
    for form in FORMS:
        made = world(form, 16)
        answered = made.answer(data, now_ms=now_ms, busy=dict.fromkeys(busy))
        stamps = [made.table.stamp(key) for key in ITEMS]
        if answered is not None:
            reply, end, lines, _keys, _misses = answered
            assert (reply, lines) == reference(data[:end])
        assert before in (None, (answered, stamps)), "the forms differ"
        before = answered, stamps


class Takes:
    """A transport that takes so many bytes at once, and keeps the rest."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.taken = b""
        self.kept = b""

    def take(self, data: bytes) -> int:
        self.taken += data[: self.count]
        return min(self.count, len(data))

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return len(self.kept)

    def write(self, data: bytes | memoryview) -> None:
        self.kept += bytes(data)


@FORM
@pytest.mark.parametrize("count", [0, 1, 20, REPLIES_BYTES_MAX])
def test_what_is_sent_is_what_is_answered_however_little_is_taken_at_once(
    form: Form, count: int
) -> None:
    made = world(form)
    made.table.put(b"v", plain(b"v" * (REPLIES_BYTES_MAX // 2)), 1)
    for data in (b"get a\r\n", b"x\r\nget v b\r\nget a n\r\ngets b\r\nget large\r\n"):
        start = data.index(b"get")
        answered = made.answer(data, start=start)
        transport = Takes(count)
        sender = form.sender(transport, None, transport.take)
        sent = made.routes.send(sender, data, start, LEASE_NS - 1, 0, {})
        assert sent == (len(answered[0]), *answered[1:])
        assert transport.taken == answered[0][:count]
        assert transport.kept == answered[0][count:]
        made.routes.send(sender, data, start, LEASE_NS - 1, 0, {})
        assert transport.taken + transport.kept == answered[0] * 2


@FORM
def test_nothing_is_sent_of_what_cannot_be_answered(form: Form) -> None:
    made, transport = world(form), Takes(100)
    sender = form.sender(transport, None, transport.take)
    for data in (b"get large\r\n", b"get a", b"gat 0 a\r\n", b""):
        assert made.routes.send(sender, data, 0, LEASE_NS - 1, 0, {}) is None
    assert made.routes.send(sender, b"get a\r\n", 0, LEASE_NS, 0, {}) is None
    assert transport.taken + transport.kept == b""
    with pytest.raises(ValueError, match="start 1 in 0 bytes"):
        made.routes.send(sender, b"", 1, 0, 0, {})
