"""Goal: every form of the log's writer keeps the rules that the log rests on.

Method: each test runs over each form. The native one makes its calls to the system by the functions
of `os` where a test replaces them, and by itself otherwise.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from quorumcache.node.errors import DiskFailed, DiskFull, OutOfResources
from quorumcache.node.storage.disk_worker import DiskWorker
from quorumcache.node.storage.log_writer import LogWriter, PlainLogWriter, new_log_writer
from tests.support.log_writers import DEADLINE_S, FORMS, UNREPLACED, Form, core, opened
from tests.test_layering import ROOT

ZEROS = bytes(8192)

of_each_form = pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
of_each_unreplaced_form = pytest.mark.parametrize("form", UNREPLACED, ids=lambda form: form.name)


def failing(code: int) -> Callable[..., int]:
    def fail(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    return fail


async def written(
    writer: LogWriter, fd: int, data: bytes, start: int, filled_bytes: int = 0
) -> tuple[int, BaseException | None, bool]:
    told: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    writer.append(fd, data, start, filled_bytes, lambda *outcome: told.set_result(outcome))
    outcome: tuple[int, BaseException | None, bool]
    outcome = await asyncio.wait_for(told, DEADLINE_S)
    return outcome


def opened_fd(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


# --- what is written


@of_each_unreplaced_form
def test_zeros_are_written_ahead_once_and_overwritten_then(tmp_path: Path, form: Form) -> None:
    path = tmp_path / "f"
    with opened(form, path, ZEROS) as log:
        size = os.path.getsize(path)
        assert size == 6 + len(ZEROS)
        for _ in range(10):
            assert log.append(b"x" * 100) is None
            assert os.path.getsize(path) == size, "the file did not grow"
        for _ in range(3):
            assert log.append(b"y" * 3000) is None
        assert os.path.getsize(path) > log.file.size == 6 + 1000 + 9000
        assert os.path.getsize(path) % 4096 == 0, "whole blocks"
        on_disk = path.read_bytes()
        assert on_disk[: log.file.size] == b"header" + b"x" * 1000 + b"y" * 9000
        assert not on_disk[log.file.size :].strip(b"\0")


@of_each_unreplaced_form
def test_no_zeros_follow_a_long_append(tmp_path: Path, form: Form) -> None:
    path = tmp_path / "f"
    with opened(form, path, ZEROS) as log:
        filled = os.path.getsize(path)
        assert log.append(b"x" * (len(ZEROS) // 2)) is None
        assert os.path.getsize(path) == filled, "it fits into the zeros of before"
        assert log.append(b"y" * len(ZEROS)) is None
        assert os.path.getsize(path) == log.file.size
        assert log.append(b"z") is None
        assert os.path.getsize(path) > log.file.size, "a short one again"
        data = b"header" + b"x" * (len(ZEROS) // 2) + b"y" * len(ZEROS) + b"z"
        assert path.read_bytes().rstrip(b"\0") == data


@of_each_unreplaced_form
@pytest.mark.parametrize("zeros", [b"", bytes(4096), bytes(100_000)])
def test_random_appends_stand_one_behind_the_other(
    tmp_path: Path, form: Form, zeros: bytes
) -> None:
    random = Random(len(zeros))
    expected = b"header"
    with opened(form, tmp_path / "f", zeros) as log:
        for _ in range(150):
            data = random.randbytes(random.choice((1, 100, 3000, 4096, 9000, 70_000)))
            assert log.append(data) is None
            expected += data
            assert log.file.size == len(expected)
            if random.random() < 0.1:
                assert (tmp_path / "f").read_bytes()[: len(expected)] == expected
        on_disk = (tmp_path / "f").read_bytes()
        assert on_disk[: len(expected)] == expected
        assert not on_disk[len(expected) :].strip(b"\0")


@of_each_form
@pytest.mark.parametrize("zeros", [b"", ZEROS])
def test_what_the_system_writes_in_part_is_written_to_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: Form, zeros: bytes
) -> None:
    with opened(form, tmp_path / "f", zeros) as log:
        pwrite, pwritev = os.pwrite, os.pwritev
        monkeypatch.setattr(os, "pwrite", lambda fd, data, at: pwrite(fd, data[:7], at))
        monkeypatch.setattr(os, "pwritev", lambda fd, all, at: pwritev(fd, [all[0][:7]], at))
        for data in (b"in parts of seven bytes", b"exact 7", b"and once more"):
            assert log.append(data) is None
        expected = b"headerin parts of seven bytesexact 7and once more"
        assert log.file.size == len(expected)
        assert (tmp_path / "f").read_bytes()[: log.file.size] == expected


@of_each_form
def test_each_append_is_one_write_and_then_one_sync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: Form
) -> None:
    """No test can pull the plug on the real disk; so this holds on to what it asks the kernel."""
    with opened(form, tmp_path / "f", ZEROS) as log:
        calls: list[str] = []
        for name in ("pwrite", "pwritev", "fsync", "fdatasync", "ftruncate", "close"):
            function = getattr(os, name)
            call = lambda *args, n=name, f=function: (calls.append(n), f(*args))[1]  # noqa: E731
            monkeypatch.setattr(os, name, call)
        for size, write in ((100, "pwrite"), (9000, "pwritev"), (1, "pwritev"), (1, "pwrite")):
            calls.clear()
            assert log.append(bytes(size)) is None
            assert calls == [write, "fdatasync"]
        monkeypatch.undo()


# --- what fails


@of_each_form
@pytest.mark.parametrize("zeros", [b"", ZEROS])
@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errno.ENOSPC, DiskFull),
        (errno.EDQUOT, DiskFull),
        (errno.ENOMEM, OutOfResources),
        (errno.EAGAIN, OutOfResources),
        (errno.EMFILE, OutOfResources),
        (errno.ENFILE, OutOfResources),
        (errno.ENOBUFS, OutOfResources),
    ],
)
def test_an_append_that_is_refused_leaves_nothing_behind(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    form: Form,
    zeros: bytes,
    code: int,
    kind: type[Exception],
) -> None:
    """Not even what went in before, and the same append may be made again."""
    with opened(form, tmp_path / "f", zeros) as log:
        pwrite = os.pwrite
        calls: list[int] = []

        def half(fd: int, data: bytes, offset: int) -> int:
            calls.append(offset)
            return pwrite(fd, data[:2], offset) if len(calls) == 1 else failing(code)()

        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", half)
            patch.setattr(os, "pwritev", lambda fd, all, offset: half(fd, all[0], offset))
            told = log.append(b"z" * 10_000)
        assert len(calls) == 2
        assert type(told) is kind
        assert (tmp_path / "f").read_bytes() == b"header"
        assert log.file.size == 6
        assert log.append(b"again") is None
        assert (tmp_path / "f").read_bytes()[: log.file.size] == b"headeragain"


@of_each_form
def test_a_file_that_cannot_be_cut_back_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: Form
) -> None:
    with opened(form, tmp_path / "f", b"") as log:
        monkeypatch.setattr(os, "pwritev", failing(errno.ENOSPC))
        monkeypatch.setattr(os, "ftruncate", failing(errno.ENOSPC))
        assert type(log.append(b"data")) is DiskFailed


@of_each_form
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EAGAIN])
def test_a_disk_that_fails_is_never_called_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: Form, code: int
) -> None:
    with opened(form, tmp_path / "f", ZEROS) as log:
        syncs: list[int] = []

        def failed(fd: int) -> None:
            syncs.append(fd)
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(os, "fdatasync", failed)
        monkeypatch.setattr(os, "ftruncate", failing(errno.EBADF))
        told = log.append(b"data")
        assert type(told) is DiskFailed
        assert os.strerror(code) in str(told)
        assert len(syncs) == 1, "a second one would tell nothing"
        assert log.file.size == 6


@of_each_form
def test_a_write_that_fails_is_not_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: Form
) -> None:
    with opened(form, tmp_path / "f", ZEROS) as log:
        syncs: list[int] = []
        monkeypatch.setattr(os, "fdatasync", syncs.append)
        monkeypatch.setattr(os, "pwrite", failing(errno.EIO))
        assert type(log.append(b"data")) is DiskFailed
        assert not syncs


@contextmanager
def nothing_to_start_with(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No thread and no descriptor can be had."""

    def fail(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@of_each_form
def test_an_append_is_refused_while_the_thread_cannot_be_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: Form
) -> None:
    """Who appends is told of it, and may append again."""
    with opened(form, tmp_path / "f", ZEROS) as log:
        with nothing_to_start_with(monkeypatch):
            for _ in range(2):
                assert type(log.append(b"data")) is OutOfResources
        assert log.file.size == 6
        assert not (tmp_path / "f").read_bytes()[6:].strip(b"\0")
        assert log.append(b"again") is None
        assert (tmp_path / "f").read_bytes()[: log.file.size] == b"headeragain"


