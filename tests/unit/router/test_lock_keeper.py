"""Owner words, labels, and what is given back in the background."""

from __future__ import annotations

import asyncio
import os
from random import Random
from typing import Any

import pytest

from quorumcache.router import ClientConfig, InvalidArgument, InvalidKey
from quorumcache.router.dispatcher import Dispatcher
from quorumcache.router.lock_keeper import (
    FAREWELL_S,
    LockKeeper,
    default_label,
    label_in,
    label_of,
    name_bytes,
)
from quorumcache.router.lock_requests import EXCLUSIVE, acquire
from tests.support.fake_cluster import HANG, Fault
from tests.support.virtual_clients import VirtualWorld, virtual


def keeper_of(world: VirtualWorld) -> LockKeeper:
    return LockKeeper(Dispatcher(world.cluster.seeds, ClientConfig(), Random(1)), Random(1))


def test_owner_words_are_told_apart_and_fit_the_wire() -> None:
    keeper = LockKeeper(Dispatcher(["h:1"], ClientConfig(), Random(1)), Random(1))
    words = {keeper.owner_word("x" * 80) for _ in range(100)}
    assert len(words) == 100
    assert all(len(word) <= 100 for word in words)
    word = keeper.owner_word("").decode()
    assert label_in(word) == default_label()
    assert f"-{os.getpid()}-" in word
    assert " " not in word


def test_labels() -> None:
    assert label_of("owner", "web-3") == "web-3"
    assert label_of("owner", "") == ""
    assert label_in("web-3-00ff") == "web-3"
    assert label_in("somebody") == "somebody"
    bad: Any
    for bad in ("a b", "a\n", "\x00", "x" * 81, "é" * 41, "\ud800", b"a", None, 5):
        with pytest.raises(InvalidArgument, match="owner must be printable"):
            label_of("owner", bad)


def test_names_are_keys() -> None:
    assert name_bytes("ключ") == "ключ".encode()
    for bad in ("", "a b", "x" * 251):
        with pytest.raises(InvalidKey, match="the name of a lock is written as a key"):
            name_bytes(bad)


def test_what_a_late_request_takes_is_given_back_after_it() -> None:
    """The request is executed after the first release: so there is a second one."""

    async def main(world: VirtualWorld) -> None:
        keeper = keeper_of(world)
        gate = asyncio.Event()

        async def late() -> Any:
            await gate.wait()
            deadline = keeper.engine.deadline(None)
            request = acquire(b"name", b"me", 60_000, 0, EXCLUSIVE)
            return await keeper.call(request, b"name", deadline)

        request = asyncio.ensure_future(late())
        keeper.give_back(b"name", b"me", after=request)
        await asyncio.sleep(1)
        gate.set()
        assert (await request).token
        await asyncio.sleep(1)
        assert world.cluster.locks.holders(b"name") == []
        await keeper.close()
        await keeper.engine.close()

    virtual(main)


def test_closing_does_not_wait_for_a_cluster_that_is_silent() -> None:
    async def main(world: VirtualWorld) -> None:
        keeper = keeper_of(world)
        for node in world.cluster.nodes:
            node.faults += [Fault(b"cluster lock", HANG) for _ in range(20)]
        keeper.give_back(b"name", b"me")
        before = world.loop.time()
        await keeper.close()
        assert world.loop.time() - before <= FAREWELL_S + 0.1
        await keeper.engine.close()
        keeper.give_back(b"name", b"me")  # Nothing is sent any more.

    virtual(main)


def test_a_child_process_owns_nothing() -> None:
    class Thing:
        def __init__(self) -> None:
            self.said: list[str] = []

        def let_go(self) -> None:
            self.said.append("let go")

        def disown(self) -> None:
            self.said.append("disown")

    async def main(world: VirtualWorld) -> None:
        keeper = keeper_of(world)
        thing = Thing()
        keeper.held[thing] = None
        keeper.forked()
        await keeper.close()
        assert thing.said == ["disown"]
        assert keeper.owner_word("web") != keeper_of(world).owner_word("web")
        await keeper.engine.close()

    virtual(main)
