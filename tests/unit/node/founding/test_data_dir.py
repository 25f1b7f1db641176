"""Goal: a data directory tells by itself what it is, whatever a crash or an accident left of it.

Method: a disk in memory. Acceptance is crashed before each of its steps; members lose one thing at
a time.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from quorumcache.node.consensus.values import Configuration, Entry, HardState
from quorumcache.node.errors import BrokenDataDir, ConfigError, WrongDataDir
from quorumcache.node.founding.data_dir import (
    Membership,
    accept,
    accept_joined,
    check_births,
    check_settings,
    condemn,
    membership,
    open_data_dir,
)
from quorumcache.node.storage.founding_record import FoundingRecord, propose
from quorumcache.node.storage.identity import NodeIdentity, lock_data_dir, read_identity
from quorumcache.node.storage.local_state import LocalState, encode_births
from quorumcache.node.storage.secret import Secret, read_secret
from quorumcache.node.wal.format import WalRecord
from quorumcache.node.wal.wal import Wal
from quorumcache.ring import ClusterMap, is_disk_id
from tests.simulation.loop import VirtualLoop
from tests.support.fake_disk import FakeDisk, Nothing, Survival, crash_at
from tests.support.founding import disk_id, founder, record_of

SETTINGS = dict(record_of("a").settings)
FIRST_SECRET, SECOND_SECRET = Secret("of the record of before"), Secret("of the second record")
STEPS_MAX = 60
"""More than an acceptance takes."""


def new_disk(survival: Survival | None = None) -> FakeDisk:
    disk = FakeDisk(VirtualLoop(), survival=survival or Nothing())
    lock_data_dir(disk, "d")
    return disk


def opened(disk: FakeDisk, seed: int = 1) -> NodeIdentity:
    return open_data_dir(disk, "d", Random(seed))


def record_with(identity: NodeIdentity, seed: int = 3):  # type: ignore[no-untyped-def]
    """A record in which this disk is founder b of a, b and c."""
    founders = [founder("a", 1), founder("b", 2, disk=identity.disk_id), founder("c", 3)]
    return propose(Random(seed), founders, SETTINGS)


def member(disk: FakeDisk) -> Membership:
    identity = opened(disk)
    return accept(disk, "d", identity, record_with(identity), Random(5))


def with_entries(disk: FakeDisk, member: Membership, group: int = 0) -> None:
    """The node voted, and wrote an entry."""
    wal, _ = Wal.open(
        disk,
        "d/wal",
        cluster_id=member.record.cluster_id,
        node_id=member.identity.node_id,
        loop=disk.loop,  # type: ignore[arg-type]
    )
    done: list[bool] = []
    wal.append(
        [WalRecord(group, HardState(1, 2), (Entry(1, 1, 1, b""),))], lambda: done.append(True)
    )
    disk.loop.run_until_complete(wal.close())  # type: ignore[attr-defined]
    assert done


def test_an_empty_directory_becomes_new_with_a_random_id_that_it_keeps() -> None:
    disk = new_disk()
    identity = opened(disk)
    assert is_disk_id(identity.disk_id)
    assert not identity.is_member
    disk.crash()
    assert opened(disk, seed=2) == identity
    assert opened(new_disk(), seed=2) != identity


def test_a_member_is_recognised_with_its_record() -> None:
    disk = new_disk()
    made = member(disk)
    disk.crash()
    found = membership(opened(disk), "d")
    assert found == made
    assert (found.identity.node_id, found.identity.name) == (2, "b")
    assert not found.identity.is_complete
    state = LocalState(disk, "d", disk.loop)  # type: ignore[arg-type]
    state.cluster_id, state.node_id = found.identity.cluster_id, found.identity.node_id
    state.load()
    assert state.births == {0: Configuration((1, 2, 3))}


def test_a_crash_at_any_step_of_accepting_leaves_a_new_or_a_member() -> None:
    """And a new one can accept another record than the one of before, as if that had not been. A
    member has the secret of the record that it has accepted."""
    outcomes = []
    for step in range(1, STEPS_MAX):
        for seed in range(6):
            disk = new_disk(Survival(Random(seed)))
            identity = opened(disk)
            with crash_at(disk, step) as crashes:
                accept(disk, "d", identity, record_with(identity), Random(5), FIRST_SECRET)
            found = opened(disk)
            assert found.disk_id == identity.disk_id
            outcomes.append(found.is_member)
            secret: Secret | None = FIRST_SECRET
            if not found.is_member:
                assert crashes
                secret = SECOND_SECRET if seed % 2 else None
                accept(disk, "d", found, record_with(identity, seed=9), Random(6), secret)
                disk.crash()
                found = opened(disk)
            assert read_secret(disk, "d") == secret
            Wal.open(disk, "d/wal", cluster_id=found.cluster_id, node_id=2)
            assert membership(found, "d").identity.node_id == 2
    assert {*outcomes} == {True, False}
    assert all(outcomes[-6:]), "STEPS_MAX does not reach the end"


MAP = replace(record_of("a", "b", "c").first_map(), form=2, directory=(1, 2, 3))


def map_with(identity: NodeIdentity, seed: int = 3) -> tuple[FoundingRecord, ClusterMap]:
    """A cluster that has taken this disk in as node 4."""
    record = record_of("a", "b", "c", seed=seed)
    late = replace(founder("d", 4, disk=identity.disk_id), state="joining")
    return record, replace(MAP, cluster_id=record.cluster_id).with_node(late)


SECRET = Secret("the secret of the cluster")


def joined(disk: FakeDisk, identity: NodeIdentity, seed: int = 3) -> Membership:
    record, cluster_map = map_with(identity, seed)
    return accept_joined(disk, "d", identity, record, 4, cluster_map, Random(5), SECRET)


def test_a_node_that_joined_is_recognised_with_its_map_and_without_a_birth() -> None:
    disk = new_disk()
    made = joined(disk, opened(disk))
    disk.crash()
    found = membership(opened(disk), "d")
    assert found == made
    assert (found.identity.node_id, found.identity.name) == (4, "d")
    assert found.identity.is_complete
    assert found.identity.is_joined
    state = LocalState(disk, "d", disk.loop)  # type: ignore[arg-type]
    state.cluster_id, state.node_id = found.identity.cluster_id, 4
    assert state.load() == map_with(made.identity)[1]
    assert state.births == {}
    assert read_secret(disk, "d") == SECRET


def test_a_crash_at_any_step_of_joining_leaves_a_new_or_a_member() -> None:
    """And a new one can join under another map, or found a cluster, as if that had not been."""
    outcomes = []
    for step in range(1, STEPS_MAX):
        for seed in range(6):
            disk = new_disk(Survival(Random(seed)))
            identity = opened(disk)
            with crash_at(disk, step) as crashes:
                joined(disk, identity)
            found = opened(disk)
            assert found.disk_id == identity.disk_id
            outcomes.append(found.is_member)
            if not found.is_member:
                assert crashes
                assert not disk.exists("d/cluster.map")
                if seed % 2:
                    joined(disk, found, seed=9)
                else:
                    accept(disk, "d", found, record_with(identity, seed=9), Random(6))
                found = opened(disk)
            Wal.open(disk, "d/wal", cluster_id=found.cluster_id, node_id=found.node_id)
            assert membership(found, "d").identity.is_joined == (found.node_id == 4)
            if found.is_joined:
                assert disk.exists("d/cluster.map")
                assert read_secret(disk, "d") == SECRET
    assert {*outcomes} == {True, False}
    assert all(outcomes[-6:]), "STEPS_MAX does not reach the end"


def test_a_removal_of_leftovers_that_crashes_goes_on_at_the_next_start() -> None:
    """The map is told from a member's by the births, so it goes before them."""
    for step in range(1, STEPS_MAX):
        disk = new_disk(Survival(Random(step)))
        identity = opened(disk)
        new = disk.read("d/node.id")
        joined(disk, identity)
        disk.write("d/node.id", new)  # As if the crash had been before that last step.
        with crash_at(disk, step):
            opened(disk)
        assert opened(disk) == identity
        assert not disk.exists("d/cluster.map")


