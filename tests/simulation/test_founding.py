"""Goal: a node that has forgotten neither votes nor acknowledges, and no second cluster is founded.

Method: whole nodes on virtual time; directories are wiped, swapped, set back and crashed by hand.
The check is always: no acknowledged write lost, one cluster only, a refusal that says what to do,
and the healthy majority goes on.
"""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from quorumcache.node.errors import AcknowledgedDataLost
from quorumcache.node.founding.data_dir import births_of
from quorumcache.node.storage.local_state import encode_births
from quorumcache.ring import ClusterMap
from tests.simulation.cluster import PEER_PORT
from tests.simulation.directories import copy_of, lose, restore, swap
from tests.simulation.town import Town, values_of

OLD, NEW = values_of(12, "old"), values_of(12, "new")


@pytest.mark.parametrize("names", ["a", "ab", "abc", "abcdefg"])
def test_all_founders_found_one_cluster_and_everybody_learns_the_map_at_once(names: str) -> None:
    """Those that do not vote in the directory, too."""
    town = Town(names)

    async def story() -> None:
        town.start()
        await town.until(
            lambda: all(n.node is not None and n.node.map is not None for n in town.everybody),
            "without a map",
            seconds=1.5,
        )
        await town.put_all(names, OLD)
        await town.check_all(names, OLD)
        node_ids = [n.node.node_id for n in town.everybody if n.node is not None]
        assert node_ids == [*range(1, len(names) + 1)]

    town.run(story())
    town.check_one_cluster()
    assert not town.alarms_seen


def test_the_map_learns_which_groups_have_started_in_few_epochs() -> None:
    """Also from leaders on nodes that do not vote in the directory."""
    town = Town("abcdefg", shards=64)

    async def story() -> None:
        town.start()
        await town.put_all("abcdefg", OLD)

        def maps() -> list[ClusterMap | None]:
            return [node.node.map for node in town.everybody if node.node is not None]

        def all_started() -> bool:
            return all(map_ is not None and map_.started == (1 << 64) - 1 for map_ in maps())

        await town.until(all_started, "not all started")
        assert all(map_ is not None and map_.epoch <= 4 for map_ in maps())
        await asyncio.sleep(3)
        assert all(map_ is not None and map_.epoch <= 4 for map_ in maps())
        town.kill("abcdefg", power=True)
        town.start()
        await town.check_all("abcdefg", OLD)

    town.run(story())
    town.check_one_cluster()


def test_many_nodes_with_long_names_found_a_cluster() -> None:
    """As Kubernetes names them: their list is longer than any one text in a hello may be."""
    names = [f"{number:02d}-{'x' * 57}" for number in range(15)]
    town = Town(names)

    async def story() -> None:
        town.start()
        await town.until(
            lambda: all(n.node is not None and n.node.map is not None for n in town.everybody),
            "without a map",
            seconds=3,
        )
        await town.put_all([names[0], names[14]], OLD)
        await town.check_all([names[7]], OLD)

    town.run(story())
    town.check_one_cluster()


def test_a_new_epoch_reaches_nodes_that_do_not_vote_in_well_under_a_second() -> None:
    town = Town("abcdefg")

    async def story() -> None:
        town.start()
        await town.put_all("abcdefg", OLD)
        town.kill("b")
        moved = town.nodes["b"]
        moved.config = town.config("b", zone="elsewhere")
        moved.start()
        leader = town.nodes["a"]

        def epochs() -> list[int]:
            return [n.node.map.epoch for n in town.everybody if n.node and n.node.map]

        await town.until(lambda: max(epochs()) > 1, "at the first epoch")
        began = town.loop.time()
        await town.until(lambda: min(epochs()) > 1 and len(epochs()) == 7, "behind", seconds=1)
        assert town.loop.time() - began < 0.2
        assert leader.is_up

    town.run(story())


