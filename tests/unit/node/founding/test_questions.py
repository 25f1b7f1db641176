"""Connections of one question after another: what ends them, and what they cost."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import pytest

from quorumcache.node.errors import PeerError, PeerFrameError
from quorumcache.node.founding.questions import (
    CONNECTIONS_MAX,
    QUESTION_SECONDS,
    Asking,
    Reception,
)
from quorumcache.node.peers.codec import encode_frame
from tests.simulation.loop import VirtualLoop
from tests.simulation.network import Network


def echo(payload: bytes) -> bytes:
    if payload == b"bad":
        raise PeerFrameError("bad")
    return encode_frame(b"re:" + payload)


def play(story: Any) -> None:
    loop = VirtualLoop()
    Network(loop, Random(1))
    reception = Reception(loop, echo)

    async def timed() -> None:
        await loop.create_server(reception.accept, "a", 1)
        async with asyncio.timeout(60):
            await story(loop, reception)

    loop.run_until_complete(timed())
    loop.close()


async def asking(loop: VirtualLoop) -> Asking:
    _, connection = await loop.create_connection(lambda: Asking(loop, 100), "a", 1)
    return connection


def test_a_question_gets_its_answer_and_the_connection_ends() -> None:
    async def story(loop: VirtualLoop, reception: Reception) -> None:
        connection = await asking(loop)
        assert await connection.ask(encode_frame(b"hi")) == b"re:hi"
        await asyncio.sleep(1)
        with pytest.raises(ConnectionResetError):
            await connection.ask(encode_frame(b"again"))
        connection.close()

    play(story)


def test_what_cannot_be_answered_is_hung_up_on() -> None:
    async def story(loop: VirtualLoop, reception: Reception) -> None:
        for question in (encode_frame(b"bad"), b"\xff" * 20):
            connection = await asking(loop)
            with pytest.raises(ConnectionResetError):
                await connection.ask(question)
            connection.close()

    play(story)


def test_an_answer_that_is_no_frame_or_too_long_is_the_other_sides_fault() -> None:
    async def story(loop: VirtualLoop, reception: Reception) -> None:
        for words in (b"SSH-2.0-OpenSSH", encode_frame(b"x" * 101)):
            reception.answer = lambda payload, words=words: words  # type: ignore[misc]
            connection = await asking(loop)
            with pytest.raises(PeerError):
                await connection.ask(encode_frame(b"hi"))
            connection.close()

    play(story)


def test_who_says_nothing_is_cut_and_too_many_are_not_taken() -> None:
    async def story(loop: VirtualLoop, reception: Reception) -> None:
        silent = [await asking(loop) for _ in range(CONNECTIONS_MAX)]
        late = await asking(loop)
        with pytest.raises(ConnectionResetError):
            await late.ask(encode_frame(b"hi"))
        await asyncio.sleep(QUESTION_SECONDS + 1)
        for connection in silent:
            with pytest.raises(ConnectionResetError):
                await connection.ask(encode_frame(b"hi"))
        again = await asking(loop)
        assert await again.ask(encode_frame(b"hi")) == b"re:hi"
        reception.close()
        with pytest.raises(ConnectionResetError):
            await (await asking(loop)).ask(encode_frame(b"hi"))

    play(story)
