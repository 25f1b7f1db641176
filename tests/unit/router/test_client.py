"""`AsyncClient` against the scripted cluster: verbs, redirects, faults, deadlines, cancellation."""

from __future__ import annotations

import asyncio
from random import Random

import pytest
import uvloop

from quorumcache.router import (
    AsyncClient,
    CasResult,
    ClientClosed,
    ClientConfig,
    ClusterUnreachable,
    DeadlineExceeded,
    InvalidArgument,
    InvalidKey,
    NotACluster,
    NotANumber,
    NotDone,
    OutcomeUnknown,
    PartialFailure,
    Refused,
    ValueTooLarge,
    WrongCluster,
)
from tests.support.fake_cluster import (
    CLOSE_AFTER,
    CLOSE_BEFORE,
    DEADLINE_S,
    HANG,
    FakeCluster,
    Fault,
    run,
)

PATIENT = ClientConfig(timeout_ms=20_000, stall_ms=10_000, read_attempt_ms=10_000)


def client_of(cluster: FakeCluster, config: ClientConfig = PATIENT) -> AsyncClient:
    return AsyncClient(cluster.seeds, config, random=Random(1))


def test_every_verb() -> None:
    """Each verb ends in the result that memcached's reply means."""

    async def main() -> None:
        async with FakeCluster() as cluster, client_of(cluster) as client:
            assert await client.get("a") is None
            assert await client.gets("a") is None
            await client.set("a", b"1", flags=7)
            assert await client.get("a") == b"1"
            item = await client.gets(b"a")
            assert item is not None
            assert (item.value, item.flags) == (b"1", 7)
            assert await client.add("a", b"2") is False
            assert await client.add("b", b"2") is True
            assert await client.replace("c", b"3") is False
            assert await client.replace("b", b"3") is True
            assert await client.append("b", b"4") is True
            assert await client.prepend("b", b"2") is True
            assert await client.get("b") == b"234"
            assert await client.append("c", b"x") is False
            assert await client.cas("a", b"5", item.cas_unique) is CasResult.STORED
            again = await client.cas("a", b"6", item.cas_unique)
            assert again is CasResult.EXISTS
            assert not again
            assert await client.cas("c", b"6", 1) is CasResult.NOT_FOUND
            assert await client.incr("a", 10) == 15
            assert await client.decr("a") == 14
            assert await client.incr("c") is None
            assert await client.touch("a", 60) is True
            assert await client.touch("c", 60) is False
            assert await client.delete("a") is True
            assert await client.delete("a") is False
            await client.set("ключ", "значение".encode())
            assert await client.get("ключ".encode()) == "значение".encode()
            await client.flush_all()
            assert cluster.items == {}

    run(main())


def test_works_on_uvloop() -> None:
    """The same client on the other loop: verbs, a redirect, a dead node, an unknown outcome."""

    async def main() -> None:
        async with FakeCluster() as cluster, client_of(cluster) as client:
            values = {f"key-{number}": b"%d" % number for number in range(500)}
            await client.set_many(values)
            assert await client.get_many(values) == values
            key = cluster.key_of(0)
            cluster.lead(0, 2)
            await client.set(key, b"1")
            cluster.node(2).faults.append(Fault(b"incr", CLOSE_AFTER))
            with pytest.raises(OutcomeUnknown):
                await client.incr(key)
            await cluster.node(2).stop()
            cluster.fail_over(2)
            assert await client.incr(key) == 3

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(main(), DEADLINE_S))


def test_a_fresh_client_asks_only_leaders() -> None:
    """With the list of leaders fetched along with the map, no request is redirected."""

    async def main() -> None:
        async with FakeCluster() as cluster:
            for shard in range(8):
                cluster.lead(shard, shard % 3 + 1)
            async with client_of(cluster) as client:
                for shard in range(8):
                    key = cluster.key_of(shard)
                    await client.set(key, b"x")
                    assert cluster.leader_node(key).executed[-1].split()[1] == key.encode()
            lines = [line for node in cluster.nodes for line in node.log]
            assert sum(line.startswith(b"set") for line in lines) == 8

    run(main())


