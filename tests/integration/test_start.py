"""What keeps a node from starting: one clear line, the right status, no trace, nothing harmed."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

from tests.support.processes import Cluster, free_ports, last_line, run_to_end, running_node
from tests.support.wire import ask

ANY_PORT = ("--listen", "127.0.0.1:0")


def refused(status: int, *flags: str) -> str:
    """Run a node that has to end with this status; the one line it gives as the reason."""
    ended, out, err = run_to_end(*flags)
    line = last_line(err)
    assert ended == status, err
    assert out == ""
    assert "Traceback" not in err
    assert line.startswith("quorumcached: "), err
    return line


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--shard", "8"), ("--shard", "--shards")),
        (("--shards", "7"), ("shards", "7", "power of two")),
        (("--shards", "many"), ("shards", "many")),
        (("--memory", "1x"), ("memory", "1x")),
        (("--listen", "h:port"), ("listen", "h:port")),
        (("--name", "b", "--initial-cluster", "a=127.0.0.1:1"), ("name", "'b'", "a")),
        (("--initial-cluster", "a=127.0.0.1:1,b=127.0.0.1:2"), ("name",)),
        (
            ("--name", "a", "--initial-cluster", "a=127.0.0.1:1,b=127.0.0.1:2"),
            ("--data-dir", "needed on every node"),
        ),
        (("--durability", "sometimes"), ("durability", "sometimes")),
        (("--config", "/nowhere/node.toml"), ("/nowhere/node.toml",)),
        (("surplus",), ("surplus",)),
    ],
)
def test_wrong_flags(flags: tuple[str, ...], words: tuple[str, ...]) -> None:
    line = refused(2, *flags)
    for word in words:
        assert word in line, line


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('shard = 8\nname = "a"\n', ("shard", "shards")),
        ("shards = 8\nshards = 9\n", ("node.toml", "line 2")),
        ('shards = "eight"\n', ("shards", "eight")),
        ("[initial-cluster]\na = 5\n", ("initial-cluster", "node.toml")),
        ("memory = \n", ("node.toml", "line 1")),
    ],
)
def test_wrong_config_file(tmp_path: Path, text: str, words: tuple[str, ...]) -> None:
    (tmp_path / "node.toml").write_text(text)
    line = refused(2, "--config", str(tmp_path / "node.toml"))
    for word in words:
        assert word in line, line


@pytest.mark.parametrize("which", ["--listen", "--peer", "--http"])
def test_port_in_use(tmp_path: Path, which: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        other = f"127.0.0.1:{free_ports(1)[0]}"
        flags = {"--listen": "127.0.0.1:0", "--peer": "127.0.0.1:0", which: address}
        line = refused(
            1,
            *("--name", "a", "--initial-cluster", f"a={other},b=127.0.0.1:1"),
            *("--data-dir", str(tmp_path / "data")),
            *(word for flag in flags.items() for word in flag),
        )
    assert address in line
    assert "in use" in line
    assert which in line


def test_data_directory_in_use(tmp_path: Path) -> None:
    data = str(tmp_path / "data")
    with running_node(tmp_path, "--data-dir", data) as node:
        line = refused(1, *ANY_PORT, "--data-dir", data)
        assert f"in use by process {node.pid}" in line
        assert data in line
        assert ask(node.port, b"set k 0 0 1\r\nx") == b"STORED\r\n"


def test_data_directory_of_another_node(tmp_path: Path) -> None:
    data = str(tmp_path / "data")
    with running_node(tmp_path, "--data-dir", data) as node:
        assert node.terminate() == 0
    peers = [f"127.0.0.1:{port}" for port in free_ports(2)]
    line = refused(
        1,
        *ANY_PORT,
        *("--name", "b", "--initial-cluster", f"a={peers[0]},b={peers[1]}", "--data-dir", data),
    )
    assert f"data directory {data} belongs to node 1 (a)" in line
    line = refused(2, *ANY_PORT, "--cluster-name", "another", "--data-dir", data)
    assert "cluster_name is another in the settings of this node" in line


def test_data_directory_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    line = refused(1, *ANY_PORT, "--data-dir", str(tmp_path / "data"))
    assert str(tmp_path / "data") in line


def written_log(tmp_path: Path, writes: int) -> tuple[str, Path]:
    """A data directory with some writes of a node that was killed, and its newest log file."""
    data = tmp_path / "data"
    with running_node(tmp_path, "--data-dir", str(data), "--shards", "1") as node:
        with node.wire() as wire:
            for number in range(writes):
                assert wire.set(b"k%d" % number, b"v" * 100) == b"STORED\r\n"
        node.kill()
    logs = (data / "wal").glob("*.wal")
    return str(data), max(log for log in logs if b"v" * 100 in log.read_bytes())


def test_damaged_log(tmp_path: Path) -> None:
    """A byte flipped in the middle: refused with file and offset, again and again; not repaired."""
    data, path = written_log(tmp_path, 50)
    whole = path.read_bytes()
    place = whole.rindex(b"v" * 100, 0, whole.rindex(b"k40")) + 50
    path.write_bytes(whole[:place] + b"w" + whole[place + 1 :])
    for _ in range(2):
        line = refused(1, *ANY_PORT, "--data-dir", data, "--shards", "1")
        found = re.search(r"log (\S+) is damaged at offset (\d+): ", line)
        assert found, line
        assert found[1] == str(path)
        assert place - 1000 < int(found[2]) <= place
    path.write_bytes(whole)
    with (
        running_node(tmp_path, "--data-dir", data, "--shards", "1") as node,
        node.wire() as wire,
    ):
        for number in range(50):
            assert wire.get(b"k%d" % number) == b"v" * 100


def test_torn_tail(tmp_path: Path) -> None:
    """The end of the last write is missing, as after a power cut in its middle: it starts.

    The writes before it are there; the last one, which was acknowledged by nobody else, is cut.
    """
    data, path = written_log(tmp_path, 50)
    whole = path.read_bytes()
    last = whole.rindex(b"v" * 100) + 50
    path.write_bytes(whole[:last])
    with (
        running_node(tmp_path, "--data-dir", data, "--shards", "1") as node,
        node.wire() as wire,
    ):
        for number in range(49):
            assert wire.get(b"k%d" % number) == b"v" * 100
        assert wire.set(b"k49", b"again") == b"STORED\r\n"
        node.kill()
        node.start()
        assert ask(node.port, b"get k49") == b"VALUE k49 0 5\r\n"


def test_a_damaged_node_does_not_harm_its_cluster(tmp_path: Path) -> None:
    """One node's log is damaged: it refuses to start, the other two serve everything."""
    cluster = Cluster(tmp_path, shards=2)
    try:
        cluster.start()
        with cluster["a"].wire() as wire:
            for number in range(50):
                assert wire.set(b"k%d" % number, b"v" * 100) == b"STORED\r\n"
        cluster["c"].kill()
        logs = (cluster.data_dirs["c"] / "wal").glob("*.wal")
        path = min(log for log in logs if b"v" * 100 in log.read_bytes())
        whole = bytearray(path.read_bytes())
        whole[whole.index(b"v" * 100) + 5] ^= 1
        path.write_bytes(whole)
        cluster["c"].launch()
        assert cluster["c"].wait_end() == 1
        assert " is damaged at offset " in last_line(cluster["c"].log())
        for name in ("a", "b"):
            with cluster[name].wire() as wire:
                for number in range(50):
                    assert wire.get(b"k%d" % number) == b"v" * 100
                assert wire.set(b"more", b"x") == b"STORED\r\n"
    finally:
        cluster.end()
    cluster.check_logs()
