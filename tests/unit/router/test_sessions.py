"""`AsyncClient` with sessions against the scripted cluster: a write whose reply is lost is sent
again under its number, and returns its first result.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from random import Random

import pytest

from quorumcache.router import (
    AsyncClient,
    CasResult,
    ClientClosed,
    ClientConfig,
    DeadlineExceeded,
    InvalidArgument,
    NotANumber,
    OutcomeUnknown,
    OutOfMemory,
    PartialFailure,
    SessionGone,
)
from quorumcache.router import sessions as sessions_module
from tests.support.fake_cluster import (
    CLOSE_AFTER,
    CLOSE_BEFORE,
    HANG,
    HANG_AFTER,
    FakeCluster,
    Fault,
    run,
)

PATIENT = ClientConfig(
    timeout_ms=20_000, stall_ms=10_000, read_attempt_ms=10_000, write_attempt_ms=10_000
)
HASTY = ClientConfig(timeout_ms=20_000, stall_ms=50, read_attempt_ms=50, write_attempt_ms=50)
GONE = b"SERVER_ERROR session gone: this command was not done\r\n"
GONE_UNKNOWN = b"SERVER_ERROR session gone: outcome unknown\r\n"


def client_of(cluster: FakeCluster, config: ClientConfig = PATIENT) -> AsyncClient:
    return AsyncClient(cluster.seeds, config, random=Random(1))


def once_lines(cluster: FakeCluster) -> list[tuple[int, ...]]:
    lines = [line for node in cluster.nodes for line in node.log]
    return [tuple(map(int, x.split()[2:])) for x in lines if x.startswith(b"cluster once")]


def forget_all(cluster: FakeCluster) -> None:
    """Every session of the cluster expires."""
    assert cluster.sessions is not None
    cluster.sessions.clear()


@pytest.mark.parametrize("action", [CLOSE_BEFORE, CLOSE_AFTER, b"garbage\r\n", b"END\r\n"])
def test_a_lost_reply_is_asked_for_again(action: str | bytes) -> None:
    """Executed or not, the caller gets the result of the one execution."""

    async def main() -> None:
        async with FakeCluster(sessions=True) as cluster, client_of(cluster) as client:
            await client.set("n", b"1")
            fault = Fault(b"incr", action)
            cluster.leader_node("n").faults.append(fault)
            assert await client.incr("n") == 2
            assert fault.event.is_set()
            assert await client.incr("n") == 3
            executed = [line for node in cluster.nodes for line in node.executed]
            assert executed == [b"set n 0 0 1", b"incr n 1", b"incr n 1"]

    run(main())


def test_every_write_gets_its_first_result() -> None:
    """A second execution of any of these would answer something else."""

    async def main() -> None:
        async with FakeCluster(sessions=True) as cluster, client_of(cluster) as client:

            def lose(verb: bytes) -> None:
                cluster.leader_node("k").faults.append(Fault(verb, CLOSE_AFTER))

            lose(b"add")
            assert await client.add("k", b"1") is True
            lose(b"append")
            assert await client.append("k", b"2") is True
            lose(b"prepend")
            assert await client.prepend("k", b"3") is True
            assert await client.get("k") == b"312"
            lose(b"decr")
            assert await client.decr("k", 12) == 300
            item = await client.gets("k")
            assert item is not None
            lose(b"cas")
            assert await client.cas("k", b"x", item.cas_unique) is CasResult.STORED
            lose(b"incr")
            with pytest.raises(NotANumber):
                await client.incr("k")
            lose(b"replace")
            assert await client.replace("k", b"y") is True
            lose(b"touch")
            assert await client.touch("k", 60) is True
            lose(b"delete")
            assert await client.delete("k") is True
            lose(b"set")
            await client.set("k", b"z")
            assert await client.get("k") == b"z"
            assert not any(node.faults for node in cluster.nodes)
            counts = Counter(line for node in cluster.nodes for line in node.executed)
            assert max(counts.values()) == 1

    run(main())


def test_a_hanging_node_costs_one_attempt_and_not_the_whole_time() -> None:
    async def main() -> None:
        async with FakeCluster(sessions=True) as cluster, client_of(cluster, HASTY) as client:
            key = cluster.key_of(0)
            await client.set(key, b"1")
            old = cluster.leader_node(key)
            hung = Fault(b"incr", HANG_AFTER)
            old.faults += [hung, *(Fault(b"cluster redirect", HANG) for _ in range(9))]
            call = asyncio.create_task(client.incr(key))
            await hung.event.wait()
            cluster.fail_over(old.node_id)
            assert await call == 2
            assert await client.get(key) == b"2"

    run(main())


def test_a_write_goes_through_the_death_of_its_node() -> None:
    async def main() -> None:
        async with FakeCluster(sessions=True) as cluster, client_of(cluster) as client:
            key = cluster.key_of(0)
            await client.set(key, b"1")
            old = cluster.leader_node(key)
            hung = Fault(b"incr", HANG_AFTER)
            old.faults.append(hung)
            call = asyncio.create_task(client.incr(key))
            await hung.event.wait()
            await old.stop()
            cluster.fail_over(old.node_id)
            assert await call == 2

    run(main())


def test_concurrent_first_writes_share_one_opening() -> None:
    async def main() -> None:
        async with FakeCluster(sessions=True) as cluster, client_of(cluster) as client:
            assert cluster.sessions_opened == 0, "opened when first needed"
            await asyncio.gather(*(client.set("k", b"%d" % n) for n in range(100)))
            assert cluster.sessions_opened == 1
            await client.set_many({f"key-{n}": b"x" for n in range(200)})
            assert cluster.sessions_opened == 8, "one for each shard"
            assert await client.get("nothing") is None

    run(main())


def test_numbers_rise_and_the_floor_follows_what_is_outstanding() -> None:
    async def main() -> None:
        async with FakeCluster(sessions=True) as cluster, client_of(cluster) as client:
            key = cluster.key_of(0)
            await client.set(key, b"0")
            leader = cluster.leader_node(key)
            no = Fault(b"incr", b"SERVER_ERROR not done: busy\r\n")
            leader.faults.append(no)
            await asyncio.gather(*(client.incr(key) for _ in range(5)))
            await client.incr(key)
            lines = once_lines(cluster)
            numbers = [(sequence, floor) for _, sequence, floor in lines]
            assert numbers[:6] == [(1, 1), (2, 2), (3, 2), (4, 2), (5, 2), (6, 2)]
            assert set(numbers[6:]) == {(2, 2), (7, 7)}, "the repetitions, and one more"
            assert len({session for session, _, _ in lines}) == 1

    run(main())


def test_a_session_has_bounded_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """No number is given that is far above one which may still be repeated."""
    monkeypatch.setattr(sessions_module, "SESSION_WRITES_MAX", 8)

    async def main() -> None:
        async with FakeCluster(sessions=True) as cluster, client_of(cluster) as client:
            key = cluster.key_of(0)
            await client.set(key, b"0")
            results = await asyncio.gather(*(client.incr(key) for _ in range(200)))
            assert sorted(filter(None, results)) == list(range(1, 201))
            lines = once_lines(cluster)
            assert all(sequence - floor < 8 for _, sequence, floor in lines)

    run(main())


def test_many_keys_at_once_share_the_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are done make room for those of the same call that wait."""
    monkeypatch.setattr(sessions_module, "SESSION_WRITES_MAX", 8)

    async def main() -> None:
        async with (
            FakeCluster(shards=1, sessions=True) as cluster,
            client_of(cluster) as client,
        ):
            await client.set("first", b"x")
            values = {f"key-{n}": b"%d" % n for n in range(300)}
            await asyncio.gather(*(client.set_many(values) for _ in range(3)))
            assert await client.get_many(values) == values

    run(main())


