"""Transactions of a real cluster: what its clients may rely on, also while leaders are killed."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from random import Random

import pytest

from quorumcache.router import (
    AsyncClient,
    CasResult,
    ClientConfig,
    Conflict,
    Refused,
    Transaction,
    TransactionTooLarge,
)
from tests.support.command_line import quorumcache
from tests.support.old_nodes import unpack_sources
from tests.support.processes import Cluster, running_cluster
from tests.support.wire import DEADLINE_S, Wire

CONFIG = ClientConfig(timeout_ms=int(1000 * DEADLINE_S))
LIMIT_MS = 60_000
BRANCHES, ACCOUNTS = 20, 5
"""Transfers stay within a branch, so that a task may count one branch while others move money: a
transaction that reads all accounts would meet somebody's transfer each time."""
TASKS = 20
EACH = 1_000
"""On each account in the beginning."""
TRANSFERS_BETWEEN = 60
"""Transfers that have to end between two events."""


def run_with(cluster: Cluster, story: Callable[[AsyncClient], Awaitable[None]]) -> None:
    async def main() -> None:
        seeds = [f"127.0.0.1:{node.port}" for node in cluster]
        async with AsyncClient(seeds, CONFIG, random=Random(1)) as client:
            async with asyncio.timeout(4 * DEADLINE_S):
                await story(client)

    asyncio.run(main())


def keys_of(prefix: str, count: int) -> list[str]:
    """Keys of many shards."""
    return [f"{prefix}:{number}" for number in range(count)]


def test_all_of_it_or_nothing(cluster: Cluster) -> None:
    async def story(client: AsyncClient) -> None:
        keys = keys_of("all", 30)
        values = {key: key.encode() for key in keys}
        async with client.transaction(limit_ms=LIMIT_MS) as tx:
            for key, value in values.items():
                assert await tx.add(key, value, flags=7) is True
        assert await client.get_many(keys) == values
        item = await client.gets(keys[0])
        assert item is not None
        assert item.flags == 7
        tx = client.transaction(limit_ms=LIMIT_MS)
        tx.open()
        assert await tx.get_many(keys) == values
        for key in keys:
            await tx.set(key, b"never")
        await client.set(keys[17], b"theirs")
        with pytest.raises(Conflict) as met:
            await tx.commit()
        assert met.value.key == keys[17].encode()
        assert await client.get_many(keys) == {**values, keys[17]: b"theirs"}
        async with client.transaction(limit_ms=LIMIT_MS) as tx:
            for key in keys:
                assert await tx.delete(key) is True
            assert await tx.get_many(keys) == {}
        assert await client.get_many(keys) == {}

    run_with(cluster, story)


def test_every_call_beside_the_plain_ones(cluster: Cluster) -> None:
    async def story(client: AsyncClient) -> None:
        await client.set("call:n", b"10", flags=3)
        await client.set("call:text", b"ten")
        item = await client.gets("call:text")
        assert item is not None
        async with client.transaction(limit_ms=LIMIT_MS) as tx:
            assert await tx.decr("call:n") == 9
            assert await tx.replace("call:text", b"nine") is True
            assert await tx.replace("call:none", b"") is False
            assert await tx.add("call:text", b"") is False
            await tx.require("call:none", present=False)
            await tx.set("call:gone", b"x", exptime=-1)
        assert await client.gets("call:n") is not None
        assert await client.get_many(["call:n", "call:text", "call:gone"]) == {
            "call:n": b"9 ",
            "call:text": b"nine",
        }
        # A write of a transaction has a new unique, as every write.
        done = await client.cas("call:text", b"old", item.cas_unique)
        assert done is CasResult.EXISTS
        # The expiry is no part of what was read; the value is, also if it is set to the same.
        async with client.transaction(limit_ms=LIMIT_MS) as tx:
            assert await tx.get("call:text") == b"nine"
            assert await client.touch("call:text", 1000) is True
            await tx.set("call:other", b"1")
        tx = client.transaction(limit_ms=LIMIT_MS)
        tx.open()
        assert await tx.get("call:text") == b"nine"
        await client.set("call:text", b"nine")
        await tx.set("call:other", b"2")
        with pytest.raises(Conflict):
            await tx.commit()
        assert await client.get("call:other") == b"1"

    run_with(cluster, story)


