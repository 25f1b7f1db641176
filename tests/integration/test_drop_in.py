"""`quorumcached` without flags stands in for memcached."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from pymemcache import Client

from tests.support.processes import NodeProcess, run_to_end, running_node
from tests.support.wire import DEADLINE_S

NO_MEMORY = b"SERVER_ERROR out of memory storing object\r\n"


def test_no_flags_at_all(alone: NodeProcess) -> None:
    """In memory, alone, with memcached's statistics; nothing is written anywhere."""
    client = Client(("127.0.0.1", alone.port), timeout=DEADLINE_S, default_noreply=False)
    assert client.set("k", "v")
    assert client.get("k") == b"v"
    stats = client.stats()
    for name in (b"pid", b"uptime", b"version", b"curr_items", b"cmd_get", b"get_hits", b"threads"):
        assert name in stats, name
    assert stats[b"pid"] == alone.pid
    assert stats[b"limit_maxbytes"] == 1 << 30
    client.close()
    there = sorted(path.name for path in alone.log_path.parent.iterdir())
    assert there == [alone.log_path.name], "it wrote into its working directory"


def test_memory_limit(tmp_path: Path) -> None:
    """What does not fit is refused as memcached with -M does; deleting makes room again."""
    with running_node(tmp_path, "--memory", "1m", "--no-evict") as node, node.wire() as wire:
        value = b"x" * 100_000
        stored = 0
        while (reply := wire.set(b"fill-%d" % stored, value)) == b"STORED\r\n":
            stored += 1
            assert stored < 20
        assert reply == NO_MEMORY
        assert stored >= 8
        assert wire.ask(b"add new 0 0 100000\r\n" + value) == NO_MEMORY
        assert wire.ask(b"append fill-0 0 0 100000\r\n" + value) == NO_MEMORY
        assert wire.get(b"fill-0") == value
        assert wire.set(b"fill-0", value) == NO_MEMORY
        assert wire.get(b"fill-0") is None, "nobody reads what the set meant to replace"
        assert wire.ask(b"delete fill-1") == b"DELETED\r\n"
        assert wire.set(b"small", b"1") == b"STORED\r\n"
        assert wire.ask(b"incr small 1") == b"2\r\n"
        assert wire.ask(b"flush_all") == b"OK\r\n"
        assert wire.set(b"after", value) == b"STORED\r\n"


def test_help_and_version_need_nothing() -> None:
    status, out, err = run_to_end("--version")
    assert (status, err) == (0, "")
    assert out.startswith("quorumcached ")
    status, out, err = run_to_end("--help")
    assert (status, err) == (0, "")
    assert "--initial-cluster" in out


def test_stopped_by_the_end_of_its_standard_input() -> None:
    """For a parent process that must not leave nodes behind; a pipe, or nothing at all."""
    for stdin in (subprocess.DEVNULL, None):
        reading, writing = os.pipe()
        os.close(writing)
        status, _, err = run_to_end(
            "--listen", "127.0.0.1:0", "--stop-on-stdin-eof", stdin=stdin or reading
        )
        os.close(reading)
        assert status == 0, err
        assert "Traceback" not in err
