"""The life of a node process, with a node that behaves as the test says."""

from __future__ import annotations

import asyncio
import errno
import gc
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from quorumcache.node.admin.controls import NodeControls
from quorumcache.node.errors import DataDirLocked, DiskFailed, DiskFull, NodeLeft
from quorumcache.node.process import run
from quorumcache.node.process.signals import hold, release
from quorumcache.node.settings.config import NodeConfig
from quorumcache.node.telemetry.timings import Histogram, Timings

DEADLINE_S = 30.0
CONFIG = NodeConfig(listen="127.0.0.1:11211", stop_timeout_ms=50)


class ExitNow(BaseException):
    """What ends the process at once, here."""


class FakeNode:
    """Starts and stops as told; `started` is called when it has started."""

    start_error: BaseException | None = None
    stop_hangs = False
    started: Callable[[Any], None] = staticmethod(lambda node: None)

    def __init__(
        self, config: NodeConfig, *, loop: asyncio.AbstractEventLoop, **seams: object
    ) -> None:
        self.config = config
        self.is_alone = True
        self.loop = loop
        self.timings = Timings()
        self.failed: asyncio.Future[BaseException] = loop.create_future()
        self.listen_address = config.listen
        self.peer_address = self.http_address = ""
        self.cluster_id = ""
        self.controls = NodeControls(config, lambda memory_bytes: None)

    async def start(self) -> None:
        if self.start_error is not None:
            raise self.start_error
        self.loop.call_soon(self.started)

    async def wait_serving(self, seconds: float) -> bool:
        return True

    async def stop(self) -> None:
        if self.stop_hangs:
            await self.loop.create_future()


@pytest.fixture
def node_class(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[FakeNode]]:
    class Told(FakeNode):
        pass

    def exit_now(status: int) -> None:
        raise ExitNow(status)

    monkeypatch.setattr(run, "Node", Told)
    monkeypatch.setattr(run, "_exit_now", exit_now)
    # The process is the tests' own: its collector and its log stay as they are.
    monkeypatch.setattr(run, "_tune_collector", lambda: None)
    monkeypatch.setattr(run, "_time_collector", lambda pauses: None)
    monkeypatch.setattr(run, "give_back_free_memory", lambda: None)
    monkeypatch.setattr(sys, "setswitchinterval", lambda seconds: None)
    monkeypatch.setattr(run, "configure", lambda **options: None)
    monkeypatch.setattr(run, "_run", asyncio.run)
    yield Told
    release()


def kill_self(number: signal.Signals) -> Callable[[Any], None]:
    return lambda node: send(number)


def send(number: signal.Signals) -> None:
    """To the thread that waits for signals: another one, of a library that some other test has
    used, may not block them, and then they end the tests."""
    (thread,) = (one for one in threading.enumerate() if one.name == "signals")
    assert thread.ident is not None
    signal.pthread_kill(thread.ident, number)


@pytest.mark.parametrize(("was_drained", "status"), [(True, 0), (False, 3)])
def test_a_node_that_has_left_its_cluster_is_stopped_and_says_so(
    node_class: type[FakeNode],
    was_drained: bool,
    status: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    error = NodeLeft("a", "c" * 32, 7, was_drained=was_drained)
    node_class.started = lambda node: node.failed.set_result(error)
    assert run.run_node(CONFIG) == status
    line = capsys.readouterr().err
    assert line == f"quorumcached: {error}\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_node_cleanly(
    node_class: type[FakeNode], number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    node_class.started = kill_self(number)
    assert run.run_node(CONFIG) == 0
    line = "quorumcached: node a ready: memcached 127.0.0.1:11211 peer - http -\n"
    assert capsys.readouterr() == (line, "")


def test_a_stop_that_takes_too_long_is_ended(
    node_class: type[FakeNode], capsys: pytest.CaptureFixture[str]
) -> None:
    node_class.started = kill_self(signal.SIGTERM)
    node_class.stop_hangs = True
    with pytest.raises(ExitNow, match="1"):
        run.run_node(CONFIG)
    assert "not stopped after 50 ms" in capsys.readouterr().err


def test_a_second_signal_ends_the_process_at_once() -> None:
    async def main() -> int:
        ended = asyncio.get_running_loop().create_future()
        with pytest.MonkeyPatch.context() as patch:
            loop = asyncio.get_running_loop()

            def exit_now(status: int) -> None:  # In the thread of the signals.
                loop.call_soon_threadsafe(ended.set_result, status)

            patch.setattr(run, "_exit_now", exit_now)
            stop, _ = run._stop_request(loop, False)
            send(signal.SIGTERM)
            assert await asyncio.wait_for(stop, DEADLINE_S) == "SIGTERM"
            assert not ended.done()
            send(signal.SIGINT)
            status: int = await asyncio.wait_for(ended, DEADLINE_S)
        return status

    hold()
    try:
        assert asyncio.run(main()) == 128 + signal.SIGINT
    finally:
        release()


def test_a_node_that_fails_ends_the_process_with_the_reason(
    node_class: type[FakeNode], capsys: pytest.CaptureFixture[str]
) -> None:
    node_class.started = lambda node: node.failed.set_result(DiskFailed("wal/1: I/O error"))
    with pytest.raises(ExitNow, match="1"):
        run.run_node(CONFIG)
    assert capsys.readouterr().err == "quorumcached: wal/1: I/O error\n"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (DataDirLocked("d", 17), "in use by process 17"),
        (
            OSError(errno.ENOSPC, "No space left on device", "d/wal"),
            "No space left on device (d/wal). Free some space on that disk, then start the node",
        ),
        (
            DiskFull("d/node.id: No space left on device"),
            "d/node.id: No space left on device. Free some space on that disk, then start",
        ),
        (PermissionError(errno.EACCES, "Permission denied", "d"), "not permitted: d"),
        (ZeroDivisionError("two\nlines"), "internal error: ZeroDivisionError"),
    ],
)
def test_a_node_that_does_not_start_is_one_line(
    node_class: type[FakeNode],
    error: BaseException,
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    node_class.start_error = error
    assert run.run_node(CONFIG) == 1
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith("quorumcached: ")
    assert words in line


def test_collector_pauses_are_measured_and_what_survives_is_frozen() -> None:
    thresholds, callbacks = gc.get_threshold(), list(gc.callbacks)
    pauses = Histogram()
    try:
        run._tune_collector()
        run._time_collector(pauses)
        frozen = gc.get_freeze_count()
        assert frozen > 0
        kept: list[list[int]] = [[] for _ in range(1000)]
        gc.collect()
        assert pauses.count == 1
        assert gc.get_freeze_count() >= frozen + len(kept)
    finally:
        gc.unfreeze()
        gc.set_threshold(*thresholds)
        gc.callbacks[:] = callbacks


def test_loop_lag_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "LAG_INTERVAL_S", 0.001)

    seen = asyncio.Event()

    class Lags(Histogram):
        def observe(self, seconds: float) -> None:
            super().observe(seconds)
            if self.count == 3:
                seen.set()

    async def main() -> None:
        lags = Lags()
        probe = run.LagProbe(asyncio.get_running_loop(), lags)
        await asyncio.wait_for(seen.wait(), DEADLINE_S)
        probe.stop()
        assert lags.total >= 0

    asyncio.run(main())


# --- what the system forbids


def test_a_node_without_any_thread_says_so_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    monkeypatch.setattr("quorumcache.node.telemetry.logs._writer", None)
    assert run.run_node(CONFIG) == run.EXIT_FAILED
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("quorumcached: can't start new thread: ")
    assert "seccomp" in line
