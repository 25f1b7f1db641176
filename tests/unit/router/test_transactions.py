"""Transactions of the client against the scripted cluster: what is sent and when, what they see,
how they end, and what is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from random import Random
from typing import Any

import pytest

from quorumcache.router import (
    AsyncClient,
    ClientClosed,
    ClientConfig,
    ConditionFailed,
    Conflict,
    DeadlineExceeded,
    InvalidArgument,
    InvalidKey,
    NestedTransaction,
    NotANumber,
    NotDone,
    OutcomeUnknown,
    Refused,
    RouterError,
    Transaction,
    TransactionEnded,
    TransactionTooLarge,
    TransactionTooLong,
)
from quorumcache.router.attempts import Attempts
from quorumcache.router.dispatcher import Dispatcher
from quorumcache.router.transaction_requests import Begun
from tests.support.fake_cluster import (
    CLOSE_AFTER,
    CLOSE_BEFORE,
    HANG,
    HANG_AFTER,
    FakeCluster,
    Fault,
    run,
)
from tests.support.fake_transactions import FakeTransactions

PATIENT = ClientConfig(
    timeout_ms=20_000, stall_ms=10_000, read_attempt_ms=10_000, write_attempt_ms=10_000
)
HASTY = ClientConfig(timeout_ms=20_000, stall_ms=50, read_attempt_ms=50, write_attempt_ms=50)
LIMIT_MS = 15_000

Story = Callable[[FakeCluster, AsyncClient], Coroutine[Any, Any, None]]


def play(story: Story, config: ClientConfig = PATIENT) -> None:
    """Run a story with a cluster that knows transactions, and a client of it."""

    async def main() -> None:
        async with (
            FakeCluster(transactions=True) as cluster,
            AsyncClient(cluster.seeds, config, random=Random(1)) as client,
        ):
            await story(cluster, client)

    run(main())


def fakes(cluster: FakeCluster) -> FakeTransactions:
    assert cluster.transactions is not None
    return cluster.transactions


def lines_of(cluster: FakeCluster, prefix: bytes) -> list[bytes]:
    return [line for node in cluster.nodes for line in node.log if line.startswith(prefix)]


def words_sent(cluster: FakeCluster) -> list[str]:
    """The words behind `cluster txn` that were sent after the introductions, sorted."""
    lines = [line.split() for line in lines_of(cluster, b"cluster txn ")]
    return sorted(line[2].decode() for line in lines)


def two_keys(cluster: FakeCluster) -> tuple[str, str]:
    """Keys of two shards with different leaders."""
    return cluster.key_of(0), cluster.key_of(1)


def test_a_transfer_is_one_commit_of_checks_and_writes() -> None:
    async def story(cluster: FakeCluster, client: AsyncClient) -> None:
        one, two = two_keys(cluster)
        await client.set(one, b"10")
        await client.set(two, b"20", flags=5)

        async def move(tx: Transaction) -> int:
            values = await tx.get_many([one, two])
            await tx.set(one, b"%d" % (int(values[one]) - 3))
            await tx.set(two, b"%d" % (int(values[two]) + 3), flags=5, exptime=60)
            return 3

        assert await client.transact(move) == 3
        assert await client.get_many([one, two]) == {one: b"7", two: b"23"}
        (block,) = fakes(cluster).blocks
        lines = block.split(b"\r\n")
        assert [line.split()[0] for line in lines[:2]] == [b"check", b"check"]
        assert lines[2:] == [
            *(f"set {one} 0 0 1".encode(), b"7"),
            *(f"set {two} 5 60 2".encode(), b"23", b""),
        ]
        # To the leader of the first write's shard, and nowhere else.
        commits = [len(lines_of_node(node, b"cluster txn commit")) for node in cluster.nodes]
        assert commits[cluster.leader(0) - 1] == 1
        assert sum(commits) == 1

    play(story)


def lines_of_node(node: Any, prefix: bytes) -> list[bytes]:
    return [line for line in node.log if line.startswith(prefix)]


def test_begin_runs_beside_the_first_read() -> None:
    """The read is not held up by it: it is answered while the begin still waits."""

    async def story(cluster: FakeCluster, client: AsyncClient) -> None:
        one, two = two_keys(cluster)
        hung = Fault(b"cluster txn begin", HANG)
        cluster.leader_node(one).faults.append(hung)
        tx = client.transaction(limit_ms=LIMIT_MS)
        tx.open()
        await tx.set(one, b"1")
        await hung.event.wait()
        assert await tx.get(two) is None  # at another node: this one answers
        await tx.abandon()

    play(story)


def test_what_takes_no_round_trip() -> None:
    """A transaction without reads and writes sends nothing; one key that was read is a snapshot by
    itself, and what is written is seen inside without a read.
    """

    async def story(cluster: FakeCluster, client: AsyncClient) -> None:
        async def nothing(tx: Transaction) -> str:
            return "done"

        assert await client.transact(nothing) == "done"
        async with client.transaction():
            pass
        assert words_sent(cluster) == []

        async def one_read(tx: Transaction) -> bytes | None:
            return await tx.get("k")

        assert await client.transact(one_read) is None
        assert "commit" not in words_sent(cluster)
        for node in cluster.nodes:
            node.log.clear()

        async with client.transaction() as tx:
            await tx.set("k", b"v")
            assert await tx.get("k") == b"v"
            assert await tx.present("k")
            assert await tx.add("k", b"w") is False
        assert words_sent(cluster) == ["begin", "commit"]
        assert await client.get("k") == b"v"

    play(story)


def test_reads_are_repeatable_and_see_own_writes() -> None:
    async def story(cluster: FakeCluster, client: AsyncClient) -> None:
        await client.set("a", b"1")
        tx = client.transaction()
        tx.open()
        first, again = await asyncio.gather(tx.get("a"), tx.get("a"))
        assert first == again == b"1"
        await client.set("a", b"2")
        assert await tx.get("a") == b"1"
        assert await tx.get_many(["a", b"a", "b"]) == {"a": b"1", b"a": b"1"}
        await tx.set("a", b"3")
        await tx.set("b", b"4")
        assert await tx.get_many(["b", "a"]) == {"b": b"4", "a": b"3"}
        assert await tx.delete("b") is True
        assert await tx.get("b") is None
        assert await tx.delete("b") is False
        assert await tx.add("b", b"5") is True
        await tx.set("b", b"6", exptime=-1)
        assert await tx.get("b") is None
        with pytest.raises(Conflict) as met:
            await tx.commit()
        assert met.value.key == b"a"
        assert await client.get_many(["a", "b"]) == {"a": b"2"}

    play(story)


def test_a_key_as_str_and_as_bytes_is_one() -> None:
    async def story(cluster: FakeCluster, client: AsyncClient) -> None:
        async with client.transaction() as tx:
            await tx.set("k", b"1")
            await tx.set(b"k", b"2")
            assert await tx.get_many(["k", b"k"]) == {"k": b"2", b"k": b"2"}
        assert fakes(cluster).blocks == [b"set k 0 0 1\r\n2\r\n"]

    play(story)


async def other_write(client: AsyncClient) -> None:
    await client.set("k", b"9")


async def other_delete(client: AsyncClient) -> None:
    await client.delete("k")


async def read_value(tx: Transaction) -> None:
    assert await tx.get("k") == b"1"


async def count_up(tx: Transaction) -> None:
    assert await tx.incr("k") == 2


async def fail_to_add(tx: Transaction) -> None:
    assert await tx.add("k", b"x") is False


async def do_replace(tx: Transaction) -> None:
    assert await tx.replace("k", b"x") is True


async def do_delete(tx: Transaction) -> None:
    assert await tx.delete("k") is True


async def need_it(tx: Transaction) -> None:
    await tx.require("k")


@pytest.mark.parametrize(
    ("step", "change", "conflicts"),
    [
        (read_value, other_write, True),
        (read_value, other_delete, True),
        (count_up, other_write, True),
        (fail_to_add, other_write, False),  # only that it is there counts
        (fail_to_add, other_delete, True),
        (do_replace, other_write, False),
        (do_replace, other_delete, True),
        (do_delete, other_write, False),
        (do_delete, other_delete, True),
        (need_it, other_write, False),
        (need_it, other_delete, True),
    ],
)
def test_what_was_found_has_to_hold_at_the_commit(
    step: Callable[[Transaction], Coroutine[Any, Any, None]],
    change: Callable[[AsyncClient], Coroutine[Any, Any, None]],
    conflicts: bool,
) -> None:
    async def story(cluster: FakeCluster, client: AsyncClient) -> None:
        await client.set("k", b"1")
        tx = client.transaction()
        tx.open()
        await step(tx)
        await tx.set("other", b"done")
        await change(client)
        if conflicts:
            with pytest.raises(Conflict):
                await tx.commit()
        else:
            await tx.commit()
        assert (await client.get("other") is None) is conflicts

    play(story)


@pytest.mark.parametrize("verb", ["add", "replace", "delete", "require", "get", "incr"])
def test_what_was_not_there_has_to_stay_away(verb: str) -> None:
    async def story(cluster: FakeCluster, client: AsyncClient) -> None:
        tx = client.transaction()
        tx.open()
        if verb == "add":
            assert await tx.add("k", b"1") is True
        elif verb == "replace":
            assert await tx.replace("k", b"1") is False
        elif verb == "delete":
            assert await tx.delete("k") is False
        elif verb == "require":
            await tx.require("k", present=False)
        elif verb == "incr":
            assert await tx.incr("k") is None
        else:
            assert await tx.get("k") is None
        await tx.set("other", b"done")
        await client.set("k", b"theirs")
        with pytest.raises(Conflict):
            await tx.commit()
        assert await client.get_many(["k", "other"]) == {"k": b"theirs"}

    play(story)


def test_a_presence_that_was_asked_for_first_does_not_weaken_a_read() -> None:
    async def story(cluster: FakeCluster, client: AsyncClient) -> None:
        await client.set("k", b"1")
        tx = client.transaction()
        tx.open()
        assert await tx.present("k")
        assert await tx.get("k") == b"1"
        await tx.set("other", b"x")
        await client.set("k", b"2")
        with pytest.raises(Conflict):
            await tx.commit()

    play(story)


def test_counting() -> None:
    async def story(cluster: FakeCluster, client: AsyncClient) -> None:
        await client.set("n", b"10", flags=7)
        await client.set("top", b"%d" % ((1 << 64) - 1))
        await client.set("text", b"ten")
        async with client.transaction() as tx:
            assert await tx.decr("n") == 9
            assert await tx.get("n") == b"9 "  # padded, as outside
            assert await tx.incr("n", 5) == 14
            assert await tx.decr("n", 99) == 0
            assert await tx.incr("n", 3) == 3
            assert await tx.incr("top") == 0
            assert await tx.incr("none") is None
            with pytest.raises(NotANumber):
                await tx.incr("text")
            with pytest.raises(InvalidArgument, match="delta"):
                await tx.incr("n", -1)
        assert cluster.items[b"n"][:2] == (b"7", b"3 ")
        assert cluster.items[b"top"][1] == b"0".ljust(20)

    play(story)


def test_transact_repeats_after_a_conflict() -> None:
    async def story(cluster: FakeCluster, client: AsyncClient) -> None:
        await client.set("n", b"0")
        runs = 0

        async def add_one(tx: Transaction) -> int | None:
            nonlocal runs
            runs += 1
            number = await tx.incr("n")
            if runs <= 3:
                await client.incr("n", 100)
            return number

        assert await client.transact(add_one) == 301
        assert runs == 4
        assert fakes(cluster).begun == 1
        assert len(fakes(cluster).records) == 4  # each under an identity of its own
        assert await client.get("n") == b"301"

    play(story)


def test_many_tasks_lose_no_update() -> None:
    async def story(cluster: FakeCluster, client: AsyncClient) -> None:
        one, two = two_keys(cluster)
        await client.set_many({one: b"100", two: b"100"})

        async def move(source: str, target: str, tx: Transaction) -> None:
            await tx.decr(source)
            await tx.incr(target)

        async def worker(turn: int) -> None:
            pair = (one, two) if turn % 3 else (two, one)
            for _ in range(5):
                await client.transact(partial(move, *pair), timeout_ms=20_000)

        await asyncio.gather(*(worker(turn) for turn in range(6)))
        values = await client.get_many([one, two])
        assert {key: int(value) for key, value in values.items()} == {one: 90, two: 110}

    play(story)


def test_transact_gives_up_at_its_deadline() -> None:
    async def story(cluster: FakeCluster, client: AsyncClient) -> None:
        await client.set("n", b"0")

        async def never(tx: Transaction) -> None:
            await tx.incr("n")
            await client.incr("n")

        with pytest.raises(DeadlineExceeded, match=r"in time.* another write of n came") as met:
            await client.transact(never, timeout_ms=300)
        assert isinstance(met.value.__cause__, Conflict)
        assert met.value.outcome_known

    play(story)


def test_each_conflict_costs_a_pause_that_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """As between attempts of any call: from the client's random."""

    async def story(cluster: FakeCluster, client: AsyncClient) -> None:
        await client.set("n", b"0")
        paused: list[tuple[object, ...]] = []
        pause = Attempts.pause

        async def noted(attempts: Attempts, error: RouterError, *rest: Any) -> None:
            if isinstance(error, Conflict):
                paused.append((error.key, attempts))
            await pause(attempts, error, *rest)

        monkeypatch.setattr(Attempts, "pause", noted)
        runs = 0

        async def fails_twice(tx: Transaction) -> None:
            nonlocal runs
            runs += 1
            await tx.incr("n")
            if runs <= 2:
                await client.incr("n")

        await client.transact(fails_twice)
        assert [key for key, _ in paused] == [b"n", b"n"]
        assert paused[0][1] is paused[1][1]  # which doubles with each

    play(story)


