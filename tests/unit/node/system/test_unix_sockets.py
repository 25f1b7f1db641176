"""A Unix socket: whose the file is, who may connect, what is replaced, and what is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import socket
import stat
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

from quorumcache.node.errors import StartupError
from quorumcache.node.system import unix_sockets
from quorumcache.node.system.unix_sockets import UnixListener

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}
Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture(params=sorted(LOOPS))
def run(request: pytest.FixtureRequest) -> Run:
    def on_loop(work: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            return runner.run(work)

    return on_loop


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "q.sock")


class Greeting(asyncio.Protocol):
    """Says hello and closes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.write(b"hello")  # type: ignore[attr-defined]
        transport.close()


def listener(path: str, *, mask: int = 0o700) -> UnixListener:
    return UnixListener(asyncio.get_running_loop(), path, mask=mask, backlog=16)


async def greeting(path: str) -> bytes:
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        return await reader.read()
    finally:
        writer.close()


def is_there(path: str) -> bool:
    return os.path.lexists(path)


def dead_socket(path: str) -> None:
    """What a process leaves behind that was killed."""
    with socket.socket(socket.AF_UNIX) as endpoint:
        endpoint.bind(path)
        endpoint.listen()


@pytest.mark.parametrize("mask", [0o700, 0o770, 0o666])
def test_it_serves_with_its_permissions_and_is_gone_afterwards(
    run: Run, path: str, mask: int
) -> None:
    async def main() -> None:
        ours = listener(path, mask=mask)
        assert await ours.start(Greeting) == f"unix:{path}"
        assert stat.S_IMODE(os.lstat(path).st_mode) == mask
        assert await greeting(path) == b"hello"
        ours.close()
        assert not is_there(path)
        await ours.wait_closed()

    run(main())


