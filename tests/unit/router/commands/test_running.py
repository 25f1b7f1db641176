"""A command that runs on our behalf: how it is started, signalled, ended, and how it ended."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from quorumcache.router.commands import running
from quorumcache.router.commands.basics import Failure
from tests.support.fake_cluster import run

STUBBORN = """
import signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(600)
"""


def test_exit_codes_are_those_of_a_shell() -> None:
    async def main() -> None:
        for script, code in (("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137)):
            process = await running.start(["/bin/sh", "-c", script], os.environ)
            await process.wait()
            assert running.exit_code(process) == code

    run(main())


def test_what_cannot_be_started(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("no program")

    async def main() -> None:
        with pytest.raises(Failure, match="nothing-of-this-name: command not found") as caught:
            await running.start(["nothing-of-this-name"], os.environ)
        assert caught.value.code == running.NOT_FOUND
        for words in ([str(plain)], ["/bin/echo", "a\0b"]):
            with pytest.raises(Failure, match="cannot be run") as caught:
                await running.start(words, os.environ)
            assert caught.value.code == running.NOT_EXECUTABLE

    run(main())


def test_one_that_does_not_go_is_killed_after_the_grace() -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", STUBBORN, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        await process.stdout.readline()
        await running.end(process, 0.1)
        assert process.returncode == -signal.SIGKILL
        assert running.exit_code(process) == 137
        await running.end(process, 0.1)  # It has ended: nothing happens.

    run(main())


def test_one_that_goes_is_not_killed() -> None:
    async def main() -> None:
        process = await running.start(["/bin/sleep", "600"], os.environ)
        await running.end(process, 60)
        assert process.returncode == -signal.SIGTERM

    run(main())


def test_signals_cancel_first_and_are_the_commands_later() -> None:
    async def main() -> None:
        async def waits() -> int:
            with running.Signals() as signals:
                os.kill(os.getpid(), signal.SIGTERM)
                try:
                    await asyncio.sleep(600)
                except asyncio.CancelledError:
                    return signals.caught
                return 0

        assert await asyncio.create_task(waits()) == signal.SIGTERM

        async def passes_on() -> int | None:
            with running.Signals() as signals:
                process = await running.start(["/bin/sleep", "600"], os.environ)
                signals.pass_on(process)
                os.kill(os.getpid(), signal.SIGHUP)
                await process.wait()
                os.kill(os.getpid(), signal.SIGHUP)  # It has ended: nobody to tell.
                await asyncio.sleep(0)
                return process.returncode

        assert await asyncio.create_task(passes_on()) == -signal.SIGHUP

    run(main())