class OwnError(Exception):
    pass


def test_an_exception_passes_and_nothing_is_done() -> None:
    async def story(cluster: FakeCluster, client: AsyncClient) -> None:
        async def fails(tx: Transaction) -> None:
            await tx.set("k", b"1")
            raise OwnError("why")

        with pytest.raises(OwnError, match="why"):
            await client.transact(fails)
        with pytest.raises(OwnError):
            async with client.transaction() as tx:
                await fails(tx)
        assert "commit" not in words_sent(cluster)
        assert await client.get("k") is None

    play(story)


def test_an_exception_out_of_a_mixed_view_is_no_exception() -> None:
    """The values were of two moments, so what follows from them is nobody's fault."""

    async def story(cluster: FakeCluster, client: AsyncClient) -> None:
        one, two = two_keys(cluster)
        await client.set_many({one: b"5", two: b"5"})
        runs = 0

        async def audit(tx: Transaction) -> int:
            nonlocal runs
            runs += 1
            first = int(await tx.get(one) or b"")
            if runs == 1:
                await client.set_many({one: b"4", two: b"6"})
            total = first + int(await tx.get(two) or b"")
            assert total == 10
            return total

        assert await client.transact(audit) == 10
        assert runs == 2

        async def wrong(tx: Transaction) -> None:
            await tx.get_many([one, two])
            await tx.set(one, b"never")
            raise OwnError

        with pytest.raises(OwnError):
            await client.transact(wrong)
        assert await client.get(one) == b"4"

    play(story)


