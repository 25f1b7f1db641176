"""Locks and fences over a cluster on virtual time, as clients of other languages use them: words on
a connection, to any node.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from quorumcache.node.operations.lock_acquire import RENEW_NS, WAIT_NS_MAX
from tests.simulation.stage import Stage, Wire

TTL = 60_000
WAIT = 30_000
STALE = b"CLIENT_ERROR stale fence: the newest token seen here is %d\r\n"


def acquire(owner: bytes, wait_ms: int = 0, ttl_ms: int = TTL, mode: bytes = b"") -> bytes:
    line = b"cluster lock acquire lock %b %d %d %b" % (owner, ttl_ms, wait_ms, mode)
    return line.rstrip() + b"\r\n"


def release(owner: bytes) -> bytes:
    return b"cluster lock release lock %b\r\n" % owner


def token_of(reply: bytes) -> int:
    word, token = reply.split()
    assert word == b"LOCKED", reply
    return int(token)


async def waits(stage: Stage, wire: Wire, *owners: bytes) -> list[asyncio.Task[bytes]]:
    """Acquires that wait, one behind the other, each on a connection of its own."""
    names = list(stage.nodes)
    tasks = []
    for number, owner in enumerate(owners):
        other = await stage.connect(names[number % len(names)])
        tasks.append(asyncio.create_task(other.ask(acquire(owner, WAIT))))
        await has_waiters(stage, wire, number + 1)
    return tasks


async def has_waiters(stage: Stage, wire: Wire, count: int) -> None:
    for _ in range(2000):
        if (await wire.ask(b"cluster lock show lock\r\n", b"END\r\n")).count(b"WAITER") == count:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"there are not {count} waiters")


def test_any_node_takes_the_commands_of_a_lock() -> None:
    async def scenario(stage: Stage) -> None:
        first, second, third = [await stage.connect(name) for name in stage.nodes]
        token = token_of(await first.ask(acquire(b"o1")))
        assert await second.ask(acquire(b"o1")) == b"LOCKED %d\r\n" % token, "it holds it already"
        assert await second.ask(acquire(b"o2")) == b"BUSY\r\n"
        assert await third.ask(b"cluster lock renew lock o1 %d 5000\r\n" % token) == (
            b"LOCKED %d\r\n" % token
        )
        shown = await third.ask(b"cluster lock show lock\r\n", b"END\r\n")
        assert shown.startswith(b"HOLDER o1 %d exclusive " % token)
        assert 4000 < int(shown.split(b"\r\n")[0].split()[-1]) <= 5000
        assert await second.ask(release(b"o1")) == b"RELEASED\r\n"
        assert await second.ask(release(b"o1")) == b"NOT_HELD\r\n"
        assert await third.ask(b"cluster lock renew lock o1 %d 5000\r\n" % token) == (
            b"NOT_HELD\r\n"
        )
        assert await third.ask(b"cluster lock show lock\r\n") == b"END\r\n"
        assert token_of(await first.ask(acquire(b"o2"))) > token

    Stage().run(scenario)


def test_those_who_wait_get_the_lock_in_their_order_and_without_delay() -> None:
    async def scenario(stage: Stage) -> None:
        wire = await stage.connect("n1")
        tokens = [token_of(await wire.ask(acquire(b"o0")))]
        tasks = await waits(stage, wire, b"o1", b"o2", b"o3", b"o4")
        for number, task in enumerate(tasks):
            assert not task.done()
            before = stage.loop.time()
            assert await wire.ask(release(b"o%d" % number)) == b"RELEASED\r\n"
            tokens.append(token_of(await task))
            assert stage.loop.time() - before < 0.1
        assert tokens == sorted(set(tokens))

    Stage().run(scenario)


def test_a_lease_that_ends_lets_the_next_one_in() -> None:
    async def scenario(stage: Stage) -> None:
        wire = await stage.connect("n1")
        before = stage.loop.time()
        await wire.ask(acquire(b"o0", ttl_ms=2000))
        [task] = await waits(stage, wire, b"o1")
        token_of(await task)
        assert 2 <= stage.loop.time() - before < 2.5
        assert sum(node.counters.lock_leases_ended for node in stage.up()) == 1

    Stage().run(scenario)


def test_a_wait_that_is_over_keeps_its_place() -> None:
    async def scenario(stage: Stage) -> None:
        wire, other, third = [await stage.connect(name) for name in stage.nodes]
        await wire.ask(acquire(b"o0"))
        before = stage.loop.time()
        assert await other.ask(acquire(b"o1", 700)) == b"WAITING 1\r\n"
        assert 0.7 <= stage.loop.time() - before < 0.9
        assert await third.ask(acquire(b"o2", 700)) == b"WAITING 2\r\n"
        await wire.ask(release(b"o0"))
        shown = await wire.ask(b"cluster lock show lock\r\n", b"END\r\n")
        assert b"HOLDER o1 " in shown
        assert b"WAITER 1 o2 exclusive " in shown
        token_of(await third.ask(acquire(b"o1", 700)))

    Stage().run(scenario)


def test_a_long_wait_is_answered_after_a_minute_and_keeps_its_place_all_the_time() -> None:
    async def scenario(stage: Stage) -> None:
        wire, other, third = [await stage.connect(name) for name in stage.nodes]
        await wire.ask(acquire(b"o0", ttl_ms=600_000))
        before = stage.loop.time()
        task = asyncio.create_task(other.reader.readline())
        other.writer.write(acquire(b"o1", 600_000))
        await has_waiters(stage, wire, 1)
        second = asyncio.create_task(third.reader.readline())
        third.writer.write(acquire(b"o2", 600_000))
        assert await task == b"WAITING 1\r\n"
        spent = stage.loop.time() - before
        assert WAIT_NS_MAX / 1e9 <= spent < WAIT_NS_MAX / 1e9 + 0.5
        assert await second == b"WAITING 2\r\n"
        await asyncio.sleep(RENEW_NS / 1e9)
        assert await other.ask(acquire(b"o1", 100)) == b"WAITING 1\r\n"

    Stage().run(scenario)


def home(stage: Stage) -> int:
    """The shard of the lock."""
    return stage.node("n1").server.context.group_of(b"lock") - 1


@pytest.mark.parametrize("silent", [True, False])
def test_the_leader_dies_while_the_lock_is_held_and_waited_for(silent: bool) -> None:
    async def scenario(stage: Stage) -> None:
        leader = stage.leader(home(stage))
        others = [name for name in stage.nodes if name != leader]
        wire = await stage.connect(others[0])
        tokens = [token_of(await (await stage.connect(leader)).ask(acquire(b"o0")))]
        tasks = []
        for number, name in enumerate((others[0], others[1], others[0]), 1):
            waiting = await stage.connect(name)
            tasks.append(asyncio.create_task(waiting.ask(acquire(b"o%d" % number, WAIT))))
            await has_waiters(stage, wire, number)
        stage.nodes[leader].crash(silent=silent)
        for number, task in enumerate(tasks):
            assert not task.done()
            assert await wire.ask(release(b"o%d" % number)) == b"RELEASED\r\n"
            tokens.append(token_of(await task))
        assert tokens == sorted(set(tokens))

    Stage().run(scenario)


def test_nodes_without_a_replica_of_the_locks_shard() -> None:
    async def scenario(stage: Stage) -> None:
        wire = await stage.connect("n1")
        tokens = [token_of(await wire.ask(acquire(b"o0")))]
        tasks = await waits(stage, wire, *(b"o%d" % number for number in range(1, 6)))
        for number, task in enumerate(tasks):
            before = stage.loop.time()
            assert await wire.ask(release(b"o%d" % number)) == b"RELEASED\r\n"
            tokens.append(token_of(await task))
            assert stage.loop.time() - before < 0.1
        assert tokens == sorted(set(tokens))

    Stage(nodes=5).run(scenario)


def test_the_leader_hands_over_while_the_lock_is_waited_for() -> None:
    async def scenario(stage: Stage) -> None:
        wire = await stage.connect("n1")
        tokens = [token_of(await wire.ask(acquire(b"o0")))]
        tasks = await waits(stage, wire, b"o1", b"o2", b"o3")
        for number, task in enumerate(tasks):
            leader = stage.leader(home(stage))
            group = stage.node(leader).host.groups[home(stage) + 1]
            target = next(n for n in (1, 2, 3) if n != stage.node(leader).node_id)
            stage.node(leader).member.housekeeper.leadership.transfer(group, target)
            await stage.until("another one leads", lambda old=leader: has_moved(stage, old))
            assert await wire.ask(release(b"o%d" % number)) == b"RELEASED\r\n"
            tokens.append(token_of(await task))
        assert tokens == sorted(set(tokens))

    Stage().run(scenario)


def has_moved(stage: Stage, leader: str) -> bool:
    return stage.leader(home(stage)) not in ("", leader)


def test_a_client_that_goes_gives_up_its_place_and_no_hold() -> None:
    async def scenario(stage: Stage) -> None:
        wire, other, third = [await stage.connect(name) for name in stage.nodes]
        held = token_of(await wire.ask(acquire(b"o0")))
        for leaver in (other, third):
            leaver.writer.write(acquire(b"gone", WAIT))
            await has_waiters(stage, wire, 1)
            leaver.writer.transport.abort()
            await has_waiters(stage, wire, 0)
        # Its owner has come back through another node, and holds the lock when the first one goes.
        again, last = await stage.connect("n2"), await stage.connect("n3")
        again.writer.write(acquire(b"back", WAIT))
        await has_waiters(stage, wire, 1)
        group = stage.node("n2").host.groups[home(stage) + 1]
        again.writer.transport.abort()
        assert await wire.ask(release(b"o0")) == b"RELEASED\r\n"
        token = token_of(await last.ask(acquire(b"back")))
        assert token > held
        await asyncio.sleep(1)
        assert group.machine.locks.holder(b"lock", b"back", group.now_ms()) == token

    Stage().run(scenario)


def test_a_client_that_closes_its_side_while_it_waits_is_told_that_it_waits_no_more() -> None:
    async def scenario(stage: Stage) -> None:
        wire, other, _ = [await stage.connect(name) for name in stage.nodes]
        await wire.ask(acquire(b"o0"))
        other.writer.write(acquire(b"o1", WAIT))
        await has_waiters(stage, wire, 1)
        other.writer.write_eof()
        assert await other.rest() == b"BUSY\r\n"
        await has_waiters(stage, wire, 0)

    Stage().run(scenario)


def test_a_node_that_stops_tells_those_who_wait_their_place() -> None:
    async def scenario(stage: Stage) -> None:
        wire, other, third = [await stage.connect(name) for name in stage.nodes]
        await wire.ask(acquire(b"o0"))
        task = asyncio.create_task(other.rest())
        other.writer.write(acquire(b"o1", WAIT))
        await has_waiters(stage, wire, 1)
        await stage.nodes["n2"].stop()
        assert await task == b"WAITING 1\r\n"
        assert await third.ask(acquire(b"o1", 100)) == b"WAITING 1\r\n"

    Stage().run(scenario)


def test_a_client_that_routes_by_itself_is_sent_to_the_leader_of_the_locks_shard() -> None:
    async def scenario(stage: Stage) -> None:
        leader = stage.leader(home(stage))
        lines = [acquire(b"o"), acquire(b"o", WAIT), release(b"o")]
        lines += [b"cluster lock renew lock o 1 1000\r\n", b"cluster lock show lock\r\n"]
        for name in stage.nodes:
            wire = await stage.connect(name)
            assert await wire.ask(b"cluster redirect on\r\n") == b"OK\r\n"
            for line in lines:
                reply = await wire.ask(line)
                assert reply.startswith(b"MOVED ") == (name != leader), reply

    Stage().run(scenario)


def test_readers_share_a_lock_and_a_writer_has_it_alone() -> None:
    async def scenario(stage: Stage) -> None:
        wire, other, third = [await stage.connect(name) for name in stage.nodes]
        for owner in (b"r1", b"r2"):
            token_of(await wire.ask(acquire(owner, mode=b"shared")))
        writer = asyncio.create_task(other.ask(acquire(b"w", WAIT)))
        await has_waiters(stage, wire, 1)
        assert await third.ask(acquire(b"r3", mode=b"shared")) == b"BUSY\r\n"
        for owner in (b"r1", b"r2"):
            assert not writer.done()
            await wire.ask(release(owner))
        token_of(await writer)
        assert (await third.ask(acquire(b"r3", mode=b"semaphore 2"))).startswith(
            b"CLIENT_ERROR lock of another kind: "
        )

    Stage().run(scenario)


def test_a_semaphore_and_a_barrier() -> None:
    async def scenario(stage: Stage) -> None:
        wires = [await stage.connect(name) for name in stage.nodes]
        first, second, third = wires
        for owner in (b"p1", b"p2"):
            token_of(await first.ask(acquire(owner, mode=b"semaphore 2")))
        assert await second.ask(acquire(b"p3", mode=b"semaphore 2")) == b"BUSY\r\n"
        await third.ask(release(b"p1"))
        token_of(await second.ask(acquire(b"p3", mode=b"semaphore 2")))
        for owner in (b"p2", b"p3"):
            await third.ask(release(owner))
        tasks = []
        for number, wire in enumerate(wires):
            assert not any(task.done() for task in tasks)
            line = acquire(b"b%d" % number, WAIT, mode=b"barrier 3")
            tasks.append(asyncio.create_task(wire.ask(line)))
            if number < 2:
                other = await stage.connect("n1")
                await has_waiters(stage, other, number + 1)
        assert len({token_of(await task) for task in tasks}) == 3

    Stage().run(scenario)


def test_what_stands_behind_an_acquire_waits_for_it_and_a_release_for_what_stands_before() -> None:
    async def scenario(stage: Stage) -> None:
        wire, other, _ = [await stage.connect(name) for name in stage.nodes]
        elsewhere = stage.key(1 - home(stage))
        await wire.ask(acquire(b"o0"))
        line = acquire(b"o1", WAIT) + b"set %b 0 0 1\r\nx\r\n" % elsewhere
        other.writer.write(line + release(b"o1") + b"get %b\r\n" % elsewhere)
        await has_waiters(stage, wire, 1)
        await asyncio.sleep(1)
        assert await wire.ask(b"get %b\r\n" % elsewhere) == b"END\r\n"
        await wire.ask(release(b"o0"))
        token_of(await wire.ask(acquire(b"o2", WAIT)))
        assert (await wire.ask(b"get %b\r\n" % elsewhere, b"END\r\n")).startswith(b"VALUE ")
        assert token_of(await other.ask(b"")) < token_of(await wire.ask(acquire(b"o2")))
        assert await other.ask(b"") == b"STORED\r\n"
        assert await other.ask(b"") == b"RELEASED\r\n"

    Stage().run(scenario)


def test_the_store_refuses_what_an_older_holder_sends() -> None:
    async def scenario(stage: Stage) -> None:
        wire, other, third = [await stage.connect(name) for name in stage.nodes]
        old, new = 7, 8
        set_line = b"set k 0 0 1\r\nx\r\n"

        def fenced(token: int, line: bytes, lock: bytes = b"lock") -> bytes:
            return b"cluster fence %b %d\r\n%b" % (lock, token, line)

        assert await wire.ask(fenced(old, set_line)) == b"STORED\r\n"
        assert await other.ask(fenced(new, b"get k\r\n"), b"END\r\n") == (
            b"VALUE k 0 1\r\nx\r\nEND\r\n"
        )
        for line in (set_line, b"delete k\r\n", b"incr k 1\r\n", b"touch k 0\r\n"):
            assert await third.ask(fenced(old, line)) == STALE % new
        for line in (b"get k\r\n", b"mg k v\r\n", b"ms k 1 q\r\ny\r\n", b"md k q\r\n"):
            assert await wire.ask(fenced(old, line)) == STALE % new
        assert await wire.ask(fenced(new, set_line, b"other")) == (
            b"CLIENT_ERROR fence of another lock: this key is guarded by another one\r\n"
        )
        silent = fenced(old, b"set k 0 0 1 noreply\r\nz\r\n")
        assert await wire.ask(silent + b"get k\r\n", b"END\r\n") == (b"VALUE k 0 1\r\nx\r\nEND\r\n")
        assert sum(node.counters.fences_refused for node in stage.up()) == 10
        assert await wire.ask(set_line) == b"STORED\r\n", "a plain write is not fenced"

    Stage().run(scenario)


def test_the_two_prefixes_go_before_one_command_in_either_order() -> None:
    async def scenario(stage: Stage) -> None:
        wire, other, _ = [await stage.connect(name) for name in stage.nodes]
        shard = stage.node("n1").server.context.group_of(b"k") - 1
        await wire.ask(b"set k 0 0 1\r\n5\r\n")
        opened = await wire.ask(b"cluster session open %d\r\n" % shard)
        session = int(opened.split()[2])
        once = b"cluster once %d 1 1\r\n" % session
        fence = b"cluster fence lock 9\r\n"
        assert await wire.ask(once + fence + b"incr k 1\r\n") == b"6\r\n"
        assert await other.ask(fence + once + b"incr k 1\r\n") == b"6\r\n", "it ran once"
        late = b"cluster once %d 2 1\r\ncluster fence lock 8\r\nincr k 1\r\n" % session
        for _ in range(2):
            assert await other.ask(late) == STALE % 9
        assert await wire.ask(b"get k\r\n", b"END\r\n") == b"VALUE k 0 1\r\n6\r\nEND\r\n"

    Stage().run(scenario)


def test_an_acquire_with_a_number_is_answered_by_what_is_so_now() -> None:
    async def scenario(stage: Stage) -> None:
        wire, other, third = [await stage.connect(name) for name in stage.nodes]
        opened = await wire.ask(b"cluster session open %d\r\n" % home(stage))
        once = b"cluster once %d %%d 1\r\n" % int(opened.split()[2])
        await wire.ask(acquire(b"o0"))
        line = once % 1 + acquire(b"o1", 100)
        assert await other.ask(line) == b"WAITING 1\r\n"
        assert await third.ask(line) == b"WAITING 1\r\n"
        await wire.ask(release(b"o0"))
        token = token_of(await other.ask(line))
        assert await third.ask(once % 2 + release(b"o1")) == b"RELEASED\r\n"
        assert await other.ask(once % 2 + release(b"o1")) == b"RELEASED\r\n", "it ran once"
        assert await other.ask(line) == b"BUSY\r\n", "a late repetition takes no lock"
        assert token_of(await wire.ask(acquire(b"o2"))) > token
        # Behind other requests, it waits for them and keeps its number.
        slow = b"set %b 0 0 1\r\nx\r\n" % stage.key(1 - home(stage))
        assert await third.ask(slow + once % 2 + release(b"o2")) == b"STORED\r\n"
        assert await third.ask(b"") == b"RELEASED\r\n", "of the number's first use"
        assert await wire.ask(acquire(b"o3")) == b"BUSY\r\n"

    Stage().run(scenario)


def test_a_large_value_under_a_fence() -> None:
    async def scenario(stage: Stage) -> None:
        wire, other, _ = [await stage.connect(name) for name in stage.nodes]
        value = b"v" * (3 << 20)
        line = b"set k 0 0 %d\r\n%b\r\n" % (len(value), value)
        assert await wire.ask(b"cluster fence lock 8\r\n" + line) == b"STORED\r\n"
        assert await other.ask(b"cluster fence lock 7\r\n" + line) == STALE % 8
        other.writer.write(b"cluster fence lock 9\r\nget k\r\n")
        assert await other.reader.readexactly(19 + len(value) + 7) == (
            b"VALUE k 0 %d\r\n%b\r\nEND\r\n" % (len(value), value)
        )
        assert await wire.ask(b"cluster fence lock 8\r\n" + line) == STALE % 9

        def is_dropped() -> bool:
            groups = [group for node in stage.up() for group in node.host.groups.values()]
            return not any(group.machine.staging.uploads for group in groups if group.group_id)

        await stage.until("no pieces are left", is_dropped)

    Stage(item_bytes_max=8 << 20).run(scenario)


def test_the_example_of_the_protocol() -> None:
    """docs/protocol.md, line by line."""
    document = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()
    lines = re.findall(r"^    ([AB])([<>]) (.*)$", document, re.M)
    assert len(lines) == 20

    async def scenario(stage: Stage) -> None:
        wires = {"A": await stage.connect("n1"), "B": await stage.connect("n2")}
        other = await stage.connect("n3")
        await other.ask(b"set job:next 0 0 1\r\n7\r\n")
        for _ in range(40):
            token_of(await other.ask(b"cluster lock acquire jobs o 1000\r\n"))
            await other.ask(b"cluster lock release jobs o\r\n")
        for who, direction, text in lines:
            if direction == ">":
                wires[who].writer.write(text.encode() + b"\r\n")
                await asyncio.sleep(0.5)
            else:
                assert await wires[who].ask(b"") == text.encode() + b"\r\n", text

    Stage().run(scenario)
