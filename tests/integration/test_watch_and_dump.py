"""Looking after real nodes with memcached's commands: statistics, watch, dumps, and settings."""

from __future__ import annotations

import contextlib
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.test_transcripts import running_memcached
from tests.support.processes import Cluster, NodeProcess, running_node, wait_until
from tests.support.wire import Wire

ITEMS = 100_000
KEY_OF_LINE = re.compile(
    rb"key=(\S+) exp=-1 la=\d+ cas=\d+ fetch=(?:yes|no) cls=1 size=\d+ flags=0\n"
)


@pytest.mark.skipif(shutil.which("memcached") is None, reason="memcached is not installed")
@pytest.mark.parametrize("section", [b"", b"items", b"slabs", b"sizes", b"conns"])
def test_a_node_has_every_key_of_the_installed_memcached(
    alone: NodeProcess, section: bytes
) -> None:
    """Classes and connections have other numbers; their keys are the same."""

    def keys(port: int) -> set[str]:
        with Wire(port) as wire:
            assert wire.set(b"stats:key", b"v") == b"STORED\r\n"
            found = wire.stats(section)
            assert wire.ask(b"delete stats:key") == b"DELETED\r\n"
        return {re.sub(r"\d+:", "", name) for name in found}

    with running_memcached() as port:
        theirs = keys(port)
    assert theirs
    assert theirs <= keys(alone.port)


def test_plain_stats_fit_collectds_buffer(alone: NodeProcess) -> None:
    with alone.wire() as wire:
        text = "".join(f"STAT {name} {value}\r\n" for name, value in wire.stats().items())
        assert len(text) + len("END\r\n") < 4096
        assert int(wire.stats()["bytes"]) <= int(wire.stats()["limit_maxbytes"])


def test_stats_cluster_agrees_on_all_nodes(cluster: Cluster) -> None:
    found = []
    for node in cluster:
        with node.wire() as wire:
            found.append(wire.stats(b"cluster"))
    leaders = [{k: v for k, v in each.items() if k.startswith("leader:")} for each in found]
    assert len(leaders[0]) == 17
    assert set(leaders[0].values()) <= {"a", "b", "c"}
    assert [each["cluster:seen_by"] for each in found] == ["a", "b", "c"]
    assert len({each["cluster:id"] for each in found}) == 1
    for each in found:
        assert [each[f"node:{name}:state"] for name in "abc"] == ["active"] * 3


@contextlib.contextmanager
def loaded(port: int) -> Iterator[list[int]]:
    """Gets of one key, one after another, from a thread; the list has the count of replies."""
    done = [0]
    stopping = threading.Event()
    errors: list[BaseException] = []

    def work() -> None:
        try:
            with Wire(port) as wire:
                while not stopping.is_set():
                    assert wire.get(b"load") == b"v"
                    done[0] += 1
        except BaseException as error:
            errors.append(error)

    with Wire(port) as wire:
        assert wire.set(b"load", b"v") == b"STORED\r\n"
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield done
    finally:
        stopping.set()
        thread.join()
    assert not errors


def test_a_watcher_that_never_reads_holds_nobody_up(tmp_path: Path) -> None:
    """It loses lines, which are counted; memory and other clients do not notice it."""
    with running_node(tmp_path) as node, loaded(node.port) as done:
        before = node.forget_peak()
        with Wire(node.port, receive_buffer=4096) as watcher:
            watcher.send(b"watch fetchers mutations connevents\r\n")
            assert watcher.line() == b"OK\r\n"

            def lost() -> bool:
                with node.wire() as wire:
                    # Many long keys at once fill the watcher's room soon.
                    wire.send(b"get " + b" ".join([b"%0200d" % n for n in range(500)]) + b"\r\n")
                    assert wire.line() == b"END\r\n"
                    return int(wire.stats()["log_watcher_skipped"]) > 1000

            wait_until("the watcher has lost lines", lost)
            count = done[0]
            wait_until("others are served", lambda: done[0] > count + 100)
            # Then it reads: what it got is whole, and it hears how much it has missed.
            missed = 0
            while not missed:
                line = watcher.line()
                if line.startswith(b"skipped="):
                    missed = int(line[len(b"skipped=") :])
                else:
                    assert re.match(rb"ts=\d+\.\d{6} gid=\d+ type=(item_get|conn_\w+) ", line)
            assert missed > 0
        wait_until("the watcher is forgotten", lambda: _stat(node, "log_watchers") == "0")
        assert node.memory_kib("VmHWM") < before + 32 * 1024


def _stat(node: NodeProcess, name: str) -> str:
    with node.wire() as wire:
        return wire.stats()[name]


def test_a_dump_of_many_items_while_gets_go_on(tmp_path: Path) -> None:
    """Every key once, and the gets of others are answered between its pieces."""
    with running_node(tmp_path, "--shards", "16") as node, node.wire() as wire:
        names = [b"item:%d" % number for number in range(ITEMS)]
        for start in range(0, ITEMS, 1000):
            batch = names[start : start + 1000]
            wire.send(b"".join(b"set %b 0 0 1 noreply\r\nv\r\n" % name for name in batch))
        assert wire.ask(b"version").startswith(b"VERSION")
        with loaded(node.port) as done:
            wait_until("gets go on", lambda: done[0] > 10)
            count = done[0]
            wire.send(b"lru_crawler metadump all\r\n")
            assert wire.line() == b"OK\r\n"
            listed = []
            while (line := wire.line()) != b"END\r\n":
                match = KEY_OF_LINE.fullmatch(line)
                assert match, line
                listed.append(match[1])
            during = done[0] - count
        assert len(listed) == ITEMS + 1
        assert set(listed) == {name.replace(b":", b"%3A") for name in names} | {b"load"}
        # A turn of the loop lists 100 keys, so gets come in between some thousand times.
        assert during > 50
        wire.send(b"lru_crawler mgdump hash\r\nget load\r\n")
        assert wire.line() == b"OK\r\n"
        commands = set()
        while (line := wire.line()) != b"EN\r\n":
            commands.add(line)
        assert commands == {b"mg %b\r\n" % name for name in [*names, b"load"]}
        assert wire.value(b"load") == b"v"  # What was sent behind a dump runs after it.