def test_a_read_only_transaction_is_a_snapshot() -> None:
    async def story(cluster: FakeCluster, client: AsyncClient) -> None:
        one, two = two_keys(cluster)
        await client.set_many({one: b"5", two: b"5"})
        tx = client.transaction()
        tx.open()
        assert await tx.get(one) == b"5"
        await client.set_many({one: b"4", two: b"6"})
        assert await tx.get(two) == b"6"
        with pytest.raises(Conflict):
            await tx.commit()
        async with client.transaction() as tx:
            assert await tx.get_many([one, two]) == {one: b"4", two: b"6"}
        assert len(fakes(cluster).blocks) == 1
        assert all(line.startswith(b"check ") for line in fakes(cluster).blocks[0].splitlines())

    play(story)


@pytest.mark.parametrize("action", [CLOSE_BEFORE, CLOSE_AFTER, b"garbage\r\n"])
def test_a_lost_answer_to_a_commit_is_asked_for_again(action: str | bytes) -> None:
    """Executed or not: it is sent again under the same identity, and done once."""

    async def story(cluster: FakeCluster, client: AsyncClient) -> None:
        await client.set("n", b"1")
        fault = Fault(b"cluster txn commit", action)
        cluster.leader_node("n").faults.append(fault)

        async def add_one(tx: Transaction) -> int | None:
            return await tx.incr("n")

        assert await client.transact(add_one) == 2
        assert fault.event.is_set()
        assert await client.get("n") == b"2"
        assert len(fakes(cluster).blocks) == 1
        commits = lines_of(cluster, b"cluster txn commit")
        assert len(commits) == 2
        assert len(set(commits)) == 1

    play(story)