def test_follows_a_redirect_and_remembers_it() -> None:
    async def main() -> None:
        async with FakeCluster() as cluster, client_of(cluster) as client:
            key = cluster.key_of(0)
            await client.set(key, b"1")
            old, new = cluster.leader_node(key), cluster.node(3)
            cluster.lead(0, 3)
            assert await client.incr(key) == 2
            assert await client.incr(key) == 3
            assert sum(line.startswith(b"incr") for line in old.log) == 1
            assert sum(line.startswith(b"incr") for line in new.log) == 2

    run(main())


def test_waits_for_a_leader_to_be_elected() -> None:
    """While nobody leads, requests are repeated; they succeed once somebody does."""

    async def main() -> None:
        async with FakeCluster() as cluster, client_of(cluster) as client:
            key = cluster.key_of(0)
            await client.set(key, b"1")
            old = cluster.leader_node(key)
            cluster.lead(0, 0)
            asked = Fault(b"incr", cluster.moved(0))
            old.faults.append(asked)
            call = asyncio.create_task(client.incr(key))
            await asked.event.wait()
            cluster.lead(0, 2)
            assert await call == 2
            assert cluster.items[key.encode()][1] == b"2"

    run(main())


def test_dead_leader_is_replaced() -> None:
    """After the death of a node, its shards go on with the next leader."""

    async def main() -> None:
        async with FakeCluster() as cluster, client_of(cluster) as client:
            keys = [cluster.key_of(shard) for shard in range(8)]
            for key in keys:
                await client.set(key, b"1")
            await cluster.node(1).stop()
            cluster.fail_over(1)
            for key in keys:
                assert await client.incr(key) == 2

    run(main())


def test_all_nodes_restart() -> None:
    """With every node gone for a moment, calls wait and then succeed."""

    async def main() -> None:
        async with FakeCluster() as cluster, client_of(cluster) as client:
            await client.set("a", b"1")
            for node in cluster.nodes:
                await node.stop()
            call = asyncio.create_task(client.get("a"))
            await asyncio.sleep(0.05)
            assert not call.done()
            for node in cluster.nodes:
                await node.start()
            assert await call == b"1"

    run(main())


def test_dead_and_silent_seeds_are_passed_over() -> None:
    """One seed refuses, one accepts and never answers, one lives: the client starts."""

    async def main() -> None:
        async with FakeCluster(nodes=1) as cluster, FakeCluster(nodes=2) as others:
            others.node(1).faults.append(Fault(b"cluster", HANG))
            seeds = [others.node(2).address, others.node(1).address, *cluster.seeds]
            await others.node(2).stop()
            async with AsyncClient(seeds, PATIENT) as client:
                await client.set("a", b"1")
                assert client.cluster_map == cluster.map

    run(main())


def test_no_seed_answers() -> None:
    """`connect(once=True)` fails at once and names every seed with its reason."""

    async def main() -> None:
        async with FakeCluster(nodes=2) as cluster:
            for node in cluster.nodes:
                await node.stop()
            client = AsyncClient([*cluster.seeds, *cluster.seeds])  # Given twice, named once.
            with pytest.raises(ClusterUnreachable) as failure:
                await client.connect(once=True)
            for node in cluster.nodes:
                assert str(failure.value).count(f"{node.address}: connection refused") == 1
            with pytest.raises(DeadlineExceeded, match="connection refused"):
                await client.get("a", timeout_ms=500)
            await client.close()

    run(main())


def test_plain_memcached_is_recognised_and_gets_no_write() -> None:
    async def main() -> None:
        async with FakeCluster(nodes=1) as cluster:
            cluster.node(1).is_plain = True
            client = client_of(cluster)
            with pytest.raises(NotACluster, match="answered 'ERROR'"):
                await client.set("a", b"1")
            await client.close()
            assert not cluster.node(1).executed

    run(main())


