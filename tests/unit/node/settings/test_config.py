"""Configuration: how users write things, what follows from it, what nodes must share."""

from __future__ import annotations

import dataclasses
from dataclasses import replace

import pytest

from quorumcache.node.errors import ConfigError
from quorumcache.node.settings.checks import check_config
from quorumcache.node.settings.config import NodeConfig, parse_initial_cluster
from tests.support.configs import JOINER, MEMBERS, cluster


def test_initial_cluster() -> None:
    text = "a=10.0.0.1:7000, b=10.0.0.2:7000,c=10.0.0.3:7000"
    assert parse_initial_cluster(text) == MEMBERS


@pytest.mark.parametrize("text", ["", "a", "a=h:1,,b=h:2", "a=h:1,a=h:2"])
def test_bad_initial_cluster(text: str) -> None:
    with pytest.raises(ConfigError, match="initial_cluster"):
        parse_initial_cluster(text)


def test_the_defaults_are_one_node_in_memory() -> None:
    config = NodeConfig()
    check_config(config)
    assert (config.durability, config.is_alone) == ("memory", True)
    assert config.listen == "127.0.0.1:11211"


@pytest.mark.parametrize(("founders", "shards"), [(1, 16), (3, 16), (5, 32), (9, 64), (26, 256)])
def test_the_number_of_shards_follows_from_the_founders(founders: int, shards: int) -> None:
    members = {f"n{number}": f"10.0.0.{number}:7000" for number in range(founders)}
    changes = {"name": "n0", "peer": members["n0"], "initial_cluster": members}
    config = cluster(**changes)
    assert (config.shards, config.cluster_settings.shards) == (shards, shards)
    assert cluster(**changes, shards=8).shards == 8


def test_a_data_dir_makes_a_node_durable() -> None:
    assert NodeConfig(data_dir="d").durability == "fsync"
    check_config(NodeConfig(data_dir="d"))


def test_founders_compare_names_and_settings_but_not_addresses() -> None:
    ours = cluster().founding_settings
    moved = {name: address.replace("10.", "11.") for name, address in MEMBERS.items()}
    backwards = dict(reversed(moved.items()))
    assert cluster(name="c", initial_cluster=backwards).founding_settings == ours
    fourth = cluster(initial_cluster=MEMBERS | {"d": "10.0.0.4:7000"}).founding_settings
    assert dict(fourth)["initial_cluster"] == "a,b,c,d"
    assert dict(ours)["initial_cluster"] == "a,b,c"
    assert {n for n, _ in ours} == {*cluster().cluster_settings.as_dict(), "initial_cluster"}


def test_a_long_list_of_founders_is_compared_by_its_fingerprint() -> None:
    def names(*more: str) -> str:
        members = {f"{'x' * 60}{n:03d}": f"h{n}:1" for n in range(100)} | dict.fromkeys(more, "h:1")
        return dict(cluster(initial_cluster=members).founding_settings)["initial_cluster"]

    assert names().startswith("100 nodes, fingerprint of their names ")
    assert len(names()) < 100
    assert names() == names() != names("y")


def test_what_is_fixed_for_the_life_of_a_cluster() -> None:
    config = cluster(shards=128, replication=5, cluster_name="other", heartbeat_ms=60)
    assert config.fixed_settings == {
        "cluster_name": "other",
        "durability": "fsync",
        "replication": "5",
        "shards": "128",
    }


def test_fingerprint_is_equal_on_all_nodes_and_differs_with_every_cluster_setting() -> None:
    settings = cluster().cluster_settings
    assert cluster(name="b", zone="z", weight=2.0).cluster_settings == settings
    changed: dict[str, object] = {
        "cluster_name": "other",
        "shards": 128,
        "replication": 5,
        "heartbeat_ms": 60,
        "election_ms": 500,
        "durability": "memory",
    }
    assert set(changed) == {f.name for f in dataclasses.fields(settings)}
    for name, value in changed.items():
        other = dataclasses.replace(settings, **{name: value})  # type: ignore[arg-type]
        assert other.fingerprint() != settings.fingerprint(), name


def test_the_cluster_settings_are_those_of_the_configuration() -> None:
    given = {
        "cluster_name": "other",
        "shards": 128,
        "replication": 5,
        "heartbeat_ms": 60,
        "election_ms": 500,
    }
    settings = cluster(**given).cluster_settings
    assert {name: getattr(settings, name) for name in given} == given
    assert settings.durability == "fsync"


def test_the_fingerprint_does_not_change_between_releases() -> None:
    assert cluster(shards=64).cluster_settings.fingerprint() == "54985ae61917853c"


@pytest.mark.parametrize(
    ("changes", "bound", "expected"),
    [
        ({}, "127.0.0.1:11211", "127.0.0.1:11211"),
        ({}, "0.0.0.0:11211", "10.0.0.1:11211"),
        ({}, "[::]:11211", "10.0.0.1:11211"),
        ({"advertise": "cache.example:9"}, "0.0.0.0:11211", "cache.example:9"),
        ({"advertise": "cache.example:0"}, "0.0.0.0:11211", "cache.example:11211"),
        ({}, "127.0.0.1:11211,unix:/run/q", "127.0.0.1:11211"),
        ({}, "unix:/run/q", "unix:/run/q"),
        ({"advertise": "cache.example:0"}, "unix:/run/q", "unix:/run/q"),
        ({"advertise": "cache.example:9"}, "unix:/run/q", "cache.example:9"),
    ],
)
def test_advertised_address(changes: dict[str, object], bound: str, expected: str) -> None:
    assert cluster(**changes).advertised(bound) == expected


def test_a_node_that_joins() -> None:
    check_config(JOINER)
    assert JOINER.seeds == ("10.0.0.1:7000", "[::1]:7001")
    assert not JOINER.is_alone
    assert JOINER.durability == "fsync"
    check_config(replace(JOINER, peer="10.0.0.4:0", weight=0.0))
    check_config(replace(JOINER, peer="0.0.0.0:7", advertise_peer="outside:7000"))


def test_what_a_node_that_joins_tells_of_its_settings() -> None:
    """Its defaults are nobody's wish: only what was given may differ from the cluster."""
    told = {"heartbeat_ms": "50", "election_ms": "300"}
    assert replace(JOINER, given=frozenset({"name"})).joining_settings == told
    assert replace(JOINER, given=None).joining_settings == told
    given = replace(JOINER, given=frozenset({"shards", "replication", "cluster_name"}))
    assert given.joining_settings == {**told, "shards": "16", "cluster_name": "quorumcache"}


def test_a_member_has_the_settings_of_its_cluster() -> None:
    settings = {"cluster_name": "x", "durability": "fsync", "replication": "5", "shards": "16"}
    member = JOINER.of_cluster(settings)
    assert (member.cluster_name, member.shards, member.replication) == ("x", 16, 3)
    founder = replace(member, join="", shards=16, replication=5, founding_replication=0)
    assert member.cluster_settings.fingerprint() == founder.cluster_settings.fingerprint()
