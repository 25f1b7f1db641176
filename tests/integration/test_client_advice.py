"""The advice of docs/client.md for other clients, tried: the very code that is printed there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pymemcache.client.hash import HashClient

from tests.support.processes import Cluster, running_cluster

DOCUMENT = Path(__file__).parents[2] / "docs" / "client.md"
KEYS = [f"advice-{number}" for number in range(200)]


def any_node(cluster: Cluster) -> Any:
    """The class of the document, over this cluster."""
    blocks = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    (code,) = [block for block in blocks if "class AnyNode" in block]
    names: dict[str, Any] = {}
    exec(code[: code.index("\ncache = ")], names)
    return names["AnyNode"](f"127.0.0.1:{node.port}" for node in cluster)


def test_a_dead_node_is_no_miss(tmp_path: Path) -> None:
    """With one node at a time every key is found after a kill, and writes go on; a hashing client
    that leaves a dead node out with its first error finds all but the keys of that call.
    """
    with running_cluster(tmp_path, shards=16) as cluster:
        cache = any_node(cluster)
        hashing = HashClient(
            [("127.0.0.1", node.port) for node in cluster], retry_attempts=0, dead_timeout=600
        )
        for key in KEYS:
            assert cache.call("set", key, key.encode())
            assert hashing.get(key) == key.encode()
        dead = next(iter(cluster))
        dead.kill()
        cluster.wait_led(without=dead.name)
        assert [cache.call("get", key) for key in KEYS] == [key.encode() for key in KEYS]
        assert cache.call("set", "after", b"1")
        assert cache.call("incr", "after", 1) == 2
        found: list[object] = []
        for key in KEYS:
            try:
                found.append(hashing.get(key))
            except Exception as error:
                found.append(error)
        assert None not in found
        assert 0 < sum(isinstance(one, Exception) for one in found) < 10
        dead.start()
        hashing.close()
        cache.client.close()
