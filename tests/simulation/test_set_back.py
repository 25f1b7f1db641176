"""Goal: a directory that was set back to before a start that the others saw is kept out by all who
saw it, also when nobody is left who knows what it had acknowledged.

Method: whole nodes on virtual time; directories are copied and restored by hand.
"""

from __future__ import annotations

import asyncio

import pytest

from quorumcache.node.storage.start_record import SEEN_FILE, STARTS_FILE
from tests.simulation.directories import copy_of, lose, restore
from tests.simulation.town import Town, values_of

OLD, NEW = values_of(12, "old"), values_of(12, "new")


def test_a_directory_set_back_is_refused_though_the_leader_that_knew_better_is_gone_for_good() -> (
    None
):
    """c has seen the last start of b, and nothing of what a and b acknowledged after it. It also
    restarts, so that only its disk remembers. b is behind at first, and after some more starts it
    is not any more: that does not help it in.
    """
    town = Town("abc", snapshot_bytes_min=1 << 20)
    b = town.nodes["b"]

    async def story() -> None:
        town.start()
        await town.put_all("abc", OLD)
        town.kill("b")
        before = copy_of(b)
        for _ in range(2):
            town.start("b")
            await asyncio.sleep(1)
            town.kill("b")
        town.start("b")
        await asyncio.sleep(1)
        town.kill("c")
        await town.put_all("ab", NEW)
        town.kill("ab", power=True)
        latest = copy_of(b)
        restore(b, before)
        for number in range(4):
            town.start("b" if number else "bc")
            await asyncio.sleep(6)
            assert "it was set back to an older copy" in town.alarms("b")["peers_refuse"]
            assert not await town.put("c", "k0", "lost")
            town.kill("b")
        restore(b, latest)
        town.start("b")
        await town.check_all("bc", NEW)
        await town.until(lambda: "peers_refuse" not in town.alarms("b"), "with an alarm")

    town.run(story())
    town.check_one_cluster()


def test_a_copy_of_a_directory_that_comes_second_is_refused_and_the_first_is_not() -> None:
    """a moves on from its copy. The copy runs while a is down, and a comes back."""
    town = Town("abc")

    async def story() -> None:
        town.start()
        await town.put_all("abc", OLD)
        town.kill("a")
        copy = town.make("a", host="a2")
        restore(copy, copy_of(town.nodes["a"]))
        town.start("a")
        await town.check_all("abc", OLD)
        town.kill("a")
        town.nodes["copy"] = copy
        town.everybody.append(copy)
        copy.start()
        await asyncio.sleep(7)
        assert "it is a copy of the right one" in town.alarms("copy")["peers_refuse"]
        town.start("a")
        await town.put_all("abc", NEW)
        await town.check_all("abc", NEW)
        assert "peers_refuse" not in town.alarms("a")

    town.run(story())
    town.check_one_cluster()


@pytest.mark.parametrize("power", [False, True])
def test_a_node_that_restarts_at_any_moment_is_never_refused(power: bool) -> None:
    town = Town("abc")

    async def story() -> None:
        town.start()
        await town.put_all("abc", OLD)
        for number in range(30):
            name = "abc"[number % 3]
            town.kill(name, power=power)
            town.start(name)
            await asyncio.sleep(0.0007 * number * number)
        await town.check_all("abc", OLD)
        for name in "abc":
            assert "peers_refuse" not in town.alarms(name)
            assert all("set back" not in why for why in town.refusals(name).values())

    town.run(story())
    town.check_one_cluster()


def test_without_its_memory_of_the_others_a_node_joins_and_remembers_anew() -> None:
    town = Town("abc")

    async def story() -> None:
        town.start()
        await town.put_all("abc", OLD)
        town.kill("c")
        lose(town.nodes["c"], SEEN_FILE)
        town.start("c")
        await town.check_all("abc", OLD)
        await asyncio.sleep(1)
        assert any(SEEN_FILE in path for path in copy_of(town.nodes["c"]))

    town.run(story())
    town.check_one_cluster()


def test_health_says_on_both_sides_why_there_is_no_connection() -> None:
    """Two of three are set back, and only the third remembers. One that is gone refuses no more."""
    town = Town("abc")

    async def story() -> None:
        town.start()
        await town.put_all("abc", OLD)
        town.kill("abc")
        before = {name: copy_of(town.nodes[name]) for name in "ab"}
        town.start()
        await town.check_all("abc", OLD)
        await asyncio.sleep(1)
        town.kill("abc")
        for name in "ab":
            restore(town.nodes[name], before[name])
        town.start()
        await asyncio.sleep(6)
        for name in "ab":
            (warning,) = town.warnings(name)
            assert warning.startswith("node c: no connection to it: node c refuses this node: ")
            assert (
                f"directory of node {name} has a start 2 that is not the one that node c saw"
                in warning
            )
        warnings = town.warnings("c")
        refuses = "no connection to it: this node refuses it: "
        assert [warning.partition("the data")[0] for warning in warnings] == [
            f"node {name}: {refuses}" for name in "ab"
        ]
        town.kill("c")
        await asyncio.sleep(6)
        assert town.warnings("a") == ["node c: no connection to it"]

    town.run(story())


def test_a_count_of_starts_that_is_missing_or_set_back_alone_is_refused() -> None:
    town = Town("abc")
    b = town.nodes["b"]

    async def story() -> None:
        town.start()
        await town.put_all("abc", OLD)
        town.kill("b")
        before = {path: data for path, data in copy_of(b).items() if STARTS_FILE in path}
        assert before
        town.start("b")
        await asyncio.sleep(1)
        town.kill("b")
        latest = copy_of(b)
        lose(b, STARTS_FILE)
        town.start("b")
        assert f"{STARTS_FILE} is missing" in await town.refusal("b")
        restore(b, latest | before)
        town.start("b")
        await asyncio.sleep(6)
        assert "it was set back to an older copy" in town.alarms("b")["peers_refuse"]
        town.kill("b")
        restore(b, latest)
        town.start("b")
        await town.check_all("abc", OLD)

    town.run(story())
    town.check_one_cluster()


def test_a_copy_that_knocks_in_vain_does_not_keep_the_right_directory_out() -> None:
    """The copy has all starts of the first and one more. It is refused because the first runs."""
    town = Town("abc")

    async def story() -> None:
        town.start()
        await town.put_all("abc", OLD)
        copy = town.make("a", host="a2")
        restore(copy, copy_of(town.nodes["a"]))
        town.nodes["copy"] = copy
        town.everybody.append(copy)
        copy.start()
        await asyncio.sleep(3)
        assert "another process is connected to node" in town.alarms("copy")["peers_refuse"]
        town.kill(["copy"])
        town.kill("a")
        town.start("a")
        await town.put_all("abc", NEW)
        await town.check_all("abc", NEW)
        assert "peers_refuse" not in town.alarms("a")

    town.run(story())
    town.check_one_cluster()