def test_waits_for_the_first_map() -> None:
    async def main() -> None:
        async with FakeCluster() as cluster:
            cluster.has_map = False
            client = client_of(cluster)
            with pytest.raises(NotDone, match="no cluster map yet"):
                await client.connect(once=True)
            call = asyncio.create_task(client.set("a", b"1"))
            await asyncio.sleep(0.02)
            cluster.has_map = True
            await call
            await client.close()

    run(main())


@pytest.mark.parametrize("action", [CLOSE_BEFORE, CLOSE_AFTER])
def test_lost_reply_of_a_write_is_outcome_unknown(action: str) -> None:
    """A write is sent once; whether it was executed, the client does not know."""

    async def main() -> None:
        async with FakeCluster() as cluster, client_of(cluster) as client:
            await client.set("n", b"1")
            cluster.leader_node("n").faults.append(Fault(b"incr", action))
            with pytest.raises(OutcomeUnknown):
                await client.incr("n")
            lines = [line for node in cluster.nodes for line in node.log]
            assert sum(line.startswith(b"incr") for line in lines) == 1
            expected = b"2" if action == CLOSE_AFTER else b"1"
            assert await client.get("n") == expected

    run(main())


@pytest.mark.parametrize("action", [CLOSE_BEFORE, b"what is this\r\n", b"STORED\r\n"])
def test_reads_survive_broken_connections_and_garbage(action: str | bytes) -> None:
    async def main() -> None:
        async with FakeCluster() as cluster, client_of(cluster) as client:
            await client.set("a", b"1")
            cluster.leader_node("a").faults.append(Fault(b"get", action))
            assert await client.get("a") == b"1"

    run(main())


def test_reply_for_another_key_is_garbage() -> None:
    """A reply that names another key than the one asked for is never handed out."""

    async def main() -> None:
        async with FakeCluster() as cluster, client_of(cluster) as client:
            await client.set("a", b"1")
            other = b"VALUE b 0 5\r\nwrong\r\nEND\r\n"
            cluster.leader_node("a").faults.append(Fault(b"get", other))
            assert await client.get("a") == b"1"
            # The stream may be out of step from there on, so its connection was given up.
            assert cluster.leader_node("a").connection_count == 2

    run(main())


def test_garbage_reply_to_a_write_is_outcome_unknown() -> None:
    async def main() -> None:
        async with FakeCluster() as cluster, client_of(cluster) as client:
            await client.get("a")
            cluster.leader_node("a").faults.append(Fault(b"set", b"VALUE a 0 1\r\nx\r\nEND\r\n"))
            with pytest.raises(OutcomeUnknown):
                await client.set("a", b"1")

    run(main())


def test_not_done_is_retried_and_unknown_is_not() -> None:
    """The two failure lines of a node: one is repeated, the other is told."""

    async def main() -> None:
        async with FakeCluster() as cluster, client_of(cluster) as client:
            await client.set("n", b"1")
            leader = cluster.leader_node("n")
            leader.faults.append(Fault(b"incr", b"SERVER_ERROR not done: lost leadership\r\n"))
            assert await client.incr("n") == 2
            leader.faults.append(Fault(b"incr", b"SERVER_ERROR outcome unknown: timed out\r\n"))
            with pytest.raises(OutcomeUnknown, match="timed out"):
                await client.incr("n")
            assert cluster.items[b"n"][1] == b"2"
            leader.faults.append(Fault(b"get", b"SERVER_ERROR outcome unknown: timed out\r\n"))
            assert await client.get("n") == b"2"

    run(main())


