"""Background tasks that fail are heard: logged, counted, alarmed, and started again or fatal."""

from __future__ import annotations

import ast
import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from quorumcache.node.alarms import Alarms
from quorumcache.node.errors import AcknowledgedDataLost
from quorumcache.node.system import tasks as module
from quorumcache.node.system.tasks import ALARM_S, RESTART_FIRST_S, RESTART_MAX_S, Tasks
from quorumcache.node.telemetry.counters import Counters
from tests.simulation.loop import VirtualLoop

ROOT = Path(__file__).resolve().parents[4]


class Bench:
    """Tasks on a virtual loop, and what became of them."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.alarms = Alarms()
        self.counters = Counters()
        self.fatal: list[BaseException] = []
        self.heard: list[dict[str, Any]] = []
        self.tasks = Tasks(
            loop, alarms=self.alarms, counters=self.counters, fatal=self.fatal.append
        )
        loop.set_exception_handler(lambda _, context: self.heard.append(context))

    @property
    def is_alarmed(self) -> bool:
        return [alarm.name for alarm in self.alarms.raised()] == ["task_failed"]


def on_virtual_loop(test: Callable[[Bench], Awaitable[None]]) -> Bench:
    loop = VirtualLoop()
    bench = Bench(loop)

    async def main() -> None:
        await test(bench)
        bench.tasks.cancel()
        await bench.tasks.wait()

    loop.run_until_complete(main())
    return bench


async def broken() -> None:
    raise ZeroDivisionError("broken")


def test_a_task_that_may_be_late_starts_again_after_growing_pauses() -> None:
    began: list[float] = []

    async def test(bench: Bench) -> None:
        async def work() -> None:
            began.append(bench.loop.time())
            if len(began) <= 9:
                await broken()
            await asyncio.Event().wait()

        bench.tasks.restart("housekeeper", work)
        await asyncio.sleep(0.1)
        assert bench.is_alarmed
        (alarm,) = bench.alarms.raised()
        assert "housekeeper" in alarm.sentence
        assert "ZeroDivisionError('broken')" in alarm.sentence
        await asyncio.sleep(200)
        assert bench.is_alarmed
        await asyncio.sleep(ALARM_S + 1)
        assert not bench.alarms.raised()

    bench = on_virtual_loop(test)
    pauses = [later - before for before, later in itertools.pairwise(began)]
    assert pauses == pytest.approx([min(RESTART_FIRST_S * 2**n, RESTART_MAX_S) for n in range(9)])
    assert bench.counters.tasks_failed == len(bench.heard) == 9
    assert not bench.fatal


def test_a_task_that_is_needed_ends_the_node() -> None:
    async def test(bench: Bench) -> None:
        bench.tasks.end("map follower", broken)
        await asyncio.sleep(1)

    bench = on_virtual_loop(test)
    (error,) = bench.fatal
    assert "the background task map follower failed: ZeroDivisionError('broken')" in str(error)
    assert bench.counters.tasks_failed == 1


def test_a_task_of_one_connection_ends_that() -> None:
    ended: list[str] = []

    async def test(bench: Bench) -> None:
        bench.tasks.once("HTTP reply", broken, lambda: ended.append("connection"))
        await asyncio.sleep(1)

    bench = on_virtual_loop(test)
    assert ended == ["connection"]
    assert bench.is_alarmed or bench.counters.tasks_failed == 1
    assert not bench.fatal


def test_what_ends_by_itself_or_is_cancelled_is_no_failure() -> None:
    async def test(bench: Bench) -> None:
        async def good() -> None:
            await asyncio.sleep(1)

        task = bench.tasks.restart("good", good)
        other = bench.tasks.end("cancelled", asyncio.Event().wait)  # type: ignore[arg-type]
        await asyncio.sleep(2)
        assert task.done()
        other.cancel()
        await asyncio.sleep(0)
        assert not bench.alarms.raised()

    bench = on_virtual_loop(test)
    assert bench.counters.tasks_failed == 0
    assert not bench.heard
    assert not bench.fatal


def test_a_callback_that_fails_is_heard(caplog: pytest.LogCaptureFixture) -> None:
    async def test(bench: Bench) -> None:
        bench.loop.set_exception_handler(lambda _, context: bench.tasks.loop_error(context))
        bench.loop.call_later(0.5, lambda: 1 // 0)
        await asyncio.sleep(1)
        assert bench.is_alarmed
        (record,) = [one for one in caplog.records if one.getMessage() == "task_failed"]
        assert record.exc_info is not None
        # A connection that breaks is the world's doing.
        bench.tasks.loop_error({"message": "Fatal read error", "exception": OSError(113, "x")})
        bench.tasks.loop_error({"message": "unclosed transport"})

    bench = on_virtual_loop(test)
    assert bench.counters.tasks_failed == 1


def test_a_failed_task_is_logged_with_its_trace(caplog: pytest.LogCaptureFixture) -> None:
    async def test(bench: Bench) -> None:
        bench.loop.set_exception_handler(lambda _, context: bench.tasks.loop_error(context))
        bench.tasks.restart("housekeeper", broken)
        await asyncio.sleep(0.1)

    bench = on_virtual_loop(test)
    assert bench.counters.tasks_failed == 1
    (record,) = [one for one in caplog.records if one.getMessage() == "task_failed"]
    assert record.exc_info is not None
    assert record.fields["task"] == "housekeeper"  # type: ignore[attr-defined]


def test_a_disk_that_lost_data_is_no_bug(caplog: pytest.LogCaptureFixture) -> None:
    async def test(bench: Bench) -> None:
        error = AcknowledgedDataLost("shard 1", "acknowledged too much")
        bench.tasks.loop_error({"message": "Fatal error on transport", "exception": error})
        assert not bench.is_alarmed

    bench = on_virtual_loop(test)
    assert bench.counters.tasks_failed == 0
    assert not [one for one in caplog.records if one.getMessage() == "task_failed"]


def test_the_alarm_outlasts_the_longest_pause() -> None:
    assert module.RESTART_MAX_S < module.ALARM_S


# --- nobody starts tasks another way

# file -> why its tasks are heard without the helper.
ALLOWED = {
    "node/system/tasks.py": "the helper itself",
    "ring/names.py": "callers that wait get the error; those that come later look up again",
    "node/process/run.py": "awaited where it is started: the process ends with its error",
    "node/process/control.py": "awaited where it is started, in the task of its connection",
    "node/process/supervisor.py": "awaited, or in a TaskGroup, which hands its errors on",
    "router/discovery.py": "awaited and looked at where it is started",
    "router/pool.py": "every error is kept for the callers that wait for the connection",
    "router/sessions.py": "callers that wait get the error as the cause of theirs",
    "router/dispatcher.py": "callers that wait ask for its result",
    "router/map_keeper.py": "callers that wait ask for its result",
    "router/transactions.py": "the commit asks for its result, and so does the end without one",
    "router/locks.py": "a lock whose renewal dies is lost at the end of its lease, and says so",
    "router/lock_keeper.py": "callers that wait get the error; what is given back ends by itself",
    "router/commands/locks.py": "awaited where they are started",
}
STARTERS = {"create_task", "ensure_future", "run_coroutine_threadsafe"}


def starters(source: str) -> Iterator[int]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func).rpartition(".")[2]
            if name in STARTERS:
                yield node.lineno


def test_every_background_task_goes_through_the_helper() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for package in ("ring", "node", "router")
        for path in sorted((ROOT / package).rglob("*.py"))
        if str(path.relative_to(ROOT)) not in ALLOWED
        for line in starters(path.read_text())
    ]
    assert not found
    for path in ALLOWED:
        if path.startswith(("ring/", "node/")):
            assert list(starters((ROOT / path).read_text())), f"{path} needs no exception"


def test_the_walk_finds_them() -> None:
    source = (
        "loop.create_task(f())\nasyncio.ensure_future(f())\ncreate_task(f())\ntasks.end('x', f)"
    )
    assert list(starters(source)) == [1, 2, 3]
