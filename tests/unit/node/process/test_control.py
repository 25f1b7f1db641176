"""The socket of `quorumcached up`, from both ends."""

from __future__ import annotations

import asyncio
import socket
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from quorumcache.node.errors import StartupError
from quorumcache.node.process import control as module
from quorumcache.node.process.control import Caller, Control
from quorumcache.ring.local_control import SOCKET_NAME, ControlError, ask, socket_path

DEADLINE_S = 60.0


async def handle(question: dict[str, Any], caller: Caller) -> dict[str, Any]:
    if question.get("do") == "fail":
        raise StartupError("it cannot be done: do something else")
    caller.say("one")
    caller.say("two")
    return {"code": 0, "asked": question}


async def asking(data_dir: Path, question: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    said: list[str] = []
    answer = await asyncio.to_thread(ask, str(data_dir), question, said.append)
    return answer, said


def test_lines_and_an_answer(tmp_path: Path) -> None:
    async def main() -> None:
        async with Control(str(tmp_path), handle):
            answer, said = await asking(tmp_path, {"do": "something", "nodes": 2})
            assert said == ["one", "two"]
            assert answer == {"code": 0, "asked": {"do": "something", "nodes": 2}}
            answer, said = await asking(tmp_path, {"do": "fail"})
            assert (answer["code"], said) == (1, [])
            assert answer["error"] == "it cannot be done: do something else"
            mode = stat.S_IMODE((tmp_path / SOCKET_NAME).stat().st_mode)
            assert mode == 0o600
        assert not (tmp_path / SOCKET_NAME).exists()
        with pytest.raises(ControlError, match="start it with `quorumcached up`"):
            await asking(tmp_path, {})

    asyncio.run(asyncio.wait_for(main(), DEADLINE_S))


def test_a_long_path_and_a_socket_of_a_killed_process(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as left_behind, socket_path(str(deep)) as path:
        left_behind.bind(path)

    async def main() -> None:
        async with Control(str(deep), handle):
            assert (await asking(deep, {}))[0]["code"] == 0

    asyncio.run(asyncio.wait_for(main(), DEADLINE_S))


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="no `quorumcached up` can be reached"):
        ask(str(tmp_path / "nowhere"), {}, print)


@pytest.mark.parametrize("sent", [b"hello\n", b"[]\n", b"x" * 100_000 + b"\n"])
def test_what_is_no_question_is_answered(tmp_path: Path, sent: bytes) -> None:
    async def main() -> None:
        async with Control(str(tmp_path), handle):
            with socket_path(str(tmp_path)) as path:
                reader, writer = await asyncio.open_unix_connection(path)
            writer.write(sent)
            assert b'"code": 1' in await reader.read()
            writer.close()

    asyncio.run(asyncio.wait_for(main(), DEADLINE_S))


def test_a_caller_that_goes_is_noticed_and_the_end_of_the_cluster_too(tmp_path: Path) -> None:
    async def main() -> None:
        noticed = asyncio.Event()
        started = asyncio.Event()

        async def wait(question: dict[str, Any], caller: Caller) -> dict[str, Any]:
            started.set()
            while not caller.has_gone:  # noqa: ASYNC110 - it has no event
                await asyncio.sleep(0.01)
            noticed.set()
            return {"code": 0}

        async with Control(str(tmp_path), wait):
            with socket_path(str(tmp_path)) as path:
                _, writer = await asyncio.open_unix_connection(path)
            writer.write(b"{}\n")
            await started.wait()
            writer.close()
            await noticed.wait()
            ended: list[str] = []

            def last() -> None:
                with pytest.raises(ControlError, match="has ended before it was done"):
                    ask(str(tmp_path), {}, print)
                ended.append("yes")

            started.clear()
            thread = threading.Thread(target=last)
            thread.start()
            await started.wait()
        await asyncio.to_thread(thread.join)
        assert ended == ["yes"]

    asyncio.run(asyncio.wait_for(main(), DEADLINE_S))


def test_too_many_callers_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CALLERS_MAX", 0)

    async def main() -> None:
        async with Control(str(tmp_path), handle):
            answer, _ = await asking(tmp_path, {})
            assert answer["error"] == "too many commands at a time: try again later"

    asyncio.run(asyncio.wait_for(main(), DEADLINE_S))