def test_write_before_send_is_retried() -> None:
    """The connection died while idle: nothing was sent on it, so the write simply goes again."""

    async def main() -> None:
        async with FakeCluster() as cluster, client_of(cluster) as client:
            for _ in range(5):
                await client.set("a", b"1")
                connection = client._engine.pool.ready(cluster.leader_node("a").address)
                assert connection is not None
                await cluster.leader_node("a").drop_connections()
                await connection.closed
            assert len(cluster.leader_node("a").executed) == 5

    run(main())


def test_deadline_of_a_read_and_of_a_write() -> None:
    """A node that never answers: a read is not done, a write is unknown, both by the deadline."""

    async def main() -> None:
        async with FakeCluster(nodes=1) as cluster, client_of(cluster) as client:
            cluster.node(1).faults.append(Fault(b"get", HANG))
            with pytest.raises(DeadlineExceeded, match="no reply in time"):
                await client.get("a", timeout_ms=500)
        async with FakeCluster(nodes=1) as cluster, client_of(cluster) as client:
            cluster.node(1).faults.append(Fault(b"set", HANG))
            with pytest.raises(OutcomeUnknown, match="no reply in time"):
                await client.set("a", b"1", timeout_ms=500)

    run(main())


def test_silent_connection_gets_no_further_requests() -> None:
    """A stopped leader: its write ends unknown, while new calls go on with the new leader."""

    async def main() -> None:
        config = ClientConfig(timeout_ms=20_000, stall_ms=50, read_attempt_ms=50)
        async with FakeCluster() as cluster, client_of(cluster, config) as client:
            key = cluster.key_of(0)
            await client.set(key, b"1")
            old = cluster.leader_node(key)
            hung = Fault(b"incr", HANG)
            old.faults += [hung, Fault(b"cluster redirect", HANG), Fault(b"cluster redirect", HANG)]
            stuck = asyncio.create_task(client.incr(key))
            await hung.event.wait()
            cluster.fail_over(old.node_id)
            assert await client.get(key) == b"1"
            assert await client.incr(key) == 2
            assert not stuck.done()
            await old.stop()
            with pytest.raises(OutcomeUnknown):
                await stuck

    run(main())


def test_cancelled_calls_never_shift_replies() -> None:
    """Cancel random calls in flight; every other caller still gets the value of its own key."""

    async def main() -> None:
        random = Random(7)
        async with FakeCluster() as cluster, client_of(cluster) as client:
            keys = [f"k{number}" for number in range(60)]
            await client.set_many({key: key.encode() for key in keys})

            async def ask(key: str) -> None:
                assert await client.get(key) == key.encode()

            for _ in range(25):
                tasks = [asyncio.create_task(ask(key)) for key in keys]
                for _ in range(random.randrange(6)):
                    await asyncio.sleep(0)
                for task in tasks:
                    if random.random() < 0.5:
                        task.cancel()
                results = await asyncio.gather(*tasks, return_exceptions=True)
                assert all(r is None or isinstance(r, asyncio.CancelledError) for r in results)
            assert sum(node.connection_count for node in cluster.nodes) == 3

    run(main())


def test_cancelled_before_sending_is_never_sent() -> None:
    async def main() -> None:
        async with FakeCluster() as cluster, client_of(cluster) as client:
            await client.set("a", b"1")
            other = asyncio.create_task(client.get("a"))  # the first of a turn leaves at once
            task = asyncio.create_task(client.incr("a"))
            await asyncio.sleep(0)  # it is queued now, and leaves at the end of the turn
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await other == b"1"
            assert await client.get("a") == b"1"

    run(main())


def test_pipelined_calls_keep_their_order() -> None:
    """Calls started in one turn reach the node in this order and on one connection."""

    async def main() -> None:
        async with FakeCluster() as cluster, client_of(cluster) as client:
            await client.set("n", b"0")
            numbers = await asyncio.gather(*(client.incr("n") for _ in range(3_000)))
            assert numbers == list(range(1, 3_001))
            assert cluster.leader_node("n").connection_count == 1

    run(main())


