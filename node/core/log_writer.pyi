import asyncio
from collections.abc import Callable
from typing import Any

class LogWriter:
    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        zeros: int,
        calls: Any = None,
        twin: Callable[[OSError], Any] | None = None,
    ) -> None: ...
    def append(
        self,
        fd: int,
        data: bytes,
        start: int,
        filled_bytes: int,
        written: Callable[[int, BaseException | None, bool], None],
    ) -> None: ...
    def close_file(self, fd: int) -> None: ...
    def close(self) -> None: ...
