"""Goal: a node whose data directory is taken away ends with a line that says so, whatever it waits
for, and leaves alone what is in its place.

Method: whole nodes on virtual time. The directory is exchanged under the running process at each
phase of the founding: before the membership, between it and *complete*, and after it.
"""

from __future__ import annotations

import asyncio

import pytest

from quorumcache.node.housekeeping import data_dir_watch
from tests.simulation.directories import copy_of
from tests.simulation.town import Town, values_of

LINE = "was removed or replaced while the node was running"


def another_nodes_files() -> dict[str, bytes]:
    """The directory of a node a of another cluster."""
    other = Town("abc", seed=2)

    async def story() -> None:
        other.start()
        await other.put_all("abc", values_of(6, "other"))
        other.kill("abc")

    other.run(story())
    return copy_of(other.nodes["a"])


@pytest.mark.parametrize("there", ["nothing", "another node's directory"])
@pytest.mark.parametrize("phase", ["alone", "others are new", "member that waits", "complete"])
def test_a_node_ends_with_its_data_directory_at_every_phase_of_the_founding(
    phase: str, there: str
) -> None:
    files = another_nodes_files() if there != "nothing" else {}
    town = Town("abc")
    a = town.nodes["a"]

    async def story() -> None:
        if phase == "alone":
            town.start("a")
        elif phase == "others are new":
            town.start("ab")
        else:
            town.start()
            await town.until(lambda: a.node and a.node.founding, "a has no record", pause=0.0001)
            if phase == "member that waits":
                town.kill("bc", power=True)
            else:
                await town.put_all("abc", values_of(6, "old"))
        await asyncio.sleep(3)
        assert a.node is not None
        assert not a.node.failed.done()
        progress = a.node.founding
        assert (progress is not None) == (phase in ("member that waits", "complete"))
        assert progress is None or progress.is_complete == (phase == "complete")
        a.disk.exchange_under_way(files)
        begin = town.loop.time()
        assert LINE in await town.refusal("a")
        assert town.loop.time() - begin < 2
        assert a.disk.files() == files, "something was written into it"

    town.run(story())


def test_a_founder_accepts_nothing_into_a_directory_that_is_in_the_place_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The founding comes before the next look does."""
    files = another_nodes_files()
    monkeypatch.setattr(data_dir_watch, "LOOK_NS", 1 << 60)
    town = Town("abc")
    b = town.nodes["b"]

    async def story() -> None:
        town.start("ab")
        await asyncio.sleep(2)
        b.disk.exchange_under_way(files)
        await asyncio.sleep(2)
        assert b.node is not None
        assert not b.node.failed.done(), "it has looked"
        town.start("c")
        assert LINE in await town.refusal("b")
        assert b.disk.files() == files

    town.run(story())
