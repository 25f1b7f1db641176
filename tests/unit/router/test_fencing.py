"""Fencing tokens: their order, where they come from, and what may be one."""

from __future__ import annotations

import asyncio
import pickle
from typing import Any

import pytest

from quorumcache.router import (
    AsyncClient,
    Bounded,
    ClientConfig,
    FenceOfAnotherLock,
    FencingToken,
    InvalidArgument,
    InvalidKey,
    Linearizable,
    Local,
    Refused,
    StaleFence,
)
from quorumcache.router.fencing import fence_of, fenced, fenced_level
from quorumcache.router.requests import delete
from tests.support.fake_cluster import CLOSE_AFTER, FakeCluster, Fault, run


def test_tokens_of_one_lock_have_an_order() -> None:
    old, new = FencingToken(b"a", 1), FencingToken(b"a", 2)
    assert old < new
    assert new > old
    assert old <= new
    assert new >= old
    assert old != new
    assert max(old, new) is new
    assert int(new) == 2
    assert pickle.loads(pickle.dumps(new)) == new
    assert FencingToken("a", 2) == new  # type: ignore[arg-type]


def test_tokens_of_different_locks_have_none() -> None:
    with pytest.raises(
        InvalidArgument, match="tokens of different locks have no order: b'b', b'a'"
    ):
        max(FencingToken(b"a", 1), FencingToken(b"b", 2))
    other: Any = 5
    with pytest.raises(InvalidArgument, match="not with 5"):
        FencingToken(b"a", 1) < other  # noqa: B015


def test_what_is_no_token() -> None:
    with pytest.raises(InvalidKey):
        FencingToken(b"a b", 1)
    with pytest.raises(InvalidArgument, match="a token's number"):
        FencingToken(b"a", -1)


def test_a_token_comes_from_the_environment() -> None:
    environment = {"QUORUMCACHE_LOCK": "nightly", "QUORUMCACHE_FENCE_TOKEN": "17"}
    assert FencingToken.from_environment(environment) == FencingToken(b"nightly", 17)
    for broken in (
        {},
        {"QUORUMCACHE_LOCK": "nightly"},
        {"QUORUMCACHE_FENCE_TOKEN": "17"},
        environment | {"QUORUMCACHE_FENCE_TOKEN": "x"},
        environment | {"QUORUMCACHE_FENCE_TOKEN": "-1"},
    ):
        with pytest.raises(InvalidArgument, match="name no token"):
            FencingToken.from_environment(broken)


def test_a_token_that_several_hold_is_no_fence() -> None:
    fence_of(FencingToken(b"a", 1))
    with pytest.raises(InvalidArgument, match="This one is of a semaphore: several hold it"):
        fence_of(FencingToken(b"a", 1, "a semaphore"))
    bad: Any
    for bad in (1, b"a", None, ("a", 1)):
        with pytest.raises(InvalidArgument, match="fence must be the FencingToken"):
            fence_of(bad)


def test_a_fence_is_a_line_before_the_command() -> None:
    plain = delete(b"k")
    assert fenced(plain, None) is plain
    behind = fenced(plain, FencingToken(b"a", 7))
    assert behind.data == b"cluster fence a 7\r\ndelete k\r\n"
    assert (behind.decode, behind.effect) == (plain.decode, plain.effect)


def test_a_read_behind_a_fence_is_linearizable() -> None:
    assert fenced_level(None) == Linearizable()
    assert fenced_level(Linearizable()) == Linearizable()
    for level in (Local(), Bounded(5)):
        with pytest.raises(InvalidArgument, match="level must be Linearizable"):
            fenced_level(level)


