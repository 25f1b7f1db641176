"""How a command speaks to the `quorumcached up` that runs the cluster of a data directory.

A Unix socket in that directory: one line of JSON asks, lines of JSON answer, the last one has
`code`. `quorumcached up` listens (`node/process/control.py`); `quorumcached up add` and
`quorumcache rolling-restart` ask. Like `streams.py` it is left out of `ring/__init__.py`.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

from quorumcache.ring.errors import RingError

DATA_DIR = "./quorumcache-data"
SOCKET_NAME = "up.socket"
LINE_BYTES_MAX = 64 << 10
"""Of a question or an answer. The longest one names all nodes of a local cluster."""


class ControlError(RingError):
    """Nobody listens there, or it went away; says what to do."""


@contextlib.contextmanager
def socket_path(data_dir: str) -> Iterator[str]:
    """The socket's path while the context lasts. A socket's address has room for 107 characters
    only, so the directory is named by a descriptor."""
    descriptor = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{SOCKET_NAME}"
    finally:
        os.close(descriptor)


def ask(data_dir: str, question: dict[str, Any], say: Callable[[str], object]) -> dict[str, Any]:
    """Ask, and wait for the end, however long that takes. `say` gets each line for people.

    Raises `ControlError` if no `quorumcached up` runs there, or if it ends before it has answered.
    """
    with contextlib.ExitStack() as stack:
        connection = stack.enter_context(socket.socket(socket.AF_UNIX))
        try:
            connection.connect(stack.enter_context(socket_path(data_dir)))
        except OSError as error:
            hint = "start it with `quorumcached up`, or name its directory with --data-dir"
            if isinstance(error, PermissionError):
                hint = "run this as the user who has started it"
            raise ControlError(
                f"no `quorumcached up` can be reached in {data_dir}: {hint}"
            ) from None
        lines = stack.enter_context(connection.makefile("rb"))
        try:
            connection.sendall(json.dumps(question).encode() + b"\n")
            while line := lines.readline(LINE_BYTES_MAX):
                answer: dict[str, Any] = json.loads(line)
                if "code" in answer:
                    return answer
                say(str(answer["say"]))
        except (OSError, ValueError, KeyError) as error:
            raise ControlError(f"`quorumcached up` in {data_dir}: {error}") from None
    raise ControlError(f"`quorumcached up` in {data_dir} has ended before it was done")
