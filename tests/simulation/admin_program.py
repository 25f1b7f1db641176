"""Somebody at a terminal: the command line's own functions against the cluster under faults.

Every command ends within its timeout, with an answer or with one clear line.
"""

from __future__ import annotations

import asyncio
import io
import sys
from random import Random
from typing import Any

from quorumcache.router import cli
from quorumcache.router.commands import basics
from quorumcache.router.commands.parser import make_parser
from quorumcache.router.errors import RouterError
from tests.simulation.loop import NS, VirtualLoop
from tests.simulation.process import PROCESS, Process
from tests.simulation.program import Program

LATE_SECONDS = 0.3
"""A command may take so much longer than its timeout: closing connections takes a moment. The time
does not count in which nodes compute: here they share the processor with it.
"""

COMMANDS = (
    ["status"],
    ["status", "--json"],
    ["map"],
    ["map", "--json"],
    ["ring"],
    ["ring", "--svg", "-"],
    ["node", "list"],
    ["moves"],
    ["moves", "--json"],
    ["cluster", "settings"],
    ["route", "a", "b", "register-0"],
    ["route", "--json", "a"],
    ["get", "register-0"],
    ["set", "admin", "1"],
    ["delete", "admin"],
)
EXIT_CODES = (basics.OK, basics.MISS, basics.UNREACHABLE, basics.UNKNOWN)


class AdminProgram(Program):
    """`outcomes`: exit code of every command that was run."""

    def __init__(
        self, loop: VirtualLoop, name: str, addresses: list[tuple[str, int]], random: Random
    ) -> None:
        super().__init__(loop, name, addresses, random)
        self.outcomes: list[tuple[str, int]] = []

    async def _run(self) -> None:
        while not self._stopping:
            await self._command(list(self.random.choice(COMMANDS)))
            await asyncio.sleep(self.random.uniform(0.05, 0.6))

    async def _command(self, words: list[str]) -> None:
        timeout = self.random.choice((0.3, 1.0, 3.0))
        seeds = self.random.sample(self.seeds, self.random.randint(1, len(self.seeds)))
        argv = ["--seeds", ",".join(seeds), "--timeout", str(timeout), *words]
        begin = self.loop.time()
        at_timeout: list[tuple[float, int]] = []  # The time, and what was charged up to then.
        timer = self.loop.call_later(
            timeout, lambda: at_timeout.append((self.loop.time(), self.loop.charged_ns))
        )
        with _Terminal() as terminal:
            try:
                options = make_parser().parse_args(argv)
                code = await cli.run(options, Random(self.random.getrandbits(64)))
                text = ""
            except basics.Failure as failure:
                code, text = failure.code, str(failure)
            except RouterError as error:
                code, text = basics.explain(error)
        took = self.loop.time() - begin
        timer.cancel()
        held_up = 0.0
        if at_timeout:  # That is as late as the command's own timers are.
            ((then, charged_ns),) = at_timeout
            held_up = then - begin - timeout + (self.loop.charged_ns - charged_ns) / NS
        self.outcomes.append((words[0], code))
        answer = terminal.text()
        what = f"{self.name}: {' '.join(words)} --timeout {timeout}"
        if took - held_up > timeout + LATE_SECONDS:
            self.unexpected.append(f"{what}: took {took:.3f} s")
        if code not in EXIT_CODES:
            self.unexpected.append(f"{what}: exit code {code}, {text!r}")
        if bool(text) == bool(answer) and code != basics.MISS:
            self.unexpected.append(f"{what}: exit code {code}, said {answer!r} and {text!r}")


class _Terminal:
    """Standard output and error of the process that opens it, while others keep theirs."""

    def __init__(self) -> None:
        self._bytes = io.BytesIO()
        self._file = io.TextIOWrapper(self._bytes, encoding="utf-8", write_through=True)
        self._before: tuple[Any, Any] = (None, None)

    def __enter__(self) -> _Terminal:
        self._before = (sys.stdout, sys.stderr)
        process = PROCESS.get()
        sys.stdout = _Switch(process, self._file, self._before[0])
        sys.stderr = _Switch(process, self._file, self._before[1])
        return self

    def __exit__(self, *_: object) -> None:
        sys.stdout, sys.stderr = self._before

    def text(self) -> str:
        return self._bytes.getvalue().decode(errors="replace")  # Values are any bytes.


class _Switch:
    """A text file that is one file for a process, and another for everybody else."""

    def __init__(self, process: Process | None, own: Any, others: Any) -> None:
        self._process, self._own, self._others = process, own, others

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own if PROCESS.get() is self._process else self._others, name)