def test_a_dump_of_all_nodes_names_each_key_once(cluster: Cluster) -> None:
    names = {b"dumped-%d" % number for number in range(500)}
    with cluster["a"].wire() as wire:
        for name in names:
            assert wire.set(name, b"v") == b"STORED\r\n"

        listed: list[bytes] = []
        for node in cluster:
            with node.wire() as each:
                each.send(b"lru_crawler metadump all\r\n")
                assert each.line() == b"OK\r\n"
                while (line := each.line()) != b"END\r\n":
                    listed.append(line[len(b"key=") : line.index(b" ")])
        for name in names:
            assert wire.ask(b"delete %b" % name) == b"DELETED\r\n"
    mine = [name for name in listed if name.startswith(b"dumped-")]
    assert sorted(mine) == sorted(names)


def test_evictions_are_counted_told_and_watched(tmp_path: Path) -> None:
    """`evictions on` is true, and every reader of the statistics sees them."""
    with running_node(tmp_path, "--memory", "16m", "--shards", "4") as node, node.wire() as wire:

        def may_evict() -> bool:
            return wire.stats(b"settings")["evictions"] == "on"

        wait_until("the cluster has the form that evicts", may_evict)
        with node.wire() as watcher:
            watcher.send(b"watch evictions\r\n")
            assert watcher.line() == b"OK\r\n"
            value = b"x" * 5000
            stored = 0

            def evicts() -> bool:
                nonlocal stored
                for _ in range(500):
                    assert wire.set(b"k:%d" % stored, value) == b"STORED\r\n"
                    stored += 1
                return int(wire.stats()["evictions"]) > 100

            wait_until("the node evicts", evicts)
            line = watcher.line()
            assert re.fullmatch(
                rb"ts=\d+\.\d{6} gid=\d+ type=eviction key=k%3A\d+ fetch=no ttl=-1 la=\d+ clsid=1"
                rb" size=5000\n",
                line,
            ), line
        items, found = wire.stats(b"items"), wire.stats()
        assert 0 < int(items["items:1:evicted"]) <= int(found["evictions"]), "it may go on"
        assert int(found["evicted_unfetched"]) > 0
        assert int(found["bytes"]) < 16 << 20
        # Nobody watches any more, and it goes on.
        assert wire.set(b"after", value) == b"STORED\r\n"
    with running_node(tmp_path, "--no-evict", name="b") as node, node.wire() as wire:
        assert wire.stats(b"settings")["evictions"] == "off"


def test_memory_is_limited_at_run_time(tmp_path: Path) -> None:
    value = b"x" * 500_000
    with running_node(tmp_path, "--memory", "64m", "--no-evict") as node, node.wire() as wire:
        for number in range(20):
            assert wire.set(b"k%d" % number, value) == b"STORED\r\n"
        assert wire.ask(b"cache_memlimit 8") == b"OK\r\n"
        assert wire.stats()["limit_maxbytes"] == str(8 << 20)
        assert wire.ask(b"add new 0 0 500000\r\n" + value).startswith(b"SERVER_ERROR out of memory")
        assert wire.ask(b"cache_memlimit 64") == b"OK\r\n"
        assert wire.ask(b"add new 0 0 500000\r\n" + value) == b"STORED\r\n"
        node.wait_log("event=memory_limit_changed")


def test_verbosity_is_the_log_level(tmp_path: Path) -> None:
    with running_node(tmp_path, "--log-level", "warning") as node, node.wire() as wire:
        assert wire.ask(b"verbosity 1") == b"OK\r\n"
        assert wire.stats(b"settings")["verbosity"] == "1"
        node.wait_log("event=verbosity_changed")
        assert wire.ask(b"verbosity 0") == b"OK\r\n"


@pytest.mark.parametrize("words", [b"shutdown", b"shutdown graceful"])
def test_shutdown_stops_a_node_as_sigterm_does(tmp_path: Path, words: bytes) -> None:
    with running_node(tmp_path, "--enable-shutdown") as node, node.wire() as wire:
        assert wire.ask(b"shutdown now") == b"CLIENT_ERROR invalid shutdown mode\r\n"
        assert wire.stats(b"settings")["shutdown_command"] == "yes"
        wire.send(words + b"\r\n")
        assert wire.rest() == b""
        assert node.wait_end() == 0
        assert node.log_lines("event=stopping", "reason=shutdown_command")


def test_shutdown_is_refused_without_the_setting(alone: NodeProcess) -> None:
    with alone.wire() as wire:
        assert wire.ask(b"shutdown") == b"SERVER_ERROR: shutdown not enabled\r\n"
        assert wire.ask(b"version").startswith(b"VERSION")