def test_inflight_bound_holds() -> None:
    """More callers than places: they wait their turn; none fails, none is lost."""

    async def main() -> None:
        config = ClientConfig(inflight_requests_max=4, inflight_bytes_max=200)
        async with FakeCluster() as cluster, client_of(cluster, config) as client:
            await client.set("n", b"0")
            connection = client._engine.pool.ready(cluster.leader_node("n").address)
            assert connection is not None
            calls = [asyncio.create_task(client.incr("n")) for _ in range(200)]
            calls.append(asyncio.create_task(client.set("n", b"7" * 500)))
            while not all(call.done() for call in calls):
                assert connection.load <= 4
                await asyncio.sleep(0)
            for call in calls:
                await call

    run(main())


def test_cancelled_waiter_passes_its_turn_on() -> None:
    async def main() -> None:
        config = ClientConfig(inflight_requests_max=1)
        async with FakeCluster() as cluster, client_of(cluster, config) as client:
            await client.set("n", b"0")
            for _ in range(20):
                calls = [asyncio.create_task(client.get("n")) for _ in range(10)]
                await asyncio.sleep(0)
                for call in calls[::2]:
                    call.cancel()
                results = await asyncio.gather(*calls, return_exceptions=True)
                assert results[1::2] == [b"0"] * 5

    run(main())


def test_get_many_and_set_many_over_all_shards() -> None:
    async def main() -> None:
        async with FakeCluster(shards=64) as cluster, client_of(cluster) as client:
            values = {f"key-{number}": b"%d" % number for number in range(5_000)}
            await client.set_many(values)
            assert len(cluster.items) == 5_000
            asked = [*values, "missing-1", "missing-2"]
            assert await client.get_many(asked) == values
            assert await client.get_many([b"key-1", b"nothing"]) == {b"key-1": b"1"}
            assert await client.get_many([]) == {}

    run(main())


def test_multi_calls_survive_a_fail_over() -> None:
    """All shards of a dead node moved: each part of the call finds its new leader by itself."""

    async def main() -> None:
        async with FakeCluster(shards=64) as cluster, client_of(cluster) as client:
            values = {f"key-{number}": b"%d" % number for number in range(1_000)}
            await client.set_many(values)
            await cluster.node(2).stop()
            cluster.fail_over(2)
            assert await client.get_many(values) == values
            await client.set_many(values)

    run(main())


def test_partial_failure_names_each_key() -> None:
    """Keys of a shard without an answer fail by themselves; the others are done."""

    async def main() -> None:
        async with FakeCluster() as cluster, client_of(cluster) as client:
            bad, good = cluster.key_of(0), cluster.key_of(1)
            await client.set_many({bad: b"1", good: b"2"})
            cluster.node(1).faults.append(Fault(b"set", b"SERVER_ERROR outcome unknown: x\r\n"))
            with pytest.raises(PartialFailure) as failure:
                await client.set_many({bad: b"3", good: b"4"})
            assert list(failure.value.errors) == [bad]
            assert not failure.value.outcome_known
            assert await client.get(good) == b"4"
            cluster.lead(0, 0)
            with pytest.raises(PartialFailure) as failure:
                await client.get_many([bad, good], timeout_ms=1_500)
            assert list(failure.value.errors) == [bad]
            assert failure.value.values == {good: b"4"}
            assert failure.value.outcome_known

    run(main())


def test_new_epoch_is_fetched_and_old_connections_go() -> None:
    """A shard moves to a new node: one redirect later the client has the new map."""

    async def main() -> None:
        async with FakeCluster() as cluster, client_of(cluster) as client:
            key = cluster.key_of(0)
            await client.set(key, b"1")
            await cluster.add_node()
            cluster.move_shard(0, (4, 2, 3))
            assert await client.get(key) == b"1"
            refreshing = client._engine.keeper._refreshing
            assert refreshing is not None
            await refreshing
            assert client.cluster_map == cluster.map
            assert (await client.route(key)).leader == cluster.node(4).address

    run(main())


