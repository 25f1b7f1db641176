"""The `quorumcache` command as a process of its own, against the scripted cluster."""

from __future__ import annotations

import asyncio
import json
import sys

import pytest

from quorumcache.router import cli
from quorumcache.router.commands.basics import OK
from tests.support.command_line import ROOT, one_line, quorumcache
from tests.support.fake_cluster import CLOSE_AFTER, HANG, FakeCluster, FakeNode, Fault, run


def test_get_set_delete() -> None:
    async def main() -> None:
        async with FakeCluster() as cluster:
            seeds = cluster.seeds
            assert await quorumcache("set", "a", "été", "--flags", "3", seeds=seeds) == (
                *(0, "stored\n", ""),
            )
            assert cluster.items[b"a"][:2] == (b"3", "été".encode())
            assert await quorumcache("get", "a", seeds=seeds) == (0, "été\n", "")
            assert await quorumcache("get", "-n", "a", seeds=seeds) == (0, "été", "")
            assert await quorumcache("set", "b", "-", seeds=seeds, stdin=b"x\ny\n") == (
                *(0, "stored\n", ""),
            )
            missed = await quorumcache("get", "a", "b", "c", seeds=seeds)
            assert missed == (1, "a été\nb x\ny\n\n", "quorumcache: c: not found\n")
            as_json = await quorumcache("get", "a", "c", "--json", seeds=seeds)
            assert as_json.code == 1
            assert json.loads(as_json.out) == [
                {"key": "a", "found": True, "value": "été"},
                {"key": "c", "found": False},
            ]
            assert await quorumcache("delete", "a", seeds=seeds) == (0, "deleted\n", "")
            again = await quorumcache("delete", "a", seeds=seeds)
            assert again == (1, "", "quorumcache: a: not found\n")

    run(main())


def test_seeds_from_the_environment_and_behind_the_command() -> None:
    async def main() -> None:
        async with FakeCluster() as cluster:
            seeds = " ".join(cluster.seeds)
            named = await quorumcache("set", "a", "1", QUORUMCACHE_SEEDS=seeds)
            assert named.code == 0
            behind = await quorumcache("get", "a", "--seeds", cluster.seeds[0])
            assert behind == (0, "1\n", "")

    run(main())


def test_route_is_stable_and_takes_many_keys() -> None:
    """KEY SHARD LEADER REPLICA..., one line per key, in the order of the input."""

    async def main() -> None:
        async with FakeCluster() as cluster:
            cluster.lead(0, 2)
            cluster.lead(1, 0)
            keys = [f"key-{number}" for number in range(100_000)]
            stdin = "\n".join(keys).encode() + b"\r\n\n"
            many = await quorumcache("route", seeds=cluster.seeds, stdin=stdin)
            assert many.code == 0
            lines = [line.split(" ") for line in many.out.splitlines()]
            assert [line[0] for line in lines] == keys
            for key, shard_text, leader, *replicas in lines[:200]:
                shard = cluster.map.shard_of(key.encode())
                assert int(shard_text) == shard
                ids = cluster.map.replicas_of(shard)
                assert replicas == [cluster.node(node_id).address for node_id in ids]
                led_by = cluster.leader(shard)
                # The map alone names a leader, too, but only a node's word is printed.
                assert leader == (cluster.node(led_by).address if led_by else "-")
            few = await quorumcache("route", "--json", *keys[:3], seeds=cluster.seeds)
            shown = [json.loads(line) for line in few.out.splitlines()]
            assert [line["key"] for line in shown] == keys[:3]

    run(main())


def test_values_that_look_like_options() -> None:
    """After KEY a word that begins with - is the value, wherever the options stand."""

    async def main() -> None:
        async with FakeCluster() as cluster:
            seeds = ",".join(cluster.seeds)
            for words, value in (
                (("set", "k", "-hello"), b"-hello"),
                (("set", "k", "--hello", "--ttl", "9"), b"--hello"),
                (("set", "--ttl", "9", "k", "-n"), b"-n"),
                (("set", "k", "--flags=3", "-5"), b"-5"),
                (("--timeout", "5", "set", "k", "-sale"), b"-sale"),
                (("set", "k", "--", "-s"), b"-s"),
                (("set", "--", "k", "--ttl"), b"--ttl"),
                (("set", "k", ""), b""),
                (("set", "k", "plain"), b"plain"),
            ):
                ended = await quorumcache("-s", seeds, *words)
                assert ended.code == 0, (words, ended)
                assert cluster.items[b"k"][1] == value, words
            piped = await quorumcache("-s", seeds, "set", "k", "-", stdin=b"-from stdin")
            assert piped.code == 0
            assert cluster.items[b"k"][1] == b"-from stdin"
            for words in (("set", "k"), ("set", "k", "--ttl", "5"), ("set", "k", "-v", "more")):
                assert (await quorumcache("-s", seeds, *words)).code == 2, words
            shown = await quorumcache("set", "k", "--help")
            assert shown.code == 0
            assert "VALUE" in shown.out

    run(main())


