"""The socket on which `quorumcached up` is asked for something while it runs.

See `ring/local_control.py` for who asks, and what goes over it. Only the user who runs the cluster
can connect: the socket is made without rights for others before anybody can.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Awaitable, Callable
from typing import Any

from quorumcache.node.errors import NodeError
from quorumcache.ring.local_control import LINE_BYTES_MAX, socket_path

CALLERS_MAX = 8
"""Commands at a time; more are told to come back."""
BACKLOG = 8


class Caller:
    """Somebody who has asked and listens."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self.has_gone = False
        """Ctrl-C, for example. What was begun is brought to a good end."""

    def say(self, line: str) -> None:
        """A line for people. It never waits: a caller that does not read loses what it misses."""
        self._send({"say": line})

    def end(self, answer: dict[str, Any]) -> None:
        """The last line."""
        self._send(answer)

    def _send(self, answer: dict[str, Any]) -> None:
        if not self.has_gone and self._writer.transport.get_write_buffer_size() < LINE_BYTES_MAX:
            self._writer.write(json.dumps(answer).encode() + b"\n")


Handle = Callable[[dict[str, Any], Caller], Awaitable[dict[str, Any]]]
"""Takes a question; its answer has `code`, an exit status. A `NodeError` is a line and code 1."""


class Control:
    """`async with Control(data_dir, handle)`: listening inside."""

    def __init__(self, data_dir: str, handle: Handle) -> None:
        self._data_dir = data_dir
        self._handle = handle
        self._server: asyncio.Server | None = None
        self._callers: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Control:
        listener = socket.socket(socket.AF_UNIX)
        try:
            with socket_path(self._data_dir) as path:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)  # Of a process that was killed: the lock says that it is gone.
                listener.bind(path)
                os.chmod(path, 0o600)
            listener.listen(BACKLOG)
            self._server = await asyncio.start_unix_server(
                self._serve, sock=listener, limit=LINE_BYTES_MAX
            )
        except BaseException:
            listener.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._callers):
            task.cancel()
        if self._callers:
            await asyncio.wait(self._callers)
        with contextlib.suppress(OSError), socket_path(self._data_dir) as path:
            os.unlink(path)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._callers.add(task)
        caller = Caller(writer)
        listening: asyncio.Task[None] | None = None
        try:
            question = json.loads(await reader.readline())
            if not isinstance(question, dict):
                raise ValueError(f"{question!r:.60} is no question")
            if len(self._callers) > CALLERS_MAX:
                caller.end({"code": 1, "error": "too many commands at a time: try again later"})
                return
            listening = asyncio.ensure_future(_until_gone(reader, caller))
            caller.end(await self._handle(question, caller))
        except NodeError as error:
            caller.end({"code": 1, "error": str(error)})
        except (ValueError, OSError) as error:
            caller.end({"code": 1, "error": f"not understood: {error}"})
        except asyncio.CancelledError:
            return  # The cluster stops.
        finally:
            self._callers.discard(task)
            if listening is not None:
                listening.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await listening  # Its error, if it has one, is this connection's.
            with contextlib.suppress(OSError):
                writer.close()


async def _until_gone(reader: asyncio.StreamReader, caller: Caller) -> None:
    with contextlib.suppress(OSError):
        while await reader.read(LINE_BYTES_MAX):
            pass
    caller.has_gone = True
