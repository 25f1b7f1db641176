"""How the nodes of a local cluster are watched. With real nodes:
tests/integration/test_supervisor.py."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from quorumcache.node.errors import ConfigError, DataDirLocked, StartupError
from quorumcache.node.process import supervisor as module
from quorumcache.node.process.local_cluster import LocalNode, Plan
from quorumcache.node.process.supervisor import BACKOFF_MAX_S, Supervisor, read_health
from tests.simulation.loop import VirtualLoop


class FakeChild:
    """Dies as it is told."""

    def __init__(self, lives: list[float]) -> None:
        self.node = LocalNode("n1", 1, 2, 3)
        self.log_path = "n1/node.log"
        self.data_path = "n1/data"
        self.pid = 17
        self.started_at = 0.0
        self.is_running = True
        self.lives = lives
        """Seconds of each life; the last one does not end."""
        self.starts: list[float] = []
        self.start_error: BaseException | None = None
        self.data_is_there = True

    def has_data(self) -> bool:
        return self.data_is_there

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self.started_at = loop.time()
        self.starts.append(loop.time())
        if self.start_error is not None:
            error, self.start_error = self.start_error, None
            raise error

    async def wait_start_line(self) -> None:
        pass

    async def wait_end(self) -> str:
        if not self.lives:
            await asyncio.get_running_loop().create_future()
        await asyncio.sleep(self.lives.pop(0))
        return "exit status 1"


def watched(child: FakeChild, seconds: float, *, restart: bool = True) -> list[str]:
    said: list[str] = []
    plan = Plan("d", 4, (child.node,))
    supervisor = Supervisor(plan, passed_on=[], restart=restart, say=said.append)

    async def main() -> None:
        child.started_at = asyncio.get_running_loop().time()
        watching = asyncio.ensure_future(supervisor._watch(child))  # type: ignore[arg-type]
        await asyncio.wait((watching,), timeout=seconds)
        if watching.done():
            watching.result()
        watching.cancel()

    loop = VirtualLoop()
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()
    return said


def test_a_node_that_died_is_started_again() -> None:
    child = FakeChild([5.0])
    said = watched(child, 100)
    assert said == [
        "node n1 died (exit status 1); starting it again in 0.5 s",
        "node n1 is back (pid 17)",
    ]
    assert len(child.starts) == 1


def test_one_that_dies_again_and_again_is_started_ever_later() -> None:
    child = FakeChild([0.0] * 12)
    watched(child, 10_000)
    pauses = [later - earlier for earlier, later in pairwise(child.starts)]
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, *[BACKOFF_MAX_S] * 6]


def test_one_that_ran_for_long_is_started_soon() -> None:
    child = FakeChild([*[0.0] * 8, 1000.0])
    said = watched(child, 10_000)
    assert said[-2] == "node n1 died (exit status 1); starting it again in 0.5 s"


def test_without_restart_it_is_told() -> None:
    child = FakeChild([1.0])
    assert watched(child, 100, restart=False) == [
        "node n1 died (exit status 1); its log is n1/node.log"
    ]
    assert child.starts == []


def test_one_without_its_data_is_not_started_on_an_empty_directory() -> None:
    child = FakeChild([1.0])
    child.data_is_there = False
    said = watched(child, 100)
    assert "its data directory n1/data is gone" in said[-1]
    assert child.starts == []


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (StartupError("node n1 did not start: port in use"), "port in use"),
        (PermissionError(13, "Permission denied"), "node n1 cannot be started"),
    ],
)
def test_a_start_that_fails_is_told_and_tried_again(error: BaseException, told: str) -> None:
    child = FakeChild([0.0, 0.0])
    child.start_error = error
    said = watched(child, 100)
    assert any(told in line for line in said)
    assert said[-1] == "node n1 is back (pid 17)"
    assert len(child.starts) == 2


# --- /health


async def served(reply: bytes, then: Callable[[str], Any]) -> Any:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(reply)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        return await asyncio.wait_for(then(f"127.0.0.1:{port}"), 60)
    finally:
        server.close()


def test_the_problems_of_a_node_are_read() -> None:
    body = json.dumps({"problems": ["shard 1 has no leader"]}).encode()
    reply = b"HTTP/1.0 503 x\r\n\r\n" + body
    assert asyncio.run(served(reply, read_health)) == ["shard 1 has no leader"]


@pytest.mark.parametrize("body", [b"", b"hello", b"[]", b"{}", b'{"problems": 5}'])
def test_what_is_no_report_is_told(body: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - JSON's error is one, too
        asyncio.run(served(b"HTTP/1.0 200 OK\r\n\r\n" + body, read_health))


# --- the command


def test_two_clusters_never_share_a_directory(tmp_path: Path) -> None:
    held = module._lock(str(tmp_path))
    with pytest.raises(DataDirLocked):
        module._lock(str(tmp_path))
    held.close()
    module._lock(str(tmp_path)).close()


def test_a_wrong_size_is_told_before_anything_is_made(tmp_path: Path) -> None:
    directory = tmp_path / "d"
    with pytest.raises(ConfigError, match="--memory: 'x' is not a size"):
        module.main(["--data-dir", str(directory), "--memory", "x"])
    assert not directory.exists()
