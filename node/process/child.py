"""One node as a child process of `quorumcached up`: start, start line, end.

Its log goes to a file, its stdin is a pipe that ends with this process, and it runs the installed
packages whatever lies in the current directory.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from quorumcache.node.errors import StartupError
from quorumcache.node.founding.data_dir import LEFT_FILE
from quorumcache.node.process.local_cluster import LocalNode, Plan
from quorumcache.node.storage.identity import LOCK_FILE
from quorumcache.node.storage.local_state import MAP_FILE
from quorumcache.ring.secret import SECRET_FILE

# A child's own limit for a clean stop is 10 s; then it is killed.
STOP_S = 15.0
# How long a child may take to its start line.
READY_S = 60.0
# An old log file is moved aside when a node starts with more than this in it.
LOG_BYTES_MAX = 16 << 20


class Child:
    """One node process: starts it, waits for its start line, knows how it ended."""

    def __init__(self, plan: Plan, node: LocalNode, passed_on: Sequence[str]) -> None:
        self.node = node
        self.directory = plan.directory(node)
        self.log_path = os.path.join(self.directory, "node.log")
        self.data_path = os.path.join(self.directory, "data")
        self._words = [
            *("-P", "-m", "quorumcache.node"),  # -P: not what lies in this directory
            "--stop-on-stdin-eof",
            *("--name", node.name),
            *("--listen", node.listen),
            *("--peer", node.peer),
            *("--http", node.http),
            *("--data-dir", self.data_path),
            *(
                ("--join", plan.join_addresses(node))
                if node.has_joined
                else ("--initial-cluster", plan.initial_cluster, "--shards", str(plan.shards))
            ),
            *passed_on,
        ]
        self._other_data_paths = [
            os.path.join(plan.directory(other), "data") for other in plan.nodes if other != node
        ]
        self._process: asyncio.subprocess.Process | None = None
        self.started_at = 0.0
        self.is_restarting = False
        """It was stopped to be started again: nobody else has to do that."""
        self.restarted = asyncio.Event()
        self.gone = asyncio.Event()
        """Set once it has left the cluster."""

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    def has_data(self) -> bool:
        """Is there the data directory of a node that was ready before?"""
        return os.path.exists(os.path.join(self.data_path, LOCK_FILE))

    def is_member(self) -> bool:
        """Is it one of the cluster already? A founder is, whatever it has done so far."""
        return not self.node.has_joined or os.path.exists(os.path.join(self.data_path, MAP_FILE))

    def _secret_words(self) -> list[str]:
        """A node that joins has to have the secret that the founders may have made."""
        if not self.node.has_joined:
            return []
        data_paths = [self.data_path, *self._other_data_paths]
        paths = (os.path.join(data_path, SECRET_FILE) for data_path in data_paths)
        found = next((path for path in paths if os.path.exists(path)), "")
        return ["--secret-file", found] if found else []

    def has_left(self) -> bool:
        """Has the node left its cluster for good?"""
        return os.path.exists(os.path.join(self.data_path, LEFT_FILE))

    async def restart(self) -> None:
        """Stop it cleanly and start it again; see `wait_start_line` for what may go wrong."""
        self.restarted.clear()
        self.is_restarting = True
        try:
            await self.stop()
            await self.start()
            async with asyncio.timeout(READY_S):
                await self.wait_start_line()
        finally:
            self.is_restarting = False
            self.restarted.set()

    async def start(self) -> None:
        """Start the process; its log goes to `log_path`."""
        self.started_at = asyncio.get_running_loop().time()
        with self._open_log() as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *self._words,
                *self._secret_words(),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                env=child_environment(),
            )

    def _open_log(self) -> IO[bytes]:
        os.makedirs(self.directory, exist_ok=True)
        if os.path.exists(self.log_path) and os.path.getsize(self.log_path) > LOG_BYTES_MAX:
            os.replace(self.log_path, self.log_path + ".1")
        return open(self.log_path, "ab")

    async def wait_start_line(self) -> None:
        """Return when the node has said that it is ready. StartupError when it ends before that."""
        assert self._process is not None
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            await self._process.wait()
            raise StartupError(
                f"node {self.node.name} did not start: {self._last_words()} (log: {self.log_path})"
            )

    async def wait_end(self) -> str:
        """Wait for the process to end; how it ended, in words."""
        assert self._process is not None
        status = await self._process.wait()
        if status < 0:
            try:
                return f"killed by {signal.Signals(-status).name}"
            except ValueError:
                return f"killed by signal {-status}"
        return f"exit status {status}"

    async def stop(self) -> bool:
        """Stop cleanly, or by force after STOP_S. False when it took force."""
        process = self._process
        if process is None or process.returncode is not None:
            return True
        _send(process, signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), STOP_S)
        except TimeoutError:
            self.kill()
            await process.wait()
            return False
        return True

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None and self._process.returncode is None:
            _send(self._process, signal.SIGKILL)

    def _last_words(self) -> str:
        try:
            with open(self.log_path, encoding="utf-8", errors="replace") as log:
                lines = [line.strip() for line in log.readlines()[-20:]]
        except OSError:
            return "no log was written"
        said = [line for line in lines if line.startswith("quorumcached: ")]
        return (said or lines or ["it said nothing"])[-1].removeprefix("quorumcached: ")


def child_environment() -> dict[str, str]:
    """The children find the same packages, wherever this process was started from.

    Installed packages they find by themselves; a directory on PYTHONPATH would go before the
    standard library.
    """
    root = str(Path(__file__).absolute().parents[2])
    if root in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):
        return dict(os.environ)
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)}


def _send(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):  # It ended in the meantime.
        process.send_signal(number)
