"""Configuration: how users write things, what is refused and how, what nodes must share."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from typing import Any

import pytest

from quorumcache.node.config import (
    LISTEN_ADDRESSES_MAX,
    NodeConfig,
    parse_initial_cluster,
)
from quorumcache.node.errors import ConfigError

MEMBERS = {"a": "10.0.0.1:7000", "b": "10.0.0.2:7000", "c": "10.0.0.3:7000"}


def cluster(**changes: object) -> NodeConfig:
    values: dict[str, object] = {
        "name": "a",
        "peer": "10.0.0.1:7000",
        "data_dir": "data",
        "initial_cluster": MEMBERS,
    }
    return NodeConfig(**(values | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "field", ["listen", "http", "peer", "advertise", "initial_cluster, node b"]
)
def test_a_wrong_address_is_refused_under_the_name_of_its_setting(field: str) -> None:
    name = field.partition(",")[0]
    value = {**MEMBERS, "b": "nowhere"} if name == "initial_cluster" else "nowhere"
    with pytest.raises(ConfigError, match="'nowhere' is not HOST:PORT") as caught:
        cluster(**{name: value}).validate()
    assert caught.value.field == field


@pytest.mark.parametrize("field", ["listen", "http"])
def test_so_many_addresses_may_be_listened_on(field: str) -> None:
    texts = [f"127.0.0.1:{7000 + number}" for number in range(LISTEN_ADDRESSES_MAX + 1)]
    cluster(**{field: ", ".join(texts[1:])}).validate()
    with pytest.raises(ConfigError, match="17 addresses, at most 16"):
        cluster(**{field: ",".join(texts)}).validate()
    with pytest.raises(ConfigError, match="names an address twice"):
        cluster(**{field: f"{texts[0]},{texts[0]}"}).validate()


def test_initial_cluster() -> None:
    text = "a=10.0.0.1:7000, b=10.0.0.2:7000,c=10.0.0.3:7000"
    assert parse_initial_cluster(text) == MEMBERS


@pytest.mark.parametrize("text", ["", "a", "a=h:1,,b=h:2", "a=h:1,a=h:2"])
def test_bad_initial_cluster(text: str) -> None:
    with pytest.raises(ConfigError, match="initial_cluster"):
        parse_initial_cluster(text)


def test_the_defaults_are_one_node_in_memory() -> None:
    config = NodeConfig()
    config.validate()
    assert (config.durability, config.is_alone) == ("memory", True)
    assert config.listen == "127.0.0.1:11211"


def test_a_data_dir_makes_a_node_durable() -> None:
    assert NodeConfig(data_dir="d").durability == "fsync"
    NodeConfig(data_dir="d").validate()


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"name": ""}, "name", "''"),
        ({"name": "a b"}, "name", "'a b'"),
        ({"name": "-a"}, "name", "'-a'"),
        ({"name": "x" * 65}, "name", "64"),
        ({"name": "d"}, "name", "a, b, c"),
        ({"cluster_name": "x y"}, "cluster_name", "'x y'"),
        ({"zone": "z/1"}, "zone", "'z/1'"),
        ({"listen": "11211"}, "listen", "'11211'"),
        ({"peer": ""}, "peer", "3 nodes"),
        ({"peer": "x"}, "peer", "'x'"),
        ({"http": "x"}, "http", "'x'"),
        ({"advertise": "x"}, "advertise", "'x'"),
        ({"weight": 0.0}, "weight", "0 makes a gateway, which holds no shards: it has to join"),
        ({"weight": -1.0}, "weight", "-1.0"),
        ({"weight": 5e-324}, "weight", "5e-324 is not a number from 0.000001 to 1000000"),
        ({"weight": 1e7}, "weight", "10000000.0"),
        ({"weight": float("nan")}, "weight", "nan"),
        ({"shards": 0}, "shards", "0"),
        ({"shards": 48}, "shards", "48 is not a power of two in 1..4096"),
        ({"shards": 8192}, "shards", "4096"),
        ({"replication": 0}, "replication", "1..9"),
        ({"heartbeat_ms": 55, "tick_ms": 10}, "heartbeat_ms", "10 ms"),
        ({"heartbeat_ms": 0}, "heartbeat_ms", "0"),
        ({"election_ms": 100}, "election_ms", "(50)"),
        ({"durability": "maybe"}, "durability", "fsync, memory"),
        ({"data_dir": None}, "data_dir", "durability memory"),
        ({"data_dir": None, "durability": "fsync"}, "data_dir", "--data-dir"),
        ({"item_bytes_max": 10}, "item_bytes_max", "10"),
        ({"item_bytes_max": (8 << 20) + 1}, "item_bytes_max", "more than 8388608 (8m)"),
        ({"memory_bytes": 10}, "memory_bytes", "10"),
        ({"connections_max": 0}, "connections_max", "0"),
        ({"request_timeout_ms": 0}, "request_timeout_ms", "0"),
        ({"stop_timeout_ms": 0}, "stop_timeout_ms", "0"),
        ({"segment_bytes_max": 1 << 31}, "segment_bytes_max", str(1 << 30)),
        ({"wal_bytes_max": 1 << 20}, "wal_bytes_max", str(64 << 20)),
        ({"log_level": "loud"}, "log_level", "'loud'"),
        ({"log_format": "xml"}, "log_format", "'xml'"),
        ({"initial_cluster": MEMBERS | {"c": "10.0.0.1:7000"}}, "initial_cluster", "a and c share"),
        ({"initial_cluster": MEMBERS | {"c": "10.0.0.3:0"}}, "initial_cluster", "10.0.0.3:0"),
        ({"initial_cluster": MEMBERS | {"d d": "h:1"}}, "initial_cluster", "'d d'"),
        ({"initial_cluster": MEMBERS | {"c": "x"}}, "initial_cluster, node c", "'x'"),
    ],
)
def test_validate_names_the_field_and_the_values(
    changes: dict[str, object], field: str, words: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        cluster(**changes).validate()
    assert caught.value.field == field
    assert words in str(caught.value)


def test_memory_durability_keeps_no_directory() -> None:
    with pytest.raises(ConfigError, match="data_dir"):
        NodeConfig(data_dir="d", durability="memory").validate()


def test_a_cluster_is_valid_on_each_of_its_nodes() -> None:
    for name, peer in MEMBERS.items():
        cluster(name=name, peer=peer).validate()


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
    assert cluster().cluster_settings.fingerprint() == "54985ae61917853c"


@pytest.mark.parametrize(
    ("changes", "bound", "expected"),
    [
        ({}, "127.0.0.1:11211", "127.0.0.1:11211"),
        ({}, "0.0.0.0:11211", "10.0.0.1:11211"),
        ({}, "[::]:11211", "10.0.0.1:11211"),
        ({"advertise": "cache.example:9"}, "0.0.0.0:11211", "cache.example:9"),
        ({"advertise": "cache.example:0"}, "0.0.0.0:11211", "cache.example:11211"),
    ],
)
def test_advertised_address(changes: dict[str, object], bound: str, expected: str) -> None:
    assert cluster(**changes).advertised(bound) == expected


JOINER = NodeConfig(name="d", peer="10.0.0.4:7000", join="10.0.0.1:7000, [::1]:7001", data_dir="d")


def test_a_node_that_joins() -> None:
    JOINER.validate()
    assert JOINER.seeds == ("10.0.0.1:7000", "[::1]:7001")
    assert not JOINER.is_alone
    assert JOINER.durability == "fsync"
    replace(JOINER, peer="10.0.0.4:0", weight=0.0).validate()
    replace(JOINER, peer="0.0.0.0:7", advertise_peer="outside:7000").validate()


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"initial_cluster": {"d": "10.0.0.4:7000"}}, "join", "--initial-cluster"),
        ({"peer": ""}, "peer", "needed with --join"),
        ({"peer": "[::]:7000"}, "advertise_peer", "needed with --peer"),
        ({"advertise_peer": "x"}, "advertise_peer", "'x'"),
        ({"data_dir": None, "durability": "memory"}, "data_dir", "needed with --join"),
        ({"join": "a"}, "join", "'a'"),
        ({"join": "a:1,"}, "join", "''"),
        ({"join": "a:0"}, "join", "port 0"),
        ({"join": ",".join(f"a:{n}" for n in range(1, 66))}, "join", "65 addresses, at most 64"),
    ],
)
def test_a_node_that_cannot_join(change: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        replace(JOINER, **change).validate()
    assert caught.value.field == field
    assert words in str(caught.value)


def test_what_a_node_that_joins_tells_of_its_settings() -> None:
    """Its defaults are nobody's wish: only what was given may differ from the cluster."""
    told = {"heartbeat_ms": "50", "election_ms": "300"}
    assert replace(JOINER, given=frozenset({"name"})).joining_settings == told
    assert replace(JOINER, given=None).joining_settings == told
    given = replace(JOINER, given=frozenset({"shards", "replication", "cluster_name"}))
    assert given.joining_settings == {**told, "shards": "64", "cluster_name": "quorumcache"}


def test_a_member_has_the_settings_of_its_cluster() -> None:
    settings = {"cluster_name": "x", "durability": "fsync", "replication": "5", "shards": "16"}
    member = JOINER.of_cluster(settings)
    assert (member.cluster_name, member.shards, member.replication) == ("x", 16, 3)
    founder = replace(member, join="", shards=16, replication=5, founding_replication=0)
    assert member.cluster_settings.fingerprint() == founder.cluster_settings.fingerprint()
