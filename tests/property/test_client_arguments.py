"""Goal: no argument of the client is cut, guessed or silently changed, and none makes a call hang.

Method: hypothesis draws arguments for every public method, hostile ones among them, over a
scripted cluster. A call either raises an error of ours that names the argument, with nothing sent,
or what arrives at the cluster says exactly what the caller wrote.
"""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields
from decimal import Decimal
from fractions import Fraction
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorumcache.ring.secret import Secret
from quorumcache.router import (
    AsyncClient,
    Bounded,
    ClientConfig,
    FencingToken,
    Linearizable,
    Local,
    PartialFailure,
    RouterError,
    Transaction,
)
from quorumcache.router.config import node_address
from quorumcache.router.errors import InvalidArgument, InvalidRequest
from tests.support.fake_cluster import FakeCluster, run

NOT_WHOLE: list[Any] = [
    *(0.5, 1.5, 60.0, -0.5, math.nan, math.inf, -math.inf, "5", b"5", "", None, True, False),
    *(Decimal(1), Fraction(1, 2), [], (), {}, object(), int, 1j),
]
NUMBERS: dict[str, tuple[int, int]] = {
    "exptime": (-(1 << 31), (1 << 31) - 1),
    "delay": (0, (1 << 31) - 1),
    "flags": (0, (1 << 32) - 1),
    "delta": (0, (1 << 64) - 1),
    "cas_unique": (0, (1 << 64) - 1),
    "timeout_ms": (1, 86_400_000),
}
"""By argument: the smallest and the largest that is taken."""
BAD_KEYS: list[Any] = [
    *("", b"", "a b", b"a\n", "a\r", "x" * 251, "\ud800", 1, None, 1.5, True, [], ("a",)),
    *(bytearray(b"k"), memoryview(b"k"), object()),
]
BAD_VALUES: list[Any] = ["text", 1, 1.5, None, True, bytearray(b"v"), memoryview(b"v"), [b"v"]]
BAD_KEY_LISTS: list[Any] = ["abc", b"abc", bytearray(b"ab"), memoryview(b"ab"), None, 5, 1.5, int]
BAD_MAPPINGS: list[Any] = [[("k", b"v")], "k", b"k", None, 5, {"k"}, iter(())]
BAD_LEVELS: list[Any] = ["local", b"local", 0, "", False, True, 5, Local, Bounded, Linearizable]
BAD_WORDS: list[Any] = [
    *(
        "drain",
        b"drain",
        None,
        5,
        {"drain"},
        iter(["drain"]),
        [],
        (),
        [""],
        ["drain", 5],
        [b"drain"],
    ),
    *(["a b"], ["a\n"], ["\ud800"], ["x" * 3000], ["x"] * 1500),
]

BAD_FENCES: list[Any] = [
    5,
    b"lock",
    "lock",
    ("lock", 5),
    True,
    FencingToken(b"l", 1, "a semaphore"),
]

BAD: dict[str, list[Any]] = {
    "key": BAD_KEYS,
    "name": BAD_KEYS,
    "fence": BAD_FENCES,
    "keys": BAD_KEY_LISTS,
    "value": BAD_VALUES,
    "values": BAD_MAPPINGS,
    "level": BAD_LEVELS,
    "once": [None, 0, 1, "yes", [], 0.5],
    "measures_lag": [None, 0, 1, "yes", [], 0.5],
    "words": BAD_WORDS,
    "secret_of": ["secret", b"secret", None, 1, []],
    "fn": ["nothing", b"nothing", None, 1, []],
    "limit_ms": [*NOT_WHOLE, 99, 60_001, -(10**5000), 10**5000],
    **{
        name: [*(bad for bad in NOT_WHOLE), low - 1, high + 1, -(10**5000), 10**5000]
        for name, (low, high) in NUMBERS.items()
    },
}
# What None says for these is documented: the configured one.
BAD["timeout_ms"] = [bad for bad in BAD["timeout_ms"] if bad is not None]


async def nothing(tx: Transaction) -> None:
    """A transaction that reads and writes nothing."""


