"""When a command has taken too long."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import pytest

from quorumcache.router import cli
from quorumcache.router.commands import basics
from tests.simulation.admin_program import LATE_SECONDS, AdminProgram
from tests.simulation.loop import NS, VirtualLoop


def complaints(
    monkeypatch: pytest.MonkeyPatch, *, late: float, charged: float = 0.0, earlier: float = 0.0
) -> list[str]:
    """About a command that ends `late` seconds after its timeout, and later by the seconds in which
    nodes have computed (`charged`). `earlier`: they have, before the timeout."""
    loop = VirtualLoop()

    async def run(options: Any, random: Random) -> int:
        loop.charge(int(earlier * NS))
        await asyncio.sleep(options.timeout - earlier + late)
        loop.charge(int(charged * NS))
        print("an answer")
        return basics.OK

    monkeypatch.setattr(cli, "run", run)
    program = AdminProgram(loop, "a1", [("n1", 11211)], Random(1))
    loop.run_until_complete(program._command(["status"]))
    loop.close()
    return program.unexpected


def test_a_late_answer_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    assert complaints(monkeypatch, late=LATE_SECONDS - 0.01) == []
    assert len(complaints(monkeypatch, late=LATE_SECONDS + 0.01)) == 1


def test_time_in_which_nodes_compute_is_not_the_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    assert complaints(monkeypatch, late=LATE_SECONDS - 0.01, charged=1.0) == []
    assert len(complaints(monkeypatch, late=LATE_SECONDS + 0.01, charged=1.0)) == 1


def test_what_was_computed_before_the_timeout_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(complaints(monkeypatch, late=LATE_SECONDS + 0.01, earlier=0.2)) == 1