def test_while_a_founder_is_missing_nobody_acts_and_everybody_says_whom_it_waits_for() -> None:
    town = Town("abc")

    async def story() -> None:
        town.start("ab")
        await asyncio.sleep(8)
        assert not await town.put("a", "k", "v")
        for name in "ab":
            assert "c: cannot connect to c:7400" in town.alarms(name)["founding"]
        assert not town.complete
        town.start("c")
        await town.put_all("abc", OLD)
        assert "founding" not in town.alarms("a")
        await town.check_all("abc", OLD)

    town.run(story())
    town.check_one_cluster()


@pytest.mark.parametrize("seed", range(24))
def test_founders_that_crash_at_any_step_found_one_cluster_in_the_end(seed: int) -> None:
    """Up to three crashes, killed or without power, before a step of a disk or a callback."""
    random = Random(f"{seed}/crashes")
    town = Town("abc", seed=seed)

    async def story() -> None:
        town.start()
        for _ in range(random.randrange(1, 4)):
            victim = town.nodes[random.choice("abc")]
            power = random.random() < 0.5

            def crash(victim=victim, power=power) -> None:  # type: ignore[no-untyped-def]
                victim.crash(silent=power)

            if victim.process.is_running:
                arm = random.choice((victim.arm_steps, victim.arm_events))
                arm(random.randrange(1, 40), crash)
            await asyncio.sleep(random.uniform(0.0, 0.4))
            victim.disarm()
            if not victim.is_up:
                victim.start()
        await town.put_all("abc", OLD)
        await town.check_all("abc", OLD)
        town.kill("abc", power=True)
        town.start()
        await town.check_all("abc", OLD)
        assert not [problem for node in town.everybody for problem in node.problems]

    town.run(story())
    town.check_one_cluster()


@pytest.mark.parametrize(("names", "away"), [("abc", "c"), ("abcde", "de")])
def test_a_wiped_node_is_refused_and_no_acknowledged_write_is_undone(names: str, away: str) -> None:
    """One slow node and one lost disk: the rest is no majority, and says nothing old."""
    town = Town(names, replication=len(names))
    here = names[: -len(away)]
    wiped, alone = "b", "a"

    async def story() -> None:
        town.start()
        await town.put_all(names, OLD)
        town.kill(away)
        await town.put_all(here, NEW)
        before = copy_of(town.nodes[alone])
        town.kill(here)
        lose(town.nodes[wiped])
        town.start("".join(n for n in names if n != alone))
        await asyncio.sleep(6)
        for name in wiped + away:
            for key in list(OLD)[:3]:
                assert await town.get(name, key) in (None, NEW[key])
        assert "that name belongs to data directory" in town.alarms(wiped)["founding"]
        restore(town.nodes[alone], before)
        town.start(alone)
        others = "".join(n for n in names if n != wiped)
        await town.check_all(others, NEW)
        await town.put_all(others, OLD)
        assert town.nodes[wiped].node is not None
        assert not town.nodes[wiped].node.host.groups

    town.run(story())
    town.check_one_cluster()


@pytest.mark.parametrize(("names", "wiped"), [("abc", "ab"), ("abc", "bc"), ("abcde", "ace")])
def test_a_wiped_majority_founds_nothing_beside_the_survivors(names: str, wiped: str) -> None:
    town = Town(names)
    survivors = "".join(n for n in names if n not in wiped)

    async def story() -> None:
        town.start()
        await town.put_all(names, OLD)
        await asyncio.sleep(1)  # Everybody has everything.
        town.kill(names)
        backups = {name: copy_of(town.nodes[name]) for name in wiped}
        for name in wiped:
            lose(town.nodes[name])
        town.start(wiped)
        await asyncio.sleep(5)
        assert not any([await town.put(name, "k0", "lost") for name in wiped])
        town.start(survivors)
        await asyncio.sleep(5)
        assert not any([await town.put(name, "k0", "lost") for name in names])
        for name in survivors:
            assert await town.get(name, "k0") is None
        for name in wiped:
            node = town.nodes[name].node
            assert node is not None
            assert not node.node_id, f"{name} is a member of something"
        town.kill(wiped)
        for name in wiped:
            restore(town.nodes[name], backups[name])
        town.start(wiped)
        await town.check_all(names, OLD)

    town.run(story())
    town.check_one_cluster()