def test_large_values(tmp_path: Path) -> None:
    async def story(client: AsyncClient) -> None:
        keys = keys_of("large", 4)
        value = bytes(2 << 20)
        for key in keys:
            await client.set(key, value)
        async with client.transaction(limit_ms=LIMIT_MS) as tx:
            with pytest.raises(TransactionTooLarge):
                await tx.get(keys[0])
            await tx.require(keys[0])
            assert await tx.delete(keys[1]) is True
            await tx.set(keys[2], b"small")
            with pytest.raises(TransactionTooLarge):
                await tx.set(keys[3], value)
        assert await client.get(keys[0]) == value
        assert await client.get_many(keys[1:]) == {keys[2]: b"small", keys[3]: value}
        tx = client.transaction(limit_ms=LIMIT_MS)
        tx.open()
        await tx.require(keys[0])
        await tx.set(keys[2], b"never")
        assert await client.delete(keys[0]) is True
        with pytest.raises(Conflict):
            await tx.commit()

    with running_cluster(tmp_path, flags=("--max-item-size", "4m")) as cluster:
        run_with(cluster, story)


def test_the_example_of_the_document(cluster: Cluster) -> None:
    """docs/transactions.md, "From other languages", as it stands there: other versions and another
    identity in the same places."""
    text = (Path(__file__).parents[2] / "docs/transactions.md").read_text()
    example = text.split("Some lines of text")[1].split("cluster txn commit")[1]
    lines = [line.strip().split("\\r\\n") for line in example.split("\n\n")[0].splitlines()]
    first, *block_lines = [part.strip() for line in lines for part in line[:-1] or line]
    assert [line.split()[0] for line in block_lines[:2]] == ["check", "check"]
    with Wire(next(iter(cluster)).port) as wire:

        def ask(line: str, replies: int) -> list[str]:
            wire.send(f"{line}\r\n".encode())
            return [wire.line().decode().rstrip() for _ in range(replies)]

        assert ask("cluster txn", 1) == ["OK"]
        for account, coins in (("1", "100"), ("2", "50")):
            assert ask(f"set account:{account} 0 0 {len(coins)}\r\n{coins}", 1) == ["STORED"]
        word, identity, deadline = ask("cluster txn begin 60000", 1)[0].split()
        assert word == "TXN"
        found = ask("cluster txn get account:1 account:2 account:3", 5)
        assert found[1::2] == ["100", "50"]
        assert found[4] == "END"
        versions = [line.split()[4] for line in found[0:3:2]]
        assert [line.split()[:4] for line in found[0:3:2]] == [
            ["VALUE", "account:1", "0", "3"],
            ["VALUE", "account:2", "0", "2"],
        ]
        block = "".join(f"{line}\r\n" for line in block_lines if line)
        assert int(first.split()[2]) == len(block)
        for version in versions:
            block = re.sub(r"check (\S+) \d{19}", rf"check \1 {version}", block, count=1)
            block = block.replace("check", "CHECK", 1)
        block = block.replace("CHECK", "check")
        commit = f"cluster txn commit {identity} {deadline} {len(block)}\r\n{block}"
        assert ask(commit, 1) == ["COMMITTED"]
        assert ask("get account:1", 3)[1] == "90"
        assert ask("get account:2", 3)[1] == "60"
    other = list(cluster)[1]
    with Wire(other.port) as wire:
        # Again through another node: done once. Under another identity: in conflict.
        assert ask(commit, 1) == ["COMMITTED"]
        _, second, deadline = ask("cluster txn begin 60000", 1)[0].split()
        refused = commit.replace(identity, second)
        refused = re.sub(rf"({second}) \d+", rf"\1 {deadline}", refused, count=1)
        assert ask(refused, 1) in (["CONFLICT account:1"], ["CONFLICT account:2"])
        assert ask("get account:1", 3)[1] == "90"


def test_the_command(cluster: Cluster) -> None:
    async def main() -> None:
        seeds = [f"127.0.0.1:{node.port}" for node in cluster]
        time = ("--timeout", "60")
        script = b"set cmd:a 5\nset cmd:b 7\nget cmd:a\n"
        ended = await quorumcache("txn", "-", *time, seeds=seeds, stdin=script)
        assert ended == (0, "cmd:a 5\ncommitted\n", "")
        script = b"decr cmd:a 2\nincr cmd:b 2\ncheck cmd:c x\n"
        ended = await quorumcache("txn", "-", *time, seeds=seeds, stdin=script)
        assert (ended.code, ended.out) == (1, "")
        script = b"decr cmd:a 2\nincr cmd:b 2\ncheck cmd:b 9\n"
        ended = await quorumcache("txn", "-", *time, seeds=seeds, stdin=script)
        assert ended == (0, "cmd:a 3\ncmd:b 9\ncommitted\n", "")

    asyncio.run(main())