GOOD: dict[str, Any] = {
    "key": "k",
    "keys": ["k", "l"],
    "value": b"1",
    "values": {"k": b"1"},
    "exptime": 60,
    "delay": 1,
    "flags": 1,
    "delta": 1,
    "cas_unique": 1,
    "timeout_ms": 20_000,
    "level": Linearizable(),
    "name": "a-lock",
    "fence": FencingToken(b"a-lock", 1),
    "once": False,
    "measures_lag": True,
    "words": ["drain", "n1"],
    "fn": nothing,
    "limit_ms": 1_000,
    "secret_of": lambda path: Secret("a secret of sixteen"),
}

METHODS = [
    name
    for name, method in inspect.getmembers(AsyncClient, inspect.iscoroutinefunction)
    if not name.startswith("_") and name != "close"
]
CASES = [
    (method, name)
    for method in METHODS
    for name in inspect.signature(getattr(AsyncClient, method)).parameters
    if name != "self"
]


def arguments_of(method: str) -> dict[str, Any]:
    names = inspect.signature(getattr(AsyncClient, method)).parameters
    return {name: GOOD[name] for name in names if name != "self"}


def says(error: BaseException, name: str) -> bool:
    """Whether a message names an argument; a key of several and a value of several are one each."""
    text = str(error)
    return name in text or (name in ("keys", "values") and name[:-1] in text)


def test_every_method_and_argument_is_covered() -> None:
    assert len(METHODS) >= 18
    assert {name for _, name in CASES} == set(BAD) == set(GOOD)


@pytest.mark.parametrize(("method", "name"), CASES)
def test_a_bad_argument_is_named_and_nothing_is_sent(method: str, name: str) -> None:
    async def main() -> None:
        async with FakeCluster() as cluster, AsyncClient(cluster.seeds, random=Random(1)) as client:
            before = [len(node.log) for node in cluster.nodes]
            for bad in BAD[name]:
                arguments = arguments_of(method) | {name: bad}
                with pytest.raises(InvalidRequest) as refused:
                    await getattr(client, method)(**arguments)
                assert says(refused.value, name), (bad, refused.value)
                assert len(str(refused.value)) < 300
            assert [len(node.log) for node in cluster.nodes] == before

    run(main())


@pytest.mark.parametrize(("method", "name"), [case for case in CASES if case[1] in NUMBERS])
def test_numbers_arrive_as_they_were_written(method: str, name: str) -> None:
    """The smallest and the largest that are taken, and one between, are on the wire in full."""

    async def main() -> None:
        async with FakeCluster() as cluster, AsyncClient(cluster.seeds, random=Random(1)) as client:
            low, high = NUMBERS[name]
            for number in (low, 7, high):
                before = [len(node.log) for node in cluster.nodes]
                call = getattr(client, method)(**(arguments_of(method) | {name: number}))
                if name == "timeout_ms":
                    with suppress(RouterError):  # A millisecond may be too short.
                        await call
                    continue
                await call
                lines = [
                    line
                    for node, count in zip(cluster.nodes, before, strict=True)
                    for line in node.log[count:]
                ]
                words = [word for line in lines for word in line.split()]
                assert b"%d" % number in words or (name, number) == ("delay", 0), lines

    run(main())


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_any_mixture_of_arguments(method: str, data: st.DataObject) -> None:
    """Several wrong ones at once, in any order: an error of ours or a result, and never a hang."""
    names = [name for called, name in CASES if called == method]
    anything = st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary()
    )
    drawn = {
        name: data.draw(st.one_of(st.just(GOOD[name]), st.sampled_from(BAD[name]), anything))
        for name in names
    }
    if "timeout_ms" in drawn:
        drawn["timeout_ms"] = data.draw(st.sampled_from([500, *BAD["timeout_ms"]]))

    async def main() -> None:
        async with FakeCluster(nodes=1) as cluster:
            client = AsyncClient(cluster.seeds, random=Random(1))
            with suppress(RouterError):
                await getattr(client, method)(**drawn)
            await client.close()

    run(main())


KEYS = st.sampled_from(["k", b"k", "l", b"l", "é", "é".encode(), "none", b"none"])


