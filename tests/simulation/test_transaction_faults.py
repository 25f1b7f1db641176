"""A bank whose clients move money while nodes die, links break and leaders change: no coin is made
or lost, each snapshot is whole, each transfer happens once, and nothing stays held.
"""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from quorumcache.node.store.store import shard_store
from tests.simulation.stage import Stage, Wire

ACCOUNTS = [b"account-%d" % number for number in range(8)]
START = 100
CLIENTS = 5
FAULTS = 10
ATTEMPTS = 6

LOST = (OSError, asyncio.IncompleteReadError, TimeoutError)
"""What a client sees of a node that is gone."""

Found = dict[bytes, tuple[int, int]]
"""Version and balance by account."""


class Bank:
    """What the clients know."""

    def __init__(self, stage: Stage, seed: int) -> None:
        self.stage = stage
        self.seed = seed
        self.is_closed = False
        self.ledger: list[tuple[bytes, bytes, int]] = []
        """Transfers that were answered `COMMITTED`."""
        self.unknown = 0
        """Those of which a client does not know."""
        self.snapshots = 0
        self.held = 0
        """Snapshots that a node has taken by holding the keys."""

    async def connect(self, random: Random) -> Wire:
        while True:
            try:
                return await self.stage.connect(random.choice(list(self.stage.nodes)))
            except OSError:
                await asyncio.sleep(0.05)

    async def client(self, number: int) -> None:
        random = Random(self.seed * 100 + number)
        wire = await self.connect(random)
        while not self.is_closed:
            await asyncio.sleep(random.uniform(0.0, 0.1))
            try:
                kind = random.random()
                if kind < 0.2:
                    await self.check(wire)
                elif kind < 0.4:
                    await self.look(wire)
                else:
                    await self.transfer(wire, random)
            except LOST:
                wire = await self.connect(random)

    async def check(self, wire: Wire) -> None:
        found = await read(wire, *ACCOUNTS)
        begun = await begin(wire)
        if found is None or begun is None:
            return
        checks = [b"check %b %d" % (key, version) for key, (version, _) in found.items()]
        if await wire.ask(commit_bytes(begun, *checks)) == b"COMMITTED\r\n":
            self.snapshots += 1
            assert sum(balance for _, balance in found.values()) == START * len(ACCOUNTS)

    async def look(self, wire: Wire) -> None:
        found = await read(wire, *ACCOUNTS, command=b"snapshot 1500")
        if found is not None:
            self.held += 1
            assert sum(balance for _, balance in found.values()) == START * len(ACCOUNTS)

    async def transfer(self, wire: Wire, random: Random) -> None:
        source, target = random.sample(ACCOUNTS, 2)
        found = await read(wire, source, target)
        begun = await begin(wire, random.choice((300, 1000, 5000)))
        if found is None or begun is None:
            return
        amount = random.randrange(1, 9)
        sums = {source: found[source][1] - amount, target: found[target][1] + amount}
        lines = [b"check %b %d" % (key, found[key][0]) for key in sums]
        lines += [b"set %b 0 0 %d\r\n%d" % (key, len(b"%d" % s), s) for key, s in sums.items()]
        commit = commit_bytes(begun, *lines)
        in_doubt = False
        for _ in range(ATTEMPTS):  # Of the same transaction, through any nodes.
            try:
                answer = await wire.ask(commit)
            except LOST:
                in_doubt = True
                wire = await self.connect(random)
                continue
            if answer == b"COMMITTED\r\n":
                self.ledger.append((source, target, amount))
                return
            if answer.startswith((b"CONFLICT ", b"ABORTED")):
                return
            if answer == b"TOO_LATE\r\n":
                self.unknown += in_doubt
                return
            assert answer.startswith(b"SERVER_ERROR "), answer
            in_doubt = in_doubt or b"outcome unknown" in answer
        self.unknown += in_doubt

    async def faults(self) -> None:
        stage, random = self.stage, Random(self.seed)
        names = list(stage.nodes)
        for _ in range(FAULTS):
            await asyncio.sleep(random.uniform(0.1, 0.8))
            name = random.choice(names)
            simulated = stage.nodes[name]
            down = [other for other in names if not stage.nodes[other].is_up]
            kind = random.choice(("crash", "cut", "step down", "heal", "pause"))
            if down:
                stage.nodes[down[0]].start()
            elif kind == "crash":
                simulated.crash(silent=random.random() < 0.5)
            elif kind == "cut":
                others = [other for other in names if other != name and random.random() < 0.7]
                stage.network.partition([name], others, one_way=random.random() < 0.4)
            elif kind == "heal":
                stage.network.heal()
            elif kind == "pause":
                simulated.process.pause()
                await asyncio.sleep(random.uniform(0.2, 1.5))
                simulated.process.resume(fully=True)
            elif simulated.node is not None:
                for group in simulated.node.host.groups.values():
                    if group.is_leader:
                        group.log.step_down()
                        simulated.node.host.mark_dirty(group)
        stage.network.heal()
        for simulated in stage.nodes.values():
            if not simulated.is_up:
                simulated.start()
        await stage.served()
        await asyncio.sleep(2.0)
        self.is_closed = True


