"""Nodes of an older form and of today in one cluster: real processes, upgraded and set back one by
one.

The old nodes run the code that is kept in `tests/fixtures`, of form 1 unless told otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from quorumcache.ring.secret import CLIENT, Secret
from tests.support.load import load
from tests.support.old_nodes import unpack_sources
from tests.support.processes import HOST, Cluster, NodeProcess, running_cluster, wait_until

REFUSED = b"SERVER_ERROR not done: some nodes do not know this command yet: finish the upgrade\r\n"
SECRET = "the secret of this cluster"


@pytest.fixture(scope="session")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sources of form 1."""
    return unpack_sources(tmp_path_factory.mktemp("old"))


@pytest.fixture(scope="session", params=[2, 3, 4])
def recent(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sources of forms that read the map as it is today."""
    return unpack_sources(tmp_path_factory.mktemp("old"), request.param)


def run_with(cluster: Cluster, sources: Path | None, *names: str) -> None:
    """These nodes run that code from their next start on."""
    for name in names:
        cluster[name].sources = sources


@contextmanager
def old_cluster(directory: Path, old: Path, *upgraded: str) -> Iterator[Cluster]:
    """Founded by nodes of form 1; some of them run today's code since."""
    cluster = Cluster(directory)
    run_with(cluster, old, *cluster.nodes)
    try:
        cluster.start()
        for name in upgraded:
            cluster[name].terminate()
            run_with(cluster, None, name)
            cluster[name].start()
        cluster.wait_balanced()
        yield cluster
    finally:
        cluster.end()
    cluster.check_logs()


def restart(cluster: Cluster, name: str, sources: Path | None, title: str) -> None:
    """Another version on the same directory, under load: the clients of the other nodes notice
    nothing but a pause, those of the node that their connection ends.
    """
    node = cluster[name]
    elsewhere = [one.port for one in cluster.others(name)]
    with load(title, [one.port for one in cluster]) as writers:
        writers.wait_acks(60)
        assert node.terminate() == 0
        writers.wait_acks(60, writers.on(*elsewhere))
        run_with(cluster, sources, name)
        node.start()
        writers.wait_acks(100, writers.on(*elsewhere))
        cluster.wait_balanced()
        writers.wait_acks(60, writers.on(*elsewhere))
    others = writers.on(*elsewhere)
    slowest = max(writer.slowest_s for writer in others)
    print(f"{title}: slowest reply elsewhere {slowest * 1000:.0f} ms")
    writers.check_no_errors(others)
    for writer in writers.on(node.port):
        assert not writer.errors, writer.errors[:3]
    for one in cluster:
        writers.check(one.port)


def forms(cluster: Cluster) -> set[int]:
    """Forms of the map, as the nodes show it."""
    found = set()
    for node in cluster:
        topology = cluster.topology(node)
        if topology is not None:
            found.add(topology.map.form)
    return found


def form_at(cluster: Cluster, node: NodeProcess) -> int:
    """Form of the map that a node shows; 0 if it shows none."""
    topology = cluster.topology(node)
    return topology.map.form if topology is not None else 0


def check_told_apart(cluster: Cluster, old: Path) -> None:
    """That old nodes are really old ones: they do not know the option."""
    for node in cluster:
        assert (node.sources == old) == (old.name in environment_of(node.pid))


def environment_of(pid: int) -> str:
    variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return next(v.decode() for v in variables if v.startswith(b"PYTHONPATH="))


def test_nodes_are_upgraded_one_by_one_and_set_back_under_load(tmp_path: Path, old: Path) -> None:
    """While one node knows form 1 only, the map is of form 1, and all can be set back."""
    with old_cluster(tmp_path, old) as cluster:
        check_told_apart(cluster, old)
        restart(cluster, "a", None, "up-a")
        restart(cluster, "b", None, "up-b")
        check_told_apart(cluster, old)
        assert forms(cluster) == {1}
        with cluster["a"].wire() as wire:
            for request in (b"ms k 1\r\nv", b"ma k N0", b"mg k N5", b"md k"):
                assert wire.ask(request) == REFUSED
        restart(cluster, "a", old, "down-a")
        restart(cluster, "b", old, "down-b")
        assert forms(cluster) == {1}


@pytest.mark.parametrize("name", ["a", "b"])
def test_a_mixed_cluster_survives_the_kill_of_a_node(tmp_path: Path, old: Path, name: str) -> None:
    """Elections, forwards and appends pass between old and new, in both directions."""
    with old_cluster(tmp_path, old, "b") as cluster:
        survivors = [node.port for node in cluster.others(name)]
        with load("killed", [node.port for node in cluster]) as writers:
            writers.wait_acks(100)
            cluster[name].kill()
            writers.wait_acks(100, writers.on(*survivors))
            cluster[name].start()
            writers.wait_acks(100, writers.on(*survivors))
            cluster.wait_balanced()
        writers.check_no_errors(writers.on(*survivors))
        for node in cluster:
            writers.check(node.port)
        assert forms(cluster) == {1}


def test_nodes_of_later_forms_are_upgraded_one_by_one_and_set_back_under_load(
    tmp_path: Path, recent: Path
) -> None:
    """They are sent entries, acknowledgements and heartbeats as they know them; two upgraded nodes
    talk in bundles.
    """
    with old_cluster(tmp_path, recent) as cluster:
        for name in "abc":
            restart(cluster, name, None, f"up-{name}")
            check_told_apart(cluster, recent)
        for name in "ba":
            restart(cluster, name, recent, f"down-{name}")
        check_told_apart(cluster, recent)
        assert forms(cluster) == {2}
        survivors = [node.port for node in cluster.others("c")]
        with load("killed", [node.port for node in cluster]) as writers:
            writers.wait_acks(100)
            cluster["c"].kill()
            writers.wait_acks(100, writers.on(*survivors))
            cluster["c"].start()
            cluster.wait_balanced()
            writers.wait_acks(100, writers.on(*survivors))
        for node in cluster:
            writers.check(node.port)


def test_a_cluster_is_founded_by_nodes_of_one_version(tmp_path: Path, old: Path) -> None:
    """Otherwise they wait, and say why."""
    cluster = Cluster(tmp_path)
    run_with(cluster, old, "b")
    try:
        for node in cluster:
            node.launch()
        cluster["a"].wait_log("event=founding_waits", "form is 2 at node a and unknown at node b")
        cluster["b"].wait_log("event=founding_waits", "form is unknown at node b and 2 at node a")
        cluster["b"].terminate()
        run_with(cluster, None, "b")
        cluster.start()
    finally:
        cluster.end()


def test_all_nodes_upgraded_the_map_gets_form_2_and_a_node_of_form_1_is_refused(
    tmp_path: Path, old: Path
) -> None:
    with old_cluster(tmp_path, old, "a", "b") as cluster:
        with cluster["a"].wire() as wire:
            assert wire.set(b"before", b"1") == b"STORED\r\n"
        restart(cluster, "c", None, "up-c")
        wait_until("a map of form 2", lambda: forms(cluster) == {2})
        cluster["c"].terminate()
        run_with(cluster, old, "c")
        cluster["c"].launch()
        assert cluster["c"].wait_end() != 0
        assert "this version reads format 2" in cluster["c"].log()
        (cluster.data_dirs["c"] / "cluster.map").unlink()  # As it says; and it is no way out.
        cluster["c"].launch()
        for name in "ac":
            cluster[name].wait_log("node c runs quorumcache 0.1.0 of form 1, which cannot read")
        assert cluster["c"].terminate() == 0
        run_with(cluster, None, "c")
        cluster["c"].start()
        with cluster["c"].wire() as wire:
            assert wire.get(b"before") == b"1"


def change(cluster: Cluster, *words: str) -> str:
    """What node a answers to a change; it starts with CHANGE if it was made."""
    with cluster["a"].wire() as wire:
        _, nonce, _ = wire.ask(b"cluster auth").split(b" ", 2)
        proof = Secret(SECRET).proof(CLIENT, bytes.fromhex(nonce.decode()))
        assert wire.ask(b"cluster auth %s" % proof.hex().encode()) == b"OK\r\n"
        return wire.ask(f"cluster change {' '.join(words)}".encode()).decode()


def nodes_and_moves(cluster: Cluster) -> tuple[list[str], int]:
    """Names of the nodes, and how many moves are left, as node a shows them."""
    with cluster["a"].wire() as wire:
        size = int(wire.ask(b"cluster moves").split()[1])
        shown = json.loads(wire.exactly(size + 2))
    return sorted(node["name"] for node in shown["nodes"]), len(shown["moves"])


@pytest.mark.parametrize("count", [3, 4])
def test_a_node_that_died_with_the_old_version_is_given_up_and_does_no_harm_later(
    tmp_path: Path, old: Path, count: int
) -> None:
    """Of four nodes it is removed, and its replicas are rebuilt; of three a successor takes its
    place. Its old process comes back with all that it knew, and every node refuses it.
    """
    cluster = Cluster(tmp_path, nodes=count)
    run_with(cluster, old, *cluster.nodes)
    dead = "abcd"[count - 1]
    stay = cluster.others(dead)
    words = ("remove", dead, "force") if count == 4 else ("replace", dead)
    why = "runs quorumcache 0.1.0 of form 1" if count == 4 else f"belongs to node {dead}~{count}"
    secret_file = tmp_path / "secret"
    secret_file.write_text(SECRET)
    heir = NodeProcess(
        dead,
        tmp_path / "heir",
        [
            *("--name", dead, "--join", f"{HOST}:{cluster.peer_ports['a']}", "--peer", f"{HOST}:0"),
            *("--data-dir", str(tmp_path / "heir" / "data"), "--secret-file", str(secret_file)),
        ],
    )
    try:
        cluster.start()
        for node in stay:
            assert node.terminate() == 0
            run_with(cluster, None, node.name)
            node.flags += ["--secret-file", str(secret_file)]
            node.start()
        cluster.wait_balanced()
        assert not change(cluster, *words).startswith("CHANGE ")  # It lives, and may even lead.
        with load("vouched", [node.port for node in stay]) as writers:
            writers.wait_acks(60)
            cluster[dead].kill()
            writers.wait_acks(60)
            cure = f"node remove {dead} --force"
            wait_until("the cure is told", lambda: cure in change(cluster, "drain", dead))
            wait_until("it is given up", lambda: change(cluster, *words).startswith("CHANGE "))
            if count == 4:  # It would be a stranger once its replicas are rebuilt.
                assert change(cluster, "pause").startswith("CHANGE ")
            for node in stay:
                wait_until("a map of form 2", lambda node=node: form_at(cluster, node) == 2)
            cluster[dead].launch()
            for node in stay:
                node.wait_log("event=peer_refused", why)
            writers.wait_acks(100)
            cluster[dead].kill()
            if count == 4:
                assert change(cluster, "resume").startswith("CHANGE ")
            if count == 3:
                heir.start()
            wait_until("it has left", lambda: nodes_and_moves(cluster) == (["a", "b", "c"], 0))
            writers.wait_acks(60)
        writers.check_no_errors()
        for node in stay:
            writers.check(node.port)
    finally:
        cluster.end()
        heir.end()
    cluster.check_logs()


def test_repeated_transfers_cost_no_client_an_error(tmp_path: Path) -> None:
    """Leaders go to other nodes and back to the preferred ones, over and over: the plain clients of
    nodes that stay see no error, and no long pause.
    """
    with running_cluster(tmp_path) as cluster:
        node, stays = cluster["a"], [one.port for one in cluster.others("a")]
        with load("transfers", stays) as writers:
            for _ in range(4):
                writers.wait_acks(60)
                assert node.terminate() == 0
                writers.wait_acks(60)
                node.start()
                cluster.wait_balanced()
            writers.wait_acks(60)
        print(f"slowest reply {writers.slowest_s() * 1000:.0f} ms")
        writers.check_no_errors()
        for one in cluster:
            writers.check(one.port)
