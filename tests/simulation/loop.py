"""An asyncio event loop on virtual time.

When nothing is ready the clock jumps to the next timer, so an hour of cluster time costs what its
events cost. Everything that could differ between two runs is taken out: time is integer
nanoseconds, equal times fire in the order of their scheduling, tasks and futures hash by their
number (a set of them iterates the same way each time), and there is no file descriptor, thread or
signal anywhere. Connections go to the in-memory network.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import heapq
import math
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from tests.simulation.handles import VirtualFuture, VirtualHandle, VirtualTask
from tests.simulation.process import PROCESS, Process, ProcessExit, ProcessState

if TYPE_CHECKING:
    from tests.simulation.network import Network

T = TypeVar("T")

NS = 1_000_000_000
START_NS = 1_000 * NS  # Not zero, so that a forgotten "0 means never" shows.
SAME_INSTANT_EVENTS_MAX = 200_000
CANCELLED_TIMERS_KEPT = 200

RUNNING = ProcessState.RUNNING


class Deadlock(RuntimeError):
    """Nothing is ready and no timer is set, yet what the run waits for is not done."""


class BudgetExceeded(RuntimeError):
    """The run took more events than allowed, or virtual time stopped moving."""


class VirtualLoop(asyncio.AbstractEventLoop):
    """See the module. `errors` collects what reached the exception handler; a test looks at it at
    its end.
    """

    def __init__(self, *, events_max: int = 50_000_000) -> None:
        self.now_ns = START_NS
        self.events = 0
        self.events_max = events_max
        self.errors: list[dict[str, Any]] = []
        self.network: Network | None = None
        self._number = 0
        self._ready: deque[VirtualHandle] = deque()
        self._timers: list[tuple[int, int, VirtualHandle]] = []
        self._cancelled_timers = 0
        self._running = False
        self._stopping = False
        self._closed = False
        self._debug = False
        self._buried: list[VirtualTask[Any]] = []
        self._costs: Iterator[int] | None = None
        self.charged_ns = 0
        """What long computing took, of all time."""
        self._exception_handler: Callable[[Any, dict[str, Any]], Any] | None = None

    def charge_callbacks(self, costs: Iterator[int]) -> None:
        """Each callback of a process that is `charged` takes the next of these times, in ns."""
        self._costs = costs

    def charge(self, cost_ns: int) -> None:
        """What runs now has computed for so long."""
        self.now_ns += cost_ns
        self.charged_ns += cost_ns

    # -- time and scheduling -----------------------------------------------------------------------

    def next_number(self) -> int:
        self._number += 1
        return self._number

    def time(self) -> float:
        """Seconds on the monotonic clock of the asking process."""
        process = PROCESS.get()
        if process is None or process.clock is None:
            return self.now_ns / NS
        return process.clock.monotonic_ns() / NS

    def call_soon(  # type: ignore[override]
        self,
        callback: Callable[..., Any],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> VirtualHandle:
        if context is None:
            context = contextvars.copy_context()
        process = context.get(PROCESS)
        handle = VirtualHandle(callback, args, self, context, process)
        if process is None or process.state is not ProcessState.DEAD:
            self._ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_later(  # type: ignore[override]
        self,
        delay: float,
        callback: Callable[..., Any],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> VirtualHandle:
        process = PROCESS.get() if context is None else context.get(PROCESS)
        clock = None if process is None else process.clock
        local_ns = self.now_ns if clock is None else clock.monotonic_ns()
        return self._schedule(local_ns + math.ceil(delay * NS), callback, args, context)

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., Any],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> VirtualHandle:
        local_when_ns = math.ceil(when * NS)
        while local_when_ns / NS < when:  # time() must have reached `when` once the callback runs
            local_when_ns += 1
        return self._schedule(local_when_ns, callback, args, context)

    def _schedule(
        self,
        local_when_ns: int,
        callback: Callable[..., Any],
        args: tuple[Any, ...],
        context: contextvars.Context | None,
    ) -> VirtualHandle:
        if context is None:
            context = contextvars.copy_context()
        process = context.get(PROCESS)
        handle = VirtualHandle(callback, args, self, context, process)
        handle.local_when_ns = local_when_ns
        handle._when = local_when_ns / NS
        if process is None or process.state is not ProcessState.DEAD:
            self._push_timer(handle)
        return handle

    def call_at_ns(
        self,
        global_ns: int,
        context: contextvars.Context,
        callback: Callable[..., Any],
        *args: Any,
    ) -> VirtualHandle:
        """For the simulated hardware: call at this virtual time, as the owner of `context`."""
        process = context.get(PROCESS)
        handle = VirtualHandle(callback, args, self, context, process)
        if process is None or process.state is not ProcessState.DEAD:
            self.next_timer(handle, global_ns)
        return handle

    def _push_timer(self, handle: VirtualHandle) -> None:
        process = handle.process
        if process is None or process.clock is None:
            global_ns = handle.local_when_ns
        else:
            global_ns = process.clock.to_global_ns(handle.local_when_ns)
        self.next_timer(handle, global_ns)

    def next_timer(self, handle: VirtualHandle, global_ns: int) -> None:
        self._number += 1
        handle._scheduled = True
        heapq.heappush(self._timers, (max(global_ns, self.now_ns), self._number, handle))

    def timer_cancelled(self) -> None:
        self._cancelled_timers += 1
        kept = len(self._timers)
        if self._cancelled_timers > CANCELLED_TIMERS_KEPT and self._cancelled_timers * 2 > kept:
            self._timers = [timer for timer in self._timers if not timer[2]._cancelled]
            heapq.heapify(self._timers)
            self._cancelled_timers = 0

    def requeue(self, handles: Iterable[VirtualHandle]) -> None:
        self._ready.extend(handles)

    # -- running -----------------------------------------------------------------------------------

    def run_forever(self) -> None:
        self._check_closed()
        if self._running:
            raise RuntimeError("this event loop is already running")
        previous_hooks = sys.get_asyncgen_hooks()
        asyncio._set_running_loop(self)
        self._running = True
        try:
            sys.set_asyncgen_hooks(finalizer=self._finalize_async_generator)
            self._run()
        finally:
            sys.set_asyncgen_hooks(*previous_hooks)
            self._stopping = False
            self._running = False
            asyncio._set_running_loop(None)

    def _run(self) -> None:
        ready = self._ready
        same_instant = 0
        while not self._stopping:
            timers = self._timers
            while timers and timers[0][0] <= self.now_ns:
                self._fire(heapq.heappop(timers)[2])
                timers = self._timers
            if not ready:
                if not timers:
                    raise Deadlock(self._describe_deadlock())
                self.now_ns = timers[0][0]
                same_instant = 0
                continue
            handle = ready.popleft()
            process = handle.process
            if handle._cancelled:
                continue
            if process is not None and process.state is not RUNNING and not process.may_run(handle):
                continue
            self.events += 1
            same_instant += 1
            if same_instant > SAME_INSTANT_EVENTS_MAX or self.events > self.events_max:
                raise BudgetExceeded(self._describe_budget(handle))
            try:
                handle._context.run(handle._callback, *handle._args)
            except (SystemExit, KeyboardInterrupt):
                raise
            except ProcessExit:
                if process is not None:
                    process.crash()
            except BaseException as error:
                self.call_exception_handler(
                    {"message": f"exception in {handle!r}", "exception": error, "process": process}
                )
            if self._costs is not None and process is not None and process.is_charged:
                cost_ns = next(self._costs)
                if cost_ns:
                    self.now_ns += cost_ns
                    same_instant = 0

    def _fire(self, handle: VirtualHandle) -> None:
        handle._scheduled = False
        if handle._cancelled:
            self._cancelled_timers -= 1
            return
        process = handle.process
        clock = None if process is None else process.clock
        if clock is not None and clock.monotonic_ns() < handle.local_when_ns:
            self._push_timer(handle)  # The clock was slowed down since the timer was set.
            return
        self._ready.append(handle)

    def run_until_complete(self, future: Awaitable[T]) -> T:
        self._check_closed()
        task = asyncio.ensure_future(future, loop=self)
        stop = lambda _: self.stop()  # noqa: E731
        task.add_done_callback(stop)
        try:
            self.run_forever()
        finally:
            task.remove_done_callback(stop)
            if not task.done():
                self._bury([task])  # the run failed: Deadlock, BudgetExceeded, an interrupt
        return task.result()

    def stop(self) -> None:
        self._stopping = True

    def is_running(self) -> bool:
        return self._running

    def is_closed(self) -> bool:
        return self._closed

    def _check_closed(self) -> None:
        if self._closed:
            raise RuntimeError("Event loop is closed")

    def close(self) -> None:
        """Drop everything that is pending. Coroutines left behind are closed here, in a fixed
        order, so that nothing of this run happens at the whim of the garbage collector of the next.
        """
        if self._closed:
            return
        self.bury_tasks_of(None)
        if self.network is not None:
            self.network.shut()
        self._closed = True
        self._ready.clear()
        self._timers.clear()
        buried, self._buried = self._buried, []
        for task in buried:
            with contextlib.suppress(BaseException):  # it may await in its `finally`
                task.get_coro().close()  # type: ignore[union-attr]

    def bury_tasks_of(self, process: Process | None) -> None:
        """Keep the tasks of a dead process alive, suspended for ever; None means all tasks."""
        tasks = [
            task
            for task in asyncio.all_tasks(self)
            if isinstance(task, VirtualTask) and (process is None or task.process is process)
        ]
        self._bury(sorted(tasks, key=lambda task: task.number))

    def _bury(self, tasks: Iterable[Any]) -> None:
        for task in tasks:
            task._log_destroy_pending = False
            self._buried.append(task)

    # -- tasks, futures, errors --------------------------------------------------------------------

    def create_future(self) -> asyncio.Future[Any]:
        return VirtualFuture(loop=self)

    def create_task(  # type: ignore[override]
        self,
        coro: Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
        **_: Any,
    ) -> asyncio.Task[T]:
        self._check_closed()
        if context is None:
            context = contextvars.copy_context()
        return VirtualTask(coro, loop=self, name=name, context=context)

    def set_exception_handler(self, handler: Any) -> None:
        self._exception_handler = handler

    def get_exception_handler(self) -> Any:
        return self._exception_handler

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        self.errors.append(context)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        process = context.get("process") or PROCESS.get()
        future = context.get("future")
        if isinstance(future, VirtualTask):
            process = future.process
        if process is not None and process.state is ProcessState.DEAD:
            return
        if self._exception_handler is not None:
            self._exception_handler(self, context)
        else:
            self.default_exception_handler(context)

    def get_debug(self) -> bool:
        return self._debug

    def set_debug(self, enabled: bool) -> None:
        self._debug = enabled

    def _finalize_async_generator(self, generator: Any) -> None:
        if not self._closed:
            self.create_task(generator.aclose())

    async def shutdown_asyncgens(self) -> None:
        """Nothing to do: generators are finalized when they are dropped."""

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """There are no threads."""

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """There are no threads: the function runs at once, its result comes a millisecond later."""
        future: asyncio.Future[T] = self.create_future()

        def finish(result: T | None, error: BaseException | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(result)  # type: ignore[arg-type]
            else:
                future.set_exception(error)

        try:
            self.call_later(0.001, finish, func(*args), None)
        except Exception as error:
            self.call_later(0.001, finish, None, error)
        return future

    # -- connections -------------------------------------------------------------------------------

    def _require_network(self) -> Network:
        if self.network is None:
            raise OSError("this virtual loop has no network")
        return self.network

    async def create_connection(  # type: ignore[override]
        self,
        protocol_factory: Callable[[], Any],
        host: Any = None,
        port: Any = None,
        **options: Any,
    ) -> tuple[asyncio.Transport, Any]:
        return await self._require_network().connect(protocol_factory, host, port, **options)

    async def create_server(  # type: ignore[override]
        self,
        protocol_factory: Callable[[], Any],
        host: Any = None,
        port: Any = None,
        **options: Any,
    ) -> asyncio.AbstractServer:
        return await self._require_network().listen(protocol_factory, host, port, **options)

    async def create_datagram_endpoint(  # type: ignore[override]
        self, protocol_factory: Callable[[], Any], **options: Any
    ) -> tuple[asyncio.DatagramTransport, Any]:
        return await self._require_network().open_datagrams(protocol_factory, **options)

    async def getaddrinfo(self, host: Any, port: Any, **_: Any) -> list[Any]:  # type: ignore[override]
        """Names are addresses here."""
        return [(2, 1, 6, "", (host, int(port or 0)))]

    # -- explaining failures -----------------------------------------------------------------------

    def _describe_deadlock(self) -> str:
        tasks = [task for task in asyncio.all_tasks(self) if isinstance(task, VirtualTask)]
        tasks.sort(key=lambda task: task.number)
        lines = [
            f"nothing is ready and no timer is set at {self.now_ns / NS:.6f} s; waiting tasks:"
        ]
        for task in tasks[:20]:
            owner = task.process.name if task.process else "the test"
            frames = task.get_stack(limit=1)
            where = f"{frames[0].f_code.co_filename}:{frames[0].f_lineno}" if frames else "?"
            lines.append(f"  {task.get_name()} of {owner} at {where}")
        return "\n".join(lines)

    def _describe_budget(self, handle: VirtualHandle) -> str:
        return (
            f"{self.events} events, virtual time {self.now_ns / NS:.6f} s: either time stands "
            f"still or the budget of {self.events_max} is too small; about to run {handle!r}"
        )
