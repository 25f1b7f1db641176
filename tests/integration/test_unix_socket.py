"""A real node on a Unix socket: beside TCP and alone, killed, started again, and started twice."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from quorumcache.bench.processes import repository_environment
from quorumcache.router import AsyncClient
from tests.support.processes import last_line, run_to_end, running_node, wait_until
from tests.support.wire import DEADLINE_S, Wire


def test_beside_tcp(tmp_path: Path) -> None:
    path = str(tmp_path / "q.sock")
    with running_node(
        tmp_path, "--unix-path", path, "--unix-mask", "0750", "--http", "127.0.0.1:0", ready=False
    ) as node:
        line = node.wait_ready()
        assert f"memcached 127.0.0.1:{node.port},unix:{path} peer" in line
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o750
        with Wire(path) as local, node.wire() as far:
            assert local.set(b"k", b"v") == b"STORED\r\n"
            assert far.get(b"k") == b"v"
            found = far.stats(b"conns")
            lines = [value for name, value in found.items() if name.endswith(":addr")]
            assert f"unix:{path}" in lines
            assert sum(value.startswith("tcp:127.0.0.1:") for value in lines) >= 2
            assert far.stats(b"settings")["domain_socket"] == path
        http = line.split(" http ")[1].strip()
        with urllib.request.urlopen(f"http://{http}/status", timeout=60) as reply:
            status = json.load(reply)
        assert status["listen_address"] == f"127.0.0.1:{node.port},unix:{path}"
        assert node.terminate() == 0
        assert not os.path.lexists(path)


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_alone_on_both_loops_killed_and_stopped(
    tmp_path: Path, loop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "q.sock")
    if loop == "asyncio":
        (tmp_path / "uvloop.py").write_text("raise ImportError('not here')\n")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    data = str(tmp_path / "data")
    with running_node(tmp_path, "--unix-path", path, "--data-dir", data, ready=False) as node:
        node.end()
        node.listen = ""
        assert f" ready: memcached unix:{path} peer - http -" in node.start()
        with Wire(path) as wire:
            assert wire.set(b"k", b"v") == b"STORED\r\n"
            assert wire.stats(b"settings")["inter"] == "NULL"
        node.kill()
        assert os.path.lexists(path), "nobody was left to remove it"
        node.start()
        with Wire(path) as wire:
            assert wire.get(b"k") == b"v"
            node.signal(signal.SIGTERM)
            assert wire.rest() == b""
        assert node.wait_end() == 0
        assert not os.path.lexists(path)


def test_a_second_process_is_told_who_has_it(tmp_path: Path) -> None:
    path = str(tmp_path / "q.sock")
    with running_node(tmp_path, "--unix-path", path) as node:
        status, out, err = run_to_end("--listen", "", "--unix-path", path)
        assert (status, out) == (1, "")
        assert f"cannot listen on unix:{path}: process {node.pid} (" in last_line(err)
        node.pause()  # It is there, though it does not answer.
        status, _, err = run_to_end("--listen", "", "--unix-path", path)
        assert status == 1
        assert f"process {node.pid} (" in last_line(err)
        node.resume()
        with Wire(path) as wire:
            assert wire.get(b"k") is None


def test_a_start_that_fails_or_is_stopped_leaves_no_file(tmp_path: Path) -> None:
    path = str(tmp_path / "q.sock")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        http = f"127.0.0.1:{taken.getsockname()[1]}"
        status, _, err = run_to_end("--listen", "", "--unix-path", path, "--http", http)
        assert status == 1
        assert "cannot listen on 127.0.0.1" in last_line(err)
        assert not os.path.lexists(path)
        # A node that waits to be taken in has its socket, and serves nobody yet.
        secret = tmp_path / "secret"
        secret.write_text("the secret of the cluster\n")
        joins = ("--join", http, "--peer", "127.0.0.1:0", "--name", "b")
        joins = (*joins, "--secret-file", str(secret))
        flags = (*joins, "--data-dir", str(tmp_path / "data"), "--unix-path", path)
        with running_node(tmp_path, *flags, ready=False) as node:
            wait_until("its socket", lambda: os.path.lexists(path))
            with pytest.raises(ConnectionRefusedError):
                Wire(path)
            assert node.terminate() == 0
        assert not os.path.lexists(path)


def test_a_second_signal_leaves_no_file(tmp_path: Path) -> None:
    path = str(tmp_path / "q.sock")
    with running_node(tmp_path, "--unix-path", path) as node:
        # A client that reads nothing holds the clean stop up.
        with Wire(path, receive_buffer=4096) as wire:
            assert wire.set(b"k", b"v" * 500_000) == b"STORED\r\n"
            wire.send(b"get k\r\n" * 50)
            node.signal(signal.SIGTERM)
            node.wait_log("event=stopping")
            node.signal(signal.SIGTERM)
            assert node.wait_end() in (0, 128 + signal.SIGTERM)
        assert not os.path.lexists(path)


def test_a_path_that_is_too_long(tmp_path: Path) -> None:
    status, _, err = run_to_end("--listen", "127.0.0.1:0", "--unix-path", "/" + "x" * 199)
    assert status == 2
    assert "--unix-path: 200 bytes long, and a Unix socket may have 107" in last_line(err)


def test_a_client_that_half_closes_is_answered(tmp_path: Path) -> None:
    path = str(tmp_path / "q.sock")
    with running_node(tmp_path, "--unix-path", path) as node:
        with Wire(path) as wire:
            wire.send(b"set k 0 0 1\r\nx\r\nget k\r\n")
            wire.half_close()
            assert wire.rest() == b"STORED\r\nVALUE k 0 1\r\nx\r\nEND\r\n"
        with node.wire() as other:
            wait_until("its end", lambda: other.stats()["curr_connections"] == "1")


def test_our_own_client_finds_its_way(tmp_path: Path) -> None:
    """To a node that has no other address, and to one that has."""
    path = str(tmp_path / "q.sock")

    async def use(seed: str) -> None:
        async with AsyncClient([seed]) as client:
            await client.set("k", b"v")
            assert await client.get("k") == b"v"

    with running_node(tmp_path, "--unix-path", path, ready=False) as node:
        node.end()
        for listen in ("", "127.0.0.1:0"):
            node.listen = listen
            node.start()
            asyncio.run(use(f"unix:{path}"))
            done = subprocess.run(
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "quorumcache.router.cli",
                    "-s",
                    f"unix:{path}",
                    "status",
                ],
                capture_output=True,
                text=True,
                timeout=DEADLINE_S,
                env=repository_environment(),
                check=False,
            )
            assert done.returncode == 0, done.stderr
            assert (f"unix:{path}" in done.stdout) == (listen == "")
            assert node.terminate() == 0


@pytest.mark.parametrize("mode", ["auto", "any-node"])
def test_the_benchmark_loads_a_node_by_its_socket(tmp_path: Path, mode: str) -> None:
    """Also if the cluster map has another address of the node."""
    path = str(tmp_path / "q.sock")
    words = ["-m", "quorumcache.bench", "run", "get", "--cluster", f"unix:{path}", "--mode", mode]
    words += ["--no-memcached", "--seconds", "1", "--warmup", "0.2", "--connections", "2"]
    words += ["--out", str(tmp_path / "report")]
    with running_node(tmp_path, "--unix-path", path) as node:
        with node.wire() as wire:
            before = int(wire.stats()["get_hits"])
        environment = repository_environment()
        subprocess.run(
            [sys.executable, *words], check=True, env=environment, timeout=DEADLINE_S, cwd=tmp_path
        )
        with node.wire() as wire:
            assert int(wire.stats()["get_hits"]) > before
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert report["results"][0]["ops_per_second"] > 0