@of_each_form
def test_a_file_is_closed_also_while_the_thread_cannot_be_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: Form
) -> None:
    async def main() -> None:
        writer = form.make(asyncio.get_running_loop(), 0)
        fd = opened_fd(tmp_path / "f")
        with nothing_to_start_with(monkeypatch):
            writer.close_file(fd)
            await asyncio.sleep(0)
        with pytest.raises(OSError, match="Bad file"):
            os.fstat(fd)
        writer.close()

    asyncio.run(main())


@of_each_unreplaced_form
def test_errors_of_the_kernel_come_through(tmp_path: Path, form: Form) -> None:
    async def main() -> None:
        writer = form.make(asyncio.get_running_loop(), 0)
        (tmp_path / "f").write_bytes(b"")
        read_only = os.open(tmp_path / "f", os.O_RDONLY)
        _, error, was_cut = await written(writer, read_only, b"data", 0)
        assert isinstance(error, OSError)
        assert (error.errno, was_cut) == (errno.EBADF, False)
        assert error.strerror == os.strerror(errno.EBADF)
        writer.close_file(read_only)
        full = os.open("/dev/full", os.O_RDWR)
        _, error, was_cut = await written(writer, full, b"data", 0)
        assert isinstance(error, OSError)
        assert (error.errno, was_cut) == (errno.EINVAL, False), "it cannot be cut back"
        writer.close_file(full)
        fd = opened_fd(tmp_path / "f")
        assert await written(writer, fd, b"data", 0) == (4, None, False)
        writer.close_file(fd)
        writer.close()
        for closed in (read_only, full, fd):
            with pytest.raises(OSError, match="Bad file"):
                os.fstat(closed)

    asyncio.run(main())


