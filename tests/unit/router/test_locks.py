"""`Lock` against the scripted cluster, in virtual time: order, renewal, loss, release, errors."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from quorumcache.router import (
    AsyncClient,
    ClientClosed,
    ClientConfig,
    FencingToken,
    InvalidArgument,
    InvalidKey,
    LockInUse,
    LockLost,
    LockNotHeld,
    LockOfAnotherKind,
    LockTimeout,
    NotDone,
    RouterError,
)
from tests.support.fake_cluster import CLOSE_AFTER, HANG, HANG_AFTER, Fault
from tests.support.virtual_clients import VirtualWorld, virtual

NAME = "the-lock"
KEY = NAME.encode()


def owners(world: VirtualWorld) -> list[bytes]:
    return [holder.owner for holder in world.cluster.locks.holders(KEY)]


def queue(world: VirtualWorld) -> int:
    return len(world.cluster.locks.waiters(KEY))


async def until_queued(world: VirtualWorld, count: int) -> None:
    async with asyncio.timeout(60):
        while queue(world) != count:
            await world.cluster.locks.changed.wait()


async def settle(world: VirtualWorld) -> None:
    """Until what goes on in the background has been done."""
    await asyncio.sleep(5)


def test_a_lock_is_held_for_a_block() -> None:
    async def main(world: VirtualWorld) -> None:
        lock = world.client().lock(NAME)
        assert not lock.is_held
        assert lock.token is None
        async with lock as token:
            assert isinstance(token, FencingToken)
            assert (token.lock, token.shared) == (KEY, "")
            assert lock.token == token
            assert lock.is_held
            assert len(owners(world)) == 1
        assert owners(world) == []
        assert not lock.is_held
        async with lock as later:
            assert later > token
        assert len(world.cluster.leader_node(NAME).executed) == 4

    virtual(main)


def test_each_acquisition_has_an_owner_word_of_its_own() -> None:
    async def main(world: VirtualWorld) -> None:
        lock = world.client().lock(NAME, owner="web-3")
        words = []
        for _ in range(3):
            async with lock:
                words += owners(world)
        assert len(set(words)) == 3
        assert all(word.startswith(b"web-3-") for word in words)
        async with world.client().lock(NAME):
            assert owners(world)[0] not in words

    virtual(main)


def test_callers_get_it_in_the_order_in_which_they_came() -> None:
    async def main(world: VirtualWorld) -> None:
        order: list[int] = []

        async def work(number: int) -> None:
            async with world.client().lock(NAME):
                order.append(number)
                await asyncio.sleep(3)

        works = []
        for number in range(8):
            works.append(asyncio.ensure_future(work(number)))
            await asyncio.sleep(0.1)
        await asyncio.gather(*works)
        assert order == list(range(8))

    virtual(main)


def test_one_who_waits_holds_up_no_other_call_of_its_client() -> None:
    """Replies come in order: a wait on the shared connection would delay all behind it."""

    async def main(world: VirtualWorld) -> None:
        holder, client = world.client(), world.client()
        async with holder.lock(NAME):
            waiting = [asyncio.ensure_future(client.lock(NAME).acquire()) for _ in range(40)]
            await until_queued(world, 40)
            for _ in range(20):
                before = world.loop.time()
                await client.set(NAME, b"1")
                assert await client.get(NAME) == b"1"
                assert world.loop.time() - before < 0.2
                await asyncio.sleep(0.1)
            for task in waiting:
                task.cancel()
            await asyncio.wait(waiting)
        await settle(world)
        assert owners(world) == []

    virtual(main)


def test_a_released_lock_goes_to_the_next_at_once() -> None:
    async def main(world: VirtualWorld) -> None:
        first, second = world.client().lock(NAME), world.client().lock(NAME)
        await first.acquire()
        waiting = asyncio.ensure_future(second.acquire())
        await asyncio.sleep(7.7)
        await first.release()
        before = world.loop.time()
        await waiting
        assert world.loop.time() - before < 0.2
        await second.release()

    virtual(main)


def test_it_is_renewed_while_it_is_held() -> None:
    async def main(world: VirtualWorld) -> None:
        lock = world.client().lock(NAME, 1_000)
        token = await lock.acquire()
        lost = lock.lost
        await asyncio.sleep(60)
        assert lock.is_held
        assert not lost.is_set()
        assert [holder.token for holder in world.cluster.locks.holders(KEY)] == [token.number]
        await lock.release()
        await asyncio.sleep(5)
        assert owners(world) == []
        assert not lost.is_set()

    virtual(main)


def test_time_to_wait() -> None:
    """0: once, without a place in the queue. More: that long, and the place is given back."""

    async def main(world: VirtualWorld) -> None:
        holder = world.client().lock(NAME)
        await holder.acquire()
        impatient = world.client().lock(NAME, wait_ms=0)
        before = world.loop.time()
        with pytest.raises(LockTimeout, match="the lock the-lock is not free"):
            await impatient.acquire()
        assert world.loop.time() - before < 0.2
        assert b" 0 exclusive" in world.cluster.leader_node(NAME).executed[-1]
        patient = world.client().lock(NAME)
        with pytest.raises(LockTimeout, match="not free within 2500 ms; place 1 in the queue"):
            await patient.acquire(wait_ms=2_500)
        assert 2.5 <= world.loop.time() - before < 3
        await settle(world)
        assert queue(world) == 0
        await holder.release()
        assert owners(world) == []
        async with impatient:
            assert impatient.is_held

    virtual(main)


def test_a_place_that_was_lost_is_taken_again() -> None:
    """A node that has seen a connection end gives the place up: a repetition hears BUSY."""

    async def main(world: VirtualWorld) -> None:
        holder, lock = world.client().lock(NAME), world.client().lock(NAME)
        await holder.acquire()
        leader = world.cluster.leader_node(NAME)
        asking = asyncio.ensure_future(lock.acquire())
        await until_queued(world, 1)
        for _ in range(3):
            leader.faults.append(Fault(b"cluster lock acquire", b"BUSY\r\n"))
            world.cluster.locks.waiters(KEY).clear()
            await until_queued(world, 1)
        before = len(leader.log)
        await asyncio.sleep(5)
        assert len(leader.log) - before < 40  # It does not ask without a pause.
        await holder.release()
        await asking
        leader.faults.append(Fault(b"cluster lock acquire", b"BUSY\r\n"))
        with pytest.raises(LockTimeout, match="within 1 ms"):
            await world.client().lock(NAME, wait_ms=1).acquire()
        await lock.release()

    virtual(main)


def test_a_cancelled_acquire_leaves_the_queue() -> None:
    async def main(world: VirtualWorld) -> None:
        holder = world.client().lock(NAME)
        await holder.acquire()
        waiting = asyncio.ensure_future(world.client().lock(NAME).acquire())
        await until_queued(world, 1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        began = world.loop.time()
        await until_queued(world, 0)
        assert world.loop.time() - began < 0.2

    virtual(main)


@pytest.mark.parametrize("after_ms", [0, 1, 2, 3, 5, 8, 12])
def test_a_cancelled_acquire_holds_nothing(after_ms: int) -> None:
    """Whenever it is cancelled, also when the lock was granted and the answer is on its way."""

    async def main(world: VirtualWorld) -> None:
        client = world.client()
        await client.connect()
        asking = asyncio.ensure_future(client.lock(NAME, 60_000).acquire())
        await asyncio.sleep(after_ms / 1000)
        asking.cancel()
        await asyncio.wait([asking])
        if asking.cancelled():
            await settle(world)
            assert owners(world) == []
            assert queue(world) == 0

    virtual(main)


def test_a_cancelled_acquire_whose_request_comes_late_is_given_back_again() -> None:
    """The request is held up on its way, and executed after the place was given back."""

    async def main(world: VirtualWorld) -> None:
        client = world.client()
        await client.connect()
        leader = world.cluster.leader_node(NAME)
        slow = Fault(b"cluster lock acquire", HANG)
        leader.faults.append(slow)
        asking = asyncio.ensure_future(client.lock(NAME, 60_000).acquire())
        await slow.event.wait()
        asking.cancel()
        await asyncio.wait([asking])
        # It is sent again under its number, and executed then.
        await settle(world)
        assert sum(b"acquire" in line for line in leader.executed) == 1
        assert owners(world) == []

    virtual(main)


def test_a_lost_answer_is_asked_for_again_and_the_lock_taken_once() -> None:
    async def main(world: VirtualWorld) -> None:
        client = world.client()
        await client.connect()
        for verb in (b"acquire", b"release"):
            for how in (CLOSE_AFTER, HANG_AFTER):
                leader = world.cluster.leader_node(NAME)
                leader.faults.append(Fault(b"cluster lock " + verb, how))
                count = len(leader.executed)
                async with client.lock(NAME):
                    assert len(owners(world)) == 1
                assert len(leader.executed) - count == 2
                assert not leader.faults
                assert owners(world) == []

    virtual(main)


def test_an_object_is_held_once() -> None:
    async def main(world: VirtualWorld) -> None:
        lock = world.client().lock(NAME)
        async with lock:
            with pytest.raises(LockInUse, match="the-lock is held already by this object"):
                await lock.acquire()
            with pytest.raises(LockInUse):
                async with lock:
                    pass
            assert lock.is_held
            other = world.client().lock(NAME)
            waiting = asyncio.ensure_future(other.acquire())
            await until_queued(world, 1)
            with pytest.raises(LockInUse, match="is being acquired by this object"):
                await other.acquire()
        await waiting
        await other.release()

    virtual(main)


def test_what_is_not_held_is_not_released() -> None:
    """Twice, by another object, or after its end: an error, and nobody loses a lock by it."""

    async def main(world: VirtualWorld) -> None:
        client = world.client()
        lock, other = client.lock(NAME), client.lock(NAME)
        with pytest.raises(LockNotHeld, match="the-lock is not held by this object"):
            await lock.release()
        await lock.acquire()
        with pytest.raises(LockNotHeld):
            await other.release()
        assert len(owners(world)) == 1
        await lock.release()
        with pytest.raises(LockNotHeld):
            await lock.release()
        await lock.acquire()
        world.cluster.locks.give_away(KEY)
        with pytest.raises(LockNotHeld, match="had ended before it was released"):
            await lock.release()
        await lock.acquire()
        world.cluster.locks.give_away(KEY)
        await asyncio.sleep(5)
        with pytest.raises(LockNotHeld, match="was lost: it had ended in the store"):
            await lock.release()

    virtual(main)


def test_a_lock_that_ended_in_the_store_is_lost_with_the_next_renewal() -> None:
    async def main(world: VirtualWorld) -> None:
        lock = world.client().lock(NAME, 3_000)

        async def block() -> None:
            async with lock:
                world.cluster.locks.give_away(KEY)
                await asyncio.wait_for(lock.lost.wait(), 1.5)
                assert not lock.is_held
                assert lock.token is None

        with pytest.raises(LockLost, match="the-lock was lost: it had ended in the store"):
            await block()
        async with lock:
            assert not lock.lost.is_set()

    virtual(main)


def test_a_lock_that_is_not_renewed_is_lost_before_the_store_gives_it_away() -> None:
    """No node answers from some moment on; the next in the queue gets it when its time is over."""

    async def main(world: VirtualWorld) -> None:
        locks = world.cluster.locks
        for cut_after_ms in range(0, 4_000, 333):
            lock = world.client(ClientConfig(timeout_ms=2_000)).lock(NAME, 2_000)
            await lock.acquire()
            await asyncio.sleep(cut_after_ms / 1000)
            for node in world.cluster.nodes:
                node.faults += [Fault(b"cluster lock renew", HANG_AFTER) for _ in range(50)]
            await asyncio.wait_for(lock.lost.wait(), 5)
            (holder,) = locks.holders(KEY)
            left_s = holder.ends_at - world.loop.time()
            assert 0.1 < left_s < 2
            with pytest.raises(LockNotHeld, match="it could not be renewed in time"):
                await lock.release()
            for node in world.cluster.nodes:
                node.faults.clear()
            await settle(world)
            assert owners(world) == []

    virtual(main)


def test_a_renewal_counts_from_when_it_was_sent() -> None:
    """Its answer comes late: what it promises began before."""

    async def main(world: VirtualWorld) -> None:
        lock = world.client(ClientConfig(read_attempt_ms=10_000)).lock(NAME, 9_000)
        await lock.acquire()
        began = world.loop.time()
        leader = world.cluster.leader_node(NAME)
        leader.delays[b"cluster lock renew"] = 2.5
        await asyncio.sleep(5.7)  # sent at 3, answered at 5.5; the next one is sent at 6
        leader.faults += [Fault(b"cluster lock renew", HANG) for _ in range(50)]
        leader.delays.clear()
        await asyncio.wait_for(lock.lost.wait(), 60)
        assert 11 < world.loop.time() - began < 11.2  # 3 + 9 - 0.9

    virtual(main)


def test_an_answer_that_took_the_locks_time_is_not_relied_on() -> None:
    """The lock is asked for again, which renews it; and given up when it is always so."""

    async def main(world: VirtualWorld) -> None:
        client = world.client()
        await client.connect()
        leader = world.cluster.leader_node(NAME)
        slow = leader.delays
        slow[b"cluster lock acquire"] = 0.95
        lock = client.lock(NAME, 1_000)
        asking = asyncio.ensure_future(lock.acquire())
        await asyncio.sleep(1.2)
        assert not asking.done()
        slow.clear()
        token = await asking
        (holder,) = world.cluster.locks.holders(KEY)
        assert holder.token == token.number
        assert sum(b"acquire" in line for line in leader.executed) == 3
        await lock.release()
        slow[b"cluster lock acquire"] = 0.95
        with pytest.raises(LockTimeout, match="lasts 1000 ms, and the answers take longer"):
            await lock.acquire()
        slow.clear()
        await settle(world)
        assert owners(world) == []

    virtual(main)


def test_a_process_that_stood_still_knows_at_the_first_look() -> None:
    """The loop has not come round to the timer: a look at the clock is enough."""

    async def main(world: VirtualWorld) -> None:
        lock = world.client().lock(NAME)
        await lock.acquire()
        lost = lock.lost
        holding = lock._holding
        assert holding is not None
        holding._end.cancel()
        holding._due.cancel()
        await asyncio.sleep(8.9)
        assert lock.is_held
        await asyncio.sleep(0.1)
        assert not lost.is_set()
        assert lock.token is None
        assert lost.is_set()

    virtual(main)


def test_an_error_in_the_block_is_told_and_not_the_loss() -> None:
    async def main(world: VirtualWorld) -> None:
        lock = world.client().lock(NAME, 3_000)

        async def block(*, is_lost: bool) -> None:
            async with lock:
                if is_lost:
                    world.cluster.locks.give_away(KEY)
                    await lock.lost.wait()
                raise KeyError

        for is_lost in (True, False):
            with pytest.raises(KeyError):
                await block(is_lost=is_lost)
        assert owners(world) == []

    virtual(main)


def test_a_block_may_release_its_lock_itself() -> None:
    async def main(world: VirtualWorld) -> None:
        lock = world.client().lock(NAME)
        async with lock:
            await lock.release()
            assert owners(world) == []

    virtual(main)


def test_a_block_is_not_failed_by_a_release_that_cannot_be_sent() -> None:
    async def main(world: VirtualWorld) -> None:
        client = world.client(ClientConfig(timeout_ms=1_000))
        async with client.lock(NAME):
            for node in world.cluster.nodes:
                await node.stop()
        other = client.lock(NAME)
        with pytest.raises(NotDone):
            await other.acquire()

    virtual(main)


def test_closing_the_client_gives_its_locks_back() -> None:
    async def main(world: VirtualWorld) -> None:
        client = world.client()
        lock, waiting = client.lock(NAME, 60_000), client.lock(NAME)
        await lock.acquire()
        lost = lock.lost
        asking = asyncio.ensure_future(waiting.acquire())
        await until_queued(world, 1)
        await client.close()
        assert owners(world) == []
        assert queue(world) == 0
        assert lost.is_set()
        with pytest.raises(RouterError):
            await asking
        with pytest.raises(RouterError):
            await lock.release()

    virtual(main)


@pytest.mark.parametrize("after_ms", [0, 1, 2, 3, 5, 8, 12])
def test_closing_the_client_gives_back_what_is_being_acquired(after_ms: int) -> None:
    """Whatever of the request has been done when the client is closed, or is done after it."""

    async def main(world: VirtualWorld) -> None:
        client = world.client()
        await client.connect()
        asking = asyncio.ensure_future(client.lock(NAME, 60_000).acquire())
        await asyncio.sleep(after_ms / 1000)
        is_late = asking.done()
        await client.close()
        await asyncio.wait([asking])
        await settle(world)
        assert owners(world) == []
        assert is_late or isinstance(asking.exception(), ClientClosed)

    virtual(main)


def test_closing_the_client_gives_back_what_a_late_request_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The request is held up on its way, and executed after the place was given back."""

    async def main(world: VirtualWorld) -> None:
        client = world.client()
        await client.connect()
        keeper, gate = client._locks, asyncio.Event()
        call = keeper.call

        async def late(request: Any, name: bytes, deadline: float) -> Any:
            if b" acquire " in request.data:
                await gate.wait()
            return await call(request, name, deadline)

        monkeypatch.setattr(keeper, "call", late)
        asking = asyncio.ensure_future(client.lock(NAME, 60_000).acquire())
        await asyncio.sleep(0.1)
        world.loop.call_later(0.3, gate.set)
        await client.close()
        with pytest.raises(ClientClosed):
            await asking
        executed = world.cluster.leader_node(NAME).executed
        assert sum(b"acquire" in line for line in executed) == 1
        assert owners(world) == []

    virtual(main)


