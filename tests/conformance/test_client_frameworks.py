"""The caches of frameworks, over the clients below them: Django, dogpile.cache, cachelib, Flask."""

from __future__ import annotations

import gc
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.clients import library
from tests.support.processes import Cluster

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")
"""They leave connections to the garbage collector."""


@pytest.fixture(autouse=True)
def collect_garbage() -> Iterator[None]:
    yield
    gc.collect()


def locations(cluster: Cluster) -> list[str]:
    return [f"127.0.0.1:{node.port}" for node in cluster]


@pytest.mark.parametrize("name", ["PyMemcacheCache", "PyLibMCCache"])
def test_django(empty_cluster: Cluster, name: str) -> None:
    backend = getattr(library("django.core.cache.backends.memcached"), name)
    library("pymemcache" if name == "PyMemcacheCache" else "pylibmc")
    cache = backend(locations(empty_cluster), {"KEY_PREFIX": "site", "TIMEOUT": 300})
    cache.set("k", {"schön": [1, 2]})
    assert cache.get("k") == {"schön": [1, 2]}
    assert cache.get("absent", 7) == 7
    assert cache.add("k", 1) is False
    assert cache.add("new", 1) is True
    assert cache.incr("new", 4) == 5
    assert cache.decr("new", 2) == 3
    with pytest.raises(ValueError, match="not found"):
        cache.incr("absent")
    assert cache.touch("new", 100) is True
    assert cache.touch("absent", 100) is False
    assert cache.set_many({f"key-{n}": n for n in range(50)}) == []
    assert cache.get_many([f"key-{n}" for n in range(60)]) == {f"key-{n}": n for n in range(50)}
    cache.delete_many([f"key-{n}" for n in range(25)])
    assert len(cache.get_many([f"key-{n}" for n in range(50)])) == 25
    assert cache.get_or_set("lazy", lambda: "made") == "made"
    assert cache.get_or_set("lazy", lambda: "again") == "made"
    assert cache.has_key("lazy")
    cache.set("versioned", "one", version=1)
    cache.incr_version("versioned")
    assert cache.get("versioned", version=2) == "one"
    cache.set("none", None)
    assert cache.get("none", "missing") is None
    cache.set("gone", "x", timeout=0)
    assert cache.get("gone") is None
    cache.set("bytes", bytes(range(256)) * 100)
    assert cache.get("bytes") == bytes(range(256)) * 100
    assert cache.delete("k") is True
    assert cache.delete("k") is False
    cache.clear()
    assert cache.get("lazy") is None
    cache.close()


@pytest.mark.parametrize("name", ["pymemcache", "pylibmc", "memcached"])
def test_dogpile(empty_cluster: Cluster, name: str) -> None:
    """Of all the threads that miss, on all nodes, one makes the value."""
    dogpile = library("dogpile.cache")
    library({"memcached": "memcache"}.get(name, name))
    regions = []
    for location in locations(empty_cluster):
        host, _, port = location.partition(":")
        url: Any = (host, int(port)) if name == "pymemcache" else location
        arguments = {"url": [url], "distributed_lock": True, "lock_timeout": 60}
        region = dogpile.make_region()
        regions.append(region.configure(f"dogpile.cache.{name}", 3600, arguments=arguments))
    made = []

    def make() -> str:
        made.append(uuid.uuid4().hex)
        time.sleep(0.2)  # So that the others come meanwhile.
        return made[-1]

    with ThreadPoolExecutor(6) as threads:
        found = list(threads.map(lambda n: regions[n % 3].get_or_create("k", make), range(6)))
    assert found == [made[0]] * 6
    assert len(made) == 1
    one, other, _ = regions
    one.set_multi({"a": 1, "b": [2]})
    assert other.get_multi(["a", "b"]) == [1, [2]]
    other.delete("a")
    assert one.get("a") is dogpile.api.NO_VALUE


@pytest.mark.parametrize("name", ["pylibmc", "memcache"])
def test_cachelib(empty_cluster: Cluster, name: str) -> None:
    cachelib = library("cachelib")
    client = library(name).Client(locations(empty_cluster))
    cache = cachelib.MemcachedCache(client, default_timeout=300, key_prefix="app:")
    assert cache.set("k", {"a": 1})
    assert cache.get("k") == {"a": 1}
    assert cache.add("k", 2) is False
    assert cache.add("new", 2)
    assert sorted(cache.set_many({"a": 1, "b": 2})) == ["a", "b"]
    assert cache.get_many("a", "b", "absent") == [1, 2, None]
    assert cache.get_dict("a", "b") == {"a": 1, "b": 2}
    assert cache.has("a")
    assert cache.inc("a", 4) == 5
    assert cache.dec("a", 2) == 3
    assert sorted(cache.delete_many("a", "b")) == ["a", "b"]
    assert cache.delete("k")
    assert cache.get("k") is None
    assert cache.clear()
    assert cache.get("new") is None


def test_flask_caching(empty_cluster: Cluster) -> None:
    app = library("flask").Flask("app")
    library("pylibmc")
    servers = locations(empty_cluster)
    config = {"CACHE_TYPE": "MemcachedCache", "CACHE_MEMCACHED_SERVERS": servers}
    cache = library("flask_caching").Cache(app, config=config)
    calls = []

    @app.route("/page")
    @cache.cached(timeout=60)
    def page() -> str:
        calls.append("page")
        return "schön"

    @cache.memoize(60)
    def double(number: int) -> int:
        calls.append("double")
        return 2 * number

    with app.test_client() as browser, app.app_context():
        assert [browser.get("/page").text for _ in range(3)] == ["schön"] * 3
        assert [double(4), double(4), double(5)] == [8, 8, 10]
        assert calls == ["page", "double", "double"]
        cache.delete_memoized(double)
        assert double(4) == 8
        cache.clear()
        browser.get("/page")
    assert calls == ["page", "double", "double", "double", "page"]
