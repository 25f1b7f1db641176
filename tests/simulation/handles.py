"""Handles, futures and tasks of the virtual loop: owned by a process, hashed by number.

asyncio keeps tasks and futures in sets. With hashes from memory addresses the order of such a set
would differ from run to run.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine, Generator
from typing import TYPE_CHECKING, Any, TypeVar

from tests.simulation.process import PROCESS, Process

if TYPE_CHECKING:
    from tests.simulation.loop import VirtualLoop

T = TypeVar("T")


class VirtualHandle(asyncio.TimerHandle):
    """A callback with its owner; also a timer when `local_when_ns` is set."""

    __slots__ = ("local_when_ns", "process")

    def __init__(
        self,
        callback: Callable[..., Any],
        args: tuple[Any, ...],
        loop: VirtualLoop,
        context: contextvars.Context,
        process: Process | None,
    ) -> None:
        self._callback = callback
        self._args = args
        self._loop = loop
        self._context = context
        self._cancelled = False
        self._scheduled = False
        self._source_traceback = None
        self._repr = None
        self._when = 0.0
        self.process = process
        self.local_when_ns = 0

    def cancel(self) -> None:
        if not self._cancelled:
            self._cancelled = True
            self._callback = None  # type: ignore[assignment]
            self._args = None  # type: ignore[assignment]
            if self._scheduled:
                self._loop.timer_cancelled()


class VirtualFuture(asyncio.Future[T]):
    """A future whose hash is a number of the loop, drawn when it is first asked for."""

    _number = 0

    def __hash__(self) -> int:
        if not self._number:
            self._number = self.get_loop().next_number()  # type: ignore[attr-defined]
        return self._number


class VirtualTask(asyncio.Task[T]):
    """A task that knows its process and whose hash is its number in the loop."""

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, T] | Generator[Any, None, T],
        *,
        loop: VirtualLoop,
        name: str | None,
        context: contextvars.Context,
    ) -> None:
        self._number = loop.next_number()
        self.process = context.get(PROCESS)
        super().__init__(coroutine, loop=loop, name=name or f"task-{self._number}", context=context)

    def __hash__(self) -> int:
        return self._number

    @property
    def number(self) -> int:
        return self._number
