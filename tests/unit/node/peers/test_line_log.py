"""Goal: a line about a peer that comes again and again does not fill the log, and is not lost."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest

from quorumcache.node.peers.line_log import LOGGED_LINES_MAX, SAME_LINE_NS, LineLog


def test_a_line_is_repeated_after_a_while_and_another_one_at_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = SimpleNamespace(ns=SAME_LINE_NS)
    clock = SimpleNamespace(monotonic_ns=lambda: now.ns)
    lines = LineLog(clock, logging.getLogger("quorumcache.peers"))  # type: ignore[arg-type]
    with caplog.at_level("INFO", logger="quorumcache.peers"):
        for why in ("x", "x", "y", "x"):
            lines.event("info", "peer_unreachable", peer="b", why=why)
        assert len(caplog.records) == 2
        now.ns += SAME_LINE_NS - 1
        lines.event("info", "peer_unreachable", peer="b", why="x")
        assert len(caplog.records) == 2
        now.ns += 1
        lines.event("info", "peer_unreachable", peer="b", why="x")
        assert len(caplog.records) == 3


def test_the_lines_that_are_remembered_are_bounded() -> None:
    clock = SimpleNamespace(monotonic_ns=lambda: 0)
    lines = LineLog(clock, logging.getLogger("quorumcache.peers"))  # type: ignore[arg-type]
    for number in range(3 * LOGGED_LINES_MAX):
        lines.event("debug", "peer_refused", peer=number)
        assert len(lines._logged) <= LOGGED_LINES_MAX
