"""Log lines: one per event, in a form that both people and programs read."""

from __future__ import annotations

import ast
import io
import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from quorumcache.node.telemetry.logs import configure, event, get_logger

Write = Callable[[str], io.StringIO]


@pytest.fixture
def start() -> Write:
    """Configures logging to a buffer."""

    def begin(log_format: str) -> io.StringIO:
        stream = io.StringIO()
        configure(log_format=log_format, node="a", stream=stream)
        return stream

    return begin


def test_no_field_has_the_name_of_what_begins_each_line() -> None:
    """It would stand there in place of the time, the level or the event."""
    rooms = Path(__file__).parents[4] / "node"
    wrong = []
    for path in rooms.rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and ast.unparse(call.func).split(".")[-1] == "event":
                names = {keyword.arg for keyword in call.keywords}
                if names & {"time", "level", "event", "node"}:
                    wrong.append(f"{path}:{call.lineno}")
    assert not wrong


def test_text(start: Write) -> None:
    stream = start("text")
    event(get_logger("x"), "info", "role", shard=3, why='two "words"\n', up=True, none="")
    time, rest = stream.getvalue().split(" ", 1)
    assert len(time) == len("2026-01-02T03:04:05.678Z")
    assert rest == 'info event=role node=a shard=3 why="two \\"words\\"\\n" up=yes none=""\n'


def test_json(start: Write) -> None:
    stream = start("json")
    event(get_logger("x"), "warning", "role", shard=3, who=None)
    document = json.loads(stream.getvalue())
    del document["time"]
    assert document == {"level": "warning", "event": "role", "node": "a", "shard": 3, "who": None}


def test_events_written_as_strings(start: Write) -> None:
    stream = start("json")
    get_logger("x").info("peer_up peer=%d why=%s", 2, "back")
    document = json.loads(stream.getvalue())
    assert (document["event"], document["peer"], document["why"]) == ("peer_up", "2", "back")


def test_sentences_of_libraries_and_traces_stay_one_line(start: Write) -> None:
    stream = start("text")
    try:
        raise ValueError("oh\nno")
    except ValueError:
        logging.getLogger("asyncio").exception("Task exception was\nnever retrieved")
    (line,) = stream.getvalue().splitlines()
    assert 'event=message node=a text="Task exception was\\nnever retrieved" error="Trace' in line


def test_levels(start: Write) -> None:
    stream = start("text")
    event(get_logger("x"), "debug", "role")
    logging.getLogger("asyncio").info("hello")
    assert stream.getvalue() == ""


def test_long_values_are_cut(start: Write) -> None:
    stream = start("text")
    event(get_logger("x"), "info", "role", why="x" * 100_000)
    assert len(stream.getvalue()) < 2000
