"""Nodes that join a running cluster, as real processes: what they become, what sends them away, and
that a kill at any time leaves a new node or a member.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.processes import (
    HOST,
    REQUEST_TIMEOUT_MS,
    NodeProcess,
    free_ports,
    last_line,
    run_to_end,
    wait_until,
)
from tests.support.wire import Wire

SECRET = "the secret of this cluster"


class Elastic:
    """A cluster that node a has founded alone, and nodes that join it."""

    def __init__(self, directory: Path, *, shards: int = 4) -> None:
        self.directory = directory
        self.secret_file = directory / "secret"
        self.secret_file.write_text(f"{SECRET}\n")
        self.nodes: list[NodeProcess] = []
        self.peer_port = free_ports(1)[0]
        self.a = self.node("a", "--peer", self.seed, "--shards", str(shards))

    @property
    def seed(self) -> str:
        return f"{HOST}:{self.peer_port}"

    def node(self, name: str, *flags: str) -> NodeProcess:
        """One more node, not started."""
        words = ["--name", name, "--data-dir", str(self.directory / name)]
        words += ["--request-timeout-ms", str(REQUEST_TIMEOUT_MS)]
        words += ["--secret-file", str(self.secret_file)]
        node = NodeProcess(name, self.directory, [*words, *flags])
        self.nodes.append(node)
        return node

    def joiner(self, name: str, *flags: str) -> NodeProcess:
        return self.node(name, "--peer", f"{HOST}:0", "--join", self.seed, *flags)

    def names(self, node: NodeProcess) -> list[str]:
        """Of the nodes that it knows, in order of id."""
        lines = told(node, b"cluster nodes")
        return [line.split()[2].decode() for line in lines if line.startswith(b"NODE")]


def told(node: NodeProcess, request: bytes) -> list[bytes]:
    """The lines of a reply, without their ends; it may end with END."""
    with Wire(node.port) as wire:
        wire.send(request + b"\r\n")
        lines = [wire.line().rstrip()]
        while lines[-1].split()[0] in (b"NODE", b"STAT", b"HEALTH", b"WARNING", b"PROBLEM"):
            lines.append(wire.line().rstrip())
        return lines


def stored(node: NodeProcess, key: bytes, value: bytes) -> None:
    with Wire(node.port) as wire:
        assert wire.set(key, value) == b"STORED\r\n"


def found(node: NodeProcess, key: bytes) -> bytes | None:
    with Wire(node.port) as wire:
        return wire.get(key)


@contextmanager
def elastic(directory: Path, **options: int) -> Iterator[Elastic]:
    cluster = Elastic(directory, **options)
    try:
        cluster.a.start()
        yield cluster
        for node in cluster.nodes:
            node.check_log()
    finally:
        for node in cluster.nodes:
            node.end()


def test_nodes_join_a_node_that_was_founded_alone_and_start_again_as_members(
    tmp_path: Path,
) -> None:
    with elastic(tmp_path) as cluster:
        stored(cluster.a, b"k", b"v")
        for name in ("b", "c"):
            node = cluster.joiner(name)
            line = node.start()
            assert f"node {name} ready" in line
            assert found(node, b"k") == b"v"
        for node in cluster.nodes:
            wait_until("every node knows all", lambda node=node: len(cluster.names(node)) == 3)
            assert cluster.names(node) == ["a", "b", "c"]
        again = cluster.nodes[-1]
        again.kill()
        again.start()  # On another peer port, with the same command line.
        again.wait_log("event=join_ignored")
        assert found(again, b"k") == b"v"


def test_a_gateway_stores_nothing_and_serves_every_key(tmp_path: Path) -> None:
    with elastic(tmp_path) as cluster:
        gateway = cluster.joiner("gate", "--weight", "0", "--http", f"{HOST}:0")
        gateway.start()
        for number in range(20):
            key = b"key-%d" % number
            stored(gateway, key, b"v")
            assert found(cluster.a, key) == found(gateway, key) == b"v"
        assert b"STAT curr_items 0" in told(gateway, b"stats")
        assert told(gateway, b"cluster health")[0] == b"HEALTH ok"
        assert gateway.terminate() == 0
        gateway.start()
        assert found(gateway, b"key-1") == b"v"


@pytest.mark.parametrize("host", ["localhost", "[::1]"])
def test_names_ipv6_and_addresses_that_differ_inside_and_outside(tmp_path: Path, host: str) -> None:
    if host == "[::1]" and not _has_ipv6():
        pytest.skip("this machine has no IPv6")
    with elastic(tmp_path) as cluster:
        port = free_ports(1)[0]
        everywhere = "[::]" if host == "[::1]" else "0.0.0.0"
        flags = ["--peer", f"{everywhere}:{port}", "--advertise-peer", f"{host}:{port}"]
        node = cluster.node("b", *flags, "--join", f"localhost:{cluster.peer_port}")
        node.flags += ["--advertise", "outside.example:11211"]
        node.start()
        wait_until("a knows it", lambda: len(cluster.names(cluster.a)) == 2)
        for asked in cluster.nodes:
            line = told(asked, b"cluster nodes")[1].decode()
            assert f" {host}:{port} outside.example:11211 " in line
        cluster.a.wait_log("event=peer_up")
        stored(node, b"k", b"v")
        assert found(cluster.a, b"k") == b"v"


def _has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def test_a_node_that_moves_with_its_data_is_taken_in_at_its_new_addresses(tmp_path: Path) -> None:
    with elastic(tmp_path) as cluster:
        node = cluster.joiner("b")
        node.start()
        stored(node, b"k", b"v")
        node.terminate()
        node.port = free_ports(1)[0]
        node.start()
        place = f" {HOST}:{node.port} ".encode()
        wait_until("the map follows", lambda: place in told(cluster.a, b"cluster nodes")[1])
        assert found(node, b"k") == b"v"
        assert cluster.names(cluster.a) == ["a", "b"]


def refused(status: int, cluster: Elastic, *flags: str, secret: Path | None = None) -> str:
    """A node that has to end with this status; the one line that it gives as the reason."""
    words = ["--listen", f"{HOST}:0", "--peer", f"{HOST}:0"]
    words += ["--secret-file", str(secret or cluster.secret_file)]
    ended, out, err = run_to_end(*words, *flags)
    line = last_line(err)
    assert ended == status, err
    assert out == ""
    assert "Traceback" not in err
    assert line.startswith("quorumcached: "), err
    return line


def test_machines_that_have_all_moved_find_each_other_by_one_address(tmp_path: Path) -> None:
    """All peer ports are others. Only the seed of the command lines is set right."""
    with elastic(tmp_path) as cluster:
        for name in ("b", "c"):
            cluster.joiner(name).start()
        for node in cluster.nodes:
            wait_until("every node knows all", lambda node=node: len(cluster.names(node)) == 3)
        stored(cluster.a, b"k", b"v")
        for node in cluster.nodes:
            node.kill()
        old, cluster.peer_port = cluster.seed, free_ports(1)[0]
        for node in cluster.nodes:
            node.flags = [cluster.seed if flag == old else flag for flag in node.flags]
            node.launch()
        for node in cluster.nodes:
            node.wait_ready()
        place = f" {cluster.seed} ".encode()
        for node in cluster.nodes:
            wait_until(
                "the map follows", lambda node=node: place in told(node, b"cluster nodes")[0]
            )
            assert found(node, b"k") == b"v"
        assert any(node.log_lines("event=seed_answers") for node in cluster.nodes[1:])


def test_what_cannot_join_says_why_and_changes_nothing(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("the secret of another cluster\n")
    with elastic(tmp_path) as cluster:
        cluster.joiner("b").start()
        wait_until("b is known", lambda: cluster.names(cluster.a) == ["a", "b"])
        named = ("--name", "x", "--data-dir", str(tmp_path / "x"))
        new = (*named, "--join", cluster.seed)

        assert "does not know the secret of cluster" in refused(1, cluster, *new, secret=wrong)
        taken = (*new, "--name", "b")
        assert "name b" in refused(1, cluster, *taken)
        assert "shards is 64 at node x, but 4 in" in refused(1, cluster, *new, "--shards", "64")
        assert "heartbeat_ms is 40" in refused(
            1, cluster, *new, "--heartbeat-ms", "40", "--election-ms", "400"
        )
        elsewhere = (*new, "--advertise-peer", cluster.seed)
        assert "another one, answers there" in refused(1, cluster, *elsewhere)
        client_port = (*named, "--join", f"{HOST}:{cluster.a.port}")
        assert "is an address for memcached clients" in refused(1, cluster, *client_port)
        with socket.create_server((HOST, 0)) as other:
            # Another service: it says what it is, as many do.
            port = other.getsockname()[1]
            with _greeting(other, b"220 mail ready\r\n"):
                service = (*named, "--join", f"{HOST}:{port}")
                assert "is not the peer address of a member" in refused(1, cluster, *service)
        assert cluster.names(cluster.a) == ["a", "b"], "nothing was changed"

        # After all that, the directory is still as good as an empty one.
        late = NodeProcess("x", tmp_path, [*new, "--peer", f"{HOST}:0"])
        late.flags += ["--secret-file", str(cluster.secret_file)]
        cluster.nodes.append(late)
        late.start()
        assert sorted(cluster.names(late)) == ["a", "b", "x"]


@contextmanager
def _greeting(server: socket.socket, words: bytes) -> Iterator[None]:
    """Says the words to whoever connects."""
    import threading

    def run() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                connection.sendall(words)
                connection.settimeout(5)
                try:
                    while connection.recv(4096):
                        pass
                except OSError:
                    pass

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown(socket.SHUT_RDWR)
        thread.join(10)


@contextmanager
def _relay(port: int, to: int) -> Iterator[None]:
    """What connects to `port` is connected to `to`, as the port of a container is."""
    import asyncio
    import threading

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner, outer = await asyncio.open_connection(HOST, to)
        await asyncio.gather(pump(reader, outer), pump(inner, writer))

    async def run() -> None:
        async with await asyncio.start_server(connected, HOST, port):
            listening.set()
            await ended.wait()

    loop = asyncio.new_event_loop()
    listening, ended = threading.Event(), asyncio.Event()

    def work() -> None:
        loop.run_until_complete(run())
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0.1))
        loop.close()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    assert listening.wait(10)
    try:
        yield
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(10)


def test_a_node_whose_port_opens_late_waits_for_it_and_joins(tmp_path: Path) -> None:
    with elastic(tmp_path) as cluster:
        inside, outside = free_ports(2)
        node = cluster.node("b", "--peer", f"{HOST}:{inside}", "--join", cluster.seed)
        node.flags += ["--advertise-peer", f"{HOST}:{outside}"]
        node.launch()
        line = node.wait_log("founding_waits", "is not reachable at")
        assert f"{HOST}:{outside} from node a" in line
        cluster.a.wait_log("joiner_unreachable", f"{HOST}:{outside}")
        assert node.is_running
        with _relay(outside, inside):
            node.wait_ready()
            assert cluster.names(node) == ["a", "b"]
            stored(node, b"k", b"v")
            assert found(cluster.a, b"k") == b"v"


def test_a_directory_of_another_cluster_does_not_join(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    with elastic(first) as one, elastic(second) as other:
        joined = one.joiner("b")
        joined.start()
        joined.terminate()
        used = ("--name", "b", "--data-dir", str(first / "b"), "--join", other.seed)
        line = refused(1, other, *used)
        assert "belongs to node 2 (b) of cluster" in line
        assert f"but {other.seed} is of cluster" in line
        assert other.names(other.a) == ["a"]
        founder = ("--name", "a", "--data-dir", str(first / "a"), "--join", other.seed)
        assert "in use by process" in refused(1, other, *founder)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--join", "h:1"), ("--name", "needed with --join")),
        (("--join", "h:1", "--name", "x"), ("--peer", "needed with --join")),
        (("--join", "h:1", "--name", "x", "--peer", "h:2"), ("--data-dir", "needed with --join")),
        (
            ("--join", "h:1", "--name", "x", "--peer", "0.0.0.0:2"),
            ("--advertise-peer", "needed with --peer 0.0.0.0:2"),
        ),
        (("--join", "h", "--name", "x", "--peer", "h:2"), ("--join", "h")),
        (("--join", "h:0", "--name", "x", "--peer", "h:2"), ("--join", "port 0")),
        (
            ("--join", "h:1", "--name", "x", "--initial-cluster", "x=h:1", "--data-dir", "d"),
            ("--join", "--initial-cluster"),
        ),
        (
            ("--join", "h:1", "--name", "x", "--peer", "127.0.0.1:0", "--data-dir", "{tmp}/x"),
            ("--join", "--secret-file FILE", "QUORUMCACHE_SECRET"),
        ),
    ],
)
def test_flags_that_do_not_fit(tmp_path: Path, flags: tuple[str, ...], words: tuple[str]) -> None:
    given = [flag.replace("{tmp}", str(tmp_path)) for flag in flags]
    ended, _, err = run_to_end("--listen", f"{HOST}:0", *given)
    line = last_line(err)
    assert ended == 2, err
    for word in words:
        assert word in line, line


def test_a_kill_at_any_time_leaves_a_new_node_or_a_member(tmp_path: Path) -> None:
    """The same command line goes on, whatever the process had come to."""
    with elastic(tmp_path) as cluster:
        node = cluster.joiner("b")
        for _ in range(6):
            node.launch()
            wait_until("it asks, or more", lambda: node.log() != "")
            node.kill()
        node.start()
        wait_until("it is a member", lambda: cluster.names(cluster.a) == ["a", "b"])
        assert cluster.names(node) == ["a", "b"]


def test_a_node_waits_for_a_seed_that_is_not_there_yet(tmp_path: Path) -> None:
    cluster = Elastic(tmp_path)
    try:
        node = cluster.joiner("b")
        node.launch()
        node.wait_log("founding_waits", "cannot connect")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((HOST, node.port), 5)
        cluster.a.start()
        node.wait_ready()
        assert cluster.names(node) == ["a", "b"]
        node.check_log()
    finally:
        for each in cluster.nodes:
            each.end()
