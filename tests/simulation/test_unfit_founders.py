"""Goal: founders that do not fit together found nothing, say why, and need no cleaning up.

Method: as `test_founding`. What is wrong is set right, the nodes are started again, and the cluster
is there: nobody had become a member of something that could never be complete.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.simulation.directories import copy_of, restore
from tests.simulation.town import Town, values_of

VALUES = values_of(6, "new")


def other_shards(town: Town) -> None:
    town.nodes["b"].config = town.config("b", shards=4)


def other_heartbeat(town: Town) -> None:
    town.nodes["c"].config = town.config("c", heartbeat_ms=60)


def other_members(town: Town) -> None:
    town.nodes["b"].config = town.config("b", initial_cluster=town.members | {"d": "d:7400"})


def other_members_at_the_proposer(town: Town) -> None:
    pair = {name: town.members[name] for name in "ab"}
    town.nodes["a"].config = town.config("a", initial_cluster=pair)


def crossed_addresses(town: Town) -> None:
    """As a has them, the addresses of b and c stand for each other."""
    members = town.members | {"b": town.members["c"], "c": town.members["b"]}
    town.nodes["a"].config = town.config("a", initial_cluster=members)


def copied_directory(town: Town) -> None:
    """c was made from a copy of b's directory, before there was a cluster."""
    files = {path: data for path, data in copy_of(town.nodes["b"]).items() if "node.id" in path}
    restore(town.nodes["c"], files)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (other_shards, "b: the settings differ: shards is"),
        (other_heartbeat, "c: the settings differ: heartbeat_ms is"),
        (other_members, "b: the settings differ: initial_cluster is"),
        (other_members_at_the_proposer, "b: the settings differ: initial_cluster is"),
        (crossed_addresses, "b: its address c:7400 reaches node c"),
        (copied_directory, "nodes b and c have copies of one new data directory"),
    ],
)
def test_founders_that_do_not_fit_found_nothing_and_can_be_set_right(
    wrong: Callable[[Town], None], told: str
) -> None:
    town = Town("abc")

    async def story() -> None:
        town.start("bc")
        await asyncio.sleep(0.5)
        town.kill("bc")
        before = copy_of(town.nodes["c"])
        wrong(town)
        town.start()
        await asyncio.sleep(8)
        assert told in town.alarms("a")["founding"]
        for name in "abc":
            node = town.nodes[name].node
            assert node is not None
            assert not node.node_id, f"{name} is a member"
            assert "founding" in town.alarms(name)
        town.kill("abc")
        restore(town.nodes["c"], before)
        for name in "abc":
            town.nodes[name].config = town.config(name)
        town.start()
        await town.put_all("abc", VALUES)
        await town.check_all("abc", VALUES)

    town.run(story())
    town.check_one_cluster()
