"""One child process: its start line, its end, its log. The child is a few lines of Python."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from quorumcache.node.errors import StartupError
from quorumcache.node.founding.data_dir import LEFT_FILE
from quorumcache.node.process import child as module
from quorumcache.node.process.child import Child
from quorumcache.node.process.local_cluster import LocalNode, Plan
from quorumcache.node.storage.identity import LOCK_FILE
from quorumcache.node.storage.local_state import MAP_FILE
from quorumcache.ring.secret import SECRET_FILE

DEADLINE_S = 60.0
READY = "print('ready', flush=True); import sys; sys.stdin.read()"
DEAF = (
    "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "print('ready', flush=True); import time; time.sleep(60)"
)


def child_of(tmp_path: Path, program: str) -> Child:
    node = LocalNode("n1", 1, 2, 3)
    made = Child(Plan(str(tmp_path), 4, (node,)), node, [])
    made._words = ["-c", program]
    return made


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(main, DEADLINE_S))


def test_it_is_told_who_it_is_and_where_its_data_is(tmp_path: Path) -> None:
    node = LocalNode("n1", 1, 2, 3)
    words = Child(Plan(str(tmp_path), 4, (node,)), node, ["--memory", "1m"])._words
    given = dict(pairwise(words))
    assert given["--name"] == "n1"
    assert given["--listen"] == "127.0.0.1:1"
    assert given["--data-dir"] == f"{tmp_path}/n1/data"
    assert given["--shards"] == "4"
    assert given["--memory"] == "1m"
    assert words[0] == "-P", "not what lies in the current directory"


def test_it_is_ready_with_its_start_line_and_stops_cleanly(tmp_path: Path) -> None:
    async def main() -> None:
        child = child_of(tmp_path, READY)
        assert not child.is_running
        await child.start()
        await child.wait_start_line()
        assert child.is_running
        assert child.pid > 0
        assert await child.stop()
        assert not child.is_running
        assert await child.wait_end() == "killed by SIGTERM"
        assert await child.stop(), "one that has ended stops at once"

    run(main())


def test_one_that_ends_before_it_is_ready_is_told_with_its_last_words(tmp_path: Path) -> None:
    program = (
        "import sys; sys.stderr.write('loading\\nquorumcached: no such address\\nbye\\n');"
        "sys.exit(3)"
    )

    async def main() -> None:
        child = child_of(tmp_path, program)
        await child.start()
        with pytest.raises(StartupError, match="n1 did not start: no such address") as told:
            await child.wait_start_line()
        assert child.log_path in str(told.value)
        assert await child.wait_end() == "exit status 3"

    run(main())


def test_one_that_does_not_stop_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STOP_S", 0.05)

    async def main() -> None:
        child = child_of(tmp_path, DEAF)
        await child.start()
        await child.wait_start_line()
        assert not await child.stop()
        assert await child.wait_end() == "killed by SIGKILL"

    run(main())


def test_a_long_log_is_set_aside_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOG_BYTES_MAX", 10)

    async def main() -> None:
        for line in ("a long first line", "second", "third"):
            child = child_of(tmp_path, f"import sys; print({line!r}, file=sys.stderr)")
            await child.start()
            await child.wait_end()
        directory = tmp_path / "n1"
        assert (directory / "node.log.1").read_text() == "a long first line\n"
        assert (directory / "node.log").read_text() == "second\nthird\n"

    run(main())


def test_it_has_data_once_it_was_ready(tmp_path: Path) -> None:
    child = child_of(tmp_path, READY)
    assert not child.has_data()
    os.makedirs(child.data_path)
    assert not child.has_data(), "an empty directory is none of a node"
    Path(child.data_path, LOCK_FILE).touch()
    assert child.has_data()


def test_a_node_that_joins_asks_the_others_with_their_secret(tmp_path: Path) -> None:
    founder = LocalNode("a", 1, 2, 3)
    joining = LocalNode("d", 4, 5, 6, has_joined=True)
    plan = Plan(str(tmp_path), 4, (founder, joining), founders="a=127.0.0.1:3")
    child = Child(plan, joining, [])
    given = dict(pairwise(child._words))
    assert given["--join"] == "127.0.0.1:3"
    assert "--initial-cluster" not in given
    assert "--shards" not in given
    assert child._secret_words() == [], "nobody has one yet"
    for name in ("a", "d"):
        path = tmp_path / name / "data" / SECRET_FILE
        path.parent.mkdir(parents=True)
        path.touch()
        assert child._secret_words() == ["--secret-file", str(path)], "its own one goes first"
    assert Child(plan, founder, [])._secret_words() == []
    assert not child.is_member()
    (tmp_path / "d" / "data" / MAP_FILE).touch()
    assert child.is_member()
    assert Child(plan, founder, []).is_member()


def test_one_that_has_left_says_so_on_its_disk(tmp_path: Path) -> None:
    child = child_of(tmp_path, READY)
    assert not child.has_left()
    Path(child.data_path).mkdir(parents=True)
    (Path(child.data_path) / LEFT_FILE).touch()
    assert child.has_left()


def test_a_restart_is_another_process_and_says_when_it_is_over(tmp_path: Path) -> None:
    async def main() -> None:
        child = child_of(tmp_path, READY)
        await child.start()
        await child.wait_start_line()
        before = child.pid
        watching = asyncio.ensure_future(child.wait_end())
        await child.restart()
        assert await watching
        assert child.restarted.is_set()
        assert not child.is_restarting
        assert child.is_running
        assert child.pid != before
        child._words = ["-c", "pass"]
        with pytest.raises(StartupError):
            await child.restart()
        assert child.restarted.is_set()
        assert not child.is_running

    run(main())
