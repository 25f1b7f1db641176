"""What a client reads of locks."""

import pytest

from quorumcache.node.protocol.lock_replies import lock_line, lock_lines
from quorumcache.node.protocol.responses import NUMBER_USED_LINE, render
from quorumcache.node.state_machine import Result
from quorumcache.node.store.results import (
    FENCE_OTHER_LOCK,
    FENCE_STALE,
    LOCK_BUSY,
    LOCK_KIND,
    LOCK_NOT_HELD,
    LOCK_QUEUED,
    LOCK_RELEASED,
    LOCKED,
    LOCKS_FULL,
    META_HIT,
    NOT_FOUND,
    NUMBER,
    STORED,
)


@pytest.mark.parametrize(
    ("result", "begin"),
    [
        ((LOCKED, 7), b"LOCKED 7\r\n"),
        ((LOCK_QUEUED, 2), b"WAITING 2\r\n"),
        (LOCK_BUSY, b"BUSY\r\n"),
        (LOCK_KIND, b"CLIENT_ERROR lock of another kind: "),
        (LOCKS_FULL, b"SERVER_ERROR not done: too many locks"),
        (LOCK_RELEASED, b"RELEASED\r\n"),
        (LOCK_NOT_HELD, b"NOT_HELD\r\n"),
    ],
)
def test_each_result_has_its_line(result: Result, begin: bytes) -> None:
    line = lock_line(result)
    assert line.startswith(begin)
    assert line.index(b"\r\n") == len(line) - 2


def test_a_command_that_its_fence_has_stopped() -> None:
    assert render((FENCE_STALE, 9)) == (
        b"CLIENT_ERROR stale fence: the newest token seen here is 9\r\n"
    )
    assert render(FENCE_OTHER_LOCK) == (
        b"CLIENT_ERROR fence of another lock: this key is guarded by another one\r\n"
    )


@pytest.mark.parametrize("result", [STORED, NOT_FOUND, (NUMBER, 5), (META_HIT, b"x")])
def test_a_number_that_another_command_has_used(result: Result) -> None:
    """Its first result is none that a command of a lock can have, and the other way round."""
    assert lock_line(result) == NUMBER_USED_LINE
    for of_lock in ((LOCKED, 7), (LOCK_QUEUED, 2), LOCK_BUSY, LOCK_RELEASED, LOCK_NOT_HELD):
        assert render(of_lock) == NUMBER_USED_LINE


def test_a_lock_is_shown_with_those_who_hold_it_and_those_who_wait() -> None:
    view = (0, ((b"r", 5, 1, 900), (b"s", 6, 1, 10)), ((b"w", 0, 9000), (b"x", 1, 1)))
    assert lock_lines(view) == (
        b"HOLDER r 5 shared 900\r\nHOLDER s 6 shared 10\r\n"
        b"WAITER 1 w exclusive 9000\r\nWAITER 2 x shared 1\r\nEND\r\n"
    )
    assert lock_lines((1, ((b"p", 5, 0, 1),), ())) == b"HOLDER p 5 semaphore 1\r\nEND\r\n"
    assert lock_lines((2, (), ((b"p", 0, 1),))) == b"WAITER 1 p barrier 1\r\nEND\r\n"
    assert lock_lines(None) == b"END\r\n"
