"""Workloads: the same from the same seed, and distributed as they say."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorumcache.bench import scenarios
from quorumcache.bench.errors import WorkloadError
from quorumcache.bench.workload import (
    DELETE,
    GET,
    INCR,
    SET,
    TAPE_BYTES_MAX,
    Encoder,
    Workload,
    arrival_gaps_ns,
    build_tape,
    key_chooser,
    tape_length,
)

MIXED = Workload(name="m", get=0.9, set=0.1, keys=500, value_bytes_min=1, value_bytes_max=300)


def tape_of(workload, seed=1, stream="0/0", length=2000):
    keys = {kind: range(workload.keys) for kind in (GET, SET, INCR, DELETE)}
    return build_tape(workload, seed, stream, keys, length=length)


def test_the_same_seed_gives_the_same_tape():
    assert tape_of(MIXED) == tape_of(MIXED)


def test_seeds_and_streams_differ():
    tapes = [tape_of(MIXED), tape_of(MIXED, seed=2), tape_of(MIXED, stream="1/0")]
    assert len({tuple(tape.requests) for tape in tapes}) == 3


def test_the_tape_of_a_seed_never_changes():
    """Figures of different versions are comparable only while their load is the same."""
    tape = tape_of(Workload(name="pinned", get=0.5, set=0.5, keys=100, value_bytes_max=100))
    assert tape.requests[:2] == [b"get key:0000000083\r\n", b"get key:0000000072\r\n"]
    assert tape.requests[2].startswith(b"set key:0000000036 0 0 100\r\niwd4tmo55ycykvwk")
    assert Encoder(MIXED, 7).value(3).startswith(b"mosfd0a1svjzunatl3yrl5gskc2vr1q2z")


def test_the_mix_is_as_asked():
    counts = Counter(tape_of(MIXED, length=20_000).kinds)
    assert set(counts) == {GET, SET}
    assert counts[SET] == pytest.approx(2000, rel=0.15)


def test_zipf_frequencies_follow_the_exponent():
    workload = Workload(get=1, keys=1000, distribution="zipf", zipf_exponent=1.0)
    drawn = Counter(key_chooser(workload, range(1000), Random(5))(200_000))
    harmonic = sum(1 / rank for rank in range(1, 1001))
    for key in (0, 1, 2, 9, 99):
        expected = 200_000 / (key + 1) / harmonic
        assert drawn[key] == pytest.approx(expected, rel=0.15)
    assert max(drawn) <= 999


def test_zipf_among_some_keys_keeps_their_proportions():
    """A node's keys taken alone are as uneven as within the whole."""
    workload = Workload(get=1, keys=100, distribution="zipf", zipf_exponent=1.0)
    drawn = Counter(key_chooser(workload, [1, 3, 7], Random(5))(100_000))
    assert set(drawn) == {1, 3, 7}
    assert drawn[1] / drawn[3] == pytest.approx(2, rel=0.1)
    assert drawn[3] / drawn[7] == pytest.approx(2, rel=0.1)


def test_uniform_draws_all_keys_alike():
    drawn = Counter(key_chooser(Workload(get=1), range(50), Random(5))(100_000))
    assert set(drawn) == set(range(50))
    assert max(drawn.values()) < 1.2 * min(drawn.values())


@given(st.integers(0, 2**40), st.integers(0, 10**9), st.integers(0, 500), st.integers(0, 500))
@settings(max_examples=50, deadline=None)
def test_a_value_is_a_function_of_its_key(seed, index, low, extra):
    workload = Workload(get=1, value_bytes_min=low, value_bytes_max=low + extra)
    encoder = Encoder(workload, seed)
    value = encoder.value(index)
    assert low <= len(value) <= low + extra
    assert len(value) == encoder.value_bytes(index)
    assert value == Encoder(workload, seed).value(index)
    assert b"\r" not in value