def test_a_new_id_beside_a_map_and_a_birth_is_broken() -> None:
    """A node that joined and holds a shard by now was set back to before it joined."""
    disk = new_disk()
    identity = opened(disk)
    new = disk.read("d/node.id")
    made = joined(disk, identity).identity
    births = {3: Configuration(())}
    disk.write("d/groups.born", encode_births(births, made.cluster_id, made.node_id))
    disk.write("d/node.id", new)
    with pytest.raises(BrokenDataDir, match=r"there is a cluster\.map"):
        opened(disk)


def test_the_record_of_another_cluster_beside_a_joined_identity_is_broken() -> None:
    disk = new_disk()
    identity = joined(disk, opened(disk)).identity
    other = identity._replace(cluster_id=disk_id(9))
    for wrong in (other, identity._replace(node_id=2)):
        with pytest.raises(BrokenDataDir, match="is not that of a cluster that"):
            membership(wrong, "d")


def remove(disk: FakeDisk, prefix: str) -> None:
    for path in list(disk.paths()):
        if path.startswith(prefix):
            disk.remove(path)


@pytest.mark.parametrize(
    ("lost", "what"),
    [
        ("d/wal/", "all segments of the log"),
        ("d/groups.born", r"groups\.born is missing"),
        ("d/node.id", r"node\.id is missing"),
    ],
)
def test_a_member_that_lost_a_part_is_broken(lost: str, what: str) -> None:
    disk = new_disk()
    with_entries(disk, member(disk))
    remove(disk, lost)
    with pytest.raises(BrokenDataDir, match=what) as caught:
        opened(disk)
    assert "keep the directory aside" in str(caught.value)
    assert "Never empty the directory" in str(caught.value)


