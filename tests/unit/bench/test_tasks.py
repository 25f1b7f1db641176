"""`quorumcache.bench.tasks`."""

import asyncio

import pytest

from quorumcache.bench.histogram import Histogram
from quorumcache.bench.tasks import Call, Together, alone, cells, together


def test_calls_alone_alternate_and_are_compared_with_the_first() -> None:
    made: list[str] = []

    def caller(name: str, seconds: float) -> Call:
        async def call() -> None:
            made.append(name)
            await asyncio.sleep(seconds)

        return call

    calls = [("quick", caller("quick", 0.002)), ("slow", caller("slow", 0.02))]
    first, second = asyncio.run(alone(calls, rounds=2, seconds=0.0))
    assert made == ["quick", "slow", "slow", "quick"], "the order of a round is turned each time"
    assert (first.what, second.what) == ("quick", "slow")
    assert first.ratio == 1.0
    assert second.ratio > 1.0
    assert first.latency.count == second.latency.count == 2


def test_calls_together_count_their_attempts() -> None:
    attempts = 0

    async def call() -> None:
        nonlocal attempts
        attempts += 3
        await asyncio.sleep(0)

    row = asyncio.run(together("three each", [call, call], lambda: attempts, seconds=0.0))
    assert row.tasks == 2
    assert row.latency.count == 2
    assert row.repeated == 2.0
    assert row.per_second > 0


def test_a_call_that_fails_ends_the_measurement() -> None:
    async def fail() -> None:
        raise RuntimeError("no answer")

    with pytest.raises(ExceptionGroup):
        asyncio.run(together("failing", [fail], lambda: 0, seconds=1.0))


def test_nothing_measured_is_no_division_by_zero() -> None:
    empty = Together(what="none", tasks=1, latency=Histogram(), attempts=0, seconds=1.0)
    assert empty.repeated == 0.0
    assert cells(empty.latency, 0.0)[0] == "-"
