"""pymemcache, as it comes, against every node of a cluster."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from pymemcache import Client, MemcacheClientError, MemcacheServerError

from quorumcache.ring import shard_of
from tests.support.processes import Cluster
from tests.support.wire import DEADLINE_S

KIB = 1024
MIB = 1024 * KIB


@pytest.fixture(params=["a", "b", "c"])
def client(request: pytest.FixtureRequest, cluster: Cluster) -> Iterator[Client]:
    with_deadline = connect(cluster, request.param)
    with_deadline.flush_all(noreply=False)
    yield with_deadline
    with_deadline.close()


def connect(cluster: Cluster, name: str) -> Client:
    return Client(
        ("127.0.0.1", cluster[name].port),
        connect_timeout=DEADLINE_S,
        timeout=DEADLINE_S,
        default_noreply=False,
    )


def test_every_command(client: Client) -> None:
    assert client.get("k") is None
    assert client.set("k", "one", flags=7)
    assert client.get("k") == b"one"
    assert client.add("k", "two") is False
    assert client.add("new", "two") is True
    assert client.replace("k", "three") is True
    assert client.replace("absent", "x") is False
    assert client.append("k", "-after")
    assert client.prepend("k", "before-")
    assert client.get("k") == b"before-three-after"
    assert client.append("absent", "x") is False
    value, unique = client.gets("k")
    assert value == b"before-three-after"
    assert client.cas("k", "four", unique) is True
    assert client.cas("k", "five", unique) is False
    assert client.cas("absent", "five", unique) is None
    assert client.set("n", "10")
    assert client.incr("n", 5) == 15
    assert client.decr("n", 20) == 0
    assert client.incr("absent", 1) is None
    with pytest.raises(MemcacheClientError):
        client.incr("k", 1)
    assert client.touch("n", 1000) is True
    assert client.touch("absent", 1000) is False
    assert client.raw_command("gat 1000 n", "END\r\n") == b"VALUE n 0 2\r\n0 \r\n"
    assert client.delete("n") is True
    assert client.delete("n") is False
    assert client.set("gone", "x", expire=-1)
    assert client.get("gone") is None
    assert client.version().split(b".")[0].isdigit()
    assert int(client.stats()[b"curr_connections"]) >= 1
    assert client.flush_all() is True
    assert client.get("k") is None


def test_many_keys_over_many_shards(client: Client, cluster: Cluster) -> None:
    values = {f"many-{number}": b"v%d" % number for number in range(1000)}
    assert {shard_of(key.encode(), cluster.shards) for key in values} == set(range(cluster.shards))
    assert client.set_many(values) == []
    assert client.get_many([*values, *(f"absent-{number}" for number in range(500))]) == values
    found = client.gets_many(list(values))
    assert {key: value for key, (value, _) in found.items()} == values
    assert client.delete_many(list(values))
    assert client.get_many(list(values)) == {}


def test_noreply_is_done_in_order(client: Client) -> None:
    for number in range(300):
        client.set(f"quiet-{number % 7}", str(number), noreply=True)
    assert client.get_many([f"quiet-{n}" for n in range(7)]) == {
        f"quiet-{n % 7}": b"%d" % n for n in range(293, 300)
    }
    client.set("count", "0", noreply=True)
    for _ in range(100):
        client.incr("count", 1, noreply=True)
    assert client.get("count") == b"100"
    client.delete("count", noreply=True)
    client.touch("count", 10, noreply=True)
    client.append("count", "x", noreply=True)
    assert client.get("count") is None


def test_large_values(client: Client) -> None:
    large = random.Random(7).randbytes(MIB - KIB)
    for key in ("large-1", "large-2", "large-3"):
        assert client.set(key, large)
    assert client.get_many(["large-1", "large-2", "large-3"]) == dict.fromkeys(
        ("large-1", "large-2", "large-3"), large
    )
    with pytest.raises(MemcacheServerError, match="too large"):
        client.set("large-1", b"x" * (MIB + KIB))
    assert client.get("large-1") is None, "a refused set leaves nothing that looks like its value"
    with pytest.raises(MemcacheServerError, match="too large"):
        client.add("large-4", b"x" * (MIB + KIB))
    assert client.get("large-2") == large, "the connection is still in step"


def test_any_bytes(client: Client) -> None:
    everything = bytes(range(256)) * 3
    for number, value in enumerate(
        [b"", b"\r\n", b"END\r\n", b"\r\nget k\r\n", b"\x00", everything, b"VALUE k 0 3\r\nabc\r\n"]
    ):
        assert client.set(f"bytes-{number}", value)
        assert client.get(f"bytes-{number}") == value


def test_the_longest_key(client: Client, cluster: Cluster) -> None:
    longest = "k" * 250
    assert client.set(longest, "v")
    assert client.get_many([longest, "k"]) == {longest: b"v"}
    with pytest.raises(MemcacheClientError):  # pymemcache itself knows.
        client.set("k" * 251, "v")
    for node in cluster:
        with node.wire() as wire:
            assert wire.get(longest.encode()) == b"v"
            refusal = b"CLIENT_ERROR bad command line format\r\n"
            assert wire.ask(b"get " + b"k" * 251) == refusal
            assert wire.ask(b"delete " + b"k" * 251) == refusal
            wire.send(b"set " + b"k" * 251 + b" 0 0 1\r\nx\r\nversion\r\n")
            assert wire.line() == refusal
            assert wire.line().startswith(b"VERSION ")


def test_writes_are_read_at_every_other_node_at_once(cluster: Cluster) -> None:
    """Whoever was told STORED may tell somebody else, who asks another node."""
    clients = [connect(cluster, name) for name in cluster.nodes]
    try:
        clients[0].set("shared-count", "0")
        for number in range(60):
            writer = clients[number % 3]
            key = f"seen-{number}"
            assert writer.set(key, str(number))
            assert writer.incr("shared-count", 1) == number + 1
            for reader in clients:
                assert reader.get(key) == b"%d" % number
                assert reader.get("shared-count") == b"%d" % (number + 1)
            _, unique = clients[(number + 1) % 3].gets(key)
            assert clients[(number + 2) % 3].cas(key, "new", unique) is True
            assert writer.get(key) == b"new"
            assert clients[(number + 1) % 3].delete(key)
            assert writer.get(key) is None
    finally:
        for one in clients:
            one.close()
