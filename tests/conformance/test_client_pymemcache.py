"""pymemcache: its pool, its client that spreads keys over servers, and its retries.

`tests/integration/test_pymemcache.py` has its plain client, command by command.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.clients import library
from tests.support.processes import Cluster
from tests.support.wire import DEADLINE_S

pymemcache = library("pymemcache")
LIMITS = {"connect_timeout": DEADLINE_S, "timeout": DEADLINE_S}


def servers(cluster: Cluster) -> list[tuple[str, int]]:
    return [("127.0.0.1", node.port) for node in cluster]


def hash_client(cluster: Cluster, **options: Any) -> Any:
    """With errors as errors, and values of any type."""
    return pymemcache.HashClient(
        servers(cluster),
        ignore_exc=False,
        **{
            "serde": pymemcache.serde.pickle_serde,
            "default_noreply": False,
            "use_pooling": True,
            **LIMITS,
            **options,
        },
    )


def test_hash_client_over_three_nodes(empty_cluster: Cluster) -> None:
    client = hash_client(empty_cluster)
    values: dict[str, object] = {f"key-{n}": {"number": n, "list": [n] * 3} for n in range(300)}
    values |= {"text": "schön", "bytes": bytes(range(256)), "number": 7}
    assert client.set_many(values, expire=1000) == []
    assert client.get_many([*values, "absent"]) == values
    assert client.get("text") == "schön"
    assert client.add("text", "other") is False
    assert client.replace("absent", 1) is False
    assert client.incr("number", 5) == 12
    assert client.decr("number", 2) == 10
    found, unique = client.gets("key-1")
    assert found == values["key-1"]
    assert client.cas("key-1", "first", unique) is True
    assert client.cas("key-1", "second", unique) is False
    assert client.touch("key-1", 50) is True
    assert client.delete_many(list(values)) is True
    assert client.get_many(list(values)) == {}
    client.set("gone", "x")
    client.flush_all()
    assert client.get("gone") is None
    client.close()


def test_another_spread_of_the_keys_finds_the_same_items(empty_cluster: Cluster) -> None:
    """To the cluster it does not matter which node a client has chosen for a key."""
    one = hash_client(empty_cluster)
    other = pymemcache.HashClient(
        list(reversed(servers(empty_cluster)))[:2],
        serde=pymemcache.serde.pickle_serde,
        **{**LIMITS, "default_noreply": False},
    )
    keys = [f"spread-{number}" for number in range(60)]
    for key in keys:
        assert one.set(key, key.upper())
    assert other.get_many(keys) == {key: key.upper() for key in keys}
    one.close()
    other.close()


def test_pool_under_threads(empty_cluster: Cluster) -> None:
    """Counters and cas loops lose nothing, whichever node a thread's connection goes to."""
    pools = [
        pymemcache.PooledClient(server, max_pool_size=3, default_noreply=False, **LIMITS)
        for server in servers(empty_cluster)
    ]
    pools[0].set("count", "0")
    pools[0].set("list", "")

    def work(number: int) -> None:
        pool = pools[number % 3]
        for _ in range(10):
            pool.incr("count", 1)
        while True:
            value, unique = pool.gets("list")
            if pool.cas("list", value + b"%d," % number, unique):
                return

    with ThreadPoolExecutor(9) as threads:
        list(threads.map(work, range(9)))
    assert pools[1].get("count") == b"90"
    assert sorted(pools[2].get("list").split(b",")) == [b"", *(b"%d" % n for n in range(9))]
    for pool in pools:
        pool.close()


def test_noreply_pipelines(empty_cluster: Cluster) -> None:
    client = hash_client(empty_cluster, default_noreply=True, serde=None)
    for number in range(200):
        client.set(f"quiet-{number % 10}", str(number))
        client.append(f"quiet-{number % 10}", "!")
    assert client.get_many([f"quiet-{n}" for n in range(10)]) == {
        f"quiet-{n % 10}": b"%d!" % n for n in range(190, 200)
    }
    client.close()


def test_errors_are_exceptions(empty_cluster: Cluster) -> None:
    client = pymemcache.Client(servers(empty_cluster)[0], default_noreply=False, **LIMITS)
    client.set("text", "abc")
    with pytest.raises(pymemcache.MemcacheClientError, match="non-numeric"):
        client.incr("text", 1)
    with pytest.raises(pymemcache.MemcacheServerError, match="too large"):
        client.set("large", b"x" * (1 << 20))
    with pytest.raises(pymemcache.MemcacheUnknownCommandError):
        client.raw_command("nonsense")
    assert client.set("large", b"x" * ((1 << 20) - 1024))
    assert len(client.get("large")) == (1 << 20) - 1024
    client.close()


def test_retries_and_values_of_any_type(empty_cluster: Cluster) -> None:
    base = pymemcache.Client(
        servers(empty_cluster)[1], serde=pymemcache.serde.compressed_serde, **LIMITS
    )
    client = library("pymemcache.client.retrying").RetryingClient(base, attempts=2)
    value = {"text": "x" * 10_000, "set": {1, 2}}
    client.set("any", value, noreply=False)
    assert client.get("any") == value
    assert client.get("any", default=None) == value
    assert b"pid" in client.stats()
    client.close()