def test_a_client_that_is_being_closed_acquires_nothing_more() -> None:
    async def main(world: VirtualWorld) -> None:
        client = world.client()
        held, other = client.lock(NAME), client.lock("other")
        await held.acquire()
        closing = asyncio.ensure_future(client.close())
        await asyncio.sleep(0)
        with pytest.raises(ClientClosed):
            await other.acquire()
        await closing
        assert world.cluster.locks.records == {}

    virtual(main)


def test_many_of_one_client_wait_and_none_loses_its_place() -> None:
    """Far more than have a connection to themselves, for a lock that lasts for a short time."""

    async def main(world: VirtualWorld) -> None:
        client, order = world.client(), list[int]()

        async def work(number: int) -> None:
            async with client.lock(NAME, 3_000):
                order.append(number)
                await asyncio.sleep(0.05)

        async with world.client().lock(NAME):
            works = []
            for number in range(200):
                works.append(asyncio.ensure_future(work(number)))
                await until_queued(world, number + 1)
            await asyncio.sleep(20)
            assert queue(world) == 200
        before = world.loop.time()
        await asyncio.gather(*works)
        assert order == list(range(200))
        assert world.loop.time() - before < 60

    virtual(main)


def test_a_name_is_of_one_kind() -> None:
    async def main(world: VirtualWorld) -> None:
        client = world.client()
        async with client.lock(NAME):
            with pytest.raises(LockOfAnotherKind, match="it is a lock"):
                await client.semaphore(NAME, 3).acquire()

    virtual(main)