def test_a_new_id_beside_a_log_with_entries_is_broken() -> None:
    disk = new_disk()
    new = disk.read("d/node.id") if disk.exists("d/node.id") else b""
    opened(disk)
    new = disk.read("d/node.id")
    with_entries(disk, member(disk))
    disk.write("d/node.id", new)
    with pytest.raises(BrokenDataDir, match=r"a log that is not empty.*says that the node is new"):
        opened(disk)


@pytest.mark.parametrize("path", ["d/cluster.map", "d/snapshots/000001.snapshot"])
@pytest.mark.parametrize("has_identity", [True, False])
def test_what_only_a_member_has_makes_another_directory_broken(
    path: str, has_identity: bool
) -> None:
    disk = new_disk()
    if has_identity:
        opened(disk)
    disk.make_dirs("d/snapshots")
    disk.write(path, b"x")
    with pytest.raises(BrokenDataDir):
        opened(disk)


def test_the_log_of_another_cluster_is_refused() -> None:
    disk, other = new_disk(), new_disk()
    made = member(disk)
    identity = opened(other)
    accept(other, "d", identity, record_with(identity, seed=8), Random(1))
    remove(disk, "d/wal/")
    for path in other.paths():
        if path.startswith("d/wal/"):
            disk.write(path, other.read(path))
    with pytest.raises(WrongDataDir, match="belongs to node 2 of cluster"):
        Wal.open(disk, "d/wal", cluster_id=made.record.cluster_id, node_id=2)


def test_a_directory_that_lost_acknowledged_data_is_not_started_again() -> None:
    disk = new_disk()
    member(disk)
    condemn(disk, "d", "shard 3: this node's disk has lost data")
    disk.crash()
    with pytest.raises(
        WrongDataDir, match=r"an earlier run found .* shard 3: this node's disk"
    ) as caught:
        opened(disk)
    assert "restore" not in str(caught.value)  # Nothing can be restored that would make it right.


def test_a_group_in_the_log_needs_a_birth() -> None:
    check_births([0, 3], [0, 3, 4], "d")
    with pytest.raises(BrokenDataDir, match=r"the log holds group 3, but groups\.born does not"):
        check_births([0, 3], [0, 4], "d")


def test_a_record_that_does_not_name_the_directory_is_broken() -> None:
    disk = new_disk()
    identity = member(disk).identity
    for wrong in (
        identity._replace(disk_id=disk_id(9)),
        identity._replace(node_id=1),
        identity._replace(name="c"),
        identity._replace(cluster_id=disk_id(9)),
    ):
        with pytest.raises(BrokenDataDir, match="does not name"):
            membership(wrong, "d")
    with pytest.raises(BrokenDataDir, match="holds no founding record"):
        membership(identity._replace(record="{}"), "d")


def test_a_directory_in_the_wrong_place_and_a_changed_setting_are_refused() -> None:
    made = member(new_disk())
    check_settings(made, "b", SETTINGS, "d")
    with pytest.raises(WrongDataDir, match=r"d belongs to node 2 \(b\) of .*, this is node a\."):
        check_settings(made, "a", SETTINGS, "d")
    with pytest.raises(
        ConfigError, match=r"shards is 32 in the settings of this node, but .* created with 4"
    ):
        check_settings(made, "b", SETTINGS | {"shards": "32"}, "d")


def test_a_changed_replication_is_no_other_cluster() -> None:
    """It can be changed in the map, so the founding only has its first value."""
    check_settings(member(new_disk()), "b", SETTINGS | {"replication": "5"}, "d")


def test_the_membership_is_stored_last() -> None:
    """Whatever has the membership has the rest: the order of the steps on the disk says so."""
    disk = new_disk()
    identity = opened(disk)
    order: list[str] = []
    disk.before_step = lambda step, path: order.append(path)  # type: ignore[func-returns-value]
    accept(disk, "d", identity, record_with(identity), Random(5))
    first = [min(i for i, path in enumerate(order) if part in path) for part in ("born", "node.id")]
    wal = max(i for i, path in enumerate(order) if "wal" in path)
    assert wal < first[0] < first[1]
    found = read_identity(disk, "d")
    assert found is not None
    assert found.is_member
