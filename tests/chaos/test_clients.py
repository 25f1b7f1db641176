"""What the clients make of a reply: a result, nothing done, unknown, or a fault of the node."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.chaos import load
from tests.chaos.clients import Session, UnexpectedReply, Wire
from tests.chaos.workload import Request
from tests.simulation.history import FAIL, INFO, OK, History

GET = Request("get", b"k", None)
GETS = Request("gets", b"k", None)
SET = Request("set", b"k", b"v")
INCR = Request("incr", b"k", 1)


def reply_to(request: Request, data: bytes) -> tuple[str, Any]:
    """Outcome and result of the operation that gets this reply."""

    async def run() -> tuple[str, Any]:
        session = Session(History(), 1, 0)
        reader = asyncio.StreamReader()
        reader.feed_data(data)
        reader.feed_eof()
        operation = session.invoke("t", request)
        await Wire(session, reader, lambda key, unique: None).reply(operation)
        return operation.outcome, operation.result

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("request_", "data", "result"),
    [
        (GET, b"END\r\n", ("miss",)),
        (GET, b"VALUE k 0 3\r\na\r\n\r\nEND\r\n", ("hit", b"a\r\n", 0)),
        (GETS, b"VALUE k 0 1 77\r\na\r\nEND\r\n", ("hit", b"a", 77)),
        (SET, b"STORED\r\n", "STORED"),
        (INCR, b"12\r\n", ("number", 12)),
        (INCR, b"NOT_FOUND\r\n", "NOT_FOUND"),
    ],
)
def test_results(request_: Request, data: bytes, result: Any) -> None:
    assert reply_to(request_, data) == (OK, result)


def test_not_done_is_held_to_it() -> None:
    line = "SERVER_ERROR not done: shard 3 had no leader"
    assert reply_to(SET, line.encode() + b"\r\n") == (FAIL, line)


def test_an_unknown_outcome_stays_open() -> None:
    assert reply_to(SET, b"SERVER_ERROR outcome unknown: x\r\n") == (INFO, None)


@pytest.mark.parametrize(
    ("request_", "data"),
    [
        (GET, b"STORED\r\n"),
        (GET, b"VALUE j 0 1\r\na\r\nEND\r\n"),
        (GET, b"VALUE k 0 1\r\nabEND\r\n"),
        (GET, b"VALUE k 0 1 5\r\na\r\nEND\r\n"),
        (GET, b"SERVER_ERROR outcome unknown: x\r\n"),
        (SET, b"STORED\n"),
        (SET, b"5\r\n"),
        (SET, b"ERROR\r\n"),
        (INCR, b"-1\r\n"),
    ],
)
def test_what_no_memcached_says(request_: Request, data: bytes) -> None:
    with pytest.raises(UnexpectedReply):
        reply_to(request_, data)


def test_a_lost_connection_leaves_the_outcome_open() -> None:
    with pytest.raises(EOFError):
        reply_to(SET, b"STOR")


@pytest.mark.parametrize(("taken", "problem"), [(1, ""), (0, "does not serve 60 s")])
def test_a_node_may_take_its_time_for_the_last_requests_but_not_for_one(
    monkeypatch: pytest.MonkeyPatch, taken: int, problem: str
) -> None:
    now = 0.0

    async def ask(*args: Any) -> None:
        nonlocal now
        now += 50.0
        requests = args[-1]
        del requests[:taken]
        if requests:
            raise ConnectionError

    async def sleep(seconds: float) -> None:
        pass

    monkeypatch.setattr(load, "_ask_all", ask)
    monkeypatch.setattr(load.time, "monotonic", lambda: now)
    monkeypatch.setattr(load.asyncio, "sleep", sleep)
    session = Session(History(), 4, 0)
    assert problem in asyncio.run(load._finally(session, [("h", 1)], 60.0))
    assert (now >= 4 * 50.0) == (problem == "")