def test_an_older_map_is_never_installed() -> None:
    async def main() -> None:
        async with FakeCluster() as cluster, client_of(cluster) as client:
            old = cluster.map
            cluster.rename(old.cluster_id)
            key = cluster.key_of(0)
            cluster.lead(0, 2)
            await client.get(key)
            await client._engine.keeper.refresh_soon()
            assert client.cluster_map == cluster.map
            newest, cluster.map = cluster.map, old
            await client._engine.keeper._refresh("", 0.0)
            assert client.cluster_map == newest

    run(main())


def test_another_cluster_at_the_same_addresses_is_refused() -> None:
    async def main() -> None:
        async with FakeCluster() as cluster, client_of(cluster) as client:
            key = cluster.key_of(0)
            await client.set(key, b"1")
            cluster.rename("fake-2")
            cluster.lead(0, 0)
            with pytest.raises(WrongCluster, match="fake-2"):
                await client.get(key)

    run(main())


def test_refusals_are_told_and_not_repeated() -> None:
    async def main() -> None:
        async with FakeCluster() as cluster, client_of(cluster) as client:
            with pytest.raises(ValueTooLarge):
                await client.set("a", b"x" * (1 << 21))
            await client.set("a", b"text")
            with pytest.raises(NotANumber):
                await client.incr("a")
            no_memory = b"SERVER_ERROR out of memory storing object\r\n"
            cluster.leader_node("a").faults.append(Fault(b"set", no_memory))
            with pytest.raises(Refused, match="out of memory"):
                await client.set("a", b"1")

    run(main())


def test_arguments_are_checked_before_anything_is_sent() -> None:
    async def main() -> None:
        client = AsyncClient(["127.0.0.1:1"])
        for key in ("", "a b", "a\r", b"a\n", "x" * 251, "é" * 126, "\ud800"):
            with pytest.raises(InvalidKey):
                await client.get(key)
        with pytest.raises(InvalidArgument, match="bytes"):
            await client.set("a", "text")  # type: ignore[arg-type]
        with pytest.raises(InvalidArgument, match="delta"):
            await client.incr("a", -1)
        with pytest.raises(InvalidArgument, match="exptime"):
            await client.touch("a", 1 << 31)
        with pytest.raises(InvalidArgument, match="flags"):
            await client.set("a", b"", flags=1 << 32)
        with pytest.raises(InvalidArgument, match="timeout_ms"):
            await client.get("a", timeout_ms=0)
        await client.close()
        with pytest.raises(InvalidArgument):
            AsyncClient([])
        with pytest.raises(InvalidArgument, match="host:port"):
            AsyncClient(["host:port"])

    run(main())


def test_closed_client() -> None:
    """Calls under way end with a typed error, later ones are refused, `close` may be repeated."""

    async def main() -> None:
        async with FakeCluster() as cluster:
            client = client_of(cluster)
            await client.set("a", b"1")
            hung, other = Fault(b"set", HANG), Fault(b"get", HANG)
            cluster.leader_node("a").faults += [hung, other]
            write = asyncio.create_task(client.set("a", b"2"))
            await hung.event.wait()
            read = asyncio.create_task(client.get("a"))
            await asyncio.sleep(0)
            await client.close()
            with pytest.raises(OutcomeUnknown):
                await write
            with pytest.raises(ClientClosed):
                await read
            with pytest.raises(ClientClosed):
                await client.get("a")
            await client.close()

    run(main())


def test_too_many_connections() -> None:
    """A node that is full says so at once; the client tries again and gets in."""

    async def main() -> None:
        async with FakeCluster(nodes=1) as cluster, client_of(cluster) as client:
            await client.set("a", b"1")
            await cluster.node(1).drop_connections()
            full = Fault(b"cluster", b"ERROR Too many open connections\r\n")
            cluster.node(1).faults.append(full)
            assert await client.get("a") == b"1"
            assert full.event.is_set()

    run(main())
