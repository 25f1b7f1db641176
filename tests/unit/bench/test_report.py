"""Reports: nothing is lost in JSON, and people read the same figures."""

from __future__ import annotations

import json

import pytest

from quorumcache.bench.environment import Environment, read_environment
from quorumcache.bench.errors import BenchError
from quorumcache.bench.histogram import Histogram
from quorumcache.bench.report import (
    Latency,
    Report,
    Result,
    Table,
    milliseconds,
    spread_text,
    text_table,
)
from quorumcache.bench.workload import Workload

ENVIRONMENT = Environment(
    cpu_model="Test CPU",
    cores=2,
    memory_bytes=8 << 30,
    kernel="6.0",
    system="Test",
    python="3.11.0",
    versions={"quorumcache": "0.1.0", "memcached": "1.6.18"},
    load_before=0.5,
)


def result(target="quorumcache", ops=1500.0, **changes):
    histogram = Histogram()
    histogram.record_all([100_000, 200_000, 3_000_000])
    latency = Latency.of(histogram)
    values = {
        "target": target,
        "workload": Workload(name="get", get=1.0),
        "mode": "routed",
        "seconds": 2.0,
        "ops_per_second": ops,
        "rounds": (ops, ops - 1),
        "completed": int(2 * ops),
        "misses": 0,
        "errors": 0,
        "error_kinds": {},
        "lost_connections": 0,
        "unsent": 0,
        "unanswered": 0,
        "latency": latency,
        "read": latency,
        "write": None,
        "send_lag": None,
        "server_cpu": 87.5,
        "load_cpu": None,
        "other_cpu": 0.0,
        "timeline": (700, 800),
        "histogram": histogram,
    }
    return Result(**{**values, **changes})


def report(**changes):
    values = {
        "command": "quorumcache-bench run get",
        "started_at": "2026-01-01 00:00:00 UTC",
        "environment": ENVIRONMENT,
        "target": "3 local nodes",
        "results": (result(), result("memcached", 1000.0)),
        "tables": (Table(title="T", columns=("a", "b"), rows=(("1", "2"),), data={"x": 1}),),
        "notes": ("a note",),
    }
    return Report(**{**values, **changes})


def test_a_report_comes_back_from_json():
    assert Report.from_json(report().to_json()) == report()


def test_json_holds_the_ratio_and_the_machine():
    data = json.loads(report().to_json())
    assert [one["ratio_to_memcached"] for one in data["results"]] == [1.5, None]
    assert data["environment"]["cpu_model"] == "Test CPU"


def test_another_format_is_refused():
    with pytest.raises(BenchError, match="format"):
        Report.from_json('{"format": 99}')


def test_markdown_shows_figures_ratio_and_machine():
    text = report().to_markdown()
    for wanted in ("| 1,500 | 1.50 |", "3.00", "Test CPU, 2 cores", "kernel 6.0", "a note", "## T"):
        assert wanted in text
    assert "1,500, 1,499" in text  # rounds


def test_open_loop_compares_latency_not_throughput():
    workload = Workload(name="get", get=1.0, rate=100.0)
    results = (result(workload=workload), result("memcached", 7.0, workload=workload))
    assert "p99 1.00 x" in report(results=results).to_markdown()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"errors": 3, "error_kinds": {"ERROR": 1, "SERVER_ERROR": 2}}, "often: SERVER_ERROR"),
        ({"unanswered": 1}, "never answered"),
        ({"unsent": 1}, "rate is too high"),
        ({"misses": 1}, "misses"),
        ({"load_cpu": 99.0}, "load generator"),
        ({"other_cpu": 90.0}, "other processes"),
    ],
)
def test_doubtful_figures_carry_a_warning(changes, named):
    assert any(named in warning for warning in result(**changes).warnings())
    assert named in report(results=(result(**changes),)).to_markdown()


def test_a_sound_figure_carries_none():
    assert result().warnings() == []


def test_reports_are_written(tmp_path):
    json_path, markdown_path = report().write(tmp_path / "new" / "place")
    assert Report.from_json(json_path.read_text()) == report()
    assert markdown_path.read_text() == report().to_markdown()


def test_a_place_that_cannot_be_written_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BenchError, match="cannot write the report"):
        report().write(tmp_path / "file")


def test_this_machine_can_be_described():
    environment = read_environment()
    assert environment.cores >= 1
    assert environment.cpu_model
    assert Environment.from_dict(environment.to_dict()) == environment
    assert any(environment.kernel in line for line in environment.lines())


@pytest.mark.parametrize(
    ("microseconds", "text"),
    [(12.34, "0.012"), (1234, "1.23"), (12_345, "12.3"), (123_456, "123")],
)
def test_milliseconds_have_three_digits(microseconds, text):
    assert milliseconds(microseconds) == text


def test_spread():
    assert spread_text([3.0, 1.0, 2.0], "ms") == "1 / 2 / 3 ms"
    assert spread_text([], "ms") == "-"


def test_text_tables_align():
    assert text_table(("n", "t", "x"), [("a", "b", "10")]) == ["n  t   x", "a  b  10"]