def test_a_write_that_finds_no_room_is_not_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that hangs keeps the floor down; what has no number yet was never sent."""
    monkeypatch.setattr(sessions_module, "SESSION_WRITES_MAX", 2)

    async def main() -> None:
        async with FakeCluster(sessions=True) as cluster, client_of(cluster) as client:
            key = cluster.key_of(0)
            await client.set(key, b"0")
            hung = Fault(b"incr", HANG)
            cluster.leader_node(key).faults.append(hung)
            calls = [asyncio.create_task(client.incr(key)) for _ in range(2)]
            await hung.event.wait()
            with pytest.raises(DeadlineExceeded, match="2 writes under way"):
                await client.incr(key, timeout_ms=200)
            waiting = asyncio.create_task(client.set(key, b"7"))
            await asyncio.sleep(0)
            calls[0].cancel()
            calls[1].cancel()
            await cluster.leader_node(key).drop_connections()
            await waiting
            assert once_lines(cluster)[-1][1:] == (4, 4)

    run(main())


def test_a_cancelled_write_frees_its_number() -> None:
    async def main() -> None:
        async with FakeCluster(sessions=True) as cluster, client_of(cluster) as client:
            key = cluster.key_of(0)
            await client.set(key, b"0")
            call = asyncio.create_task(client.incr(key))
            await asyncio.sleep(0)
            call.cancel()
            await asyncio.wait((call,))
            await client.set(key, b"1")
            assert once_lines(cluster)[-1][1:] == (3, 3)

    run(main())


def test_the_deadline_of_a_write_in_doubt_is_outcome_unknown() -> None:
    async def main() -> None:
        async with (
            FakeCluster(nodes=1, sessions=True) as cluster,
            client_of(cluster, HASTY) as client,
        ):
            await client.set("n", b"1")
            hung = Fault(b"incr", HANG_AFTER)
            never = (Fault(b"cluster redirect", HANG) for _ in range(99))
            cluster.node(1).faults += [hung, *never]
            with pytest.raises(OutcomeUnknown, match="no reply in time") as failure:
                await client.incr("n", timeout_ms=1_000)
            assert not isinstance(failure.value, SessionGone)
            cluster.node(1).faults.clear()
            assert await client.get("n") == b"2"

    run(main())


def test_not_done_after_a_doubt_is_still_a_doubt() -> None:
    """What the last attempt did says nothing about the first."""

    async def main() -> None:
        async with FakeCluster(sessions=True) as cluster, client_of(cluster) as client:
            key = cluster.key_of(0)
            await client.set(key, b"1")
            lost = Fault(b"incr", CLOSE_AFTER)
            cluster.leader_node(key).faults.append(lost)
            call = asyncio.create_task(client.incr(key, timeout_ms=1_000))
            await lost.event.wait()
            cluster.lead(0, 0)
            with pytest.raises(OutcomeUnknown, match="no known leader"):
                await call
            odd = b"CLIENT_ERROR what is this\r\n"
            cluster.lead(0, 2)
            # The last attempt of the call that ran out of time may come in only now, and meet one.
            cluster.node(2).faults += [Fault(b"incr", CLOSE_BEFORE) for _ in range(2)]
            cluster.node(2).faults.append(Fault(b"incr", odd))
            with pytest.raises(OutcomeUnknown, match="what is this"):
                await client.incr(key)

    run(main())


def test_a_refusal_that_answers_a_repetition_is_the_result() -> None:
    async def main() -> None:
        async with FakeCluster(sessions=True) as cluster, client_of(cluster) as client:
            key = cluster.key_of(0)
            await client.set(key, b"1")
            full = b"SERVER_ERROR out of memory storing object\r\n"
            cluster.leader_node(key).faults += [Fault(b"append", CLOSE_BEFORE)]
            cluster.leader_node(key).faults += [Fault(b"append", full)]
            with pytest.raises(OutOfMemory):
                await client.append(key, b"x")

    run(main())


@pytest.mark.parametrize("line", [GONE, GONE.replace(b"session gone", b"stale sequence")])
def test_without_a_doubt_a_write_goes_on_in_a_new_session(line: bytes) -> None:
    async def main() -> None:
        async with FakeCluster(sessions=True) as cluster, client_of(cluster) as client:
            await client.set("n", b"1")
            cluster.leader_node("n").faults.append(Fault(b"incr", line))
            assert await client.incr("n") == 2
            assert cluster.sessions_opened == 2
            forget_all(cluster)
            assert await client.incr("n") == 3
            assert cluster.sessions_opened == 3
            forget_all(cluster)
            values = {cluster.key_of(shard): b"x" for shard in range(8)}
            await client.set_many(values)
            assert await client.get_many(values) == values

    run(main())


def test_with_a_doubt_a_gone_session_is_told_and_nothing_runs_twice() -> None:
    async def main() -> None:
        async with FakeCluster(sessions=True) as cluster, client_of(cluster) as client:
            await client.set("n", b"1")
            leader = cluster.leader_node("n")
            leader.faults += [Fault(b"incr", CLOSE_AFTER), Fault(b"incr", GONE)]
            with pytest.raises(SessionGone, match="session gone"):
                await client.incr("n")
            assert await client.get("n") == b"2"
            leader.faults.append(Fault(b"incr", GONE_UNKNOWN))
            with pytest.raises(SessionGone):
                await client.incr("n")
            assert await client.get("n") == b"2", "the node had a doubt of its own"
            assert await client.incr("n") == 3
            assert cluster.sessions_opened == 3

    run(main())


def test_many_keys_at_once_survive_lost_replies() -> None:
    async def main() -> None:
        async with FakeCluster(sessions=True) as cluster, client_of(cluster) as client:
            values = {f"key-{n}": b"%d" % n for n in range(2_000)}
            await client.set_many(dict.fromkeys(values, b""))
            for node in cluster.nodes:
                node.faults.append(Fault(b"set key-7", CLOSE_AFTER))
            await client.set_many(values)
            assert await client.get_many(values) == values
            executed = Counter(line for node in cluster.nodes for line in node.executed)
            assert executed[b"set key-77 0 0 2"] == 1
            await cluster.node(1).stop()
            cluster.fail_over(1)
            await client.set_many(values)
            bad = cluster.key_of(0)
            gone = Fault(b"set", GONE_UNKNOWN)
            cluster.leader_node(bad).faults.append(gone)
            with pytest.raises(PartialFailure) as failure:
                await client.set_many({bad: b"1", cluster.key_of(2): b"2"})
            assert [type(error) for error in failure.value.errors.values()] == [SessionGone]

    run(main())


@pytest.mark.parametrize("fault", [CLOSE_BEFORE, b"garbage\r\n", b"SESSION 7 7\r\n"])
def test_an_opening_is_repeated(fault: str | bytes) -> None:
    async def main() -> None:
        async with FakeCluster(sessions=True) as cluster, client_of(cluster) as client:
            key = cluster.key_of(0)
            cluster.leader_node(key).faults.append(Fault(b"cluster session open", fault))
            await client.set(key, b"1")
            assert await client.get(key) == b"1"

    run(main())


def test_an_opening_outlives_the_caller_that_began_it() -> None:
    async def main() -> None:
        async with FakeCluster(sessions=True) as cluster, client_of(cluster) as client:
            key = cluster.key_of(0)
            cluster.lead(0, 0)
            with pytest.raises(DeadlineExceeded, match="no session for shard 0 in time"):
                await client.set(key, b"1", timeout_ms=100)
            given_up = asyncio.create_task(client.set(key, b"2"))
            waiting = asyncio.create_task(client.set(key, b"3"))
            await asyncio.sleep(0.01)
            given_up.cancel()
            cluster.lead(0, 2)
            await waiting
            assert cluster.sessions_opened == 1
            assert cluster.node(2).executed == [b"set %b 0 0 1" % key.encode()]

    run(main())


def test_closing_while_a_session_is_opened() -> None:
    async def main() -> None:
        async with FakeCluster(sessions=True) as cluster:
            client = client_of(cluster)
            key = cluster.key_of(0)
            opening = Fault(b"cluster session open", HANG)
            cluster.leader_node(key).faults.append(opening)
            call = asyncio.create_task(client.set(key, b"1"))
            await opening.event.wait()
            await client.close()
            with pytest.raises(ClientClosed):
                await call

    run(main())


@pytest.mark.parametrize("config", [ClientConfig(sessions=False), ClientConfig()])
def test_without_sessions_a_write_is_sent_once(config: ClientConfig) -> None:
    """Switched off, or the nodes are of an older version that knows none."""

    async def main() -> None:
        sessions = not config.sessions
        async with FakeCluster(sessions=sessions) as cluster, client_of(cluster, config) as client:
            await client.set("n", b"1")
            cluster.leader_node("n").faults.append(Fault(b"incr", CLOSE_AFTER))
            with pytest.raises(OutcomeUnknown):
                await client.incr("n")
            assert await client.get("n") == b"2"
            assert not once_lines(cluster)
            assert cluster.sessions_opened == 0

    run(main())


def test_a_numbered_write_is_not_repeated_at_a_node_without_sessions() -> None:
    """It would take the prefix for a command of its own, and execute the write a second time."""

    async def main() -> None:
        async with FakeCluster(sessions=True) as cluster, client_of(cluster) as client:
            key = cluster.key_of(0)
            await client.set(key, b"1")
            cluster.node(2).knows_sessions = False
            await cluster.node(2).drop_connections()
            leader = cluster.leader_node(key)
            hung = Fault(b"incr", HANG_AFTER)
            leader.faults.append(hung)
            call = asyncio.create_task(client.incr(key))
            await hung.event.wait()
            await leader.stop()
            cluster.lead(0, 2)
            await asyncio.sleep(0.2)
            cluster.lead(0, 3)
            assert await call == 2
            assert not any(b"incr" in line for line in cluster.node(2).log)
            cluster.lead(0, 2)
            assert await client.incr(key) == 3, "a new one goes there without a number"

    run(main())


def test_the_setting_is_a_truth_value() -> None:
    with pytest.raises(InvalidArgument, match="sessions"):
        ClientConfig(sessions=1)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="write_attempt_ms"):
        ClientConfig(write_attempt_ms=0)
