"""The comparison of clients: its table, its command line, and what it says without aiomcache."""

from __future__ import annotations

import sys

import pytest

from quorumcache.bench import options
from quorumcache.bench.client import CASES, OURS, THEIRS, _table, measure_clients
from quorumcache.bench.errors import StartError
from quorumcache.bench.measure import Progress


def test_ratios_are_medians_of_the_rounds_and_not_of_all_rates() -> None:
    """A machine that slows down by half in the third round changes no ratio."""
    case = CASES[0].name
    rates = {(case, OURS): [200.0, 210.0, 100.0], (case, THEIRS): [100.0, 100.0, 50.0]}
    table = _table(rates, 3, 0.2)
    assert table.rows[0] == (case, OURS, "200", "2.00", "-")
    assert table.rows[1] == (case, THEIRS, "100", "-", "-")
    assert table.data[case][OURS]["calls_per_second"] == [200.0, 210.0, 100.0]


def test_without_aiomcache_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aiomcache", None)
    with pytest.raises(StartError, match="pip install aiomcache"):
        measure_clients(1, 0.1, Progress(True))


def test_flags() -> None:
    parsed = options.build_parser().parse_args(["client", "--rounds", "3", "--seconds", "0.5"])
    assert (parsed.rounds, parsed.seconds) == (3, 0.5)
