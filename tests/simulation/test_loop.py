"""The virtual loop is a faithful asyncio loop, but for time, which only moves when nothing else
can.
"""

import asyncio
from collections.abc import Iterator

import pytest

from tests.simulation.loop import NS, BudgetExceeded, Deadlock, VirtualLoop
from tests.simulation.process import HostClock, Process


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    loop = VirtualLoop(events_max=1_000_000)
    yield loop
    loop.close()
    assert loop.errors == []


def test_sleep_takes_virtual_time_only(loop):
    start_ns = loop.now_ns
    loop.run_until_complete(asyncio.sleep(86_400))
    assert loop.now_ns - start_ns == 86_400 * NS
    assert loop.events < 20


def test_timers_fire_in_order_of_time_then_of_scheduling(loop):
    fired = []
    loop.call_later(0.2, fired.append, "late")
    loop.call_later(0.1, fired.append, "first")
    loop.call_later(0.1, fired.append, "second")
    loop.call_later(0.1, fired.append, "cancelled").cancel()
    loop.call_soon(fired.append, "now")
    loop.run_until_complete(asyncio.sleep(1))
    assert fired == ["now", "first", "second", "late"]


def test_a_timer_never_runs_before_its_time(loop):
    """time() is a float; the callback must still see at least the moment it asked for."""

    async def main() -> None:
        for i in range(1, 500):
            when = loop.time() + i * 1e-7 / 3
            done = loop.create_future()
            loop.call_at(when, done.set_result, None)
            await done
            assert loop.time() >= when

    loop.run_until_complete(main())


def test_many_cancelled_timers_are_swept(loop):
    handles = [loop.call_later(1000 + i, print) for i in range(5000)]
    for handle in handles:
        handle.cancel()
    assert len(loop._timers) < 500
    loop.run_until_complete(asyncio.sleep(0.001))


def test_asyncio_primitives(loop):
    """Event, Lock, Queue, Condition, wait_for, timeout, gather, TaskGroup, shield: all of them only
    need call_soon, call_at and futures.
    """

    async def main() -> str:
        event, queue, lock = asyncio.Event(), asyncio.Queue(2), asyncio.Lock()
        log = []

        async def producer() -> None:
            for i in range(5):
                await queue.put(i)
                await asyncio.sleep(0.01)
            event.set()

        async def consumer() -> None:
            while len(log) < 5:
                async with lock:
                    log.append(await asyncio.wait_for(queue.get(), 1))

        async with asyncio.TaskGroup() as group:
            group.create_task(producer())
            group.create_task(consumer())
        assert log == [0, 1, 2, 3, 4]
        assert event.is_set()

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.sleep(10), 1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await loop.create_future()
        done, pending = await asyncio.wait(
            [asyncio.ensure_future(asyncio.sleep(i)) for i in (1, 2, 50)], timeout=3
        )
        assert (len(done), len(pending)) == (2, 1)
        for task in pending:
            task.cancel()
        results = await asyncio.gather(asyncio.sleep(1, "a"), asyncio.sleep(2, "b"))
        return "".join(results)

    assert loop.run_until_complete(main()) == "ab"


def test_async_generators_and_executor(loop):
    async def numbers():
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0.1)

    async def main() -> int:
        async for number in numbers():
            if number == 2:
                break
        return await loop.run_in_executor(None, lambda a, b: a + b, number, 40)

    assert loop.run_until_complete(main()) == 42


def test_runner_of_the_standard_library_accepts_the_loop():
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        assert runner.run(asyncio.sleep(5, "done")) == "done"


def test_deadlock_names_the_waiting_task(loop):
    async def stuck() -> None:
        await loop.create_future()

    async def main() -> None:
        await asyncio.create_task(stuck(), name="the stuck one")

    with pytest.raises(Deadlock, match="the stuck one"):
        loop.run_until_complete(main())


def test_time_that_stands_still_is_noticed(loop):
    async def spin() -> None:
        while True:  # noqa: ASYNC110
            await asyncio.sleep(0)

    with pytest.raises(BudgetExceeded, match="time stands still"):
        loop.run_until_complete(spin())