# --- the thread and the loop


@of_each_unreplaced_form
def test_jobs_are_done_in_order_and_told_on_the_loop(tmp_path: Path, form: Form) -> None:
    async def main() -> None:
        writer = form.make(asyncio.get_running_loop(), 0)
        fd = opened_fd(tmp_path / "f")
        told: list[tuple[int, int]] = []
        here = threading.get_ident()
        for number in range(100):
            data = b"%09d\n" % number
            done = lambda filled, error, cut: told.append((filled, threading.get_ident()))  # noqa: E731
            writer.append(fd, data, number * 10, 0, done)
            del data
        writer.close_file(fd)
        gc.collect()
        assert not told, "never at once"
        other = opened_fd(tmp_path / "g")
        assert await written(writer, other, b"x", 0) == (1, None, False)
        assert told == [(number * 10 + 10, here) for number in range(100)]
        assert (tmp_path / "f").read_bytes() == b"".join(b"%09d\n" % n for n in range(100))
        writer.close_file(other)
        writer.close()

    asyncio.run(main())


@of_each_unreplaced_form
def test_close_finishes_what_was_handed_in_and_tells_of_it(tmp_path: Path, form: Form) -> None:
    async def main() -> None:
        writer = form.make(asyncio.get_running_loop(), 0)
        writer.close()  # Of one that never did anything.
        fd = opened_fd(tmp_path / "f")
        told: list[int] = []
        for number in range(20):
            writer.append(fd, b"1234", 4 * number, 0, lambda filled, *_: told.append(filled))
        writer.close_file(fd)
        writer.close()
        assert (tmp_path / "f").read_bytes() == b"1234" * 20
        with pytest.raises(OSError, match="Bad file"):
            os.fstat(fd)
        assert not told, "by the loop, not by who closes"
        await asyncio.sleep(0)
        assert told == [4 * number + 4 for number in range(20)]
        writer.close()
        fd = opened_fd(tmp_path / "f")
        assert await written(writer, fd, b"again", 0) == (5, None, False), "it can be used again"
        writer.close_file(fd)
        writer.close()

    asyncio.run(asyncio.wait_for(main(), DEADLINE_S))