@settings(max_examples=50, deadline=None)
@given(keys=st.lists(KEYS), make=st.sampled_from([list, tuple, iter, dict.fromkeys, set]))
def test_get_many_returns_every_key_as_it_was_given(
    keys: list[Any], make: Callable[[list[Any]], Any]
) -> None:
    """Lists, generators and mappings, the same key twice, as str and as bytes, or no key."""

    async def main() -> None:
        async with FakeCluster() as cluster, AsyncClient(cluster.seeds, random=Random(1)) as client:
            stored = {"k": b"1", "l": b"2", "é": b"3"}
            await client.set_many(stored)
            expected = {}
            for key in keys:
                text = key.decode() if isinstance(key, bytes) else key
                if text in stored:
                    expected[key] = stored[text]
            found = await client.get_many(make(keys))
            assert found == expected
            if make in (list, tuple):
                assert list(found) == list(expected)

    run(main())


def test_a_key_twice_in_set_many_is_refused() -> None:
    """Which of the two values would win is not for us to say."""

    async def main() -> None:
        async with FakeCluster() as cluster, AsyncClient(cluster.seeds) as client:
            both: dict[Any, bytes] = {"k": b"1", b"k": b"2"}
            with pytest.raises(InvalidArgument, match="twice"):
                await client.set_many(both)
            assert cluster.items == {}
            await client.set_many({})
            assert await client.get_many([]) == {}

    run(main())


@pytest.mark.parametrize(
    "seeds",
    [
        *(None, 5, 1.5, [], (), {}, b"h:1", [b"h:1"], [None], ["h:1", 5], [("h", 1)], ("h", 1)),
        *("", ":", ":1", "h:", "h:x", "h:0", "h:65536", "h:-1", "h:1.5", "h:" + "1" * 5000),
        *("a:1,b:2", "a b:1", "a\x00:1", "[::1", "::1]:5", "a:b:c", "http://h:1", "x" * 300),
        ["h:1", "bad host:1"],
    ],
)
def test_bad_seeds(seeds: Any) -> None:
    with pytest.raises(InvalidArgument) as refused:
        AsyncClient(seeds)
    assert "seeds" in str(refused.value)


def test_good_seeds() -> None:
    for seeds in ("h", "h:1", ["h:1"], ("a:1", "b"), iter(["h:1"]), "[::1]:5", "::1", "fe80::1%lo"):
        AsyncClient(seeds)
    assert node_address("[::1]:5") == ("::1", 5)
    assert node_address(" h ") == ("h", 11211)


@pytest.mark.parametrize("bad", [5, "c", {}, {"timeout_ms": 1}, ClientConfig, 0, False])
def test_bad_config_and_random(bad: Any) -> None:
    with pytest.raises(InvalidArgument, match="config"):
        AsyncClient("h:1", bad)
    with pytest.raises(InvalidArgument, match="random"):
        AsyncClient("h:1", random=bad)


@pytest.mark.parametrize("name", [field.name for field in fields(ClientConfig)])
def test_every_setting_refuses_what_it_is_not(name: str) -> None:
    for bad in [*NOT_WHOLE, 0, -1, 1 << 60, 10**5000]:
        if name == "sessions" and isinstance(bad, bool):
            continue
        if name == "credentials" and bad == "":
            continue  # None are needed.
        with pytest.raises(InvalidArgument, match=name):
            ClientConfig(**{name: bad})


@given(ms=st.one_of(st.integers(), st.floats(), st.booleans(), st.text(), st.none()))
def test_bounds(ms: Any) -> None:
    if type(ms) is int and 1 <= ms <= 86_400_000:
        assert Bounded(ms).ms == ms
        return
    with pytest.raises(InvalidArgument, match="bound"):
        Bounded(ms)


def test_a_partial_failure_of_nothing_is_a_bug_that_says_so() -> None:
    with pytest.raises(ValueError, match="errors"):
        PartialFailure({})


def test_an_endless_call_is_not_possible() -> None:
    """No timeout_ms is for ever: the longest is a day, and NaN and infinity are refused."""

    async def main() -> None:
        client = AsyncClient("127.0.0.1:1")
        for bad in (math.nan, math.inf, 1 << 40):
            with pytest.raises(InvalidArgument, match="timeout_ms"):
                await asyncio.wait_for(client.get("k", timeout_ms=bad), 5)  # type: ignore[arg-type]
        await client.close()

    run(main())