def test_a_node_of_an_older_version(tmp_path: Path) -> None:
    """Its clients hear so, and it is sent nothing that it could take for commands."""
    cluster = Cluster(tmp_path, nodes=1, shards=2)
    for node in cluster:
        node.sources = unpack_sources(tmp_path)

    async def story(client: AsyncClient) -> None:
        async def writes(tx: Transaction) -> None:
            await tx.set("old", b"1")

        async def reads(tx: Transaction) -> None:
            await tx.get("old")

        for fn in (writes, reads):
            with pytest.raises(Refused, match="a node of an older version, without transactions"):
                await client.transact(fn)
        assert await client.get("old") is None
        await client.set("old", b"2")

    try:
        cluster.start()
        run_with(cluster, story)
    finally:
        cluster.end()


class Bank:
    """Accounts of many shards, tasks that move money between them, and others that count it."""

    def __init__(self, client: AsyncClient) -> None:
        self.client = client
        self.branches = [keys_of(f"branch-{number}", ACCOUNTS) for number in range(BRANCHES)]
        self.done = [0] * TASKS
        """Transfers by task, as its client has been told."""
        self.audits = 0
        self._stopping = False
        self._ended = asyncio.Condition()

    @property
    def accounts(self) -> list[str]:
        return [account for branch in self.branches for account in branch]

    async def open(self) -> None:
        await self.client.set_many(dict.fromkeys(self.accounts, b"%d" % EACH))
        await self.client.set_many(dict.fromkeys(keys_of("done", TASKS), b"0"))

    async def run(self, story: Callable[[Bank], Awaitable[None]]) -> None:
        async with asyncio.TaskGroup() as group:
            for task in range(TASKS):
                group.create_task(self._transfers(task))
            for number in range(2):
                group.create_task(self._audits(Random(-number)))
            try:
                await story(self)
            finally:
                self._stopping = True

    async def _transfers(self, task: int) -> None:
        random = Random(task)
        while not self._stopping:
            source, target = random.sample(random.choice(self.branches), 2)
            move = partial(self._move, task, source, target, random.randrange(1, 10))
            assert await self.client.transact(move, limit_ms=LIMIT_MS) == self.done[task] + 1
            self.done[task] += 1
            async with self._ended:
                self._ended.notify_all()

    async def _move(
        self, task: int, source: str, target: str, amount: int, tx: Transaction
    ) -> int | None:
        """Also counts itself: a transfer that runs twice would be counted twice."""
        balances = await tx.get_many([source, target])
        moved = min(amount, int(balances[source]))
        await tx.set(source, b"%d" % (int(balances[source]) - moved))
        await tx.set(target, b"%d" % (int(balances[target]) + moved))
        return await tx.incr(f"done:{task}")

    async def _audits(self, random: Random) -> None:
        while not self._stopping:
            count = partial(self.sum_of, random.choice(self.branches))
            assert await self.client.transact(count, limit_ms=LIMIT_MS) == ACCOUNTS * EACH
            self.audits += 1
            async with self._ended:
                self._ended.notify_all()

    async def sum_of(self, accounts: list[str], tx: Transaction) -> int:
        balances = await tx.get_many(accounts)
        return sum(map(int, balances.values()))

    async def goes_on(self) -> None:
        """Until so many more transfers have ended, and two audits."""
        transfers, audits = sum(self.done) + TRANSFERS_BETWEEN, self.audits + 2
        async with self._ended:
            await self._ended.wait_for(
                lambda: sum(self.done) >= transfers and self.audits >= audits
            )

    async def check(self) -> None:
        """When nobody moves money any more, all of it is there."""
        all_of_it = partial(self.sum_of, self.accounts)
        total = await self.client.transact(all_of_it, limit_ms=LIMIT_MS)
        assert total == BRANCHES * ACCOUNTS * EACH
        counted = await self.client.get_many(keys_of("done", TASKS))
        assert [int(count) for count in counted.values()] == self.done


def test_a_bank_keeps_its_sum_while_leaders_are_killed(tmp_path: Path) -> None:
    """Every task's transfers are all done, and once; nobody sees money that is on its way."""
    with running_cluster(tmp_path) as cluster:

        async def kill(bank: Bank) -> None:
            for name in list(cluster.nodes):
                await bank.goes_on()
                await asyncio.to_thread(cluster[name].kill)
                await bank.goes_on()
                await asyncio.to_thread(cluster[name].start)
                await asyncio.to_thread(cluster.wait_led)
            await bank.goes_on()

        async def story(client: AsyncClient) -> None:
            bank = Bank(client)
            await bank.open()
            await bank.run(kill)
            await bank.check()

        run_with(cluster, story)
