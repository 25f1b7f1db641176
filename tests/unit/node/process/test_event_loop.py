"""The loop of a node where the system forbids calls. As processes:
tests/integration/test_forbidden_calls.py."""

from __future__ import annotations

import asyncio
import errno
import sys

import pytest

from quorumcache.node.errors import StartupError
from quorumcache.node.process import run
from quorumcache.node.process.event_loop import explain_call


def refuse() -> asyncio.AbstractEventLoop:
    raise PermissionError(errno.EPERM, "Operation not permitted")


def test_a_node_runs_on_the_loop_of_asyncio_where_uvloop_may_not_start(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As under a seccomp profile that does not know `eventfd`."""
    uvloop = pytest.importorskip("uvloop")
    loops: list[object] = []

    monkeypatch.setattr(uvloop, "new_event_loop", refuse)

    async def live() -> int:
        loops.append(asyncio.get_running_loop())
        return 7

    monkeypatch.setattr("quorumcache.node.telemetry.logs._writer", None)  # As it was, afterwards.
    run.configure(level="info", log_format="text", node="a")
    assert run._run(live()) == 7
    run.flush()
    assert not isinstance(loops[0], uvloop.Loop)
    (line,) = capfd.readouterr().err.splitlines()
    assert "event=uvloop_forbidden" in line
    assert "Operation not permitted" in line


def test_a_node_without_any_loop_says_which_call_is_forbidden(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    uvloop = pytest.importorskip("uvloop")
    monkeypatch.setattr(uvloop, "new_event_loop", refuse)
    monkeypatch.setattr(asyncio, "new_event_loop", refuse)
    hook = sys.unraisablehook

    async def live() -> int:
        raise AssertionError("not reached")

    with pytest.raises(StartupError, match=r"the system forbids a call of refuse: .*seccomp"):
        run._run(live())
    assert sys.unraisablehook is hook


def test_other_errors_are_told_as_they_are() -> None:
    assert explain_call(OSError(errno.EMFILE, "Too many open files")) == "Too many open files"
    assert explain_call(OSError("odd")) == "odd"
