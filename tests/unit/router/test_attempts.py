"""The failed attempts of one call: what is remembered of them, and how long it waits."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from quorumcache.router.attempts import TIME_LEFT_MIN_S, Attempts
from quorumcache.router.config import ClientConfig
from quorumcache.router.errors import (
    ConnectFailed,
    DeadlineExceeded,
    Moved,
    NotDone,
    SessionForgotten,
)
from tests.simulation.loop import VirtualLoop

CONFIG = ClientConfig(backoff_first_ms=10, backoff_max_ms=100)
MOVED = Moved(1, 3, 2, "b:1")


def test_each_address_is_asked_in_vain_once() -> None:
    attempts = Attempts(CONFIG, Random(1))
    attempts.note(ConnectFailed("a:1", "refused"), "a:1")
    attempts.note(ConnectFailed("a:1", "refused"), "a:1")
    attempts.note(MOVED, "b:1")
    assert attempts.asked == ["a:1", "b:1"]
    assert attempts.count == 3
    assert attempts.sent_on
    attempts.note(NotDone("no leader"), "c:1")
    assert not attempts.sent_on


def test_a_forgotten_session_does_not_tell_against_the_node() -> None:
    attempts = Attempts(CONFIG, Random(1))
    attempts.note(SessionForgotten("session gone: 1"), "a:1")
    assert attempts.asked == []
    assert attempts.count == 1


def test_the_deadline_tells_the_last_redirect_and_the_last_trouble() -> None:
    async def main() -> None:
        attempts = Attempts(CONFIG, Random(1))
        attempts.note(ConnectFailed("a:1", "refused"), "a:1")
        attempts.note(MOVED, "b:1")
        now = asyncio.get_running_loop().time()
        with pytest.raises(DeadlineExceeded) as late:
            await attempts.pause(MOVED, False, now + TIME_LEFT_MIN_S / 2)
        assert str(MOVED) in str(late.value)
        assert "refused" in str(late.value)
        assert late.value.__cause__ is MOVED

    VirtualLoop().run_until_complete(main())


def test_near_the_end_half_of_what_is_left_is_spent() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        attempts = Attempts(CONFIG, Random(1))
        error = NotDone("no leader")
        began = loop.time()
        for _ in range(20):
            await attempts.pause(error, False, began + 1e6)
        assert 20 * 0.005 < loop.time() - began <= 20 * 0.1
        began = loop.time()
        await attempts.pause(error, False, began + 0.02)
        assert loop.time() - began == pytest.approx(0.01)

    VirtualLoop().run_until_complete(main())