def test_an_exception_in_a_callback_is_collected():
    loop = VirtualLoop()
    loop.call_soon(lambda: 1 / 0)
    loop.run_until_complete(asyncio.sleep(0.1))
    loop.close()
    assert isinstance(loop.errors[0]["exception"], ZeroDivisionError)


def test_sets_of_tasks_iterate_in_the_same_order_each_run():
    """asyncio keeps tasks in sets (TaskGroup, wait): their order must not come from memory
    addresses.
    """

    def run() -> list[str]:
        loop = VirtualLoop()
        litter = [object() for _ in range(len(runs) * 37)]
        order: list[str] = []

        async def worker(name: str) -> None:
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError:
                order.append(name)

        async def main() -> None:
            tasks = {asyncio.create_task(worker(f"w{i}")) for i in range(40)}
            await asyncio.sleep(1)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

        loop.run_until_complete(main())
        loop.close()
        del litter
        return order

    runs: list[list[str]] = []
    for _ in range(3):
        runs.append(run())
    assert runs[0] == runs[1] == runs[2]


# -- processes -------------------------------------------------------------------------------------


def ticker(log: list[float], loop: VirtualLoop):
    async def tick() -> None:
        try:
            while True:
                await asyncio.sleep(1)
                log.append(loop.time())
        finally:
            log.append(-1.0)

    return tick()


def test_a_crashed_process_runs_nothing_more_not_even_finally(loop):
    process, log = Process(loop, "p", host="h"), []
    process.spawn(ticker(log, loop))
    process.call(loop.call_later, 2.5, log.append, -2.0)
    loop.call_later(2.1, process.crash)
    loop.run_until_complete(asyncio.sleep(10))
    assert len(log) == 2
    process.call(loop.call_soon, log.append, -3.0)
    loop.run_until_complete(asyncio.sleep(1))
    assert len(log) == 2


def test_a_paused_process_catches_up_in_order(loop):
    process, log = Process(loop, "p", host="h"), []
    process.spawn(ticker(log, loop))
    start = loop.time()
    loop.call_later(1.5, process.pause)
    loop.call_later(8.25, process.resume)
    loop.run_until_complete(asyncio.sleep(10))
    assert [round(t - start, 2) for t in log] == [1.0, 8.25, 9.25]


def test_a_task_of_the_test_can_wait_for_a_task_of_a_process(loop):
    process = Process(loop, "p", host="h")

    async def answer() -> int:
        await asyncio.sleep(1)
        return 7

    async def main() -> int:
        return await process.spawn(answer())

    assert loop.run_until_complete(main()) == 7


def test_each_process_lives_by_its_own_clock(loop):
    """A fast clock: its process's timers come early in virtual time, to itself on time."""
    clock = HostClock(loop, rate_ppm=100_000, origin_ns=5 * NS)
    process, log = Process(loop, "fast", host="h", clock=clock), []
    process.spawn(ticker(log, loop))
    begin, local_begin = loop.time(), clock.monotonic_ns()
    loop.run_until_complete(asyncio.sleep(10))
    assert loop.time() - begin == 10
    assert clock.monotonic_ns() - local_begin == 11 * NS
    assert len(log) in (10, 11)
    assert log[0] >= local_begin / NS + 1


def test_a_clock_that_is_slowed_down_delays_timers_already_set(loop):
    clock = HostClock(loop, rate_ppm=0)
    process, log = Process(loop, "p", host="h", clock=clock), []
    due_ns = clock.monotonic_ns() + 10 * NS
    process.call(loop.call_later, 10, lambda: log.append(clock.monotonic_ns()))
    loop.call_later(5, clock.set_rate, -200_000)
    loop.run_until_complete(asyncio.sleep(10.5))
    assert log == []
    loop.run_until_complete(asyncio.sleep(5))
    assert log[0] >= due_ns


def test_wall_clock_jumps_do_not_touch_the_monotonic_one(loop):
    clock = HostClock(loop)
    before_ns, before_ms = clock.monotonic_ns(), clock.wall_ms()
    clock.jump_wall(-3_600_000)
    assert clock.monotonic_ns() == before_ns
    assert clock.wall_ms() == before_ms - 3_600_000