def test_an_old_and_a_new_cluster_that_meet_refuse_each_other() -> None:
    """a and b are founded anew without c, on the old addresses; then c comes with its old data."""
    town = Town("abc")

    async def story() -> None:
        town.start()
        await town.put_all("abc", OLD)
        await asyncio.sleep(1)
        town.kill("abc")
        backups = {name: copy_of(town.nodes[name]) for name in "ab"}
        pair = {name: town.members[name] for name in "ab"}
        for name in "ab":
            lose(town.nodes[name])
            town.nodes[name].config = town.config(name, initial_cluster=pair)
        town.start("ab")
        await town.put_all("ab", NEW)
        town.start("c")
        await town.until(lambda: "peers_refuse" in town.alarms("c"), "without an alarm")
        assert "two clusters use the same addresses" in town.alarms("c")["peers_refuse"]
        assert await town.get("c", "k0") is None
        await town.check_all("ab", NEW)
        town.kill("ab")
        for name in "ab":
            restore(town.nodes[name], backups[name])
            town.nodes[name].config = town.config(name)
        town.start("ab")
        await town.check_all("abc", OLD)

    town.run(story())
    assert len(town.complete) == 2


@pytest.mark.parametrize(
    ("lost", "told"),
    [
        (("wal/",), "all segments of the log"),
        (("groups.born",), "groups.born is missing"),
        (("node.id",), "node.id is missing"),
        (("log.newest",), "log.newest is missing"),
        (("wal/", "groups.born", "cluster.map"), "all segments of the log"),
        (("wal/", "groups.born", "cluster.map", "snapshots/"), "all segments of the log"),
    ],
)
def test_a_member_that_lost_a_part_stays_out_and_the_others_go_on(
    lost: tuple[str, ...], told: str
) -> None:
    town = Town("abc")

    async def story() -> None:
        town.start()
        await town.put_all("abc", OLD)
        town.kill("b")
        lose(town.nodes["b"], *lost)
        town.start("b")
        line = await town.refusal("b")
        assert told in line
        assert "keep the directory aside" in line
        await town.put_all("ac", NEW)
        await town.check_all("ac", NEW)

    town.run(story())
    town.check_one_cluster()


@pytest.mark.parametrize(
    ("part", "told"),
    [
        ("wal/", "belongs to node 2 of cluster"),
        ("snapshots/", "belongs to cluster"),
        ("groups.born", "belongs to node 2 of cluster"),
        ("cluster.map", "is the map of cluster"),
    ],
)
def test_a_part_of_another_clusters_directory_is_refused(part: str, told: str) -> None:
    """Nodes, groups and files have the same numbers in every cluster. That cluster's logs were
    longer, so its snapshots would replace what this one holds.
    """
    other = Town("abc", seed=2)

    async def other_story() -> None:
        other.start()
        for round_number in range(8):
            await other.put_all("abc", values_of(12, f"other{round_number}"))
        await other.until(
            lambda: any(path.endswith(".snapshot") for path in copy_of(other.nodes["b"])),
            "no snapshot",
        )
        other.kill("b")

    other.run(other_story())
    foreign = {p: data for p, data in copy_of(other.nodes["b"]).items() if part in p}
    assert foreign
    town = Town("abc")

    async def story() -> None:
        town.start()
        await town.put_all("abc", OLD)
        await asyncio.sleep(1)
        town.kill("abc")
        own = copy_of(town.nodes["b"])
        rest = {path: data for path, data in own.items() if part not in path}
        restore(town.nodes["b"], rest | foreign)
        town.start("b")
        assert told in await town.refusal("b")
        town.start("ac")
        await town.check_all("ac", OLD)
        restore(town.nodes["b"], own)
        town.start("b")
        await town.check_all("abc", OLD)

    town.run(story())
    town.check_one_cluster()


