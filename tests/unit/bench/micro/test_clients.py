"""The figures of a set's way through a node: its load is served, and told."""

from __future__ import annotations

import sys

import pytest

from quorumcache.bench.micro import clients


def test_all_figures_are_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(clients, "ROUNDS", 2)
    monkeypatch.setattr(clients, "LOADS", ((2, 1), (2, 4)))
    monkeypatch.setattr(clients.gc, "freeze", lambda: None)
    monkeypatch.setattr(clients.gc, "set_threshold", lambda *thresholds: None)
    monkeypatch.setattr(sys, "argv", ["clients", "64"])
    clients.main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[1] for line in lines] == [" 2 connections"] * 2
    assert all(line.endswith(" writes") for line in lines)