def test_neighbours_have_different_values():
    encoder = Encoder(Workload(get=1), 1)
    assert len({encoder.value(index) for index in range(500)}) > 450


def test_sizes_are_spread_over_the_range():
    encoder = Encoder(Workload(get=1, value_bytes_min=10, value_bytes_max=19), 1)
    counts = Counter(encoder.value_bytes(index) for index in range(10_000))
    assert sorted(counts) == list(range(10, 20))
    assert max(counts.values()) < 1.3 * min(counts.values())


def test_requests_and_replies_fit_together():
    encoder = Encoder(Workload(get=1, value_bytes_min=5, value_bytes_max=5), 1)
    value = encoder.value(42)
    assert encoder.pair(GET, 42) == (
        b"get key:0000000042\r\n",
        b"VALUE key:0000000042 0 5\r\n" + value + b"\r\nEND\r\n",
    )
    assert encoder.pair(SET, 42) == (
        b"set key:0000000042 0 0 5\r\n" + value + b"\r\n",
        b"STORED\r\n",
    )
    assert encoder.pair(INCR, 42) == (b"incr ctr:0000000042 1\r\n", b"")
    assert encoder.pair(DELETE, 42) == (b"delete key:0000000042\r\n", b"DELETED\r\n")


def test_tapes_of_large_values_stay_small():
    workload = Workload(set=1, value_bytes_max=1 << 20)
    assert tape_length(workload, 10_000) * (1 << 20) <= 2 * TAPE_BYTES_MAX


def test_constant_arrivals_do_not_drift():
    gaps = arrival_gaps_ns(Workload(get=1, arrivals="constant"), 3000, Random(1))
    assert sum(next(gaps) for _ in range(3000)) == 1_000_000_000


def test_poisson_arrivals_keep_the_rate():
    gaps = arrival_gaps_ns(Workload(get=1), 1000, Random(1))
    assert sum(next(gaps) for _ in range(20_000)) == pytest.approx(20e9, rel=0.03)


def test_no_keys_is_an_error():
    with pytest.raises(WorkloadError, match="no keys"):
        build_tape(MIXED, 1, "0/0", {GET: [], SET: []})


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"get": 0.0, "set": 0.0}, "shares"),
        ({"get": -1.0}, "shares"),
        ({"keys": 0}, "keys"),
        ({"connections": 0}, "connections"),
        ({"depth": 0}, "depth"),
        ({"value_bytes_min": 20, "value_bytes_max": 10}, "value_bytes_max 10"),
        ({"rate": -1.0}, "rate"),
        ({"distribution": "normal"}, "normal"),
        ({"arrivals": "never"}, "never"),
    ],
)
def test_wrong_fields_are_named(changes, named):
    with pytest.raises(WorkloadError, match=named):
        MIXED.with_changes(**changes).validate()


def test_unknown_fields_and_types_are_named():
    with pytest.raises(WorkloadError, match="no such field: gets"):
        Workload.from_dict({"gets": 1.0})
    with pytest.raises(WorkloadError, match="keys = 'many'"):
        Workload.from_dict({"get": 1, "keys": "many"})


def test_the_plain_form_comes_back():
    assert Workload.from_dict(MIXED.to_dict()) == MIXED


def test_all_scenarios_are_valid_and_described():
    found = scenarios.load_all(())
    assert {"get", "get-pipelined", "set", "mixed", "counters"} <= {one.name for one in found}
    assert all(one.description for one in found)


def test_a_scenario_of_ones_own(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("set = 1\nkeys = 5\n")
    assert scenarios.load(str(path)) == Workload(name="mine", set=1.0, keys=5)
    path.write_text("set = ")
    with pytest.raises(WorkloadError, match="not a TOML file"):
        scenarios.load(str(path))


def test_an_unknown_scenario_names_the_known_ones():
    with pytest.raises(WorkloadError, match="counters, get"):
        scenarios.load("nosuch")
