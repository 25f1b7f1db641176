"""Simulated processes: who owns a handle, when it may run, and what its clocks say.

Every handle and task of a simulated process carries that process in its `contextvars` context, so
ownership follows the code by itself: whatever a callback schedules belongs to the process that
scheduled it. The loop asks the owner before it runs a handle, which is all that killing and
stopping a process need. Handles with no owner belong to the test itself.
"""

from __future__ import annotations

import asyncio
import contextvars
import enum
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from tests.simulation.handles import VirtualHandle
    from tests.simulation.loop import VirtualLoop

T = TypeVar("T")

PROCESS: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)


class HostClock:
    """The clocks of one machine: a monotonic one with its own origin and rate, and a wall clock
    that may jump.

    Satisfies `node.clock.Clock`. It outlives the processes of its host, as a machine's clock does.
    `rate_ppm` says how much faster than virtual time it runs.
    """

    def __init__(
        self,
        loop: VirtualLoop,
        *,
        rate_ppm: int = 0,
        origin_ns: int = 0,
        wall_origin_ms: int = 1_800_000_000_000,
    ) -> None:
        self._loop = loop
        self.rate_ppm = rate_ppm
        self._global_anchor_ns = loop.now_ns
        self._local_anchor_ns = origin_ns + loop.now_ns
        self._wall_offset_ms = wall_origin_ms
        self.wall_offsets: list[tuple[int, int]] = [(loop.now_ns, wall_origin_ms)]
        """What the wall clock was ahead of virtual time, ms, since when, ns."""

    def monotonic_ns(self) -> int:
        elapsed_ns = self._loop.now_ns - self._global_anchor_ns
        return self._local_anchor_ns + elapsed_ns + elapsed_ns * self.rate_ppm // 1_000_000

    def wall_ms(self) -> int:
        return self._wall_offset_ms + self._loop.now_ns // 1_000_000

    def to_global_ns(self, local_ns: int) -> int:
        """The earliest virtual time at which this clock shows at least `local_ns`, at the present
        rate.
        """
        ahead_ns = local_ns - self._local_anchor_ns
        global_ns = self._global_anchor_ns + -(-ahead_ns * 1_000_000 // (1_000_000 + self.rate_ppm))
        return global_ns

    def set_rate(self, rate_ppm: int) -> None:
        local_ns = self.monotonic_ns()
        self._global_anchor_ns = self._loop.now_ns
        self._local_anchor_ns = local_ns
        self.rate_ppm = rate_ppm

    def jump_wall(self, by_ms: int) -> None:
        self._wall_offset_ms += by_ms
        self.wall_offsets.append((self._loop.now_ns, self._wall_offset_ms))


class ProcessState(enum.Enum):
    """ARMED: running, and to be ended after a number of further callbacks."""

    RUNNING = "running"
    ARMED = "armed"
    PAUSED = "paused"
    DEAD = "dead"


class ProcessExit(BaseException):
    """Unwinds what runs in a process that has just ended itself (inside a task, crash it first,
    then raise).
    """


class Process:
    """One run of a program on a host. A restart is a new `Process` on the same host and clock."""

    def __init__(
        self, loop: VirtualLoop, name: str, *, host: str, clock: HostClock | None = None
    ) -> None:
        self.loop = loop
        self.name = name
        self.host = host
        self.clock = clock
        self.state = ProcessState.RUNNING
        self.is_charged = False
        """Its callbacks take time (`costs.py`)."""
        self.held: list[VirtualHandle] = []
        self.exit_hooks: list[Callable[[bool], None]] = []
        self._pauses = 0
        self._paused_ns = 0
        """For how long it has stood still, up to the present pause."""
        self._pause_began_ns = 0
        self._events_left = 0
        self._on_event: Callable[[], None] | None = None
        self._context = contextvars.copy_context()
        self._context.run(PROCESS.set, self)

    def __repr__(self) -> str:
        return f"<process {self.name} {self.state.value}>"

    @property
    def is_dead(self) -> bool:
        return self.state is ProcessState.DEAD

    @property
    def is_running(self) -> bool:
        """Neither dead nor standing still."""
        return self.state in (ProcessState.RUNNING, ProcessState.ARMED)

    @property
    def paused_ns(self) -> int:
        """For how long it has stood still, all in all."""
        if self.state is ProcessState.PAUSED:
            return self._paused_ns + self.loop.now_ns - self._pause_began_ns
        return self._paused_ns

    def arm(self, events: int, action: Callable[[], None]) -> None:
        """Call `action` instead of its `events`-th callback from now on; it has to end it."""
        assert self.is_running
        self.state = ProcessState.ARMED
        self._events_left, self._on_event = events, action

    def disarm(self) -> None:
        self._on_event = None
        if self.state is ProcessState.ARMED:
            self.state = ProcessState.RUNNING

    def may_run(self, handle: VirtualHandle) -> bool:
        """For the loop, when it is not simply RUNNING: does this callback run now?"""
        if self.state is ProcessState.PAUSED:
            self.held.append(handle)
            return False
        if self.state is ProcessState.ARMED:
            self._events_left -= 1
            if self._events_left <= 0:
                action = self._on_event
                self.disarm()
                assert action is not None
                action()
        return self.is_running

    def call(self, function: Callable[..., T], *args: Any) -> T:
        """Run `function` now, as this process."""
        return self._context.copy().run(function, *args)

    def spawn(
        self, coroutine: Coroutine[Any, Any, T], *, name: str | None = None
    ) -> asyncio.Task[T]:
        """Start a task that belongs to this process."""
        return self.loop.create_task(coroutine, name=name, context=self._context.copy())

    def pause(self) -> None:
        """SIGSTOP: nothing of it runs, its clocks go on, what arrives for it waits.

        Pauses may overlap: it goes on when the last one is over.
        """
        if self.state is not ProcessState.DEAD:
            if self.state is not ProcessState.PAUSED:
                self._pause_began_ns = self.loop.now_ns
            self._pauses += 1
            self.state = ProcessState.PAUSED

    def resume(self, *, fully: bool = False) -> None:
        """SIGCONT: what became due meanwhile runs now, in the order in which it became due."""
        self._pauses = 0 if fully else max(0, self._pauses - 1)
        if self.state is ProcessState.PAUSED and not self._pauses:
            self._paused_ns += self.loop.now_ns - self._pause_began_ns
            armed = self._on_event is not None
            self.state = ProcessState.ARMED if armed else ProcessState.RUNNING
            held, self.held = self.held, []
            self.loop.requeue(held)

    def crash(self, *, silent: bool = False) -> None:
        """End it: no handle or timer of it runs again, no `finally` either.

        `silent` is a power cut (peers hear nothing until the host is back); otherwise the kernel
        closes its sockets as after kill -9.
        """
        if self.state is ProcessState.DEAD:
            return
        self.state = ProcessState.DEAD
        self.held.clear()
        self.loop.bury_tasks_of(self)
        hooks, self.exit_hooks = self.exit_hooks, []
        for hook in hooks:
            hook(silent)
