"""From the command line and a TOML file to a `NodeConfig`.

One table, `OPTIONS`, holds every setting with its flag, its reader and its help; the flags of
`quorumcached`, the keys of the file and the words of the error messages all come from it. A
flag overrides the file, the file overrides the default. Every error is a ConfigError that can
be printed as one line.

Long: one table of all settings, and what reads it.
"""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, NoReturn

from quorumcache.node.config import (
    DURABILITIES,
    LOG_FORMATS,
    LOG_LEVELS,
    NodeConfig,
    parse_initial_cluster,
)
from quorumcache.node.errors import ConfigError
from quorumcache.ring.errors import SizeError
from quorumcache.ring.size import format_size, parse_size

Read = Callable[[str, str], Any]


def _text(text: str, field: str) -> str:
    return text


def _integer(text: str, field: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ConfigError(field, f"{text!r} is not a whole number") from None


def _number(text: str, field: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConfigError(field, f"{text!r} is not a number") from None


def read_size(text: str, field: str) -> int:
    """A size as users write it, such as 512m, as bytes."""
    try:
        return parse_size(text)
    except SizeError as error:
        raise ConfigError(field, str(error)) from None


def _cluster(text: str, field: str) -> dict[str, str]:
    return parse_initial_cluster(text)


@dataclass(frozen=True, slots=True)
class Option:
    """One setting.

    `name` is the flag without its dashes and the key in the file; `field` is NodeConfig's.
    """

    name: str
    field: str
    read: Read
    metavar: str
    help: str
    # False = a rarely needed setting that only the file takes.
    is_flag: bool = True

    @property
    def default(self) -> Any:
        """What NodeConfig has when nothing is said."""
        return getattr(_DEFAULTS, self.field)


_DEFAULTS = NodeConfig()

OPTIONS: tuple[Option, ...] = (
    Option("name", "name", _text, "NAME", "this node's name, unique in the cluster"),
    Option(
        "listen",
        "listen",
        _text,
        "HOST:PORT",
        "addresses for memcached clients, separated by commas; port 0 = a free one",
    ),
    Option(
        "peer",
        "peer",
        _text,
        "HOST:PORT",
        "address for the other nodes (default: as in --initial-cluster)",
    ),
    Option(
        "http",
        "http",
        _text,
        "HOST:PORT",
        "addresses, separated by commas, for /metrics, /health and /status (default: none)",
    ),
    Option(
        "advertise",
        "advertise",
        _text,
        "HOST:PORT",
        "address clients are told to use (default: --listen)",
    ),
    Option(
        "advertise-peer",
        "advertise_peer",
        _text,
        "HOST:PORT",
        "address the other nodes are told to use (default: as in --initial-cluster, else --peer)",
    ),
    Option(
        "data-dir",
        "data_dir",
        _text,
        "DIR",
        "where the log and the snapshots are kept (default: nothing is kept)",
    ),
    Option(
        "initial-cluster",
        "initial_cluster",
        _cluster,
        "NAME=HOST:PORT,...",
        "all nodes that create the cluster with their peer addresses, this one included; the same"
        " on every node",
    ),
    Option(
        "join",
        "join",
        _text,
        "HOST:PORT,...",
        "peer addresses of members of the cluster that this node joins; a node that is a member"
        " starts as such",
    ),
    Option(
        "cluster-name",
        "cluster_name",
        _text,
        "NAME",
        "a name for people; fixed when a cluster is created",
    ),
    Option(
        "shards",
        "shards",
        _integer,
        "N",
        "partitions of the keys, a power of two; fixed when a cluster is created",
    ),
    Option("replication", "replication", _integer, "N", "replicas per shard"),
    Option("heartbeat-ms", "heartbeat_ms", _integer, "MS", "time between a leader's heartbeats"),
    Option(
        "election-ms", "election_ms", _integer, "MS", "silence after which a new leader is elected"
    ),
    Option("memory", "memory_bytes", read_size, "SIZE", "memory for items, such as 512m or 1g"),
    Option("max-item-size", "item_bytes_max", read_size, "SIZE", "largest item, up to 8m"),
    Option(
        "durability",
        "durability",
        _text,
        "|".join(DURABILITIES),
        "fsync: a write is acknowledged when it is on the disks of a majority; memory: nothing is"
        " kept on disk (default: fsync with a data directory)",
    ),
    Option(
        "zone",
        "zone",
        _text,
        "ZONE",
        "failure domain; replicas of a shard go to distinct zones first",
    ),
    Option(
        "weight",
        "weight",
        _number,
        "X",
        "share of the shards relative to other nodes; 0 = a gateway, which holds none",
    ),
    Option(
        "request-timeout-ms",
        "request_timeout_ms",
        _integer,
        "MS",
        "how long a request waits for a leader",
    ),
    Option(
        "dead-after-ms",
        "dead_after_ms",
        _integer,
        "MS",
        "silence after which a node counts as dead and its replicas are rebuilt elsewhere; a first"
        " value, see `quorumcache cluster set`",
    ),
    Option(
        "move-rate",
        "move_bytes_per_s",
        read_size,
        "SIZE",
        "bytes a second that a node copies to new replicas; a first value, too",
    ),
    Option(
        "drain-timeout-ms",
        "drain_timeout_ms",
        _integer,
        "MS",
        "how long a drained node waits for its clients before it leaves",
    ),
    Option("max-connections", "connections_max", _integer, "N", "client connections"),
    Option(
        "slow-client-ms",
        "slow_client_ms",
        _integer,
        "MS",
        "close a client that takes no reply for this time (0: never)",
        is_flag=False,
    ),
    Option(
        "idle-timeout-ms",
        "idle_timeout_ms",
        _integer,
        "MS",
        "close a client that sends nothing for this time (0: never)",
        is_flag=False,
    ),
    Option(
        "secret-file",
        "secret_file",
        _text,
        "FILE",
        "file with the cluster's secret, which every node is given (default: the environment"
        " variable QUORUMCACHE_SECRET, or a secret that the cluster makes when it is created)",
    ),
    Option(
        "log-level",
        "log_level",
        _text,
        "|".join(LOG_LEVELS),
        "lowest level that is logged to stderr",
    ),
    Option("log-format", "log_format", _text, "|".join(LOG_FORMATS), "form of the log lines"),
    Option(
        "stop-timeout-ms", "stop_timeout_ms", _integer, "MS", "time for a clean stop", is_flag=False
    ),
    Option(
        "segment-size", "segment_bytes_max", read_size, "SIZE", "size of a log file", is_flag=False
    ),
    Option(
        "log-size",
        "wal_bytes_max",
        read_size,
        "SIZE",
        "log size that forces snapshots",
        is_flag=False,
    ),
    Option(
        "snapshot-size",
        "snapshot_bytes_min",
        read_size,
        "SIZE",
        "log growth of a shard that causes a snapshot",
        is_flag=False,
    ),
    Option(
        "session-idle-ms",
        "session_idle_ms",
        _integer,
        "MS",
        "life of an idle client session",
        is_flag=False,
    ),
)

_BY_NAME = {option.name: option for option in OPTIONS}
_BY_FIELD = {option.field: option for option in OPTIONS}


@dataclass(frozen=True, slots=True)
class Command:
    """What the command line asks for."""

    config: NodeConfig
    # Stop when standard input ends: a parent that dies takes the node with it.
    stop_on_stdin_eof: bool


class OneLineParser(argparse.ArgumentParser):
    """argparse that raises ConfigError instead of printing its usage and exiting."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError("", message)

    def parse_all(self, argv: Sequence[str]) -> argparse.Namespace:
        """parse_args that names the nearest flag for an unknown one."""
        namespace, unknown = self.parse_known_args(argv)
        if unknown:
            flags = [flag for action in self._actions for flag in action.option_strings]
            word = unknown[0].partition("=")[0]
            raise ConfigError("", f"unknown argument {word}{_nearest(word, flags)}")
        return namespace


def parser() -> OneLineParser:
    """The argument parser of `quorumcached`.

    Every value is text here; `read_command` gives it a meaning.
    """
    result = OneLineParser(
        prog="quorumcached",
        allow_abbrev=False,
        add_help=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="quorumcached [options]\n       quorumcached up --nodes N [options]",
        description=(
            "A node of a QuorumCache cluster. Without options: one node that keeps nothing on\n"
            "disk, for memcached clients on 127.0.0.1:11211. `quorumcached up --nodes 3` runs\n"
            "a whole cluster on this machine."
        ),
        epilog="Sizes are bytes or 64k, 512m, 1g. Documentation: docs/operations.md",
    )
    result.add_argument(
        "--config", metavar="FILE", help="read settings from a TOML file; flags override it"
    )
    for option in OPTIONS:
        if option.is_flag:
            result.add_argument(
                f"--{option.name}", dest=option.field, metavar=option.metavar, help=_help(option)
            )
    result.add_argument("--stop-on-stdin-eof", action="store_true", help=argparse.SUPPRESS)
    result.add_argument("--version", action="store_true", help="print the version and exit")
    result.add_argument("--help", "-h", action="store_true", help="print this and exit")
    return result


def read_command(namespace: argparse.Namespace) -> Command:
    """Flags and file as a validated configuration.

    ConfigError names the flag, or the file and the key.
    """
    flags = {
        option.field: namespace_value
        for option in OPTIONS
        if (namespace_value := getattr(namespace, option.field, None)) is not None
    }
    values: dict[str, Any] = {}
    if namespace.config is not None:
        values.update(read_file(namespace.config))
    try:
        values.update({field: _BY_FIELD[field].read(text, field) for field, text in flags.items()})
        config = make_config(values)
    except ConfigError as error:
        raise _named(error, flags, values, namespace.config) from None
    return Command(config, namespace.stop_on_stdin_eof)


def make_config(values: Mapping[str, Any]) -> NodeConfig:
    """A validated NodeConfig from given fields, the rest by default."""
    given = dict(values)
    members = given.get("initial_cluster")
    if given.get("join") and "name" not in given:
        raise ConfigError("name", "needed with --join: a name that no node of the cluster has")
    if members and "name" not in given:
        raise ConfigError(
            "name", "needed with --initial-cluster: it says which of those nodes this one is"
        )
    if members and not given.get("peer"):
        given["peer"] = members.get(given["name"], "")
    config = NodeConfig(**given, given=frozenset(values))
    config.validate()
    return config


def read_file(path: str) -> dict[str, Any]:
    """The settings in a TOML file, by field of NodeConfig."""
    try:
        with open(path, "rb") as file:
            document = tomllib.load(file)
    except OSError as error:
        raise ConfigError("config", f"cannot read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError("config", f"{path} is not TOML: {error}") from None
    values: dict[str, Any] = {}
    for key, value in document.items():
        option = _BY_NAME.get(key.replace("_", "-"))
        if option is None:
            raise ConfigError(
                "config", f"{path}: unknown key {key!r}{_nearest(key, list(_BY_NAME))}"
            )
        if option.field in values:
            raise ConfigError("config", f"{path}: {key!r} is given twice")
        try:
            values[option.field] = _from_toml(option, value)
        except ConfigError as error:
            raise ConfigError("config", f"{path}: {key}: {error.why}") from None
    return values


def _from_toml(option: Option, value: object) -> object:
    """A TOML value in the type of the field; numbers may be written as numbers or as text."""
    if isinstance(value, str):
        return option.read(value, option.field)
    if option.read is _cluster and isinstance(value, dict):
        if not all(isinstance(address, str) for address in value.values()):
            raise ConfigError(
                option.field, "every address is a string, such as a = '10.0.0.1:7000'"
            )
        return value
    is_number = isinstance(value, int) and not isinstance(value, bool)
    if is_number and option.read in (_integer, read_size):
        return value
    if option.read is _number and (is_number or isinstance(value, float)):
        return float(str(value))
    raise ConfigError(option.field, f"{value!r} is not {_kind(option)}")


def _kind(option: Option) -> str:
    kinds: dict[Read, str] = {
        _text: "a string",
        _integer: "a whole number",
        _number: "a number",
        read_size: "a size, such as 1048576 or '1m'",
        _cluster: "a table of name = 'HOST:PORT'",
    }
    return kinds[option.read]


def _named(
    error: ConfigError, flags: Mapping[str, str], values: Mapping[str, Any], path: str | None
) -> ConfigError:
    """The error under the name by which the user knows the setting."""
    field = error.field.partition(",")[0]
    option = _BY_FIELD.get(field)
    if option is None:
        return error
    if field not in flags and field in values and path is not None:
        return ConfigError("config", f"{path}: {option.name}: {error.why}")
    return ConfigError(f"--{option.name}" if option.is_flag else option.name, error.why)


def _nearest(word: str, known: Sequence[str]) -> str:
    close = get_close_matches(word.lower().replace("_", "-"), known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else ""


def _help(option: Option) -> str:
    default = option.default
    if "(default" in option.help or default in ("", None) or option.read is _cluster:
        return option.help
    shown = format_size(default) if option.read is read_size else default
    return f"{option.help} (default: {shown})"
