"""Background tasks of a node: a failure of any of them is logged and raises an alarm.

Everything a node does besides answering is a task here (the housekeeper, the map's follower, the
dialers, HTTP replies). When one ends with an unexpected exception, which is a bug,
it is logged with its trace, counted (`tasks_failed`) and told as the alarm `task_failed`.
Then one of three things happens, as its starter decided:

- `restart`: it starts again, after a pause that grows. For what may be late, but not missing.
- `end`: the node ends. For what the node cannot do its part without.
- `once`: nothing but what `on_failed` does. For work that belongs to one connection.

The same holds for callbacks of the loop: `loop_error` is its exception handler.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from quorumcache.node.alarms import Alarms
from quorumcache.node.errors import AcknowledgedDataLost, TaskFailed
from quorumcache.node.telemetry.counters import Counters
from quorumcache.node.telemetry.logs import event, get_logger

RESTART_FIRST_S = 0.5
RESTART_MAX_S = 30.0
"""Longest pause before a task is started again; well below ALARM_S, so that the alarm stays."""

ALARM_S = 120.0
"""The alarm is cleared when nothing has failed for so long."""

_CONTEXT_KEY = "background_task"

_log = get_logger("tasks")


class Tasks:
    """The tasks of one node. `fatal(error)` ends the node."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        alarms: Alarms,
        counters: Counters,
        fatal: Callable[[BaseException], None],
    ) -> None:
        self._loop = loop
        self._alarms = alarms
        self._counters = counters
        self._fatal = fatal
        self._running: dict[asyncio.Task[None], None] = {}
        self._clear_timer: asyncio.TimerHandle | None = None

    def restart(
        self, name: str, work: Callable[[], Coroutine[Any, Any, None]]
    ) -> asyncio.Task[None]:
        """Run `work` until it returns; when it fails, start it again after a pause."""
        return self._start(name, self._restarting(name, work))

    def end(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[None]:
        """Run `work` until it returns; when it fails, the node ends."""
        return self._start(name, self._ending(name, work))

    def once(
        self,
        name: str,
        work: Callable[[], Coroutine[Any, Any, None]],
        on_failed: Callable[[], None],
    ) -> asyncio.Task[None]:
        """Run `work`; when it fails, call `on_failed`."""
        return self._start(name, self._once(name, work, on_failed))

    def cancel(self) -> None:
        """Cancel everything that runs."""
        for task in self._running:
            task.cancel()
        if self._clear_timer is not None:
            self._clear_timer.cancel()
            self._clear_timer = None

    async def wait(self) -> None:
        """Wait until everything that was cancelled has ended."""
        await asyncio.gather(*self._running, return_exceptions=True)

    def loop_error(self, context: dict[str, Any]) -> None:
        """Exception handler of the loop: a callback has failed, or a task not started here."""
        error = context.get("exception")
        name = context.get(_CONTEXT_KEY)
        text = str(context.get("message", "an error of the loop"))
        if name is None and (error is None or isinstance(error, OSError)):
            # The world's errors and notices of the library, such as a transport's.
            event(_log, "warning", "loop_message", text=text, why=repr(error) if error else "-")
            return
        if isinstance(error, AcknowledgedDataLost):
            return  # No bug. The node ends because of it, and says so then.
        fields = {"task": name or "callback", "text": text}
        _log.error("task_failed", exc_info=error, extra={"fields": fields})
        if name is None:
            assert error is not None
            self._count("a callback of the event loop", error, "")

    # -- how each runs -------------------------------------------------------------------

    def _start(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work, name=name)
        self._running[task] = None
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        del self._running[task]

    async def _restarting(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        pause_s = RESTART_FIRST_S
        while True:
            began = self._loop.time()
            try:
                await work()
            except Exception as error:
                if self._loop.time() - began > RESTART_MAX_S:
                    pause_s = RESTART_FIRST_S
                self._failed(name, error, f"; it starts again in {pause_s:g} s")
            else:
                return
            await asyncio.sleep(pause_s)
            pause_s = min(RESTART_MAX_S, 2 * pause_s)

    async def _ending(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await work()
        except Exception as error:
            self._failed(name, error, "; the node ends")
            self._fatal(TaskFailed(name, error))

    async def _once(
        self,
        name: str,
        work: Callable[[], Coroutine[Any, Any, None]],
        on_failed: Callable[[], None],
    ) -> None:
        try:
            await work()
        except Exception as error:
            self._failed(name, error, "")
            on_failed()

    # -- failures ------------------------------------------------------------------------

    def _failed(self, name: str, error: Exception, then: str) -> None:
        self._count(f"the background task {name}", error, then)
        self._loop.call_exception_handler(
            {"message": f"task {name} failed{then}", "exception": error, _CONTEXT_KEY: name}
        )

    def _count(self, what: str, error: BaseException, then: str) -> None:
        self._counters.tasks_failed += 1
        self._alarms.raise_alarm(
            "task_failed",
            f"{what} failed ({error!r}){then}. This is a bug: please report it with the log's line"
            " task_failed",
        )
        if self._clear_timer is not None:
            self._clear_timer.cancel()
        self._clear_timer = self._loop.call_later(ALARM_S, self._alarms.clear, "task_failed")
