"""`cluster txn` by hand, on three real nodes: what a client in any language sees."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.support.processes import Cluster, running_cluster, wait_until
from tests.support.transactions import balance, begin, commit, commit_bytes, transfer, versions
from tests.support.wire import Wire

ACCOUNTS = [b"account-%d" % number for number in range(12)]
START = 100


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running_cluster(tmp_path_factory.mktemp("transactions")) as cluster:
        yield cluster


@pytest.fixture
def wires(cluster: Cluster) -> Iterator[list[Wire]]:
    wires = [node.wire() for node in cluster]
    yield wires
    for wire in wires:
        wire.close()


def test_a_transaction_over_all_shards(wires: list[Wire]) -> None:
    first, second, third = wires
    assert first.ask(b"cluster txn") == b"OK\r\n"
    keys = [b"key-%d" % number for number in range(100)]
    writes = [b"set %b 7 0 %d\r\n%b" % (key, len(key), key) for key in keys]
    txn = begin(first)
    assert commit(first, txn, *writes) == b"COMMITTED\r\n"
    assert commit(second, txn, *writes) == b"COMMITTED\r\n", "the same one, through another node"
    for key in keys:
        assert third.get(key) == key
    found = {**versions(second, *keys[:64]), **versions(second, b"key-missing", *keys[64:])}
    assert sorted(found) == sorted(keys)
    checks = [b"check %b %d" % (key, found[key]) for key in keys[:60]]
    txn = begin(second)
    deleted = [b"delete %b" % key for key in keys[60:]]
    assert commit(second, txn, *checks, *deleted, b"check key-missing 0") == b"COMMITTED\r\n"
    assert [third.get(key) is None for key in keys] == [False] * 60 + [True] * 40


def test_what_was_changed_meanwhile_is_a_conflict(wires: list[Wire]) -> None:
    first, second, third = wires
    for key in (b"c1", b"c2", b"c3"):
        assert first.set(key, b"old") == b"STORED\r\n"
    found = versions(second, b"c1", b"c2", b"c3")
    checks = [b"check %b %d" % (key, version) for key, version in found.items()]
    assert third.set(b"c2", b"new") == b"STORED\r\n"
    txn = begin(first)
    lines = [*checks, b"delete c1", b"delete c3"]
    assert commit(first, txn, *lines) == b"CONFLICT c2\r\n"
    again = commit(second, txn, *lines)
    assert again in (b"CONFLICT c2\r\n", b"ABORTED\r\n"), "it stays as it was decided"
    assert third.set(b"c2", b"old") == b"STORED\r\n", "nothing is held"
    assert first.get(b"c1") == first.get(b"c3") == b"old"
    txn = begin(first)
    assert commit(first, txn, b"present c1", b"check missing 0") == b"COMMITTED\r\n"
    txn = begin(first)
    assert commit(first, txn, b"present missing", b"delete c1") == b"CONFLICT missing\r\n"


def test_a_snapshot_of_all_shards(wires: list[Wire]) -> None:
    first, second, third = wires
    keys = [b"seen-%d" % number for number in range(100)]
    for key in keys:
        assert first.set(key, key) == b"STORED\r\n"
    found = versions(third, *keys[:64], command=b"snapshot 5000")
    assert found == versions(second, *keys[:64])
    missing = b"seen-missing"
    assert sorted(versions(second, missing, *keys, command=b"snapshot 5000")) == sorted(keys)
    assert first.set(keys[0], b"new") == b"STORED\r\n", "nothing is held"


def test_a_deadline_that_has_passed(wires: list[Wire]) -> None:
    first = wires[0]
    txn, deadline_ms = begin(first, 100)
    wait_until("the time is over", lambda: begin(first, 100)[1] > deadline_ms + 200, seconds=60)
    assert commit(first, (txn, deadline_ms), b"delete a", b"delete b") == b"TOO_LATE\r\n"
    assert commit(first, (txn, deadline_ms + 10**9), b"delete a").startswith(b"CLIENT_ERROR ")


def test_two_blocks_under_one_id_are_two_transactions(wires: list[Wire]) -> None:
    first, second, third = wires
    for turn in range(60):
        keys = [b"id-%d-%d" % (turn, number) for number in range(3)]
        txn = begin(first)
        sides: list[tuple[Wire, bytes, list[bytes]]] = [
            (first, b"x", keys),
            (second, b"y", keys[::-1]),
        ]
        for wire, value, order in sides:
            lines = [b"set %b 0 0 1\r\n%b" % (key, value) for key in order]
            wire.send(commit_bytes(txn, *lines))
        answers = [wire.line() for wire, _, _ in sides]
        found = {third.get(key) for key in keys}
        assert len(found) == 1, f"{answers}: one of them was done in part: {found}"


def test_a_pipeline_keeps_its_order(wires: list[Wire]) -> None:
    wire = wires[0]
    txn, deadline_ms = begin(wire)
    block = b"delete p1\r\nset p2 0 0 1\r\nb\r\n"
    head = b"cluster txn commit %b %d %d\r\n" % (txn, deadline_ms, len(block))
    wire.send(b"set p1 0 0 1\r\na\r\n" + head + block + b"\r\nget p1 p2\r\nversion\r\n")
    lines = [wire.line() for _ in range(6)]
    assert lines[:5] == [b"STORED\r\n", b"COMMITTED\r\n", b"VALUE p2 0 1\r\n", b"b\r\n", b"END\r\n"]


def test_a_block_that_is_wrong_leaves_the_connection_in_order(wires: list[Wire]) -> None:
    wire = wires[0]
    txn = begin(wire)
    assert commit(wire, txn, b"set a 0 0 5\r\nabc").startswith(b"CLIENT_ERROR ")
    assert commit(wire, txn, b"x" * 3_000_000).startswith(b"CLIENT_ERROR transaction too large")
    assert wire.ask(b"version").startswith(b"VERSION ")
    assert wire.get(b"a") is None


def test_many_clients_move_money_and_none_is_made_or_lost(
    cluster: Cluster, wires: list[Wire]
) -> None:
    txn = begin(wires[0])
    accounts = [b"set %b 0 0 %d\r\n%d" % (key, len(b"%d" % START), START) for key in ACCOUNTS]
    assert commit(wires[0], txn, *accounts) == b"COMMITTED\r\n"
    ports = [node.port for node in cluster]
    done: list[int] = []
    errors: list[BaseException] = []

    def work(worker: int) -> None:
        committed = 0
        try:
            with Wire(ports[worker % 3]) as wire:
                turn = worker
                while committed < 15:
                    turn += 1
                    source = ACCOUNTS[turn * 7 % len(ACCOUNTS)]
                    target = ACCOUNTS[(turn * 5 + 1) % len(ACCOUNTS)]
                    if source != target:
                        committed += transfer(wire, source, target, 1 + turn % 9)
        except BaseException as error:
            errors.append(error)
        done.append(committed)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(6)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        total = balance(wires[1], ACCOUNTS)
        assert total in (None, START * len(ACCOUNTS)), "a snapshot is never torn"
    for thread in threads:
        thread.join()
    assert not errors
    assert sum(done) == 90
    wait_until(
        "nothing is held any more",
        lambda: balance(wires[2], ACCOUNTS) == START * len(ACCOUNTS),
        seconds=60,
    )
    told = [wire.stats(b"transactions") for wire in wires]
    assert sum(int(stats["committed"]) for stats in told) >= 90
    assert all(stats["in_doubt"] == "0" for stats in told)