def test_every_verb_goes_behind_its_fence() -> None:
    """An old token is refused by each, a token of another lock, too, and nothing is changed."""

    async def main() -> None:
        async with (
            FakeCluster(sessions=True) as cluster,
            AsyncClient(cluster.seeds) as client,
        ):
            old, new = FencingToken(b"lock", 5), FencingToken(b"lock", 6)
            other = FencingToken(b"other", 9)
            calls: list[Any] = [
                lambda fence: client.set("k", b"1", fence=fence),
                lambda fence: client.add("k", b"1", fence=fence),
                lambda fence: client.replace("k", b"1", fence=fence),
                lambda fence: client.append("k", b"1", fence=fence),
                lambda fence: client.prepend("k", b"1", fence=fence),
                lambda fence: client.cas("k", b"1", 7, fence=fence),
                lambda fence: client.incr("k", fence=fence),
                lambda fence: client.decr("k", fence=fence),
                lambda fence: client.touch("k", 5, fence=fence),
                lambda fence: client.get("k", fence=fence),
                lambda fence: client.gets("k", fence=fence),
                lambda fence: client.delete("k", fence=fence),
            ]
            for call in calls:
                await call(old)
            await client.get("k", fence=new)
            before = dict(cluster.items)
            for call in calls:
                with pytest.raises(StaleFence, match="the newest token seen here is 6") as stale:
                    await call(old)
                assert stale.value.newest == 6
                with pytest.raises(FenceOfAnotherLock, match="guarded by another one"):
                    await call(other)
                semaphore = FencingToken(b"lock", 8, "a semaphore")
                with pytest.raises(InvalidArgument):
                    await call(semaphore)
            assert cluster.items == before
            await client.set("k", b"2", fence=new)
            assert await client.get("k") == b"2"

    run(main())


def test_a_fenced_write_that_is_repeated_hears_its_first_result() -> None:
    """It was done; then a newer holder came, and then it is sent again, since its answer was
    lost."""

    async def main() -> None:
        async with (
            FakeCluster(sessions=True) as cluster,
            AsyncClient(cluster.seeds) as client,
            AsyncClient(cluster.seeds) as newer,
        ):
            await client.set("k", b"0")
            fault = Fault(b"incr", CLOSE_AFTER)
            cluster.leader_node("k").faults.append(fault)
            counting = asyncio.ensure_future(client.incr("k", fence=FencingToken(b"lock", 1)))
            await fault.event.wait()
            await newer.get("k", fence=FencingToken(b"lock", 2))
            assert await counting == 1
            assert cluster.items[b"k"][1] == b"1"
            with pytest.raises(StaleFence):
                await client.incr("k", fence=FencingToken(b"lock", 1))

    run(main())


def test_a_refusal_whose_answer_was_lost_is_told_when_it_is_repeated() -> None:
    async def main() -> None:
        async with (
            FakeCluster(sessions=True) as cluster,
            AsyncClient(cluster.seeds) as client,
        ):
            await client.set("k", b"1", fence=FencingToken(b"lock", 2))
            cluster.leader_node("k").faults.append(Fault(b"set", CLOSE_AFTER))
            with pytest.raises(StaleFence):
                await client.set("k", b"0", fence=FencingToken(b"lock", 1))
            assert cluster.items[b"k"][1] == b"1"

    run(main())


def test_a_node_that_knows_no_fences_gets_no_fenced_request() -> None:
    """It would answer the fence by an error, and execute the command all the same."""

    async def main() -> None:
        async with FakeCluster(sessions=True) as cluster:
            for node in cluster.nodes:
                node.knows_locks = False
            async with AsyncClient(cluster.seeds) as client:
                await client.set("k", b"1")
                for call in (
                    client.set("k", b"2", fence=FencingToken(b"lock", 1)),
                    client.get("k", fence=FencingToken(b"lock", 1)),
                ):
                    with pytest.raises(Refused, match="an older version, without fences"):
                        await call
                assert cluster.items[b"k"][1] == b"1"
                assert not any(b"fence" in line for node in cluster.nodes for line in node.log)

    run(main())


def test_a_fenced_read_ignores_the_configured_level() -> None:
    """It has to go through the log, whatever is usual."""

    async def main() -> None:
        config = ClientConfig(read_level=Local())
        async with (
            FakeCluster(sessions=True) as cluster,
            AsyncClient(cluster.seeds, config) as client,
        ):
            leader = cluster.leader_node("k")
            for _ in range(6):
                await client.get("k", fence=FencingToken(b"lock", 1))
                await client.gets("k", fence=FencingToken(b"lock", 1))
            assert len(leader.reads) == 12
            assert {level for level, _ in leader.reads} == {b"linearizable"}

    run(main())