def test_a_hanging_node_is_passed_by() -> None:
    async def story(cluster: FakeCluster, client: AsyncClient) -> None:
        key = cluster.key_of(0)
        await client.set(key, b"1")
        hung = Fault(b"cluster txn commit", HANG_AFTER)
        cluster.leader_node(key).faults.append(hung)
        async with client.transaction(limit_ms=LIMIT_MS) as tx:
            await tx.incr(key)
        assert hung.event.is_set()
        assert cluster.items[key.encode()][1] == b"2"

    play(story, HASTY)


def test_a_commit_holds_up_nothing_else() -> None:
    """A node begins nothing that is sent behind a commit before that has ended."""

    async def story(cluster: FakeCluster, client: AsyncClient) -> None:
        key = cluster.key_of(0)
        hung = Fault(b"cluster txn commit", HANG)
        cluster.leader_node(key).faults.append(hung)

        async def change(tx: Transaction) -> None:
            await tx.set(key, b"1")

        first = asyncio.create_task(client.transact(change))
        await hung.event.wait()
        assert await client.get(key) is None
        await client.transact(change)
        assert await client.get(key) == b"1"
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first

    play(story)


def test_not_done_is_sent_again_elsewhere() -> None:
    async def story(cluster: FakeCluster, client: AsyncClient) -> None:
        busy = b"SERVER_ERROR not done: too many transactions\r\n"
        cluster.leader_node("k").faults.append(Fault(b"cluster txn commit", busy))
        async with client.transaction() as tx:
            await tx.set("k", b"1")
        assert await client.get("k") == b"1"

    play(story)


