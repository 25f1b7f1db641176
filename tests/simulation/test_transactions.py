"""Transactions over a whole cluster on virtual time: whatever becomes of their coordinator, they
are done as a whole or not at all, and nobody waits for long.
"""

from __future__ import annotations

import asyncio

import pytest

from quorumcache.node.admin.status import health_document
from quorumcache.node.housekeeping.hold_watch import HOLDS_LATE
from quorumcache.node.store.store import shard_store
from tests.simulation.stage import Stage, Wire
from tests.simulation.transport import VirtualTransport

SHARDS = 4
NOTHING_HELD_SECONDS = 4.0
"""Patience of the leaders, an election, and time to spare."""


async def begin(wire: Wire, limit_ms: int = 5_000) -> tuple[bytes, int]:
    words = (await wire.ask(b"cluster txn begin %d\r\n" % limit_ms)).split()
    assert words[0] == b"TXN", words
    return words[1], int(words[2])


def commit_bytes(txn: tuple[bytes, int], *lines: bytes) -> bytes:
    block = b"".join(line + b"\r\n" for line in lines)
    return b"cluster txn commit %b %d %d\r\n%b\r\n" % (*txn, len(block), block)


def sets(stage: Stage, value: int) -> list[bytes]:
    """A write in every shard."""
    text = b"%d" % value
    keys = [stage.key(shard) for shard in range(stage.shards)]
    return [b"set %b 0 0 %d\r\n%b" % (key, len(text), text) for key in keys]


async def values(stage: Stage, name: str) -> list[int | None]:
    """What every shard holds, asked as any client asks."""
    found = []
    wire = await stage.connect(name)
    for shard in range(stage.shards):
        reply = await wire.ask(b"get %b\r\n" % stage.key(shard), b"END\r\n")
        found.append(int(reply.split(b"\r\n")[1]) if reply.startswith(b"VALUE") else None)
    wire.close()
    return found


def holds(stage: Stage) -> int:
    """Keys that are held at any leader."""
    held = 0
    for node in stage.up():
        for group_id, group in node.host.groups.items():
            if group_id and group.is_leader:
                held += len(shard_store(group.machine).holds)
    return held


async def nothing_held(stage: Stage) -> None:
    end = stage.loop.time() + NOTHING_HELD_SECONDS
    while holds(stage):
        assert stage.loop.time() < end, "keys stay held"
        await asyncio.sleep(0.01)


def count_sends(stage: Stage) -> None:
    """Let `arm_sends` of the nodes count what they write to connections."""

    def on_write(transport: VirtualTransport, data: bytes) -> None:
        simulated = stage.nodes.get(transport.local_host)
        if simulated is not None and transport.process is simulated.process:
            simulated.on_write()

    stage.network.tap = on_write


def others(stage: Stage, *names: str) -> list[str]:
    return [name for name in stage.nodes if name not in names]


@pytest.mark.parametrize("how", ["callbacks", "sends"])
def test_a_coordinator_that_dies_after_any_step(how: str) -> None:
    """Its client repeats the commit through another node, and hears what all others see."""

    async def scenario(stage: Stage) -> None:
        count_sends(stage)
        answers = set()
        moments = range(1, 46, 4) if how == "callbacks" else range(1, 15, 2)
        before = 0
        for moment in moments:
            coordinator = stage.nodes["n1"]
            wire = await stage.connect("n1")
            txn = await begin(wire)
            commit = commit_bytes(txn, *sets(stage, moment))
            if how == "callbacks":
                coordinator.arm_events(moment, coordinator.crash)
            else:
                coordinator.arm_sends(moment, coordinator.crash)
            wire.writer.write(commit)
            await asyncio.sleep(0.5)
            if coordinator.is_up:
                coordinator.disarm()
                coordinator.crash()
            other = await stage.connect("n2")
            answer = await other.ask(commit)
            started = stage.loop.time()
            found = await values(stage, "n3")
            assert stage.loop.time() - started < NOTHING_HELD_SECONDS
            expected = moment if answer == b"COMMITTED\r\n" else before
            assert found == [expected or None] * SHARDS, (moment, answer)
            before = expected
            answers.add(answer.split()[0])
            await nothing_held(stage)
            again = await other.ask(commit)
            assert (again == b"COMMITTED\r\n") == (answer == b"COMMITTED\r\n"), (answer, again)
            coordinator.start()
            await stage.served()
            assert await values(stage, "n1") == found
        assert b"COMMITTED" in answers

    Stage(shards=SHARDS).run(scenario)


