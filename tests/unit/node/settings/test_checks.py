"""Settings that are refused: under which name, and with which words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from quorumcache.node.errors import ConfigError
from quorumcache.node.settings.checks import LISTEN_ADDRESSES_MAX, check_config
from quorumcache.node.settings.config import NodeConfig
from tests.support.configs import JOINER, MEMBERS, cluster


@pytest.mark.parametrize(
    "field", ["listen", "http", "peer", "advertise", "initial_cluster, node b"]
)
def test_a_wrong_address_is_refused_under_the_name_of_its_setting(field: str) -> None:
    name = field.partition(",")[0]
    value = {**MEMBERS, "b": "nowhere"} if name == "initial_cluster" else "nowhere"
    with pytest.raises(ConfigError, match="'nowhere' is not HOST:PORT") as caught:
        check_config(cluster(**{name: value}))
    assert caught.value.field == field


@pytest.mark.parametrize("field", ["listen", "http"])
def test_so_many_addresses_may_be_listened_on(field: str) -> None:
    texts = [f"127.0.0.1:{7000 + number}" for number in range(LISTEN_ADDRESSES_MAX + 1)]
    check_config(cluster(**{field: ", ".join(texts[1:])}))
    with pytest.raises(ConfigError, match="17 addresses, at most 16"):
        check_config(cluster(**{field: ",".join(texts)}))
    with pytest.raises(ConfigError, match="names an address twice"):
        check_config(cluster(**{field: f"{texts[0]},{texts[0]}"}))


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
        ({"shards": 0, "given": frozenset({"shards"})}, "shards", "0"),
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
        ({"item_bytes_max": (128 << 20) + 1}, "item_bytes_max", "more than 134217728 (128m)"),
        (
            {"item_bytes_max": 33 << 20, "memory_bytes": 64 << 20},
            "item_bytes_max",
            "34603008 is more than half of memory (67108864)",
        ),
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
def test_a_refusal_names_the_field_and_the_values(
    changes: dict[str, object], field: str, words: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        check_config(cluster(**changes))
    assert caught.value.field == field
    assert words in str(caught.value)


def test_memory_durability_keeps_no_directory() -> None:
    with pytest.raises(ConfigError, match="data_dir"):
        check_config(NodeConfig(data_dir="d", durability="memory"))


def test_a_cluster_is_valid_on_each_of_its_nodes() -> None:
    for name, peer in MEMBERS.items():
        check_config(cluster(name=name, peer=peer))


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
        check_config(replace(JOINER, **change))
    assert caught.value.field == field
    assert words in str(caught.value)


def test_a_unix_socket_stands_beside_tcp_or_alone() -> None:
    check_config(cluster(unix_path="/run/q.sock"))
    check_config(NodeConfig(unix_path="/run/q.sock", listen=""))
    with pytest.raises(ConfigError, match="'' is not HOST:PORT"):
        check_config(NodeConfig(listen=""))
    for config in (cluster(unix_path="/run/q.sock", listen=""), replace(JOINER, unix_path="/q")):
        with pytest.raises(ConfigError, match="other machines cannot reach a Unix") as caught:
            check_config(replace(config, listen=""))
        assert caught.value.field == "listen"


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"unix_path": "/" + "x" * 107}, "unix_path", "108 bytes long, and .* may have 107"),
        ({"unix_path": "/" + "\u00e9" * 54}, "unix_path", "109 bytes long"),
        ({"unix_path": "/a b"}, "unix_path", "'/a b' has a character"),
        ({"unix_path": "/a,b"}, "unix_path", "'/a,b' has a character"),
        ({"unix_path": "/a\n"}, "unix_path", "has a character"),
        ({"unix_mask": 0}, "unix_mask", "0 is not in 1..777"),
        ({"unix_mask": 0o1000}, "unix_mask", "1000 is not in 1..777"),
        ({"listen_backlog": 0}, "listen_backlog", "0 is not in"),
    ],
)
def test_what_is_no_use_to_the_listeners(changes: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        check_config(cluster(**changes))
    assert caught.value.field == field