def test_no_answer_at_all_is_an_unknown_outcome() -> None:
    async def story(cluster: FakeCluster, client: AsyncClient) -> None:
        for node in cluster.nodes:
            node.faults += [Fault(b"cluster txn commit", CLOSE_AFTER) for _ in range(999)]
        tx = client.transaction(timeout_ms=200)
        tx.open()
        await tx.set("k", b"1")
        with pytest.raises(OutcomeUnknown):
            await tx.commit()
        assert cluster.items[b"k"][1] == b"1"
        assert len(fakes(cluster).blocks) == 1

    play(story)


def test_no_attempt_begins_that_could_not_end_in_time() -> None:
    """Conflicts alone must not end in an unknown outcome: that of a last commit, sent too late."""

    async def story(cluster: FakeCluster, client: AsyncClient) -> None:
        runs = 0

        async def slow(tx: Transaction) -> None:
            nonlocal runs
            runs += 1
            await tx.incr("n")
            await client.incr("n")
            await asyncio.sleep(0.6)

        await client.set("n", b"0")
        with pytest.raises(DeadlineExceeded, match="n"):
            await client.transact(slow, timeout_ms=1_000)
        assert runs == 1

    play(story)


def test_a_transaction_that_only_reads_is_never_in_doubt() -> None:
    """Whether its checks were made or not: nothing was changed."""

    async def story(cluster: FakeCluster, client: AsyncClient) -> None:
        for node in cluster.nodes:
            node.faults += [Fault(b"cluster txn commit", CLOSE_AFTER) for _ in range(999)]
        tx = client.transaction(timeout_ms=200)
        tx.open()
        await tx.get_many(["a", "b"])
        with pytest.raises(DeadlineExceeded, match="could not be checked"):
            await tx.commit()

    play(story)


def test_too_late_says_nothing_about_an_attempt_in_doubt() -> None:
    """The first attempt was committed, and its record has gone with the deadline."""

    async def story(cluster: FakeCluster, client: AsyncClient) -> None:
        lost = Fault(b"cluster txn commit", HANG_AFTER)
        cluster.leader_node("k").faults.append(lost)
        tx = client.transaction(limit_ms=LIMIT_MS)
        tx.open()
        await tx.set("k", b"1")
        call = asyncio.create_task(tx.commit())
        await lost.event.wait()
        await asyncio.sleep(0)
        fakes(cluster).forget()
        with pytest.raises(OutcomeUnknown):
            await call
        assert cluster.items[b"k"][1] == b"1"

    play(story, HASTY)


def test_a_conflict_after_a_lost_answer_is_a_conflict() -> None:
    """The record of the identity tells, so the outcome is known."""

    async def story(cluster: FakeCluster, client: AsyncClient) -> None:
        await client.set("k", b"1")
        lost = Fault(b"cluster txn commit", CLOSE_AFTER)
        cluster.leader_node("k").faults.append(lost)
        tx = client.transaction()
        tx.open()
        await tx.incr("k")
        await client.set("k", b"7")
        with pytest.raises(Conflict):
            await tx.commit()
        assert lost.event.is_set()
        assert await client.get("k") == b"7"

    play(story)


def test_too_late_at_the_first_attempt_is_too_long() -> None:
    async def story(cluster: FakeCluster, client: AsyncClient) -> None:
        tx = client.transaction()
        tx.open()
        assert await tx.get_many(["k", "l"]) == {}
        fakes(cluster).now_ms += 6_000
        with pytest.raises(TransactionTooLong):
            await tx.commit()

    play(story)


def test_over_its_time() -> None:
    """Said here, without asking anybody: at the next read, and at the commit."""

    async def story(cluster: FakeCluster, client: AsyncClient) -> None:
        for is_read in (True, False):
            tx = client.transaction(limit_ms=100)
            tx.open()
            await tx.set("k", b"1")
            await asyncio.sleep(0.15)
            with pytest.raises(TransactionTooLong, match="longer than its limit of 100 ms"):
                await (tx.get("m") if is_read else tx.commit())
            await tx.abandon()
        assert "commit" not in words_sent(cluster)

        async def slow(tx: Transaction) -> None:
            await tx.set("k", b"1")
            await asyncio.sleep(0.2)

        with pytest.raises(TransactionTooLong):
            await client.transact(slow, limit_ms=100)

    play(story)


