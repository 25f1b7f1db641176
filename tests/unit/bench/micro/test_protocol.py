"""The figures of the protocol still fit the node's code, and are computed rightly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from quorumcache.bench.micro import protocol


def once(run: Callable[[], object], *, number: int, **settings: Any) -> list[float]:
    """As `timeit.repeat`: it runs once, whatever was asked, and took 1 ms each time."""
    run()
    return [0.005 * number, 0.001 * number]


def test_the_best_round_counts_for_one_operation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "repeat", once)
    assert protocol.microseconds(lambda: None, 4) == pytest.approx(250.0)


def test_all_figures_are_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(protocol, "repeat", once)
    protocol.main()
    lines = capsys.readouterr().out.splitlines()
    assert len({line.rsplit(maxsplit=2)[0] for line in lines}) == len(lines) > 10
    assert all(float(line.split()[-2]) > 0 for line in lines)
