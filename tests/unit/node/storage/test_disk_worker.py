"""A thread that does the disk's work, and calls back on the loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from quorumcache.node.errors import OutOfResources
from quorumcache.node.storage.disk_worker import DiskWorker

DEADLINE_S = 60.0


async def outcome(worker: DiskWorker, work: Callable[[], None]) -> BaseException | None:
    told: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
    worker.submit(work, told.set_result)
    return await asyncio.wait_for(told, DEADLINE_S)


def test_jobs_run_in_order_in_one_thread_and_call_back_on_the_loop() -> None:
    async def main() -> None:
        worker = DiskWorker(asyncio.get_running_loop(), "w")
        ran: list[tuple[int, int]] = []
        told: list[int] = []
        for number in range(10):
            work = lambda number=number: ran.append((number, threading.get_ident()))  # noqa: E731
            worker.submit(work, lambda error: told.append(threading.get_ident()))
        assert await outcome(worker, lambda: None) is None
        assert [number for number, _ in ran] == list(range(10))
        assert len({thread for _, thread in ran}) == 1
        assert set(told) == {threading.get_ident()} != {ran[0][1]}
        worker.close()

    asyncio.run(main())


def test_an_error_is_handed_on_and_the_thread_goes_on() -> None:
    def fail() -> None:
        raise SystemExit("whatever it is")

    async def main() -> None:
        worker = DiskWorker(asyncio.get_running_loop(), "w")
        assert isinstance(await outcome(worker, fail), SystemExit)
        assert await outcome(worker, lambda: None) is None
        worker.close()

    asyncio.run(main())


def test_a_job_whose_loop_has_ended_is_done_all_the_same() -> None:
    loop = asyncio.new_event_loop()
    worker = DiskWorker(loop, "w")
    loop.close()
    ran: list[str] = []
    worker.submit(lambda: ran.append("a"), lambda error: None)
    worker.submit(lambda: ran.append("b"), lambda error: None)
    worker.close()
    assert ran == ["a", "b"]


def test_a_job_is_refused_while_there_is_no_thread_to_be_had(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    async def main() -> None:
        worker = DiskWorker(asyncio.get_running_loop(), "w")
        ran: list[str] = []
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", fail)
            for _ in range(2):
                told = await outcome(worker, lambda: ran.append("refused"))
                assert isinstance(told, OutOfResources)
                assert "w: can't start new thread" in str(told)
            worker.close()
        assert await outcome(worker, lambda: ran.append("later")) is None
        assert ran == ["later"]
        worker.close()

    asyncio.run(main())


def test_what_hangs_is_not_waited_for() -> None:
    async def main() -> None:
        released = threading.Event()
        worker = DiskWorker(asyncio.get_running_loop(), "w")
        worker.submit(lambda: assert_true(released.wait(DEADLINE_S)), lambda error: None)
        worker.close(wait=False)
        released.set()

    asyncio.run(main())


def assert_true(value: bool) -> None:
    assert value