def test_a_read_without_an_answer_ends_with_the_limit() -> None:
    async def story(cluster: FakeCluster, client: AsyncClient) -> None:
        cluster.leader_node("k").faults.append(Fault(b"cluster txn get", HANG))
        with pytest.raises(TransactionTooLong):
            async with client.transaction(limit_ms=100) as tx:
                await tx.get("k")

    play(story)


def test_after_its_end_and_before_its_begin() -> None:
    async def story(cluster: FakeCluster, client: AsyncClient) -> None:
        kept: list[Transaction] = []

        async def keep(tx: Transaction) -> None:
            kept.append(tx)
            await tx.set("k", b"1")

        await client.transact(keep)
        async with client.transaction() as tx:
            kept.append(tx)
            await tx.abandon()
            with pytest.raises(TransactionEnded, match="has ended"):
                await tx.get("k")
        fresh = client.transaction()
        for ended, text in ((kept[0], "has ended"), (kept[1], "has ended"), (fresh, "not begun")):
            calls: list[Coroutine[Any, Any, object]] = [
                *(ended.get("k"), ended.get_many(["k"]), ended.present("k"), ended.require("k")),
                *(ended.set("k", b""), ended.add("k", b""), ended.replace("k", b"")),
                *(ended.delete("k"), ended.incr("k"), ended.decr("k"), ended.commit()),
            ]
            for call in calls:
                with pytest.raises(TransactionEnded, match=text):
                    await call
        with pytest.raises(TransactionEnded, match="used once"):
            async with kept[0]:
                pass

    play(story)


def test_a_read_that_outlives_the_transaction_says_so() -> None:
    async def story(cluster: FakeCluster, client: AsyncClient) -> None:
        tx = client.transaction(limit_ms=LIMIT_MS)
        tx.open()
        read = asyncio.create_task(tx.get("k"))
        await asyncio.sleep(0)
        await tx.abandon()
        with pytest.raises(TransactionEnded):
            await read

    play(story)


def test_nested() -> None:
    async def story(cluster: FakeCluster, client: AsyncClient) -> None:
        async def inner(tx: Transaction) -> None:
            await tx.set("inner", b"1")

        async def outer(tx: Transaction) -> None:
            await tx.set("outer", b"1")
            await client.transact(inner)

        with pytest.raises(NestedTransaction):
            await client.transact(outer)
        with pytest.raises(NestedTransaction):
            async with client.transaction(), client.transaction():
                pass
        assert cluster.items == {}
        # One after another, and beside each other, is not nested; nor is another client's.
        await client.transact(inner)
        await asyncio.gather(client.transact(inner), client.transact(inner))
        other = AsyncClient(cluster.seeds, PATIENT)
        async with other, client.transaction(), other.transaction():
            with pytest.raises(NestedTransaction):
                await client.transact(inner)

        # A task that was begun inside of a transaction may outlive it.
        begun: list[asyncio.Task[None]] = []
        ended = asyncio.Event()

        async def later() -> None:
            await ended.wait()
            await client.transact(inner)

        async def begins(tx: Transaction) -> None:
            begun.append(asyncio.create_task(later()))

        await client.transact(begins)
        ended.set()
        await begun[0]

    play(story)


def test_too_many_keys() -> None:
    async def story(cluster: FakeCluster, client: AsyncClient) -> None:
        async with client.transaction() as tx:
            with pytest.raises(TransactionTooLarge, match="128 keys at most, not 129"):
                await tx.get_many([f"k{number}" for number in range(129)])
            assert words_sent(cluster) == []
            await tx.get_many([f"k{number}" for number in range(128)])
            await tx.set("k0", b"")
            for refused in (tx.set("one-more", b""), tx.get("one-more"), tx.add("one-more", b"")):
                with pytest.raises(TransactionTooLarge):
                    await refused
        (block,) = fakes(cluster).blocks
        assert block.count(b"check ") == 128
        asked = [len(line.split()) - 3 for line in lines_of(cluster, b"cluster txn get")]
        assert sum(asked) == 128
        async with client.transaction() as tx:
            await tx.get_many([cluster.key_of(0, number) for number in range(100)])
        asked = [len(line.split()) - 3 for line in lines_of(cluster, b"cluster txn get")]
        assert sum(asked) == 228
        assert max(asked) == 64  # A node takes no more in a line.

    play(story)


