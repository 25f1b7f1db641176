"""The cluster's secret between real processes: nodes that get it, strangers that are sent away, and
what a client needs to change the cluster.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from quorumcache.node.peers.codec import (
    FrameDecoder,
    Refusal,
    decode_hello,
    encode_hello,
)
from quorumcache.ring.secret import CLIENT, SECRET_VARIABLE, Secret
from tests.integration.test_bad_peers import hello_of
from tests.support.processes import (
    HOST,
    Cluster,
    NodeProcess,
    free_ports,
    last_line,
    run_to_end,
    wait_until,
)
from tests.support.wire import Wire

SECRETS = ("the secret of node a", "the secret of node b")


def kept(cluster: Cluster, name: str) -> Path:
    return cluster.data_dirs[name] / "cluster.secret"


def ask(wire: Wire, line: bytes) -> bytes:
    """The first line of the reply."""
    wire.send(line + b"\r\n")
    return wire.line()


def challenge(wire: Wire) -> tuple[bytes, str]:
    word, nonce, path = ask(wire, b"cluster auth").decode().rstrip().split(" ", 2)
    assert word == "AUTH"
    return bytes.fromhex(nonce), path


def prove(wire: Wire, secret: Secret) -> bytes:
    nonce, _ = challenge(wire)
    return ask(wire, b"cluster auth " + secret.proof(CLIENT, nonce).hex().encode())


def document(wire: Wire, line: bytes) -> tuple[bytes, dict[str, object]]:
    head = ask(wire, line)
    word, length = head.split()
    data = wire.exactly(int(length) + 2)
    return word, json.loads(data)


def test_the_founders_share_the_secret_that_was_made_and_prove_it(cluster: Cluster) -> None:
    texts = {kept(cluster, node.name).read_text() for node in cluster}
    assert len(texts) == 1
    [text] = texts
    assert len(text.strip()) == 64
    for node in cluster:
        mode = stat.S_IMODE(os.stat(kept(cluster, node.name)).st_mode)
        assert mode == 0o600
        assert text.strip() not in node.log()

    def required() -> bool:
        with cluster["a"].wire() as wire:
            wire.send(b"cluster settings\r\n")
            lines = [wire.line()]
            while lines[-1] != b"END\r\n":
                lines.append(wire.line())
            return b"SETTING secret required\r\n" in lines

    wait_until("all nodes have proven the secret", required)


def test_a_client_without_a_proof_changes_nothing(cluster: Cluster) -> None:
    with cluster["b"].wire() as wire:
        assert ask(wire, b"cluster change pause").startswith(b"CLIENT_ERROR this needs the")
        assert prove(wire, Secret("not the secret of this cluster")).startswith(b"CLIENT_ERROR")
        assert ask(wire, b"cluster change pause").startswith(b"CLIENT_ERROR this needs the")
        nonce, _ = challenge(wire)
        proof = Secret(kept(cluster, "b").read_text()).proof(CLIENT, nonce).hex().encode()
        with cluster["b"].wire() as other:
            challenge(other)
            answer = ask(other, b"cluster auth " + proof)
            assert answer.startswith(b"CLIENT_ERROR this proof"), "it is another connection's"
        word, moves = document(wire, b"cluster moves")
        assert (word, moves["paused"]) == (b"MOVES", False)


def test_the_third_wrong_proof_ends_the_connection(cluster: Cluster) -> None:
    with cluster["c"].wire() as wire:
        for _ in range(3):
            assert prove(wire, Secret("not the secret of this cluster")).startswith(b"CLIENT_ERR")
        assert wire.rest() == b""


def test_a_client_with_the_secret_that_the_node_names_changes_the_cluster(cluster: Cluster) -> None:
    for node in cluster:
        with node.wire() as wire:
            _, path = challenge(wire)
            assert Path(path) == kept(cluster, node.name).resolve()
            assert prove(wire, Secret(Path(path).read_text())) == b"OK\r\n"
            for word, is_paused in ((b"pause", True), (b"resume", False)):
                head = ask(wire, b"cluster change " + word)
                assert head.startswith(b"CHANGE "), head
                json.loads(wire.exactly(int(head.split()[1]) + 2))

                def seen(is_paused: bool = is_paused, wire: Wire = wire) -> bool:
                    return document(wire, b"cluster moves")[1]["paused"] is is_paused

                wait_until(f"node {node.name} sees it", seen)


def test_a_stranger_that_introduces_itself_as_a_node_brings_nothing(cluster: Cluster) -> None:
    """It even knows the cluster's id and the disk id of the node that it claims to be."""
    identity = (cluster.data_dirs["c"] / "node.id").read_text().split("disk ")[1].split()[0]
    with Wire(cluster.peer_ports["a"]) as wire:
        wire.send(encode_hello(hello_of(cluster, node_id=3, name="c", disk_id=identity)))
        [frame] = FrameDecoder(1 << 20).feed(wire.rest())
        assert isinstance(decode_hello(frame), Refusal), "another process is connected, or unproven"


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[list[NodeProcess]]:
    """Founders a and b, not started, each with a secret of its own."""
    ports = free_ports(2)
    members = ",".join(f"{n}={HOST}:{port}" for n, port in zip("ab", ports, strict=True))
    nodes = []
    for name, secret in zip("ab", SECRETS, strict=True):
        path = tmp_path / f"{name}.secret"
        path.write_text(secret + "\n")
        flags = ["--name", name, "--initial-cluster", members, "--shards", "1"]
        flags += ["--data-dir", str(tmp_path / name), "--secret-file", str(path)]
        nodes.append(NodeProcess(name, tmp_path, flags))
    yield nodes
    for node in nodes:
        node.end()


def test_founders_with_different_secrets_wait_until_they_have_the_same(
    pair: list[NodeProcess], tmp_path: Path
) -> None:
    a, b = pair
    for node in pair:
        node.start()
    for node in pair:
        line = node.wait_log("founding_waits", "given different secrets")
        assert not any(secret in line for secret in SECRETS)
    assert not (tmp_path / "a" / "cluster.secret").exists()
    b.terminate()
    (tmp_path / "b.secret").write_text(SECRETS[0])
    b.start()
    for node in pair:
        node.wait_log("founding_complete")
        assert (tmp_path / node.name / "cluster.secret").read_text() == SECRETS[0] + "\n"
    # Later: another secret than the kept one is refused, none is right.
    a.terminate()
    (tmp_path / "a.secret").write_text(SECRETS[1])
    a.launch()
    assert a.wait_end() == 1
    assert "the given secret is not the one in" in a.log()
    # One whose file was changed by hand is sent away by the other one, and both say so.
    (tmp_path / "a" / "cluster.secret").write_text(SECRETS[1])
    a.start()
    for node in pair:
        line = node.wait_log("peer_refused", "has another secret than node")
        assert not any(secret in line for secret in SECRETS)


@pytest.mark.parametrize(
    ("secret", "told"),
    [
        ("", "QUORUMCACHE_SECRET: the secret is empty"),
        ("short", "QUORUMCACHE_SECRET: the secret has 5 characters"),
    ],
)
def test_a_wrong_variable_is_named(
    secret: str, told: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(SECRET_VARIABLE, secret)
    status, _, errors = run_to_end("--listen", f"{HOST}:0", "--data-dir", str(tmp_path / "d"))
    assert status == 2
    assert told in last_line(errors)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    status, _, errors = run_to_end("--secret-file", str(tmp_path / "none"))
    assert status == 2
    assert "--secret-file: cannot read" in last_line(errors)