@of_each_unreplaced_form
def test_a_job_whose_loop_has_ended_is_done_all_the_same(tmp_path: Path, form: Form) -> None:
    told: list[int] = []
    fd = opened_fd(tmp_path / "f")
    for is_running in (True, False):
        loop = asyncio.new_event_loop()
        writer = form.make(loop, 0)
        if is_running:
            loop.run_until_complete(of_loop(lambda: written(writer, fd, b"begun", 0)))  # noqa: B023
        loop.close()
        writer.append(fd, b"data-", 5, 5, lambda filled, *_: told.append(filled))
        writer.append(fd, b"more", 10, 5, lambda filled, *_: told.append(filled))
        writer.close()
        assert (tmp_path / "f").read_bytes() == b"begundata-more"
    assert not told
    os.close(fd)


async def of_loop(work: Callable[[], Any]) -> Any:
    return await work()


@of_each_form
def test_close_waits_for_a_disk_that_takes_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: Form
) -> None:
    async def main() -> None:
        writer = form.make(asyncio.get_running_loop(), 0)
        fd = opened_fd(tmp_path / "f")
        go_on, order = threading.Event(), []

        def slow(fd: int) -> None:
            assert go_on.wait(DEADLINE_S)
            order.append("synced")

        monkeypatch.setattr(os, "fdatasync", slow)
        writer.append(fd, b"data", 0, 0, lambda *_: None)
        threading.Timer(0.1, go_on.set).start()
        writer.close()
        order.append("closed")
        assert order == ["synced", "closed"]
        os.close(fd)

    asyncio.run(main())


@of_each_unreplaced_form
def test_what_a_callback_raises_reaches_the_loop_and_keeps_no_other_from_its_turn(
    tmp_path: Path, form: Form
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        raised: list[object] = []
        loop.set_exception_handler(lambda _, context: raised.append(context.get("exception")))
        writer = form.make(loop, 0)
        fd = opened_fd(tmp_path / "f")
        told: list[int] = []

        def fail(filled: int, *_: object) -> None:
            told.append(filled)
            raise ValueError(filled)

        for number in range(5):
            writer.append(fd, b"1", number, 0, fail)
        assert await written(writer, fd, b"1", 5) == (6, None, False)
        assert told == [1, 2, 3, 4, 5]
        assert [str(error) for error in raised] == ["1", "2", "3", "4", "5"]
        writer.close_file(fd)
        writer.close()

    asyncio.run(main())


@of_each_unreplaced_form
def test_writers_that_were_left_open_disturb_nobody(tmp_path: Path, form: Form) -> None:
    """Several disks in one process, some of them never closed."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for number in range(10):
            writer = form.make(loop, 0)
            fd = opened_fd(tmp_path / f"{number}")
            assert await written(writer, fd, b"x" * 5000, 0) == (5000, None, False)
            writer.append(fd, b"y" * 100, 5000, 5000, lambda *_: None)
            del writer
            gc.collect()

    asyncio.run(main())
    gc.collect()


AT_EXIT = """
import asyncio, os, sys
from tests.support.log_writers import UNREPLACED
form = [form for form in UNREPLACED if form.name == sys.argv[2]][0]

async def main():
    global writer
    writer = form.make(asyncio.get_running_loop(), 0)
    fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)
    for number in range(50):
        writer.append(fd, bytes(100_000), 100_000 * number, 0, lambda *_: None)
    if sys.argv[3] != "exit":
        told = asyncio.get_running_loop().create_future()
        writer.append(fd, b"", 0, 0, lambda *_: told.set_result(None))
        child = os.fork()
        if child == 0:
            writer.close()  # Of a thread that this process does not have.
            del writer
            if sys.argv[3] == "forked and told":
                os._exit(3)
            sys.exit(3)  # This closes the child's loop, and so much of the parent's.
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
        if sys.argv[3] == "forked and told":
            await told
        writer.close()

