"""Goal: Ctrl-C ends a command quietly while it loads and while it ends, not only while it runs.

Method: a process begins as the installed script does, and interrupts itself when a given module is
loaded, when its `main` begins, or when Python ends.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest

from quorumcache.commands import INTERRUPTED
from tests.support.interrupts import hear_interrupts, ignore_interrupts

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS: dict[str, str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
MODULES = {
    "quorumcached": ("quorumcache.node", "threading", "quorumcache.ring.streams"),
    "quorumcache": ("quorumcache.router", "asyncio", "quorumcache.router.commands.parser"),
    "quorumcache-bench": ("quorumcache.bench", "json", "quorumcache.bench.race_report"),
}

BEGIN = textwrap.dedent(
    """
    import atexit, os, signal, sys

    where, function, *sys.argv[1:] = sys.argv[1:]

    def interrupt():
        os.kill(os.getpid(), signal.SIGINT)

    class Interrupting:
        def find_spec(self, name, path=None, target=None):
            if name == where:
                interrupt()

    sys.meta_path.insert(0, Interrupting())
    if where == "end":
        atexit.register(interrupt)
    module, _, name = function.partition(":")
    begin = getattr(__import__(module, fromlist=[name]), name)
    if where == "main":
        from quorumcache.ring import streams
        streams.open_standard_streams = interrupt
    sys.exit(begin())
    """
)


def run(command: str, where: str, *, ignored: bool = False) -> subprocess.CompletedProcess[bytes]:
    """Run `COMMAND --help` with an interrupt."""
    return subprocess.run(
        [sys.executable, "-c", BEGIN, where, SCRIPTS[command], "--help"],
        cwd=ROOT,
        capture_output=True,
        timeout=60,
        check=False,
        preexec_fn=ignore_interrupts if ignored else hear_interrupts,
    )


@pytest.mark.parametrize(
    ("command", "module"), [(name, module) for name in MODULES for module in MODULES[name]]
)
def test_an_interrupt_while_the_command_loads(command: str, module: str) -> None:
    done = run(command, module)
    assert (done.returncode, done.stdout, done.stderr) == (INTERRUPTED, b"", b"")


@pytest.mark.parametrize("command", SCRIPTS)
def test_an_interrupt_when_the_command_begins(command: str) -> None:
    """A node's command holds it until it ends, and has printed its help then."""
    done = run(command, "main")
    assert (done.returncode, done.stderr) == (INTERRUPTED, b"")


@pytest.mark.parametrize("command", SCRIPTS)
def test_an_interrupt_when_python_ends(command: str) -> None:
    done = run(command, "end")
    assert (done.returncode, done.stderr) == (INTERRUPTED, b"")
    assert b"usage" in done.stdout


@pytest.mark.parametrize("command", SCRIPTS)
def test_a_command_in_the_background_of_a_shell_goes_on(command: str) -> None:
    done = run(command, MODULES[command][0], ignored=True)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"usage" in done.stdout
