"""`quorumcache txn` as a process, against the scripted cluster."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from quorumcache.router.commands import transaction
from tests.support.command_line import Ended, one_line, quorumcache
from tests.support.fake_cluster import CLOSE_AFTER, HANG_AFTER, FakeCluster, Fault, run


async def play(cluster: FakeCluster, script: str, *words: str) -> Ended:
    return await quorumcache("txn", "-", *words, seeds=cluster.seeds, stdin=script.encode())


def test_all_of_it_happens_and_reads_are_printed(tmp_path: Path) -> None:
    async def main() -> None:
        async with FakeCluster(transactions=True) as cluster:
            cluster.put(b"a", b"0", b"10")
            cluster.put(b"old", b"0", b"x")
            script = "get a none\nset b 'two words' flags=3\nadd c new\nreplace old newer\n"
            script += "incr a 5\ndecr a\nget b\ndelete c\nget c\ncheck a 14\nabsent none\npresent b"
            file = tmp_path / "script"
            file.write_text(script)
            ended = await quorumcache("txn", str(file), seeds=cluster.seeds)
            assert ended == (
                0,
                "a 10\na 15\na 14\nb two words\ncommitted\n",
                "quorumcache: none: not found\nquorumcache: c: not found\n",
            )
            items = {key: item[:2] for key, item in cluster.items.items()}
            assert items == {
                b"a": (b"0", b"14"),
                b"b": (b"3", b"two words"),
                b"old": (b"0", b"newer"),
            }
            assert cluster.transactions is not None
            assert len(cluster.transactions.blocks) == 1

    run(main())


def test_json() -> None:
    async def main() -> None:
        async with FakeCluster(transactions=True) as cluster:
            cluster.put(b"n", b"0", b"1")
            ended = await play(cluster, "get n none\nincr n\nset k v", "--json")
            assert ended.code == 0
            assert json.loads(ended.out) == {
                "committed": True,
                "reads": [
                    {"key": "n", "found": True, "value": "1"},
                    {"key": "none", "found": False},
                    {"key": "n", "found": True, "value": "2"},
                ],
            }
            dry = await play(cluster, "get n\nset k v", "--json", "--dry-run")
            assert json.loads(dry.out) == {
                "committed": False,
                "reads": [{"key": "n", "found": True, "value": "2"}],
                "writes": [{"line": 2, "verb": "set", "key": "k"}],
            }

    run(main())


def test_a_dry_run_changes_nothing() -> None:
    async def main() -> None:
        async with FakeCluster(transactions=True) as cluster:
            cluster.put(b"n", b"0", b"1")
            before = dict(cluster.items)
            ended = await play(cluster, "incr n\nset k v\ndelete n\ncheck k v", "--dry-run")
            assert ended == (
                0,
                "n 2\nwould incr n\nwould set k\nwould delete n\ndry run: nothing was changed\n",
                "",
            )
            failed = await play(cluster, "set k v\nabsent n", "--dry-run")
            assert failed.code == 1
            assert cluster.items == before

    run(main())


def test_what_must_be_and_is_not_ends_all_of_it() -> None:
    async def main() -> None:
        async with FakeCluster(transactions=True) as cluster:
            cluster.put(b"there", b"0", b"text")
            before = dict(cluster.items)
            for line, why in (
                ("add there 1", "there is there"),
                ("replace none 1", "none is not there"),
                ("incr none", "none is not there"),
                ("decr none", "none is not there"),
                ("incr there", "there: the stored value is not an unsigned 64-bit decimal number"),
                ("check there other", "there holds another value"),
                ("check none ''", "none is not there"),
                ("present none", "none is not there"),
                ("absent there", "there is there"),
            ):
                ended = await play(cluster, f"set k v\nget there\n{line}\nset l v\n")
                assert (ended.code, ended.out) == (1, "")
                said = f"quorumcache: not done, nothing was changed: line 3: {why}"
                assert one_line(ended) == said
                assert cluster.items == before

    run(main())


def test_what_is_wrong_is_said_before_anybody_is_asked(tmp_path: Path) -> None:
    async def main() -> None:
        nobody = ["127.0.0.1:1"]
        missing = await quorumcache("txn", str(tmp_path / "none"), seeds=nobody)
        assert missing.code == 2
        assert "No such file" in one_line(missing)
        folder = await quorumcache("txn", str(tmp_path), seeds=nobody)
        assert folder.code == 2
        wrong = await quorumcache("txn", "-", seeds=nobody, stdin=b"get a\nput b c\n")
        assert wrong.code == 2
        assert one_line(wrong).startswith("quorumcache: the standard input: line 2: 'put' is none")
        file = tmp_path / "empty"
        file.write_text("# nothing\n")
        empty = await quorumcache("txn", str(file), seeds=nobody)
        assert empty.code == 2
        assert one_line(empty) == f"quorumcache: {file}: there is no command in it"
        right = await quorumcache("txn", "-", seeds=nobody, stdin=b"get a\n")
        assert right.code == 3
        assert (await quorumcache("txn")).code == 2
        shown = await quorumcache("txn", "--help")
        assert shown.code == 0
        assert "check KEY" in shown.out

    run(main())


def test_too_many_keys() -> None:
    async def main() -> None:
        async with FakeCluster(transactions=True) as cluster:
            lines = "".join(f"set k{number} v\n" for number in range(129))
            ended = await play(cluster, lines)
            assert ended.code == 1
            assert "128 keys at most, not 129" in one_line(ended)
            assert cluster.items == {}

    run(main())


def test_a_node_of_an_older_version() -> None:
    async def main() -> None:
        async with FakeCluster() as cluster:
            ended = await play(cluster, "set k v\n")
            assert ended.code == 1
            assert "older version" in one_line(ended)
            assert cluster.items == {}

    run(main())


def test_a_lost_answer_is_asked_for_again_and_without_any_it_is_unknown() -> None:
    async def main() -> None:
        async with FakeCluster(transactions=True) as cluster:
            lost = Fault(b"cluster txn commit", CLOSE_AFTER)
            cluster.leader_node("n").faults.append(lost)
            cluster.put(b"n", b"0", b"1")
            ended = await play(cluster, "incr n\n", "--timeout", "20")
            assert (ended.code, ended.out) == (0, "n 2\ncommitted\n")
            assert lost.event.is_set()
            for node in cluster.nodes:
                node.faults += [Fault(b"cluster txn commit", HANG_AFTER) for _ in range(9)]
            unknown = await play(cluster, "incr n\n", "--timeout", "4")
            assert (unknown.code, unknown.out) == (4, "")
            assert "outcome unknown" in one_line(unknown)

    run(main())


def test_steps_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "script"
    file.write_bytes(b"get a\n")
    assert [step.verb for step in transaction.steps_of(str(file))] == ["get"]


def test_two_at_once_lose_nothing() -> None:
    async def main() -> None:
        async with FakeCluster(transactions=True) as cluster:
            cluster.put(b"n", b"0", b"0")
            ended = await asyncio.gather(
                *(play(cluster, "incr n\n", "--timeout", "25") for _ in range(4))
            )
            assert [each.code for each in ended] == [0] * 4
            assert cluster.items[b"n"][1] == b"4"

    run(main())