asyncio.run(main())
print("ended")
"""


@of_each_unreplaced_form
@pytest.mark.parametrize("how", ["exit", "forked", "forked and told"])
def test_a_process_ends_beside_its_thread(tmp_path: Path, form: Form, how: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", AT_EXIT, str(tmp_path / "f"), form.name, how],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "ended\n"), done.stderr
    if how != "exit":
        assert os.path.getsize(tmp_path / "f") == 5_000_000


@pytest.mark.skipif(core is None, reason="SKIPPED: only the sources run")
def test_what_the_native_one_refuses() -> None:
    assert core is not None
    loop = asyncio.new_event_loop()
    with pytest.raises(ValueError, match="-1 zeros"):
        core.LogWriter(loop, -1)
    writer: Any = core.LogWriter(loop, 0)
    for call in (
        lambda: writer.append(3, "text", 0, 0, print),
        lambda: writer.append(3, None, 0, 0, print),
        lambda: writer.append(3, b"data", 0, 0, None),
        lambda: writer.append("3", b"data", 0, 0, print),
    ):
        with pytest.raises(TypeError):
            call()
    with pytest.raises(OverflowError):
        writer.append(3, b"data", -1, 0, print)
    loop.close()


@pytest.mark.skipif(core is None, reason="SKIPPED: only the sources run")
@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOSYS, errno.EACCES])
def test_where_the_native_one_may_not_start_its_twin_does_all_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """As under a seccomp profile that does not know `eventfd`."""
    assert core is not None

    async def main() -> None:
        loop = asyncio.get_running_loop()
        told: list[OSError] = []

        def twin(error: OSError) -> LogWriter:
            told.append(error)
            return PlainLogWriter(DiskWorker(loop, "log of a test"), 0)

        monkeypatch.setattr(os, "eventfd", failing(code))
        writer: Any = core.LogWriter(loop, 0, os, twin)
        fd = opened_fd(tmp_path / "f")
        assert await written(writer, fd, b"one", 0) == (3, None, False)
        monkeypatch.undo()
        assert await written(writer, fd, b"two", 3) == (6, None, False)
        assert [error.errno for error in told] == [code], "once"
        writer.close_file(fd)
        writer.close()
        assert (tmp_path / "f").read_bytes() == b"onetwo"
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)

    asyncio.run(main())


@pytest.mark.skipif(core is None, reason="SKIPPED: only the sources run")
def test_where_only_something_is_short_the_native_one_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert core is not None

    async def main() -> None:
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(os, "eventfd", failing(errno.EMFILE))
        writer: Any = core.LogWriter(loop, 0, os, lambda error: None)
        fd = opened_fd(tmp_path / "f")
        filled, error, was_cut = await written(writer, fd, b"one", 0)
        assert isinstance(error, OSError)
        assert (filled, error.errno, was_cut) == (0, errno.EMFILE, True)
        monkeypatch.undo()
        assert await written(writer, fd, b"one", 0) == (3, None, False)
        writer.close()
        os.close(fd)

    asyncio.run(main())


def test_the_form_is_that_of_the_process() -> None:
    loop = asyncio.new_event_loop()
    writer = new_log_writer(loop, 0)
    is_native = "quorumcache.node.core.log_writer" in sys.modules
    assert isinstance(writer, PlainLogWriter) is not is_native
    loop.close()


@pytest.mark.parametrize(("code", "is_forbidden"), [(errno.EPERM, True), (errno.EMFILE, False)])
def test_a_node_says_once_that_its_log_is_written_by_the_twin(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    code: int,
    is_forbidden: bool,
) -> None:
    """What is only short may be there a moment later."""
    given: list[Any] = []

    class Refused:
        def __init__(self, loop: object, zeros: int, *, twin: Callable[[OSError], Any]) -> None:
            given.append(twin(OSError(code, os.strerror(code))))

    module = SimpleNamespace(LogWriter=Refused)
    monkeypatch.setitem(sys.modules, "quorumcache.node.core.log_writer", module)
    loop = asyncio.new_event_loop()
    new_log_writer(loop, 0)
    loop.close()
    assert isinstance(given[0], PlainLogWriter) is is_forbidden
    assert [r.getMessage() for r in caplog.records] == ["log_thread_forbidden"] * is_forbidden