async def begin(wire: Wire, limit_ms: int = 5_000) -> tuple[bytes, int] | None:
    words = (await wire.ask(b"cluster txn begin %d\r\n" % limit_ms)).split()
    return (words[1], int(words[2])) if words[0] == b"TXN" else None


def commit_bytes(begun: tuple[bytes, int], *lines: bytes) -> bytes:
    block = b"".join(line + b"\r\n" for line in lines)
    return b"cluster txn commit %b %d %d\r\n%b\r\n" % (*begun, len(block), block)


async def read(wire: Wire, *keys: bytes, command: bytes = b"get") -> Found | None:
    """None when the cluster did not answer in time."""
    line = await wire.ask(b"cluster txn %b %b\r\n" % (command, b" ".join(keys)))
    found = {}
    while line != b"END\r\n":
        if not line.startswith(b"VALUE "):
            return None
        _, key, _, length, version = line.split()
        value = (await wire.reader.readexactly(int(length) + 2))[:-2]
        found[key] = int(version), int(value)
        line = await wire.reader.readuntil(b"\r\n")
    assert len(found) == len(keys)
    return found


@pytest.mark.parametrize("seed", range(1, 5))
def test_a_bank_under_faults(seed: int) -> None:
    async def scenario(stage: Stage) -> None:
        bank = Bank(stage, seed)
        wire = await stage.connect("n1")
        begun = await begin(wire)
        assert begun is not None
        accounts = [b"set %b 0 0 3\r\n%d" % (key, START) for key in ACCOUNTS]
        assert await wire.ask(commit_bytes(begun, *accounts)) == b"COMMITTED\r\n"
        async with asyncio.TaskGroup() as group:
            for number in range(CLIENTS):
                group.create_task(bank.client(number))
            group.create_task(bank.faults())
        await asyncio.sleep(7.0)
        for node in stage.up():
            for group_id, replica in node.host.groups.items():
                if group_id and replica.is_leader:
                    store = shard_store(replica.machine)
                    assert not store.holds
                    assert not store.transactions.unresolved
        found = await read(await stage.connect("n2"), *ACCOUNTS)
        assert found is not None
        assert bank.snapshots
        assert bank.held
        assert bank.ledger
        assert sum(balance for _, balance in found.values()) == START * len(ACCOUNTS)
        if not bank.unknown:
            balances = dict.fromkeys(ACCOUNTS, START)
            for source, target, amount in bank.ledger:
                balances[source] -= amount
                balances[target] += amount
            assert {key: balance for key, (_, balance) in found.items()} == balances

    Stage(shards=4).run(scenario)
