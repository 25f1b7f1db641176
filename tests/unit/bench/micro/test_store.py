"""The figures of the store still fit it: each kind of command is one that it takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from quorumcache.bench.micro import protocol, store


def once(run: Callable[[], object], *, number: int, **settings: Any) -> list[float]:
    """As `timeit.repeat`: it runs once, whatever was asked, and took 1 ms each time."""
    run()
    return [0.001 * number]


def test_all_figures_are_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With few items: how many there are changes the figures alone."""
    filled = store._filled
    monkeypatch.setattr(store, "_filled", lambda items, *more: filled(min(items, 1000), *more))

    def fewer(*bounds: int) -> range:
        return range(min(bounds[0], 100)) if len(bounds) == 1 else range(*bounds)

    monkeypatch.setattr(store, "range", fewer, raising=False)
    for module in (store, protocol):
        monkeypatch.setattr(module, "repeat", once)
    store.main()
    lines = capsys.readouterr().out.splitlines()
    names = [line.rsplit(maxsplit=2)[0] for line in lines]
    assert len(set(names)) == len(names) > 15
    assert any(name.startswith("restore ") for name in names)