def test_a_coordinator_that_dies_and_whose_client_dies_with_it() -> None:
    """Nobody repeats anything: the leaders finish it by themselves."""

    async def scenario(stage: Stage) -> None:
        count_sends(stage)
        before = 0
        seen = set()
        for moment in range(1, 16):
            coordinator = stage.nodes["n1"]
            wire = await stage.connect("n1")
            txn = await begin(wire)
            coordinator.arm_sends(moment, coordinator.crash)
            wire.writer.write(commit_bytes(txn, *sets(stage, moment)))
            await asyncio.sleep(0.3)
            if coordinator.is_up:
                coordinator.disarm()
                coordinator.crash()
            found = await values(stage, "n2")
            assert found in ([moment] * SHARDS, [before or None] * SHARDS), moment
            seen.add(found[0] == moment)
            before = found[0] or 0
            await nothing_held(stage)
            coordinator.start()
            await stage.served()
        assert seen == {False, True}
        recovered = sum(s.totals["transactions_recovered"] for s in stage.nodes.values())
        recovered += sum(node.counters.transactions_recovered for node in stage.up())
        assert recovered

    Stage(shards=SHARDS).run(scenario)


def test_a_coordinator_that_is_cut_off_and_goes_on_when_others_have_aborted() -> None:
    async def scenario(stage: Stage) -> None:
        gateway = "n4"
        wire = await stage.connect(gateway)
        txn = await begin(wire)
        # All prepares go out, and no answer of the group of the record comes back.
        record = stage.leader(0)
        stage.network.partition([record], [gateway])
        wire.writer.write(commit_bytes(txn, *sets(stage, 1)))
        other = others(stage, gateway, record)[0]
        reading = asyncio.ensure_future(values(stage, other))
        await asyncio.sleep(0.2)
        stage.network.partition([gateway], others(stage, gateway))
        assert await reading == [None] * SHARDS
        await nothing_held(stage)
        stage.network.heal()
        answer = await wire.reader.readuntil(b"\r\n")
        assert answer.startswith((b"ABORTED", b"SERVER_ERROR not done")), answer
        assert await values(stage, gateway) == [None] * SHARDS
        txn = await begin(wire)
        assert await wire.ask(commit_bytes(txn, *sets(stage, 2))) == b"COMMITTED\r\n"

    stage = Stage(nodes=4, shards=SHARDS, request_timeout_ms=5000)
    stage.run(scenario)


def test_leaders_that_change_in_the_middle() -> None:
    """Prepared here, decided there: a new leader knows what the old one has promised."""

    async def scenario(stage: Stage) -> None:
        wire = await stage.connect("n1")
        committed = 0
        for number in range(1, 9):
            txn = await begin(wire)
            wire.writer.write(commit_bytes(txn, *sets(stage, number)))
            await asyncio.sleep(0.0005 * number)
            for shard in range(SHARDS):
                leader = stage.leader(shard)
                if leader:
                    group = stage.node(leader).host.groups[shard + 1]
                    group.log.step_down()
                    stage.node(leader).host.mark_dirty(group)
            answer = await wire.reader.readuntil(b"\r\n")
            found = await values(stage, "n2")
            if answer == b"COMMITTED\r\n":
                committed += 1
                assert found == [number] * SHARDS
            else:
                assert answer == b"ABORTED\r\n" or answer.startswith(b"SERVER_ERROR not done")
                assert len(set(found)) == 1, answer
                assert found[0] != number
            await stage.served()
            await nothing_held(stage)
        assert committed

    Stage(shards=SHARDS, request_timeout_ms=5000).run(scenario)


def test_a_participant_without_a_leader_holds_up_no_other_shard() -> None:
    async def scenario(stage: Stage) -> None:
        led = {stage.leader(shard): shard for shard in range(SHARDS)}
        victim = next(name for name in led if name != stage.leader(0))
        coordinator = next(name for name in stage.nodes if name != victim)
        wire = await stage.connect(coordinator)
        stage.nodes[victim].crash()
        txn = await begin(wire)
        wire.writer.write(commit_bytes(txn, *sets(stage, 1)))
        await asyncio.sleep(0.05)
        other = await stage.connect(coordinator)
        lived = next(shard for name, shard in led.items() if name != victim)
        key = stage.key(lived)
        started = stage.loop.time()
        assert await other.ask(b"get %b\r\n" % key, b"END\r\n") == b"END\r\n"
        assert await other.ask(b"set %b 0 0 1\r\nx\r\n" % key) == b"STORED\r\n"
        assert stage.loop.time() - started < NOTHING_HELD_SECONDS
        answer = await wire.reader.readuntil(b"\r\n")
        assert answer.startswith((b"ABORTED", b"CONFLICT", b"SERVER_ERROR not done")), answer

    # One replica each: the shards of the node that died have no leader at all.
    Stage(shards=SHARDS, replication=1).run(scenario)