def test_too_many_bytes() -> None:
    async def story(cluster: FakeCluster, client: AsyncClient) -> None:
        async with client.transaction() as tx:
            await tx.set("a", bytes(600_000))
            with pytest.raises(TransactionTooLarge, match="1048576 bytes of keys and values"):
                await tx.set("b", bytes(600_000))
            await tx.set("a", b"1")  # It takes the place of the large one.
            await tx.set("b", bytes(600_000))
        assert len(cluster.items[b"b"][1]) == 600_000
        tx = client.transaction()
        tx.open()
        await tx.get_many(["c", "d"])
        await tx.set("a", bytes((1 << 20) - 1))
        with pytest.raises(TransactionTooLarge):  # with its checks
            await tx.commit()
        assert cluster.items[b"a"][1] == b"1"

    play(story)


def test_large_values() -> None:
    """They cannot be read; whether they are there can, and so they can be removed."""

    async def story(cluster: FakeCluster, client: AsyncClient) -> None:
        cluster.put(b"large", b"0", b"stands for 2 MiB")
        fakes(cluster).large.add(b"large")
        for verb in ("get", "incr"):
            with pytest.raises(TransactionTooLarge):
                async with client.transaction() as tx:
                    await getattr(tx, verb)("large")
        async with client.transaction() as tx:
            assert await tx.present("large")
            with pytest.raises(TransactionTooLarge):
                await tx.get("large")
            assert await tx.delete("large") is True
        assert b"large" not in cluster.items

    play(story)


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda tx: tx.get_many([]), InvalidArgument, "one key at least"),
        (lambda tx: tx.get_many("abc"), InvalidArgument, "several keys"),
        (lambda tx: tx.get(""), InvalidKey, "empty"),
        (lambda tx: tx.get("a b"), InvalidKey, "space"),
        (lambda tx: tx.set("a\n", b""), InvalidKey, "line end"),
        (lambda tx: tx.set("k", "text"), InvalidArgument, "encode it first"),
        (lambda tx: tx.set("k", 7), InvalidArgument, "a value is bytes, not int"),
        (lambda tx: tx.add("k", None), InvalidArgument, "a value is bytes"),
        (lambda tx: tx.replace("k", b"", flags=-1), InvalidArgument, "flags"),
        (lambda tx: tx.incr("k", exptime=0.5), InvalidArgument, "exptime"),
        (lambda tx: tx.incr("k", 1.5), InvalidArgument, "delta"),
        (lambda tx: tx.require("k", present=1), InvalidArgument, "present must be True or False"),
    ],
)
def test_bad_arguments(call: Any, kind: type[RouterError], text: str) -> None:
    async def story(cluster: FakeCluster, client: AsyncClient) -> None:
        async with client.transaction() as tx:
            with pytest.raises(kind, match=text):
                await call(tx)
        assert words_sent(cluster) == []

    play(story)


def test_bad_functions_and_limits() -> None:
    async def story(cluster: FakeCluster, client: AsyncClient) -> None:
        async def fine(tx: Transaction) -> None:
            pass

        fn: Any
        for fn, text in (
            (None, "fn must be something to call"),
            (fine(None), "fn must be something to call"),  # type: ignore[arg-type]
            (lambda tx: 7, "fn must be an async function: it returned 7"),
        ):
            with pytest.raises(InvalidArgument, match=text):
                await client.transact(fn)
            if asyncio.iscoroutine(fn):
                fn.close()
        for limit_ms in (99, 60_001, 0.5, True):
            with pytest.raises(InvalidArgument, match="limit_ms"):
                await client.transact(fine, limit_ms=limit_ms)  # type: ignore[arg-type]
            with pytest.raises(InvalidArgument, match="limit_ms"):
                client.transaction(limit_ms=limit_ms)  # type: ignore[arg-type]
        with pytest.raises(InvalidArgument, match="timeout_ms"):
            client.transaction(timeout_ms=0)
        await client.close()
        with pytest.raises(ClientClosed):
            async with client.transaction():
                pass
        with pytest.raises(ClientClosed):
            await client.transact(fine)

    play(story)


def test_requirements() -> None:
    async def story(cluster: FakeCluster, client: AsyncClient) -> None:
        await client.set("here", b"1")
        runs = 0

        async def needs(tx: Transaction) -> None:
            nonlocal runs
            runs += 1
            await tx.require("here", present=True)
            await tx.require("gone", present=False)
            await tx.require("here", present=False)

        with pytest.raises(ConditionFailed, match="here is there") as met:
            await client.transact(needs)
        assert met.value.key == b"here"
        assert runs == 1
        with pytest.raises(ConditionFailed, match="gone is not there"):
            async with client.transaction() as tx:
                await tx.require("gone")

    play(story)