def test_a_client_without_sessions_locks_as_well() -> None:
    async def main(world: VirtualWorld) -> None:
        client = world.client(ClientConfig(sessions=False))
        async with client.lock(NAME):
            assert len(owners(world)) == 1
        assert owners(world) == []

    virtual(main)


def test_a_leader_that_dies_is_a_pause() -> None:
    async def main(world: VirtualWorld) -> None:
        lock, other = world.client().lock(NAME, 2_000), world.client().lock(NAME)
        async with lock as token:
            waiting = asyncio.ensure_future(other.acquire())
            await until_queued(world, 1)
            leader = world.cluster.leader_node(NAME)
            await leader.stop()
            world.cluster.fail_over(leader.node_id)
            await asyncio.sleep(10)
            assert lock.is_held
        assert await waiting > token
        await other.release()

    virtual(main)


@pytest.mark.parametrize(
    ("arguments", "kind", "said"),
    [
        ({"name": ""}, InvalidKey, "name of a lock"),
        ({"name": "a b"}, InvalidKey, "name of a lock"),
        ({"name": NAME, "ttl_ms": 99}, InvalidArgument, "ttl_ms must be from 100"),
        ({"name": NAME, "ttl_ms": 1.5}, InvalidArgument, "ttl_ms must be a whole number"),
        ({"name": NAME, "ttl_ms": 86_400_001}, InvalidArgument, "ttl_ms"),
        ({"name": NAME, "wait_ms": -1}, InvalidArgument, "wait_ms"),
        ({"name": NAME, "wait_ms": True}, InvalidArgument, "wait_ms"),
        ({"name": NAME, "owner": "a b"}, InvalidArgument, "owner"),
        ({"name": NAME, "owner": "x" * 81}, InvalidArgument, "owner"),
        ({"name": NAME, "owner": "\ud800"}, InvalidArgument, "owner"),
        ({"name": NAME, "owner": b"a"}, InvalidArgument, "owner"),
    ],
)
def test_bad_arguments(arguments: dict[str, object], kind: type[Exception], said: str) -> None:
    client = AsyncClient(["127.0.0.1:1"])
    with pytest.raises(kind, match=said):
        client.lock(**arguments)  # type: ignore[arg-type]