def test_a_record_that_cannot_be_asked_is_told_in_health() -> None:
    async def scenario(stage: Stage) -> None:
        record = stage.leader(0)
        prepared = next(s for s in range(1, SHARDS) if stage.leader(s) != record)
        holder = stage.leader(prepared)
        coordinator = stage.nodes[record]
        wire = await stage.connect(record)
        txn = await begin(wire, 200)
        key = stage.key(prepared)
        lines = [b"set %b 0 0 1\r\nx" % each for each in (stage.key(0), key)]
        wire.writer.write(commit_bytes(txn, *lines))
        await stage.until("it holds", lambda: holds(stage))
        coordinator.crash()
        node = stage.node(holder)
        await asyncio.sleep(12.0)
        assert node.alarms.is_raised(HOLDS_LATE)
        assert any("a transaction holds keys" in w for w in health_document(node)["warnings"])
        reply = await stage.ask(holder, b"get %b\r\n" % key)
        assert reply.startswith(b"SERVER_ERROR not done"), reply
        assert b"held by a transaction" in reply
        coordinator.start()
        await stage.served()
        await nothing_held(stage)
        replies = [
            await stage.ask(holder, b"get %b\r\n" % each, b"END\r\n")
            for each in (stage.key(0), key)
        ]
        assert len({reply == b"END\r\n" for reply in replies}) == 1
        await asyncio.sleep(1.0)
        assert not node.alarms.is_raised(HOLDS_LATE)

    Stage(shards=SHARDS, replication=1).run(scenario)


def test_a_node_that_is_told_to_stop_answers_the_commit_under_way() -> None:
    async def scenario(stage: Stage) -> None:
        for number in range(1, 6):
            wire = await stage.connect("n1")
            txn = await begin(wire)
            wire.writer.write(commit_bytes(txn, *sets(stage, number)))
            await asyncio.sleep(0.001 * number)
            stopping = asyncio.ensure_future(stage.nodes["n1"].stop())
            answer = await wire.reader.readuntil(b"\r\n")
            found = await values(stage, "n2")
            assert answer in (b"COMMITTED\r\n", b"ABORTED\r\n"), answer
            assert (found == [number] * SHARDS) == (answer == b"COMMITTED\r\n")
            await stopping
            stage.nodes["n1"].start()
            await stage.served()

    Stage(shards=SHARDS).run(scenario)


def test_two_nodes_commit_the_same_transaction_at_once() -> None:
    async def scenario(stage: Stage) -> None:
        wires = [await stage.connect(name) for name in stage.nodes]
        for number in range(1, 12):
            txn = await begin(wires[0])
            commit = commit_bytes(txn, *sets(stage, number), b"check missing 0")
            for turn, wire in enumerate(wires):
                await asyncio.sleep(0.0002 * (number % 4) * turn)
                wire.writer.write(commit)
            answers = [await wire.reader.readuntil(b"\r\n") for wire in wires]
            assert answers == [b"COMMITTED\r\n"] * 3
            assert await values(stage, "n2") == [number] * SHARDS

    Stage(shards=SHARDS).run(scenario)


def test_hundreds_of_transactions_of_one_key() -> None:
    """One of those that meet wins, and the others hear so at once."""

    async def scenario(stage: Stage) -> None:
        first, second = stage.key(0), stage.key(1)
        done = 0

        async def work(name: str) -> None:
            nonlocal done
            wire = await stage.connect(name)
            for _ in range(10):
                request = b"cluster txn get %b %b\r\n" % (first, second)
                reply = await wire.ask(request, b"END\r\n")
                versions = {}
                count = 0
                lines = reply.split(b"\r\n")
                for head, value in zip(lines[::2], lines[1::2], strict=False):
                    if head.startswith(b"VALUE"):
                        versions[head.split()[1]] = int(head.split()[4])
                        count = int(value)
                text = b"%d" % (count + 1)
                txn = await begin(wire)
                checks = [b"check %b %d" % (k, versions.get(k, 0)) for k in (first, second)]
                writes = [b"set %b 0 0 %d\r\n%b" % (k, len(text), text) for k in (first, second)]
                answer = await wire.ask(commit_bytes(txn, *checks, *writes))
                if answer == b"COMMITTED\r\n":
                    done += 1
                else:
                    assert answer.startswith((b"CONFLICT", b"ABORTED")), answer

        names = list(stage.nodes)
        await asyncio.gather(*[work(names[number % 3]) for number in range(30)])
        reply = await stage.ask("n1", b"get %b\r\n" % first, b"END\r\n")
        assert int(reply.split(b"\r\n")[1]) == done > 10
        await nothing_held(stage)

    Stage(shards=2).run(scenario)
