"""From flags and a file to a configuration. What is refused, with its line: test_main.py."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from quorumcache.node.errors import ConfigError
from quorumcache.node.process.options import (
    Command,
    make_config,
    parser,
    read_command,
    read_file,
)
from quorumcache.node.process.setting_table import OPTIONS, read_size
from quorumcache.node.settings.config import NodeConfig

TEXT_OF: dict[str, str] = {
    "name": "b",
    "listen": "127.0.0.1:1,[::1]:2",
    "unix_path": "/run/quorumcache.sock",
    "unix_mask": "0770",
    "listen_backlog": "17",
    "peer": "127.0.0.1:3",
    "http": "127.0.0.1:4",
    "advertise": "h:5",
    "advertise_peer": "h:7",
    "join": "h:8",
    "initial_cluster": "b=127.0.0.1:3,c=h:6",
    "cluster_name": "x",
    "shards": "8",
    "replication": "1",
    "heartbeat_ms": "100",
    "election_ms": "1000",
    "memory_bytes": "64m",
    "evicts": "yes",
    "log_memory_bytes": "5m",
    "item_bytes_max": "2m",
    "durability": "fsync",
    "zone": "z",
    "weight": "2.5",
    "request_timeout_ms": "7",
    "connections_max": "9",
    "slow_client_ms": "11",
    "idle_timeout_ms": "12",
    "secret_file": "/run/secrets/quorumcache",
    "auth_file": "/etc/quorumcache/users",
    "flush_enabled": "yes",
    "prefix_delimiter": "/",
    "dump_enabled": "yes",
    "watch_enabled": "yes",
    "shutdown_enabled": "yes",
    "log_level": "debug",
    "log_format": "json",
    "stop_timeout_ms": "13",
    "segment_bytes_max": "1m",
    "wal_bytes_max": "2m",
    "snapshot_bytes_min": "3k",
    "dead_after_ms": "15000",
    "move_bytes_per_s": "1m",
    "drain_timeout_ms": "16000",
    "session_idle_ms": "14000",
    "data_dir": "d",
}
"""Of every setting a value that is not its default."""


OTHER_FIELDS = {"tick_ms", "given", "founding_replication"}


def command(*words: str) -> Command:
    return read_command(parser().parse_all(words))


def test_every_setting_has_an_option_and_a_value_here() -> None:
    """But the tick, which follows from the others, and where they come from."""
    fields = {field.name for field in dataclasses.fields(NodeConfig)} - OTHER_FIELDS
    assert {option.field for option in OPTIONS} == fields == set(TEXT_OF)
    assert len({option.name for option in OPTIONS}) == len(OPTIONS)


def test_every_setting_can_be_written_in_the_file_and_most_as_flags(tmp_path: Path) -> None:
    options = [option for option in OPTIONS if option.field != "join"]  # Creates no cluster.
    lines = [f"{option.name} = {json.dumps(TEXT_OF[option.field])}\n" for option in options]
    path = tmp_path / "node.toml"
    path.write_text("".join(lines))
    of_file = command("--config", str(path)).config
    words = [
        word
        for option in options
        if option.is_flag
        for word in (f"--{option.name}", TEXT_OF[option.field])
    ]
    of_flags = command(*words).config
    default = NodeConfig()
    for option in options:
        value = getattr(of_file, option.field)
        if option.is_flag:
            assert getattr(of_flags, option.field) == value, option.name
        assert value != getattr(default, option.field), option.name


def test_a_flag_overrides_the_file_and_the_file_the_default(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text('memory = "2m"\nmax_connections = 7\nweight = 3\n')
    config = command("--config", str(path), "--memory", "4m").config
    assert (config.memory_bytes, config.connections_max, config.weight) == (4 << 20, 7, 3.0)
    assert config.listen == NodeConfig().listen


def test_a_switch_stands_alone_or_with_its_value(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text("no-evict = true\n")
    assert command().config.evicts
    assert not command("--no-evict").config.evicts
    assert not command("--no-evict", "--memory", "2m").config.evicts
    assert not command("--config", str(path)).config.evicts
    assert command("--config", str(path), "--no-evict=no").config.evicts
    assert command("--enable-shutdown").config.shutdown_enabled
    path.write_text("enable-shutdown = true\nunix-mask = 0o770\n")
    config = command("--config", str(path)).config
    assert (config.shutdown_enabled, config.unix_mask) == (True, 0o770)
    with pytest.raises(ConfigError, match="--no-evict: 'x' is not yes or no"):
        command("--no-evict", "x")


def test_the_cluster_may_be_a_table(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text('name = "a"\ndata-dir = "d"\n[initial-cluster]\na = "h:1"\nb = "h:2"\n')
    config = command("--config", str(path)).config
    assert config.initial_cluster == {"a": "h:1", "b": "h:2"}
    assert config.peer == "h:1", "as in the initial cluster"


def test_a_node_of_a_cluster_has_to_be_named() -> None:
    with pytest.raises(ConfigError, match="which of those nodes this one is") as told:
        make_config({"initial_cluster": {"a": "h:1"}})
    assert told.value.field == "name"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("shards = true", "shards: True is not a whole number"),
        ("shards = 1.5", "shards: 1.5 is not a whole number"),
        ("memory = [1]", "is not a size"),
        ("name = 5", "name: 5 is not a string"),
        ("no-evict = 1", "no-evict: 1 is not true or false"),
        ("weight = 'x'", "weight: 'x' is not a number"),
        ("initial-cluster = 5", "is not a table"),
        ("initial-cluster = {a = 5}", "every address is a string"),
        ("shard = 4", "unknown key 'shard'; did you mean shards?"),
        ("max-connections = 4\nmax_connections = 5", "is given twice"),
        ("shards = ", "is not TOML"),
    ],
)
def test_a_wrong_file_is_told_by_its_name_and_key(tmp_path: Path, line: str, why: str) -> None:
    path = tmp_path / "node.toml"
    path.write_text(line)
    with pytest.raises(ConfigError) as told:
        read_file(str(path))
    assert why in str(told.value)
    assert str(path) in str(told.value)


def test_a_setting_is_told_by_the_name_under_which_it_was_given(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text("shards = 3")
    for words, expected in (
        (("--shards", "3"), "--shards: 3 is not a power of two"),
        (("--config", str(path)), f"config: {path}: shards: 3 is not a power of two"),
    ):
        with pytest.raises(ConfigError) as told:
            command(*words)
        assert str(told.value).startswith(expected)


def test_the_nearest_flag_is_named() -> None:
    with pytest.raises(ConfigError, match="unknown argument --memry; did you mean --memory"):
        parser().parse_all(["--memry=5m"])
    with pytest.raises(ConfigError, match="expected one argument"):
        parser().parse_all(["--memory"])


@pytest.mark.parametrize(("text", "size"), [("1m", 1 << 20), ("5", 5)])
def test_sizes(text: str, size: Any) -> None:
    assert read_size(text, "memory") == size
    with pytest.raises(ConfigError, match="memory: 'x' is not a size"):
        read_size("x", "memory")


@pytest.mark.parametrize(
    ("words", "shards"),
    [
        ("", 16),
        ("-m 1024 -I 4m", 16),
        ("-m 100", 4),
        ("-m 64 -I 5m", 4),
        ("-m 256 -I 128m", 4),
        ("-m 100000", 16),
        ("-m 64 -I 5m --shards 32", 32),
        ("-m 64 -I 5m --data-dir /d", 16),
    ],
)
def test_a_node_in_memory_alone_has_shards_that_hold_its_largest_items(
    words: str, shards: int
) -> None:
    assert command(*words.split()).config.shards == shards