def test_births_of_another_node_are_refused() -> None:
    town = Town("abc", replication=1)

    async def story() -> None:
        town.start()
        await town.put_all("abc", OLD)
        town.kill("b")
        own = copy_of(town.nodes["b"])
        births = {p: data for p, data in copy_of(town.nodes["a"]).items() if "groups.born" in p}
        restore(town.nodes["b"], own | births)
        town.start("b")
        assert "belongs to node 1 of cluster" in await town.refusal("b")
        restore(town.nodes["b"], own)
        town.start("b")
        await town.check_all("abc", OLD)

    town.run(story())


def test_births_set_back_to_those_of_the_founding_are_refused() -> None:
    """The groups in the log were born, and with what is not known any more."""
    town = Town("abc")
    b = town.nodes["b"]

    async def story() -> None:
        town.start()
        await town.put_all("abc", OLD)
        assert b.node is not None
        assert b.node.founding is not None
        record = b.node.founding.record
        town.kill("b")
        latest = copy_of(b)
        path = next(path for path in latest if "groups.born" in path)
        restore(b, latest | {path: encode_births(births_of(record, 2), record.cluster_id, 2)})
        town.start("b")
        assert "the log holds group 1, but groups.born does not" in await town.refusal("b")
        restore(b, latest)
        town.start("b")
        await town.check_all("abc", OLD)

    town.run(story())
    town.check_one_cluster()


@pytest.mark.parametrize("kept", ["everything", "wal/", "snapshots/", "log.newest", "cluster.map"])
def test_an_identity_set_back_to_that_of_a_new_directory_is_refused_beside_anything_of_a_member(
    kept: str,
) -> None:
    town = Town("abc")
    b = town.nodes["b"]

    async def story() -> None:
        town.start("b")
        await asyncio.sleep(1)
        town.kill("b")
        before = copy_of(b)
        town.start()
        for number in range(9):
            await town.put_all("abc", values_of(12, f"round{number}"))
        await town.until(
            lambda: any(path.endswith(".snapshot") for path in copy_of(b)), "no snapshot"
        )
        town.kill("b")
        latest = copy_of(b)
        identity = {path: data for path, data in before.items() if "node.id" in path}
        some = {path: data for path, data in latest.items() if kept in path}
        restore(b, (latest if kept == "everything" else some) | identity)
        town.start("b")
        assert "node.id says that the node is new" in await town.refusal("b")
        restore(b, latest)
        town.start("b")
        await town.check_all("abc", values_of(12, "round8"))

    town.run(story())
    town.check_one_cluster()


@pytest.mark.parametrize("how", ["newest segment", "older copy of wal/"])
def test_a_log_whose_end_is_gone_is_refused_though_nobody_is_there_who_knows_better(
    how: str,
) -> None:
    """What is left is a sound log. a is down, with whom b had acknowledged what c has not got: b
    and c would lead without it.
    """
    town = Town("abc", snapshot_bytes_min=1 << 20)
    b = town.nodes["b"]

    async def story() -> None:
        town.start()
        await town.put_all("abc", OLD)
        await asyncio.sleep(1)
        town.kill("b")
        before = {path: data for path, data in copy_of(b).items() if "wal/" in path}
        town.start("b")
        town.kill("c")
        await town.put_all("ab", NEW)
        town.kill("ab")
        latest = copy_of(b)
        if how == "newest segment":
            lose(b, max(path for path in latest if "wal/" in path))
        else:
            rest = {path: data for path, data in latest.items() if "wal/" not in path}
            restore(b, rest | before)
        town.start("cb")
        assert "it was the newest one that was written to" in await town.refusal("b")
        town.start("a")
        await town.check_all("ac", NEW)
        restore(b, latest)
        town.start("b")
        await town.check_all("abc", NEW)

    town.run(story())
    town.check_one_cluster()