def test_the_exit_code_of_status_tells_how_the_cluster_is() -> None:
    """0 only if every node answers and every shard has a leader and all its replicas."""

    async def main() -> None:
        async with FakeCluster() as cluster:
            for words in (("status",), ("status", "--json")):
                assert (await quorumcache(*words, seeds=cluster.seeds)).code == 0
            cluster.lead(3, 0)
            assert (await quorumcache("status", "--json", seeds=cluster.seeds)).code == 1
            cluster.lead(3, 1)
            for shard in range(8):
                cluster.lead(shard, 0)
            assert (await quorumcache("status", seeds=cluster.seeds)).code == 1
            assert (await quorumcache("ring", seeds=cluster.seeds)).code == 0
            for shard in range(8):
                cluster.lead(shard, 1)
            await cluster.node(2).stop()
            assert (await quorumcache("status", seeds=cluster.seeds)).code == 1
            await cluster.node(1).stop()
            await cluster.node(3).stop()
            assert (await quorumcache("status", seeds=cluster.seeds)).code == 3

    run(main())


def test_get_prints_what_it_found_when_some_keys_have_no_answer() -> None:
    async def main() -> None:
        async with FakeCluster() as cluster:
            lost, found = cluster.key_of(0), cluster.key_of(1)
            cluster.items[found.encode()] = (b"0", b"value", 1)
            cluster.lead(0, 0)
            ended = await quorumcache("--timeout", "1", "get", lost, found, seeds=cluster.seeds)
            assert ended.code == 1
            assert ended.out == f"{found} value\n"
            assert lost in one_line(ended)
            assert "not found" not in ended.err

    run(main())


def test_status_ring_and_map() -> None:
    async def main() -> None:
        async with FakeCluster(nodes=4, shards=16, zones=True) as cluster:
            good = await quorumcache("status", seeds=cluster.seeds)
            assert good.code == 0
            assert "all nodes up" in good.out
            assert "\x1b" not in good.out
            for node in cluster.nodes:
                assert node.address in good.out
            await cluster.node(2).stop()
            cluster.lead(1, 0)
            bad = await quorumcache("status", seeds=cluster.seeds)
            assert "1 node down" in bad.out
            assert "DOWN" in bad.out
            shown = json.loads((await quorumcache("status", "--json", seeds=cluster.seeds)).out)
            assert not shown["healthy"]
            assert 1 in shown["leaderless_shards"]
            ring = await quorumcache("ring", seeds=cluster.seeds)
            assert "Leader of each shard" in ring.out
            assert "max/mean" in ring.out
            plain = await quorumcache("ring", seeds=cluster.seeds, PYTHONIOENCODING="ascii")
            assert plain.code == 0
            assert "##" in plain.out
            text = await quorumcache("map", seeds=cluster.seeds)
            assert "n1 n2 n3" in text.out
            as_json = json.loads((await quorumcache("map", "--json", seeds=cluster.seeds)).out)
            assert as_json["epoch"] == cluster.map.epoch
            assert as_json["replica_sets"][0] == list(cluster.map.replica_sets[0])

    run(main())


def test_usage_errors() -> None:
    """Exit code 2, and nobody is asked anything."""

    async def main() -> None:
        for words in ([], ["nonsense"], ["get"], ["--timeout", "x", "map"]):
            ended = await quorumcache(*words)
            assert ended.code == 2
            assert "usage:" in ended.err
        long_key = await quorumcache("get", "x" * 251)
        assert long_key.code == 2
        assert "251 bytes" in one_line(long_key)
        spaced = await quorumcache("route", stdin=b"good\nbad key\n")
        assert spaced.code == 2
        assert "line 2" in one_line(spaced)
        flags = await quorumcache("set", "a", "b", "--flags", "-1", seeds=["127.0.0.1:1"])
        assert flags.code == 2
        assert "flags must be from 0 to 4294967295" in one_line(flags)
        assert (await quorumcache("get", "a", seeds=["nonsense:x"])).code == 2
        assert (await quorumcache("--help")).code == 0

    run(main())


