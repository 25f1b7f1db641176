"""The conformance transcripts through sockets: one node alone, and each node of a cluster."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.processes import Cluster, NodeProcess, running_node, wait_until
from tests.support.transcripts import Case, load, play
from tests.support.wire import Wire

CASES = load(Path(__file__).parents[1] / "conformance" / "transcripts")
WAITS = [case for case in CASES if case.waits]
WAITING = [case for case in WAITS if "fine" not in case.tags]  # Those need a clock of their own.
NODES_AT_ONCE = 8  # Each needs a second of processor to start.
AT_ONCE = [case for case in CASES if case not in WAITS]
ON_A_CLUSTER = [case for case in AT_ONCE if "alone" not in case.tags]
# The others of the waiting cases differ in the store only, which is the same behind every node.
WAITING_ON_A_CLUSTER = ("an item ends", "touch and gat set a new end", "writes see a delayed flush")


@pytest.mark.parametrize("case", AT_ONCE, ids=lambda case: case.name)
def test_one_node(case: Case, alone: NodeProcess) -> None:
    play(case, alone.port)


@pytest.mark.parametrize("case", ON_A_CLUSTER, ids=lambda case: case.name)
@pytest.mark.parametrize("name", ["a", "b", "c"])
def test_each_node_of_a_cluster(case: Case, name: str, cluster: Cluster) -> None:
    """Two thirds of the keys of each are led elsewhere: forwarded, and answered the same.

    Further connections of a case go to the other nodes.
    """
    play(case, cluster[name].port, others=[node.port for node in cluster.others(name)])


def _evicts(wire: Wire) -> bool:
    """The map has the form with which eviction came, and all meta commands."""
    return wire.stats(b"settings")["evictions"] == "on"


def test_waiting_on_one_node(tmp_path: Path) -> None:
    """The cases that wait, some of them side by side, each on a node of its own."""

    def one(case: Case) -> None:
        with running_node(tmp_path / str(WAITING.index(case))) as node:
            with node.wire() as wire:
                wait_until("the meta commands are in force", lambda: _evicts(wire))
            play(case, node.port)

    with ThreadPoolExecutor(NODES_AT_ONCE) as pool:
        for done in [pool.submit(one, case) for case in WAITING]:
            done.result()


def test_waiting_on_a_cluster(cluster: Cluster) -> None:
    cases = [case for case in WAITING if case.name.endswith(WAITING_ON_A_CLUSTER)]
    assert len(cases) == len(WAITING_ON_A_CLUSTER)
    for case, node in zip(cases, cluster, strict=True):
        play(case, node.port)
