"""The whole budget is told: every request, every step, and what the kernel takes."""

from __future__ import annotations

import sys
from contextlib import closing

import pytest

from quorumcache.bench.micro import budget
from quorumcache.bench.micro.budget import Wire


def test_all_steps_of_all_requests_are_told() -> None:
    said: list[str] = []
    budget.budget(20, said.append)
    text = "\n".join(said)
    for name in (
        *("parse, route, look-up, reply", "send a reply, past the transport"),
        *("asked node: into a bundle", "leader: look-up, item", "asked node: answer, reply"),
        *("client: read the set", "leader: into two bundles", "follower: take them into the log"),
        *("all: apply, session table", "client: render", "hear that it is durable"),
    ):
        assert f"  {name} " in text
    assert text.count("sum, by the times") == 5


def test_a_reply_passes_the_transport_and_a_request_is_read() -> None:
    with closing(Wire()) as wire:
        for _ in range(3):
            for step in wire.steps():
                step.run()


def test_the_rounds_may_be_given(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["budget", "10"])
    budget.main()
    assert "durable set, three nodes" in capsys.readouterr().out