def test_directories_that_were_swapped_are_refused_by_name() -> None:
    town = Town("abc")

    async def story() -> None:
        town.start()
        await town.put_all("abc", OLD)
        town.kill("ab")
        swap(town.nodes["a"], town.nodes["b"])
        town.start("ab")
        assert "belongs to node 2 (b)" in await town.refusal("a")
        assert "belongs to node 1 (a)" in await town.refusal("b")
        swap(town.nodes["a"], town.nodes["b"])
        town.start("ab")
        await town.check_all("abc", OLD)

    town.run(story())
    town.check_one_cluster()


def test_a_directory_set_back_to_before_the_founding_is_refused() -> None:
    town = Town("abc")

    async def story() -> None:
        town.start("b")
        await asyncio.sleep(1)
        town.kill("b")
        before = copy_of(town.nodes["b"])
        town.start()
        await town.put_all("abc", OLD)
        town.kill("bc")
        restore(town.nodes["b"], before)
        town.start("b")
        await asyncio.sleep(4)
        assert "was set back to an older copy" in town.alarms("b")["founding"]
        assert not await town.put("a", "k0", "lost")
        town.start("c")
        await town.check_all("ac", OLD)

    town.run(story())
    town.check_one_cluster()


@pytest.mark.parametrize("present", ["", "a"])
def test_a_founder_that_does_not_know_of_the_completion_lets_no_directory_back_in(
    present: str,
) -> None:
    """c lost its power before it had stored *complete*, and would show the record again; b is set
    back to before its membership. a, which knows better, is down until b has asked, or up. Let in,
    b and c would found the groups again without what a and b had acknowledged.
    """
    town = Town("abc")

    async def story() -> None:
        town.start("b")
        await asyncio.sleep(1)
        town.kill("b")
        before = copy_of(town.nodes["b"])
        town.start()
        c = town.nodes["c"]
        await town.until(lambda: c.node and c.node.founding, "c has no record", pause=0.0001)
        assert c.node is not None
        assert c.node.founding is not None
        c.disk.hang(5)
        await town.put_all("ab", OLD)
        assert not c.node.founding.is_complete
        town.kill("c", power=True)
        await asyncio.sleep(5)
        town.kill("ab")
        latest = copy_of(town.nodes["b"])
        restore(town.nodes["b"], before)
        town.start(present)
        town.start("cb")
        await asyncio.sleep(1)
        town.start("" if present else "a")
        await asyncio.sleep(1)
        town.kill("a")
        for name in "bc":
            assert await town.get(name, "k0") is None
            assert not await town.put(name, "k0", "lost")
        assert town.nodes["b"].node is not None
        assert not town.nodes["b"].node.node_id, "b was let in"
        assert "a: " in town.alarms("b")["founding"]
        town.kill("b")
        restore(town.nodes["b"], latest)
        town.start("ab")
        await town.check_all("abc", OLD)

    town.run(story())
    town.check_one_cluster()


def test_a_directory_set_back_within_its_last_start_is_found_out_by_a_leader_and_marked() -> None:
    """The copy was made while the node ran, so it has the last start that the others saw. What it
    acknowledged since is missing. It ends and stays away; the others go on.
    """
    town = Town("abc", snapshot_bytes_min=1 << 20)

    async def story() -> None:
        town.start()
        await town.put_all("abc", OLD)
        await asyncio.sleep(1)
        before = copy_of(town.nodes["b"])
        await town.put_all("abc", NEW)
        await asyncio.sleep(1)
        town.kill("b")
        restore(town.nodes["b"], before)
        town.start("b")
        assert "must not vote again" in await town.refusal("b")
        town.start("b")
        assert "an earlier run found" in await town.refusal("b")
        await town.check_all("ac", NEW)
        await town.put_all("ac", OLD)
        # The host also raises it out of the peer's callback, which it must not go on with.
        errors = [context.get("exception") for context in town.loop.errors]
        assert {type(error) for error in errors} <= {AcknowledgedDataLost}
        town.loop.errors.clear()

    town.run(story())
    town.check_one_cluster()