def test_a_node_of_an_older_version() -> None:
    """It is never sent a block: it would execute the lines one by one."""

    async def main() -> None:
        async with FakeCluster(transactions=True) as cluster:
            old = cluster.leader_node("k")
            old.knows_transactions = False
            async with AsyncClient(cluster.seeds, PATIENT, random=Random(1)) as client:
                for step in (lambda tx: tx.get("k"), lambda tx: tx.set("k", b"1")):
                    with pytest.raises(Refused, match="older version") as met:
                        await client.transact(step)
                    assert old.address in str(met.value)
                assert not lines_of(cluster, b"cluster txn commit")
                assert not lines_of(cluster, b"set ")
                assert cluster.items == {}

    run(main())


def test_a_cancelled_call_leaves_nothing_behind() -> None:
    async def story(cluster: FakeCluster, client: AsyncClient) -> None:
        hung = Fault(b"cluster txn get", HANG)
        cluster.leader_node("k").faults.append(hung)

        async def waits(tx: Transaction) -> None:
            await tx.set("k", b"1")
            await tx.get(cluster.key_of(cluster.map.shard_of(b"k"), 3))

        call = asyncio.create_task(client.transact(waits))
        await hung.event.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        names = [str(task.get_coro()) for task in asyncio.all_tasks()]
        assert not any("Dispatcher.call" in name for name in names)
        assert cluster.items == {}

    play(story)


def test_a_shard_that_moves_is_followed() -> None:
    async def story(cluster: FakeCluster, client: AsyncClient) -> None:
        one, two = two_keys(cluster)
        await client.set_many({one: b"1", two: b"1"})
        async with client.transaction() as tx:
            assert await tx.get_many([one, two])
            cluster.lead(0, 3)
            cluster.lead(1, 3)
            await tx.incr(one)
            assert await tx.get(cluster.key_of(0, 1)) is None
        assert await client.get(one) == b"2"

    play(story)


def test_sessions_play_no_part() -> None:
    """A commit carries its own identity, with a client that numbers its writes or does not."""

    async def main() -> None:
        async with FakeCluster(transactions=True, sessions=True) as cluster:
            for sessions in (True, False):
                config = ClientConfig(timeout_ms=20_000, sessions=sessions)
                async with AsyncClient(cluster.seeds, config, random=Random(1)) as client:
                    lost = Fault(b"cluster txn commit", CLOSE_AFTER)
                    cluster.leader_node("k").faults.append(lost)
                    async with client.transaction() as tx:
                        await tx.set("k", b"1")
                    assert lost.event.is_set()
            assert cluster.sessions_opened == 0
            assert len(fakes(cluster).blocks) == 2

    run(main())


def test_errors_of_reads_are_passed_on() -> None:
    async def story(cluster: FakeCluster, client: AsyncClient) -> None:
        shard = cluster.map.shard_of(b"k")
        cluster.lead(shard, 0)

        async def reads(tx: Transaction) -> None:
            await tx.get("k")

        with pytest.raises(NotDone):
            await client.transact(reads, timeout_ms=200)

    play(story)


def test_a_node_is_asked_again_when_the_cluster_is_further_than_the_client_believes() -> None:
    async def story(cluster: FakeCluster, client: AsyncClient) -> None:
        async def put(tx: Transaction) -> None:
            await tx.set("n", b"1")

        await client.transact(put)
        fakes(cluster).now_ms += 60_000  # The client's machine was suspended.
        await client.transact(put)
        assert fakes(cluster).begun == 2
        assert len(fakes(cluster).blocks) == 2
        # Only when no attempt is in doubt: it could be done twice.
        fakes(cluster).now_ms += 60_000
        cluster.leader_node("n").faults.append(Fault(b"cluster txn commit", CLOSE_AFTER))
        with pytest.raises(OutcomeUnknown):
            await client.transact(put)
        assert len(fakes(cluster).blocks) == 2

    play(story)


def test_a_child_process_does_not_count_on_from_its_parents_identity() -> None:
    engine = Dispatcher(("127.0.0.1:1",), ClientConfig(), Random())
    engine.identities.learn(Begun(b"0" * 32, 105_000), 5_000, 0.0)
    assert engine.identities.take(5_000, 0.0) is not None
    engine.forked()
    assert engine.identities.take(5_000, 0.0) is None
