"""Nodes of form 1 and of today in one cluster: real processes, upgraded and set back one by one.

The old nodes run the code that is kept in `tests/fixtures/form_1`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.load import load
from tests.support.old_nodes import unpack_sources
from tests.support.processes import Cluster, running_cluster, wait_until


@pytest.fixture(scope="session")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sources of form 1."""
    return unpack_sources(tmp_path_factory.mktemp("old"))


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


def check_told_apart(cluster: Cluster, old: Path) -> None:
    """That old nodes are really old ones: they do not know the option."""
    for node in cluster:
        assert (node.sources == old) == ("form-1" in environment_of(node.pid))


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
