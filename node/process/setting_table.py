"""Every setting of a node: its flag, its key in the TOML file, how it is read, and its help.

`OPTIONS` is the one table: the flags of `quorumcached`, the keys of the file and the words of the
error messages all come from it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from quorumcache.node.errors import ConfigError
from quorumcache.node.settings.checks import DURABILITIES, LOG_FORMATS, LOG_LEVELS
from quorumcache.node.settings.config import NodeConfig, parse_initial_cluster
from quorumcache.ring.errors import SizeError
from quorumcache.ring.size import parse_size

Read = Callable[[str, str], Any]


def read_text(text: str, field: str) -> str:
    """The text as it is."""
    return text


def read_integer(text: str, field: str) -> int:
    """A whole number. `ConfigError` names the field; so do all readers."""
    try:
        return int(text)
    except ValueError:
        raise ConfigError(field, f"{text!r} is not a whole number") from None


def read_number(text: str, field: str) -> float:
    """A number."""
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


def read_no(text: str, field: str) -> bool:
    """Of a setting that switches something off: `yes` as False, `no` as True."""
    if text not in ("yes", "no"):
        raise ConfigError(field, f"{text!r} is not yes or no")
    return text == "no"


def read_yes(text: str, field: str) -> bool:
    """Of a setting that switches something on: `yes` as True, `no` as False."""
    return not read_no(text, field)


def read_octal(text: str, field: str) -> int:
    """Permissions in octal digits, such as 0700."""
    digits = text.removeprefix("0o")
    if not digits or digits.strip("01234567"):
        raise ConfigError(field, f"{text!r:.60} is not permissions in octal digits, such as 0700")
    return int(digits, 8)


def read_cluster(text: str, field: str) -> dict[str, str]:
    """NAME=HOST:PORT,... as addresses by name."""
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
    # Several values, separated by commas, or by giving the flag again; in the file also a list.
    is_list: bool = False

    @property
    def default(self) -> Any:
        """What NodeConfig has when nothing is said."""
        return getattr(_DEFAULTS, self.field)


_DEFAULTS = NodeConfig()

OPTIONS: tuple[Option, ...] = (
    Option("name", "name", read_text, "NAME", "this node's name, unique in the cluster"),
    Option(
        "listen",
        "listen",
        read_text,
        "HOST:PORT",
        "addresses for memcached clients, separated by commas; port 0 = a free one",
        is_list=True,
    ),
    Option(
        "unix-path",
        "unix_path",
        read_text,
        "PATH",
        "Unix socket for memcached clients, beside --listen (default: none)",
    ),
    Option(
        "unix-mask",
        "unix_mask",
        read_octal,
        "MODE",
        "permissions of the Unix socket, in octal digits",
    ),
    Option(
        "listen-backlog",
        "listen_backlog",
        read_integer,
        "N",
        "connections that wait in the kernel until the node takes them in, for each address",
    ),
    Option(
        "peer",
        "peer",
        read_text,
        "HOST:PORT",
        "address for the other nodes (default: as in --initial-cluster)",
    ),
    Option(
        "http",
        "http",
        read_text,
        "HOST:PORT",
        "addresses, separated by commas, for /metrics, /health and /status (default: none)",
        is_list=True,
    ),
    Option(
        "advertise",
        "advertise",
        read_text,
        "HOST:PORT",
        "address clients are told to use (default: --listen)",
    ),
    Option(
        "advertise-peer",
        "advertise_peer",
        read_text,
        "HOST:PORT",
        "address the other nodes are told to use (default: as in --initial-cluster, else --peer)",
    ),
    Option(
        "data-dir",
        "data_dir",
        read_text,
        "DIR",
        "where the log and the snapshots are kept (default: nothing is kept)",
    ),
    Option(
        "initial-cluster",
        "initial_cluster",
        read_cluster,
        "NAME=HOST:PORT,...",
        "all nodes that create the cluster with their peer addresses, this one included; the same"
        " on every node",
    ),
    Option(
        "join",
        "join",
        read_text,
        "HOST:PORT,...",
        "peer addresses of members of the cluster that this node joins; a node that is a member"
        " starts as such",
        is_list=True,
    ),
    Option(
        "cluster-name",
        "cluster_name",
        read_text,
        "NAME",
        "a name for people; fixed when a cluster is created",
    ),
    Option(
        "shards",
        "shards",
        read_integer,
        "N",
        "partitions of the keys, a power of two; fixed when a cluster is created (default: 16 for"
        " up to 3 founders, 32 for up to 6, and so on: 5 or more for each)",
    ),
    Option("replication", "replication", read_integer, "N", "replicas per shard"),
    Option(
        "heartbeat-ms", "heartbeat_ms", read_integer, "MS", "time between a leader's heartbeats"
    ),
    Option(
        "election-ms",
        "election_ms",
        read_integer,
        "MS",
        "silence after which a new leader is elected",
    ),
    Option("memory", "memory_bytes", read_size, "SIZE", "memory for items, such as 512m or 1g"),
    Option(
        "log-memory",
        "log_memory_bytes",
        read_size,
        "SIZE",
        "memory for log entries (default: 64m, or a quarter of --memory if that is more)",
    ),
    Option(
        "no-evict",
        "evicts",
        read_no,
        "yes|no",
        "refuse to store when memory is full, instead of evicting (memcached's -M)",
    ),
    Option("max-item-size", "item_bytes_max", read_size, "SIZE", "largest item, up to 128m"),
    Option(
        "durability",
        "durability",
        read_text,
        "|".join(DURABILITIES),
        "fsync: a write is acknowledged when it is on the disks of a majority; memory: nothing is"
        " kept on disk (default: fsync with a data directory)",
    ),
    Option(
        "zone",
        "zone",
        read_text,
        "ZONE",
        "failure domain; replicas of a shard go to distinct zones first",
    ),
    Option(
        "weight",
        "weight",
        read_number,
        "X",
        "share of the shards relative to other nodes; 0 = a gateway, which holds none",
    ),
    Option(
        "request-timeout-ms",
        "request_timeout_ms",
        read_integer,
        "MS",
        "how long a request waits for a leader",
    ),
    Option(
        "dead-after-ms",
        "dead_after_ms",
        read_integer,
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
        read_integer,
        "MS",
        "how long a drained node waits for its clients before it leaves",
    ),
    Option("max-connections", "connections_max", read_integer, "N", "client connections"),
    Option(
        "slow-client-ms",
        "slow_client_ms",
        read_integer,
        "MS",
        "close a client that takes no reply for this time (0: never)",
        is_flag=False,
    ),
    Option(
        "idle-timeout-ms",
        "idle_timeout_ms",
        read_integer,
        "MS",
        "close a client that sends nothing for this time (0: never)",
        is_flag=False,
    ),
    Option(
        "secret-file",
        "secret_file",
        read_text,
        "FILE",
        "file with the cluster's secret, which every node is given (default: the environment"
        " variable QUORUMCACHE_SECRET, or a secret that the cluster makes when it is created)",
    ),
    Option(
        "auth-file",
        "auth_file",
        read_text,
        "FILE",
        "file of user:password lines: memcached clients have to give one of them first",
    ),
    Option("disable-flush-all", "flush_enabled", read_no, "yes|no", "refuse the command flush_all"),
    Option(
        "disable-dumping", "dump_enabled", read_no, "yes|no", "refuse the commands that list keys"
    ),
    Option(
        "prefix-delimiter",
        "prefix_delimiter",
        read_text,
        "CHAR",
        "count by prefixes of keys that end with this character, from the start (default: `:`, and"
        " once a client has sent `stats detail on`)",
    ),
    Option("disable-watch", "watch_enabled", read_no, "yes|no", "refuse the command watch"),
    Option("enable-shutdown", "shutdown_enabled", read_yes, "yes|no", "let clients stop the node"),
    Option(
        "log-level",
        "log_level",
        read_text,
        "|".join(LOG_LEVELS),
        "lowest level that is logged to stderr",
    ),
    Option("log-format", "log_format", read_text, "|".join(LOG_FORMATS), "form of the log lines"),
    Option(
        "stop-timeout-ms",
        "stop_timeout_ms",
        read_integer,
        "MS",
        "time for a clean stop",
        is_flag=False,
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
        read_integer,
        "MS",
        "life of an idle client session",
        is_flag=False,
    ),
)
