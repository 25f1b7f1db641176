"""pylibmc, and so libmemcached, which PHP, Ruby and C programs use, too."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.clients import library
from tests.support.processes import Cluster

pylibmc = library("pylibmc")
TIMEOUT_MS = 30_000


def connect(cluster: Cluster, **behaviors: Any) -> Any:
    servers = [f"127.0.0.1:{node.port}" for node in cluster]
    timeouts = {
        "connect_timeout": TIMEOUT_MS,
        "receive_timeout": TIMEOUT_MS * 1000,
        "send_timeout": TIMEOUT_MS * 1000,
    }
    return pylibmc.Client(servers, behaviors={"tcp_nodelay": True, **timeouts, **behaviors})


def test_every_command(empty_cluster: Cluster) -> None:
    client = connect(empty_cluster, cas=True, ketama=True)
    assert client.get("k") is None
    assert client.set("k", "schön")
    assert client.get("k") == "schön"
    assert client.add("k", "x") is False
    assert client.add("new", "x") is True
    assert client.replace("k", b"one")
    assert client.replace("absent", "x") is False
    assert client.append("k", b"-after")
    assert client.prepend("k", b"before-")
    value, unique = client.gets("k")
    assert value == b"before-one-after"
    assert client.cas("k", b"two", unique) is True
    assert client.cas("k", b"three", unique) is False
    assert client.set("n", 10)
    assert client.incr("n", 5) == 15
    assert client.decr("n", 20) == 0
    with pytest.raises(pylibmc.NotFound):
        client.incr("absent")
    with pytest.raises(pylibmc.Error):
        client.incr("new")
    assert client.touch("n", 100) is True
    assert client.delete("n") is True
    assert client.delete("n") is False
    assert client.set("gone", "x", time=1_000_000_000)
    assert client.get("gone") is None
    assert client.flush_all() is True
    assert client.get("k") is None


def test_many_keys_and_values_of_any_type(empty_cluster: Cluster) -> None:
    client = connect(empty_cluster)
    values: dict[str, object] = {f"key-{n}": n for n in range(300)}
    values |= {"bytes": bytes(range(256)), "text": "äöü", "dict": {"a": [1, None]}, "true": True}
    assert client.set_multi(values, time=1000, min_compress_len=100) == []
    assert client.get_multi([*values, "absent"]) == values
    assert client.set_multi({"1": "x"}, key_prefix="pre-") == []
    assert client.get_multi(["1"], key_prefix="pre-") == {"1": "x"}
    assert client.add_multi({"text": 1, "other": 2}) == ["text"]
    client.incr_multi(["key-1", "key-2"], delta=10)
    assert client.get_multi(["key-1", "key-2"]) == {"key-1": 11, "key-2": 12}
    assert client.delete_multi(list(values))
    assert client.get_multi(list(values)) == {}


@pytest.mark.parametrize(
    "behaviors",
    [{"no_block": True}, {"_noreply": True}, {"hash": "murmur"}],
    ids=str,
)
def test_behaviors(empty_cluster: Cluster, behaviors: dict[str, Any]) -> None:
    """Not waiting for replies, sending many commands at once."""
    client = connect(empty_cluster, **behaviors)
    for number in range(200):
        client.set(f"key-{number % 10}", str(number))
    expected = {f"key-{n % 10}": str(n) for n in range(190, 200)}
    assert client.get_multi(list(expected)) == expected


def test_large_values(empty_cluster: Cluster) -> None:
    client = connect(empty_cluster)
    largest = b"x" * ((1 << 20) - 1024)
    assert client.set("large", largest)
    assert client.get("large") == largest
    with pytest.raises(pylibmc.Error):
        client.set("large", b"x" * ((1 << 20) + 1024))
    assert client.get("large") is None
    assert client.set("large", b"x" * (8 << 20), min_compress_len=1)
    assert client.get("large") == b"x" * (8 << 20)


def test_pool_of_threads(empty_cluster: Cluster) -> None:
    pool = pylibmc.ThreadMappedPool(connect(empty_cluster))
    with pool.reserve() as client:
        client.set("count", 0)

    def work(_: int) -> None:
        with pool.reserve() as client:
            for _ in range(20):
                client.incr("count")

    with ThreadPoolExecutor(5) as threads:
        list(threads.map(work, range(5)))
    with pool.reserve() as client:
        assert client.get("count") == 100


def test_statistics(empty_cluster: Cluster) -> None:
    client = connect(empty_cluster)
    client.set("k", "v")
    stats = client.get_stats()
    assert len(stats) == 3
    for _, found in stats:
        assert int(found["pid"]) > 0
        assert int(found["threads"]) >= 1
