"""The command `quorumcached` as a process: what it prints, and with which status it ends.

Every failure has to be one line that names what is wrong; a traceback is a bug.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from quorumcache.node.__main__ import main
from quorumcache.node.compiled import describe
from quorumcache.node.version import VERSION

ROOT = Path(__file__).resolve().parents[3]
DEADLINE_S = 60.0


def command(*words: str, options: tuple[str, ...] = ()) -> list[str]:
    return [sys.executable, *options, "-m", "quorumcache.node", *words]


def run(*words: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*words, options=options),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        stdin=subprocess.DEVNULL,
    )


def refusal(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line of a command line that is refused before anything is started."""
    assert main(words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith("quorumcached: ")
    return line


def error_line(*words: str, status: int, options: tuple[str, ...] = ()) -> str:
    """The one line of a run that has to fail; log lines before it are not looked at."""
    done = run(*words, options=options)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    line = done.stderr.splitlines()[-1]
    assert line.startswith("quorumcached: ")
    return line


@contextmanager
def running(*words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A node that has said its start line, with that line. Killed if the test leaves it alive."""
    process = subprocess.Popen(
        command("--stop-on-stdin-eof", *words),
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate(timeout=DEADLINE_S)


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, errors = process.communicate(timeout=DEADLINE_S)
    return process.returncode, errors


def address_in(line: str, name: str) -> tuple[str, int]:
    words = line.split()
    host, _, port = words[words.index(name) + 1].rpartition(":")
    return host, int(port)


def ask(address: tuple[str, int], request: bytes, until: bytes) -> bytes:
    with socket.create_connection(address, timeout=DEADLINE_S) as connection:
        connection.sendall(request)
        reply = b""
        while not reply.endswith(until):
            data = connection.recv(65536)
            assert data, reply
            reply += data
        return reply


# --- things said without starting a node


def test_help_names_every_flag() -> None:
    done = run("--help")
    assert done.returncode == 0
    for flag in [
        "--name",
        "--listen",
        "--peer",
        "--http",
        "--data-dir",
        "--initial-cluster",
        "--shards",
        "--replication",
        "--heartbeat-ms",
        "--election-ms",
        "--memory",
        "--durability",
        "--zone",
        "--weight",
        "--config",
        "--request-timeout-ms",
        "--max-connections",
        "--log-level",
        "--version",
    ]:
        assert f"{flag} " in done.stdout, flag


def test_help_of_up() -> None:
    done = run("up", "--help")
    assert done.returncode == 0
    for flag in ("--nodes", "--data-dir", "--shards", "--base-port", "--restart"):
        assert flag in done.stdout


def test_version() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"quorumcached {VERSION} ({describe()})\n")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--shard", "3"], "did you mean --shards?"),
        (["--no-such-thing"], "unknown argument --no-such-thing"),
        (["stray"], "unknown argument stray"),
        (["--listen"], "--listen"),
        (["--listen", "11211"], "--listen: '11211' is not HOST:PORT"),
        (["--shards", "x"], "--shards: 'x' is not a whole number"),
        (["--shards", "3"], "--shards: 3 is not a power of two"),
        (["--memory", "1x"], "--memory: '1x' is not a size"),
        (["--memory", "1k"], "--memory: 1024 is not in"),
        (["--weight", "heavy"], "--weight: 'heavy' is not a number"),
        (["--durability", "fsync"], "--data-dir: durability fsync needs a directory"),
        (["--max-connections", "0"], "--max-connections: 0 is not in"),
        (["--initial-cluster", "a=h:1,b=h:2"], "--name: needed with --initial-cluster"),
        (["--initial-cluster", "a=h:1,b=h:2", "--name", "c"], "--name: 'c' is not in"),
        (["--initial-cluster", "a=h:1,b=h:2", "--name", "a"], "--data-dir: needed on every node"),
        (["--initial-cluster", "a=h:1,b", "--name", "a"], "--initial-cluster: 'b' is not NAME="),
        (["--config", "/no/such/file"], "cannot read /no/such/file: No such file"),
        (["up", "--nodes", "x"], "--nodes"),
        (["up", "--knots", "3"], "did you mean --nodes?"),
    ],
)
def test_bad_flags(words: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert expected in refusal(capsys, *words)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("shardz = 4", "unknown key 'shardz'; did you mean shards?"),
        ("zzzzzz = 4", "unknown key 'zzzzzz'"),
        ("shards = 'x'", "shards: 'x' is not a whole number"),
        ("shards = true", "shards: True is not a whole number"),
        ("shards = 3", "shards: 3 is not a power of two"),
        ("name = 5", "name: 5 is not a string"),
        ("memory = 1.5", "memory: 1.5 is not a size"),
        ("heartbeat-ms = 50\nheartbeat_ms = 50", "'heartbeat_ms' is given twice"),
        ("[initial-cluster]\na = 7000", "initial-cluster: every address is a string"),
        ("name = ", "is not TOML"),
        ("\xff", "is not TOML"),
    ],
)
def test_bad_files_are_named_with_the_key(
    tmp_path: Path, text: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "node.toml"
    path.write_bytes(text.encode("latin-1"))
    line = refusal(capsys, "--config", str(path))
    assert str(path) in line
    assert expected in line


def test_a_bad_flag_is_one_line_of_the_process_too() -> None:
    done = run("--shards", "3")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1


def test_assertions_must_be_on() -> None:
    assert "python -O" in error_line("--version", status=2, options=("-O",))


# --- nodes


def test_a_node_says_where_it_is_serves_and_stops_cleanly() -> None:
    with running("--listen", "127.0.0.1:0", "--http", "[::1]:0") as (process, line):
        assert line.startswith("quorumcached: node a ready: memcached 127.0.0.1:")
        address = address_in(line, "memcached")
        assert address[1] != 0
        stored = ask(address, b"set k 0 0 5\r\nhello\r\nget k\r\n", b"END\r\n")
        assert stored == b"STORED\r\nVALUE k 0 5\r\nhello\r\nEND\r\n"
        assert b"STAT version " in ask(address, b"stats\r\n", b"END\r\n")
        assert b"STAT shard:15:role leader\r\n" in ask(address, b"stats shards\r\n", b"END\r\n")
        http = ("::1", address_in(line, "http")[1])
        health = ask(http, b"GET /health HTTP/1.0\r\n\r\n", b"}\n")
        assert health.startswith(b"HTTP/1.1 200 ")
        metrics = ask(http, b"GET /metrics HTTP/1.0\r\nHost: x\r\n\r\n", b"\n")
        assert metrics.startswith(b"HTTP/1.1 200 ")
        process.send_signal(signal.SIGTERM)
        status, errors = end(process)
        assert status == 0, errors
        assert "event=stopped" in errors


def test_flags_override_the_file(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text(
        "name = 'from-file'\nshards = 2\nlisten = '127.0.0.1:1'\nmemory = '64m'\n"
        "durability = 'memory'\nlog-format = 'json'\nweight = 2\n"
    )
    with running("--config", str(path), "--listen", "127.0.0.1:0") as (process, line):
        assert line.startswith("quorumcached: node from-file ready")
        settings = ask(address_in(line, "memcached"), b"stats settings\r\n", b"END\r\n")
        assert b"STAT shards 2\r\n" in settings
        assert b"STAT maxbytes %d\r\n" % (64 << 20) in settings
        assert b"STAT weight 2.0\r\n" in settings
        process.send_signal(signal.SIGINT)
        status, errors = end(process)
        assert status == 0, errors
        assert all(text.startswith("{") for text in errors.splitlines())


def test_a_node_ends_with_the_process_that_holds_its_stdin() -> None:
    with running("--listen", "127.0.0.1:0") as (process, _):
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None
        status, errors = end(process)
        assert status == 0, errors
        assert "reason=parent_gone" in errors


def test_port_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = error_line("--listen", f"127.0.0.1:{port}", status=1)
        assert f"127.0.0.1:{port}: the port is in use" in line
        assert "with --listen" in line
        line = error_line("--listen", "127.0.0.1:0", "--http", f"127.0.0.1:{port}", status=1)
        assert "with --http" in line


def test_address_of_another_machine() -> None:
    line = error_line("--listen", "192.0.2.1:11211", status=1)
    assert "no such address" in line


AS_B = ("--name", "b", "--peer", "127.0.0.1:0", "--initial-cluster", "b=127.0.0.1:1")


def test_data_survives_a_restart_and_the_directory_is_guarded(tmp_path: Path) -> None:
    data = str(tmp_path / "data")
    words = ("--listen", "127.0.0.1:0", "--data-dir", data, "--shards", "2")
    with running(*words) as (process, line):
        assert ask(address_in(line, "memcached"), b"set k 0 0 1\r\nv\r\n", b"\r\n") == b"STORED\r\n"
        refused = error_line(*words, status=1)
        assert f"in use by process {process.pid}" in refused
        process.kill()  # As a power cut would.
        end(process)
    with running(*words) as (process, line):
        reply = ask(address_in(line, "memcached"), b"get k\r\n", b"END\r\n")
        assert reply == b"VALUE k 0 1\r\nv\r\nEND\r\n"
        process.send_signal(signal.SIGTERM)
        assert end(process)[0] == 0
    fixed = "cluster was created with"
    line = error_line(*words, "--cluster-name", "other", status=2)
    assert f"cluster_name is other in the settings of this node, but the {fixed} quorum" in line
    line = error_line(*words[:-1], "4", status=2)
    assert f"shards is 4 in the settings of this node, but the {fixed} 2" in line
    assert "belongs to node 1 (a)" in error_line(*words, *AS_B, status=1)


def test_damaged_log(tmp_path: Path) -> None:
    data = tmp_path / "data"
    words = ("--listen", "127.0.0.1:0", "--data-dir", str(data), "--shards", "1")
    with running(*words) as (process, line):
        address = address_in(line, "memcached")
        for _ in range(3):
            assert ask(address, b"set k 0 0 1\r\nv\r\n", b"\r\n") == b"STORED\r\n"
        process.send_signal(signal.SIGTERM)
        assert end(process)[0] == 0
    (segment,) = (data / "wal").iterdir()
    content = bytearray(segment.read_bytes())
    content[200:210] = b"xxxxxxxxxx"
    segment.write_bytes(content)
    line = error_line(*words, status=1)
    assert str(segment) in line
    assert "is damaged at offset" in line


def test_data_dir_not_writable(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    # Root may write everywhere, unless it is started without that capability.
    powerless = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search")
    done = subprocess.run(
        [*(powerless if os.geteuid() == 0 else ()), *command("--data-dir", str(tmp_path / "data"))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    line = done.stderr.splitlines()[-1]
    assert f"not permitted: {tmp_path / 'data'}. Give the directory" in line


def test_data_dir_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_text("")
    words = ("--listen", "127.0.0.1:0", "--data-dir", str(path))
    assert str(path) in error_line(*words, status=1)
