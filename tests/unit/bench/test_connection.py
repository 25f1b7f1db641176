"""A load connection on a virtual clock and a scripted transport."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorumcache.bench.connection import UNLIMITED_OPEN, LoadConnection, LoadStats
from quorumcache.bench.workload import GET, INCR, SET, Tape

HIT = b"VALUE k 0 3\r\nabc\r\nEND\r\n"
GETS = Tape([b"get k\r\n"], [HIT], bytes([GET]))
MS = 1_000_000


class Wire:
    """A transport that remembers, and a clock that stands until it is moved."""

    def __init__(self, tape, **options):
        self.now = 0
        self.written = []
        self.aborted = False
        self.stats = LoadStats()
        self.lost = []
        self.idle = []
        self.connection = LoadConnection(
            tape,
            self.stats,
            lambda: self.now,
            on_lost=self.lost.append,
            on_idle=self.idle.append,
            **options,
        )
        self.connection.connection_made(self)

    def write(self, data):
        self.written.append(data)

    def abort(self):
        self.aborted = True


def test_closed_loop_keeps_the_depth_in_flight():
    wire = Wire(GETS, depth=3)
    wire.connection.begin()
    assert b"".join(wire.written) == GETS.requests[0] * 3
    wire.now = 2 * MS
    wire.connection.data_received(HIT * 2)
    assert b"".join(wire.written) == GETS.requests[0] * 5
    assert wire.connection.in_flight == 3
    assert (wire.stats.completed, wire.stats.read.count) == (2, 2)
    assert wire.stats.read.max_value == 2 * MS


def test_a_reply_counts_from_its_own_request():
    wire = Wire(GETS, depth=1)
    for step in range(1, 4):
        wire.now = step * 10 * MS
        if step == 1:
            wire.connection.begin()
        wire.now += step * MS
        wire.connection.data_received(HIT)
        wire.connection.finish() if step == 3 else None
    # Each request left when the one before was answered.
    assert wire.stats.read.min_value == 1 * MS
    assert wire.stats.read.max_value == 11 * MS


@given(st.lists(st.integers(0, 200), max_size=8))
@settings(max_examples=200, deadline=None)
def test_replies_split_anywhere_are_the_same_replies(cuts):
    tape = Tape(
        [b"get k\r\n", b"set k 0 0 3\r\nabc\r\n", b"incr c 1\r\n", b"get k\r\n", b"get k\r\n"],
        [HIT, b"STORED\r\n", b"", HIT, HIT],
        bytes([GET, SET, INCR, GET, GET]),
    )
    data = HIT + b"STORED\r\n" + b"17\r\n" + b"END\r\n" + b"SERVER_ERROR out of memory\r\n"
    wire = Wire(tape, depth=5, limit=5)
    wire.connection.begin()
    edges = sorted({0, len(data), *(cut % len(data) for cut in cuts)})
    for start, end in pairwise(edges):
        wire.connection.data_received(data[start:end])
    stats = wire.stats
    assert (stats.completed, stats.misses, stats.errors) == (4, 1, 1)
    assert stats.error_kinds == {"SERVER_ERROR out of memory": 1}
    assert (stats.read.count, stats.write.count) == (2, 2)
    assert wire.idle == [wire.connection]


def test_byte_by_byte():
    wire = Wire(GETS, depth=1, limit=1)
    wire.connection.begin()
    for number in range(len(HIT)):
        wire.connection.data_received(HIT[number : number + 1])
    assert wire.stats.completed == 1


@pytest.mark.parametrize(
    ("reply", "named"),
    [
        (b"VALUE k 0 3\r\nabd\r\nEND\r\n", "never written"),
        (b"VALUE k 0 2\r\nab\r\nEND\r\n", "never written"),
        (b"ERROR\r\n", "ERROR"),
        (b"SERVER_ERROR outcome unknown: no leader\r\n", "outcome unknown"),
        (b"STORED\r\n", "STORED"),
    ],
)
def test_wrong_replies_are_errors_and_the_stream_goes_on(reply, named):
    wire = Wire(GETS, depth=1)
    wire.connection.begin()
    wire.connection.data_received(reply)
    assert (wire.stats.errors, wire.stats.completed) == (1, 0)
    assert named in next(iter(wire.stats.error_kinds))
    wire.connection.data_received(HIT)
    assert wire.stats.completed == 1


def test_a_reply_nobody_asked_for_ends_the_connection():
    wire = Wire(GETS, depth=1, limit=1)
    wire.connection.begin()
    wire.connection.data_received(HIT + HIT)
    assert wire.aborted
    assert wire.stats.error_kinds == {"reply without a request": 1}


def test_an_endless_line_ends_the_connection():
    wire = Wire(GETS, depth=1)
    wire.connection.begin()
    wire.connection.data_received(b"x" * 5000)
    assert wire.aborted


def test_a_lost_connection_costs_what_was_in_flight():
    wire = Wire(GETS, depth=4)
    wire.connection.begin()
    wire.connection.connection_lost(ConnectionResetError("reset by peer"))
    assert wire.stats.errors == 4
    assert wire.stats.lost_connections == 1
    assert wire.lost == [wire.connection]
    assert wire.connection.closed


def test_open_loop_latency_counts_from_the_intended_start():
    """The server stalls for 100 ms: all that should have started meanwhile pays its part of it."""
    wire = Wire(GETS, depth=1, limit=UNLIMITED_OPEN)
    for intended in range(10):  # one every 10 ms, of which only the first can be sent
        wire.now = intended * 10 * MS
        wire.connection.offer(wire.now)
    assert len(wire.written) == 1
    assert wire.connection.waiting == 9
    wire.now = 100 * MS
    for _ in range(10):  # the stall is over, the rest is answered at once
        wire.connection.data_received(HIT)
    histogram = wire.stats.read
    assert histogram.count == 10
    assert histogram.max_value == 100 * MS
    assert histogram.min_value == 10 * MS
    assert histogram.total == sum(range(10, 101, 10)) * MS
    assert wire.stats.send_lag.max_value == 90 * MS


def test_open_loop_sends_nothing_by_itself():
    wire = Wire(GETS, depth=4, limit=UNLIMITED_OPEN)
    wire.connection.offer(0)
    wire.connection.data_received(HIT)
    assert len(wire.written) == 1


def test_a_backlog_is_worked_off_after_the_end():
    wire = Wire(GETS, depth=1, limit=UNLIMITED_OPEN)
    for _ in range(3):
        wire.connection.offer(0)
    wire.connection.finish()
    assert not wire.idle
    for _ in range(3):
        wire.connection.data_received(HIT)
    assert wire.idle == [wire.connection]
    assert wire.stats.completed == 3


def test_what_is_left_at_the_end_is_told():
    wire = Wire(GETS, depth=1, limit=UNLIMITED_OPEN)
    for _ in range(3):
        wire.connection.offer(0)
    wire.connection.close()
    assert (wire.stats.unanswered, wire.stats.unsent) == (1, 2)


def test_the_tape_goes_round():
    tape = Tape([b"a", b"b", b"c"], [b"1\r\n", b"2\r\n", b"3\r\n"], bytes([SET] * 3))
    wire = Wire(tape, depth=2, start=2)
    wire.connection.begin()
    wire.connection.data_received(b"3\r\n1\r\n2\r\n"[:6])
    wire.connection.data_received(b"2\r\n3\r\n")
    assert b"".join(wire.written) == b"cabcab"
    assert wire.stats.errors == 0


def test_the_number_of_error_kinds_is_bounded():
    stats = LoadStats()
    for number in range(1000):
        stats.error(f"error {number}")
    assert stats.errors == sum(stats.error_kinds.values()) == 1000
    assert len(stats.error_kinds) <= 21