def test_a_second_process_of_a_name_neither_takes_its_place_nor_keeps_the_real_one_out() -> None:
    """a dies; another process with its name, address and an empty directory comes; a comes back on
    another address.
    """
    town = Town("abc")

    async def story() -> None:
        town.start()
        await town.put_all("abc", OLD)
        town.kill("a")
        impostor = town.make("a")
        impostor.start()
        town.everybody.append(impostor)
        await asyncio.sleep(3)
        await town.put_all("bc", NEW)
        assert impostor.node is not None
        assert not impostor.node.node_id
        real = town.nodes["a"]
        members = town.members | {"a": f"a2:{PEER_PORT}"}
        real.config = town.config("a", host="a2", initial_cluster=members)
        real.name = "a2"
        real.start()
        await town.check_all("abc", NEW)
        await town.until(lambda: "peers_refuse" not in town.alarms("a"), "with an alarm")

    town.run(story())
    town.check_one_cluster()


def test_a_node_on_a_copy_of_a_directory_is_refused_while_the_first_lives() -> None:
    town = Town("abc")

    async def story() -> None:
        town.start()
        await town.put_all("abc", OLD)
        town.kill("a")
        copy = town.make("a", host="a2")
        town.start("a")
        await town.check_all("abc", OLD)
        restore(copy, copy_of(town.nodes["a"]))
        copy.start()
        town.everybody.append(copy)
        town.nodes["copy"] = copy
        await asyncio.sleep(7)
        await town.check_all("abc", OLD)
        assert "another process is connected to node" in town.alarms("copy")["peers_refuse"]

    town.run(story())
    town.check_one_cluster()


def test_a_setting_that_is_fixed_cannot_be_changed_by_a_restart() -> None:
    town = Town("abc")

    async def story() -> None:
        town.start()
        await town.put_all("abc", OLD)
        town.kill("abc")
        for name, changes in (("a", {"shards": 4}), ("b", {"cluster_name": "other"})):
            town.nodes[name].config = town.config(name, **changes)
            town.nodes[name].start()
            line = await town.refusal(name)
            assert (
                f"{next(iter(changes))} is {next(iter(changes.values()))} in the settings" in line
            )
            town.nodes[name].config = town.config(name)
        town.start()
        await town.check_all("abc", OLD)

    town.run(story())


@pytest.mark.parametrize("names", ["ab", "abc"])
def test_nodes_that_rotate_their_addresses_serve_on_and_the_map_follows(names: str) -> None:
    """A third or fourth node is not restarted: its settings still say the old addresses."""
    town = Town(names + "z")

    async def story() -> None:
        town.start()
        await town.put_all(names, OLD)
        town.kill(names)
        hosts = dict(zip(names, names[1:] + names[:1], strict=True))
        members = town.members | {name: f"{host}:{PEER_PORT}" for name, host in hosts.items()}
        for name, host in hosts.items():
            town.nodes[name].config = town.config(name, host=host, initial_cluster=members)
            town.nodes[name].name = host
        town.start(names)
        await town.check_all(names + "z", OLD)

        def followed() -> bool:
            maps = [node.node.map for node in town.everybody if node.node is not None]
            return all(
                map_ is not None and {n.name: n.peer_address for n in map_.nodes} == members
                for map_ in maps
            )

        await town.until(followed, "at old addresses")

    town.run(story())
    town.check_one_cluster()