def test_the_permissions_hold_before_anybody_can_connect(
    run: Run, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    change = os.chmod

    def chmod(where: str, mode: int) -> None:
        with socket.socket(socket.AF_UNIX) as early, pytest.raises(ConnectionRefusedError):
            early.connect(where)
        change(where, mode)

    monkeypatch.setattr(unix_sockets.os, "chmod", chmod)

    async def main() -> None:
        ours = listener(path)
        await ours.start(Greeting)
        ours.close()

    run(main())


def test_the_socket_of_a_dead_process_is_replaced(run: Run, path: str) -> None:
    dead_socket(path)

    async def main() -> None:
        ours = listener(path)
        await ours.start(Greeting)
        assert await greeting(path) == b"hello"
        ours.close()

    run(main())
    assert not is_there(path)


def test_a_socket_on_which_somebody_listens_is_left_alone(run: Run, path: str) -> None:
    with socket.socket(socket.AF_UNIX) as theirs:
        theirs.bind(path)
        theirs.listen()
        with pytest.raises(StartupError) as caught:
            run(start_and_close(path))
        assert str(caught.value) == (
            f"cannot listen on unix:{path}: process {os.getpid()}"
            f" ({Path('/proc/self/comm').read_text().strip()}) listens there. Stop that one, or"
            " choose another path with --unix-path"
        )
        with socket.socket(socket.AF_UNIX) as still:
            still.connect(path)


def test_so_is_one_whose_backlog_is_full(run: Run, path: str) -> None:
    with socket.socket(socket.AF_UNIX) as theirs, socket.socket(socket.AF_UNIX) as first:
        theirs.bind(path)
        theirs.listen(0)
        first.connect(path)
        with pytest.raises(StartupError, match="another process listens there"):
            run(start_and_close(path))


async def start_and_close(path: str) -> None:
    ours = listener(path)
    try:
        await ours.start(Greeting)
    finally:
        ours.close()


def test_what_is_no_socket_is_never_removed(run: Run, path: str) -> None:
    Path(path).write_text("precious")
    with pytest.raises(StartupError, match=r"a file is there that is no socket\. Remove it, or"):
        run(start_and_close(path))
    assert Path(path).read_text() == "precious"
    os.unlink(path)
    os.symlink("/dev/null", path)
    with pytest.raises(StartupError, match="a file is there that is no socket"):
        run(start_and_close(path))
    assert os.path.islink(path)


def test_a_directory_that_is_missing_or_closed(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "none" / "q.sock")
    with pytest.raises(StartupError, match=rf"there is no directory {tmp_path}/none\. Make it"):
        run(start_and_close(path))
    (tmp_path / "file").write_text("")
    with pytest.raises(StartupError, match="there is no directory"):
        run(start_and_close(str(tmp_path / "file" / "q.sock")))

    class Closed(socket.socket):
        def bind(self, address: Any) -> None:
            raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(unix_sockets.socket, "socket", Closed)
    with pytest.raises(StartupError, match=rf"this user may not make a socket in {tmp_path}\. "):
        run(start_and_close(str(tmp_path / "q.sock")))


def test_a_socket_that_somebody_put_in_its_place_is_not_removed(run: Run, path: str) -> None:
    async def main() -> None:
        ours = listener(path)
        await ours.start(Greeting)
        os.unlink(path)
        dead_socket(path)
        ours.close()
        assert is_there(path)

    run(main())


def test_before_it_serves_it_refuses(run: Run, path: str) -> None:
    async def main() -> None:
        ours = listener(path)
        await ours.start(Greeting, serves=False)
        with pytest.raises(ConnectionRefusedError):
            await greeting(path)
        await ours.serve()
        await ours.serve()
        assert await greeting(path) == b"hello"
        ours.close()

    run(main())


def test_a_path_that_was_taken_before_it_serves_is_taken_back_or_given_up(
    run: Run, path: str
) -> None:
    """It looks as if a dead process had left it behind."""

    async def main() -> None:
        first, second, third = listener(path), listener(path), listener(path)
        await first.start(Greeting, serves=False)
        await second.start(Greeting, serves=False)
        await first.serve()
        assert await greeting(path) == b"hello"
        with pytest.raises(StartupError, match=f"process {os.getpid()} .* listens there"):
            await third.start(Greeting)
        with pytest.raises(StartupError, match=f"process {os.getpid()} .* listens there"):
            await second.serve()
        second.close()
        assert await greeting(path) == b"hello", "what is the first one's stays"
        first.close()

    run(main())


def test_of_many_that_start_at_the_same_time_one_listens(run: Run, path: str) -> None:
    """Whichever it is, all others are told, and nobody serves on a socket without a file."""

    async def main() -> None:
        dead_socket(path)
        for _ in range(10):
            listeners = [listener(path) for _ in range(5)]
            outcomes = await asyncio.gather(
                *(each.start(Greeting) for each in listeners), return_exceptions=True
            )
            refused = [outcome for outcome in outcomes if isinstance(outcome, StartupError)]
            assert (len(refused), outcomes.count(f"unix:{path}")) == (4, 1), outcomes
            assert await greeting(path) == b"hello"
            for each in listeners:
                each.close()
            assert not is_there(path)

    run(main())


def test_it_listens_before_the_next_one_may_look(
    run: Run, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else that one takes it for the socket of a dead process."""
    turn = unix_sockets._turn
    seen: list[bool] = []

    @contextlib.asynccontextmanager
    async def watched(directory: str) -> AsyncIterator[None]:
        async with turn(directory):
            yield
        with socket.socket(socket.AF_UNIX) as probe:
            seen.append(probe.connect_ex(path) == 0)

    monkeypatch.setattr(unix_sockets, "_turn", watched)

    async def main() -> None:
        for serves in (True, False):
            ours = listener(path)
            await ours.start(Greeting, serves=serves)
            await ours.serve()
            ours.close()

    run(main())
    assert seen == [True, True, False, True]


def test_a_process_that_ends_at_once_removes_its_files(run: Run, path: str) -> None:
    async def main() -> None:
        ours, waiting = listener(path), listener(f"{path}2")
        await ours.start(Greeting)
        await waiting.start(Greeting, serves=False)
        unix_sockets.remove_files()
        assert not is_there(path)
        assert not is_there(f"{path}2")
        dead_socket(path)
        unix_sockets.remove_files()
        assert is_there(path)
        ours.close()
        waiting.close()

    run(main())


def test_processes_that_start_at_the_same_time_take_turns(
    run: Run, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []

    async def main() -> None:
        fd = os.open(os.path.dirname(path), os.O_RDONLY)
        fcntl.flock(fd, fcntl.LOCK_EX)

        async def sleep(seconds: float) -> None:
            waits.append(seconds)
            if len(waits) == 3:
                assert not is_there(path)
                os.close(fd)

        monkeypatch.setattr(unix_sockets.asyncio, "sleep", sleep)
        ours = listener(path)
        await ours.start(Greeting)
        ours.close()

    run(main())
    assert len(waits) == 3


def test_a_lock_that_is_held_for_long_is_not_waited_for(
    run: Run, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unix_sockets, "TURN_SECONDS", 0.0)
    fd = os.open(os.path.dirname(path), os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    run(start_and_close(path))
    os.close(fd)


def test_a_path_from_here_is_told_whole(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    async def main() -> None:
        ours = listener("q.sock")
        assert await ours.start(Greeting) == f"unix:{tmp_path}/q.sock"
        assert await greeting("q.sock") == b"hello"
        ours.close()

    run(main())
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    monkeypatch.chdir(deep)
    with pytest.raises(StartupError, match=r"x/q\.sock: .*path too long.*--unix-path"):
        run(start_and_close("q.sock"))