def test_cluster_out_of_reach() -> None:
    async def main() -> None:
        async with FakeCluster(nodes=2) as cluster:
            await cluster.node(1).stop()
            dead = await quorumcache("get", "a", seeds=[cluster.node(1).address])
            assert dead.code == 3
            assert "connection refused" in one_line(dead)
            assert "--seeds" in dead.err
            cluster.node(2).is_plain = True
            plain = await quorumcache("get", "a", seeds=[cluster.node(2).address])
            assert plain.code == 3
            assert "is not a QuorumCache node" in one_line(plain)
            cluster.node(2).faults.append(Fault(b"cluster", b"HTTP/1.1 400 Bad Request\r\n"))
            strange = await quorumcache("get", "a", seeds=[cluster.node(2).address])
            assert strange.code == 3
            one_line(strange)
            cluster.node(2).faults.append(Fault(b"cluster", HANG))
            silent = await quorumcache("get", "a", seeds=[cluster.node(2).address])
            assert silent.code == 3
            assert "no answer within" in one_line(silent)

    run(main())


def test_not_done_and_unknown() -> None:
    async def main() -> None:
        async with FakeCluster() as cluster:
            leader: FakeNode = cluster.leader_node("a")
            leader.faults.append(Fault(b"set", CLOSE_AFTER))
            lost = await quorumcache("set", "a", "1", seeds=cluster.seeds)
            assert lost.code == 4
            assert "outcome unknown" in one_line(lost)
            leader.faults.append(Fault(b"set", HANG))
            late = await quorumcache("--timeout", "2", "set", "a", "1", seeds=cluster.seeds)
            assert late.code == 4
            one_line(late)
            big = await quorumcache("set", "a", "-", seeds=cluster.seeds, stdin=bytes(2 << 20))
            assert big.code == 1
            assert "item limit" in one_line(big)
            cluster.lead(cluster.map.shard_of(b"a"), 0)
            nobody = await quorumcache("--timeout", "2", "get", "a", seeds=cluster.seeds)
            assert nobody.code == 1
            assert "no known leader" in one_line(nobody)
            cluster.has_map = False
            early = await quorumcache("get", "a", seeds=cluster.seeds)
            assert early.code == 3
            assert "no cluster map yet" in one_line(early)

    run(main())


def test_a_reader_that_stops_early() -> None:
    """`quorumcache route < keys | head -1`: no complaint."""

    async def main() -> None:
        async with FakeCluster() as cluster:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "quorumcache.router.cli", "-s", cluster.seeds[0], "route"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                cwd=ROOT,
            )
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout._transport.close()  # type: ignore[attr-defined]
            process.stdin.write(b"key\n" * 100_000)
            process.stdin.write_eof()
            assert await process.stderr.read() == b""
            assert await process.wait() == 0

    run(main())


@pytest.mark.parametrize("word", ["get", "set", "delete", "map", "status", "ring", "route"])
def test_every_command_has_help(word: str) -> None:
    async def main() -> None:
        ended = await quorumcache(word, "--help")
        assert ended.code == 0
        assert "usage: quorumcache" in ended.out

    run(main())


def test_a_read_level_goes_with_get() -> None:
    async def main() -> None:
        async with FakeCluster() as cluster:
            cluster.items[b"k"] = (b"0", b"v", 1)
            for text, words in (("bounded:500", b"bounded 500"), ("local", b"local")):
                ended = await quorumcache("get", "--read", text, "k", seeds=cluster.seeds)
                assert (ended.code, ended.out) == (0, "v\n")
                reads = [read for node in cluster.nodes for read in node.reads]
                assert (words, b"get k") in reads
            ended = await quorumcache("get", "--read", "bounded:0", "k", seeds=cluster.seeds)
            assert ended.code == 2
            assert "1 to 86400000 ms" in one_line(ended)
            ended = await quorumcache("get", "--read", "newest", "k", seeds=cluster.seeds)
            assert ended.code == 2
            assert "linearizable, bounded:MS or local" in one_line(ended)

    run(main())


def test_the_timeout_is_for_connecting_and_the_operation_together(monkeypatch) -> None:
    """What connecting took is not there any more for the operation itself."""
    given: list[int] = []

    class SlowClient:
        def __init__(self, *_: object, **__: object) -> None:
            """Takes what `AsyncClient` takes."""

        async def connect(self, **_: object) -> None:
            await asyncio.sleep(0.2)

        async def get(self, key: bytes, *, timeout_ms: int, level: object) -> bytes:
            given.append(timeout_ms)
            return b"value"

        async def close(self) -> None:
            """Nothing is open."""

    monkeypatch.setattr(cli, "AsyncClient", SlowClient)
    assert cli.main(["--timeout", "30", "get", "-n", "a"]) == OK
    assert 1 <= given[0] <= 29_800
