"""Pipelined reads of one large item through a node that has to fetch its value: the later one never
shows an older state, also when the earlier one has to be repeated since its value is gone.
"""

from __future__ import annotations

from typing import Any

import pytest

from quorumcache.node.clients import value_streams
from quorumcache.node.clients.value_streams import FetchedStream, StreamOpened
from tests.simulation.stage import Stage
from tests.simulation.test_large import _holder_and_stranger, play, value

FORMS = {
    "get": (b"get %b\r\n", b"END\r\n"),
    "a get of many": (b"get %b none\r\n", b"END\r\n"),
    "mg": (b"mg %b v\r\n", b"EN\r\n"),
}


@pytest.mark.parametrize("first", FORMS)
@pytest.mark.parametrize("second", FORMS)
def test_a_read_that_is_repeated_is_not_followed_by_an_older_one(
    first: str, second: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[StreamOpened] = []
    fetch = FetchedStream.open

    def open_stream(stream: FetchedStream, done: StreamOpened) -> None:
        if held:
            fetch(stream, done)
        else:
            held.append(done)

    class Fetched(FetchedStream):
        """The value of the first one is gone when it is asked for."""

        __slots__ = ()
        open = open_stream

    monkeypatch.setattr(value_streams, "FetchedStream", Fetched)

    async def scenario(stage: Stage) -> None:
        key = stage.key(0)
        leader, stranger = await _holder_and_stranger(stage, 0)
        store = b"set %b 0 0 1000\r\n%b\r\n" % (key, value(1))
        assert await stage.ask(leader, store) == b"STORED\r\n"
        wire = await stage.connect(stranger)
        (ask_first, missed_first), (ask_second, missed_second) = FORMS[first], FORMS[second]
        wire.writer.write(ask_first % key + ask_second % key)
        await stage.until("the first one asks for its value", lambda: held)
        assert await stage.ask(leader, b"delete %b\r\n" % key) == b"DELETED\r\n"
        process: Any = stage.nodes[stranger].process
        process.call(held[0], None)
        expected = missed_first + missed_second
        assert await wire.reader.readexactly(len(expected)) == expected
        wire.writer.write(b"mn\r\n")
        assert await wire.ask(b"") == b"MN\r\n"

    play(scenario, nodes=4)
