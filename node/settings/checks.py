"""What is refused of a node's settings: the limits of each, and what does not fit together.

A refusal names the setting as the configuration does, its value and the limit. Pure.
"""

from __future__ import annotations

import re

from quorumcache.node.errors import ConfigError
from quorumcache.node.settings.config import WILDCARDS, NodeConfig
from quorumcache.ring.address import parse_address, parse_addresses
from quorumcache.ring.cluster_map import NODES_MAX, REPLICATION_MAX
from quorumcache.ring.errors import AddressError
from quorumcache.ring.hashing import SHARD_COUNT_MAX, is_shard_count
from quorumcache.ring.node_info import WEIGHTS, is_weight
from quorumcache.ring.settings import (
    DEAD_AFTER_MS_MAX,
    DEAD_AFTER_MS_MIN,
    MAX_ITEM_SIZE_MAX,
    MOVE_RATE_MAX,
    MOVE_RATE_MIN,
)

# Values travel in pieces, so this is a matter of memory alone: a shard takes in two such values at
# a time (`STAGED_BYTES_MAX` in store/staging.py), and every replica holds them.
ITEM_BYTES_MIN = 1 << 10
ITEM_BYTES_DEFAULT = 1 << 20
ITEM_BYTES_LIMIT = MAX_ITEM_SIZE_MAX
MEMORY_BYTES_MIN = 1 << 20
# Below it every entry of its usual size would be followed by a snapshot.
LOG_MEMORY_BYTES_MIN = 4 << 20
# A machine has a few networks; each address costs a descriptor.
LISTEN_ADDRESSES_MAX = 16
# Of `sun_path` in unix(7), without its last zero byte.
UNIX_PATH_BYTES_MAX = 107
# One that answers is enough, and each is asked in turn.
SEEDS_MAX = 64
# A log file is read whole at the start.
SEGMENT_BYTES_LIMIT = 1 << 30

GATEWAY_FOUNDS = "0 makes a gateway, which holds no shards: it has to join a cluster, with --join"
DURABILITIES = ("fsync", "memory")
LOG_LEVELS = ("debug", "info", "warning", "error")
LOG_FORMATS = ("text", "json")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")


def check_config(config: NodeConfig) -> None:
    """Raise ConfigError for the first setting that is wrong."""
    _check_names(config)
    _check_cluster(config)
    _check_durability(config)
    _check_resources(config)


def _check_names(config: NodeConfig) -> None:
    for name, value in (("name", config.name), ("cluster_name", config.cluster_name)):
        if not _NAME.match(value):
            raise ConfigError(
                name, f"{value!r} is not 1 to 64 of letters, digits, '.', '_' and '-'"
            )
    if config.zone and not _NAME.match(config.zone):
        raise ConfigError(
            "zone", f"{config.zone!r} is not 1 to 64 of letters, digits, '.', '_' and '-'"
        )
    for name, value in (("listen", config.listen), ("http", config.http)):
        if value or (name == "listen" and not config.unix_path):
            _listen_addresses(name, value)
    if config.unix_path:
        _check_unix_path(config)
    addresses = {"peer": config.peer, "advertise": config.advertise}
    for name, value in {**addresses, "advertise_peer": config.advertise_peer}.items():
        if value:
            _address(name, value)
    if not is_weight(config.weight):
        raise ConfigError("weight", f"{config.weight!r:.60} is not {WEIGHTS}")
    if config.weight == 0 and config.initial_cluster:
        raise ConfigError("weight", GATEWAY_FOUNDS)
    delimiter = config.prefix_delimiter
    if delimiter and not (len(delimiter) == 1 and "!" <= delimiter <= "~"):
        raise ConfigError("prefix_delimiter", f"{delimiter!r:.60} is not one character of a key")
    _one_of("log_level", config.log_level, LOG_LEVELS)
    _one_of("log_format", config.log_format, LOG_FORMATS)


def _check_unix_path(config: NodeConfig) -> None:
    path = config.unix_path
    size = len(path.encode(errors="surrogateescape"))
    if size > UNIX_PATH_BYTES_MAX:
        raise ConfigError(
            "unix_path", f"{size} bytes long, and a Unix socket may have {UNIX_PATH_BYTES_MAX}"
        )
    if not path.isprintable() or set(path) & {" ", ","}:
        raise ConfigError("unix_path", f"{path!r} has a character that a path here may not have")
    if not config.listen and (config.peer or not config.is_alone):
        raise ConfigError(
            "listen",
            "needed on a node that has peers: other machines cannot reach a Unix socket",
        )


def _check_cluster(config: NodeConfig) -> None:
    if len(config.initial_cluster) > NODES_MAX:
        raise ConfigError(
            "initial_cluster", f"{len(config.initial_cluster)} nodes, at most {NODES_MAX}"
        )
    owner: dict[str, str] = {}
    for name, address in config.members.items():
        if not _NAME.match(name):
            raise ConfigError(
                "initial_cluster",
                f"node name {name!r} is not 1 to 64 of letters, digits, '.', '_' and '-'",
            )
        if len(config.members) == 1 and not address:
            continue
        port = _address(f"initial_cluster, node {name}", address)[1]
        if port == 0 and len(config.members) > 1:
            raise ConfigError(
                "initial_cluster",
                f"node {name}: {address!r} has port 0, but the other nodes have to know the port",
            )
        if address in owner:
            raise ConfigError(
                "initial_cluster", f"nodes {owner[address]} and {name} share address {address}"
            )
        owner[address] = name
    if config.name not in config.members:
        raise ConfigError(
            "name", f"{config.name!r} is not in initial_cluster ({', '.join(config.members)})"
        )
    if len(config.members) > 1 and not config.peer:
        raise ConfigError(
            "peer",
            f"a cluster of {len(config.members)} nodes needs an address that the others reach",
        )
    if config.join:
        _check_join(config)
    if not is_shard_count(config.shards):
        raise ConfigError(
            "shards", f"{config.shards} is not a power of two in 1..{SHARD_COUNT_MAX}"
        )
    _in_range("replication", config.replication, 1, REPLICATION_MAX)
    _in_range("tick_ms", config.tick_ms, 1, 1000)
    for name, value in (("heartbeat_ms", config.heartbeat_ms), ("election_ms", config.election_ms)):
        _in_range(name, value, config.tick_ms, 600_000)
        if value % config.tick_ms:
            raise ConfigError(name, f"{value} is not a multiple of the tick ({config.tick_ms} ms)")
    if config.election_ms < 3 * config.heartbeat_ms:
        raise ConfigError(
            "election_ms",
            f"{config.election_ms} is less than 3 x heartbeat_ms ({config.heartbeat_ms}): one lost"
            " heartbeat would start an election",
        )
    if config.item_bytes_max > ITEM_BYTES_LIMIT:
        raise ConfigError(
            "item_bytes_max",
            f"{config.item_bytes_max} is more than {ITEM_BYTES_LIMIT} (128m), the largest item that"
            " nodes take in",
        )
    _in_range("item_bytes_max", config.item_bytes_max, ITEM_BYTES_MIN, ITEM_BYTES_LIMIT)


def _check_join(config: NodeConfig) -> None:
    if config.initial_cluster:
        raise ConfigError(
            "join",
            "not together with --initial-cluster: that one creates a cluster, --join enters one"
            " that is there",
        )
    if len(config.seeds) > SEEDS_MAX:
        raise ConfigError("join", f"{len(config.seeds)} addresses, at most {SEEDS_MAX}")
    for seed in config.seeds:
        if _address("join", seed)[1] == 0:
            raise ConfigError("join", f"{seed!r} has port 0: give the port of a member")
    if not config.peer:
        raise ConfigError("peer", "needed with --join: the members have to reach this node")
    if parse_address(config.advertise_peer or config.peer)[0] in WILDCARDS:
        raise ConfigError(
            "advertise_peer",
            f"needed with --peer {config.peer}: the members have to know where this node is",
        )
    if not config.data_dir:
        raise ConfigError("data_dir", "needed with --join: a member has to keep its votes")


def _check_durability(config: NodeConfig) -> None:
    _one_of("durability", config.durability, DURABILITIES)
    if config.durability == "memory" and len(config.members) > 1:
        if config.data_dir:
            raise ConfigError(
                "durability",
                "memory for more than one node is not supported yet: a restarted node would"
                " not know its votes. Leave it out",
            )
        raise ConfigError(
            "data_dir",
            f"needed on every node of a cluster of {len(config.members)}: durability memory for"
            " more than one node is not supported yet, a restarted node would not know its"
            " votes",
        )
    if config.durability == "fsync" and not config.data_dir:
        raise ConfigError("data_dir", "durability fsync needs a directory: give --data-dir DIR")
    if config.durability == "memory" and config.data_dir:
        raise ConfigError(
            "data_dir",
            f"{config.data_dir!r} would stay empty under durability memory: leave one out",
        )


def _check_resources(config: NodeConfig) -> None:
    _in_range("memory_bytes", config.memory_bytes, MEMORY_BYTES_MIN, 1 << 50)
    if config.item_bytes_max > max(config.memory_bytes // 2, ITEM_BYTES_DEFAULT):
        raise ConfigError(
            "item_bytes_max",
            f"{config.item_bytes_max} is more than half of memory ({config.memory_bytes}): such an"
            " item could not be stored beside the one that it replaces. Raise memory",
        )
    if config.log_memory_bytes != 0:
        _in_range("log_memory_bytes", config.log_memory_bytes, LOG_MEMORY_BYTES_MIN, 1 << 50)
    _in_range("connections_max", config.connections_max, 1, 1_000_000)
    _in_range("listen_backlog", config.listen_backlog, 1, 1 << 20)
    if not 0 < config.unix_mask <= 0o777:
        raise ConfigError("unix_mask", f"{config.unix_mask:o} is not in 1..777")
    _in_range("slow_client_ms", config.slow_client_ms, 0, 86_400_000)
    _in_range("idle_timeout_ms", config.idle_timeout_ms, 0, 86_400_000)
    _in_range("request_timeout_ms", config.request_timeout_ms, 1, 3_600_000)
    _in_range("stop_timeout_ms", config.stop_timeout_ms, 1, 3_600_000)
    _in_range("segment_bytes_max", config.segment_bytes_max, 1 << 10, SEGMENT_BYTES_LIMIT)
    _in_range("wal_bytes_max", config.wal_bytes_max, config.segment_bytes_max, 1 << 50)
    _in_range("snapshot_bytes_min", config.snapshot_bytes_min, 1, 1 << 40)
    _in_range("dead_after_ms", config.dead_after_ms, DEAD_AFTER_MS_MIN, DEAD_AFTER_MS_MAX)
    if config.move_bytes_per_s != 0:
        _in_range("move_bytes_per_s", config.move_bytes_per_s, MOVE_RATE_MIN, MOVE_RATE_MAX)
    _in_range("drain_timeout_ms", config.drain_timeout_ms, 0, 86_400_000)
    _in_range("session_idle_ms", config.session_idle_ms, 1000, 1 << 40)


def _address(name: str, value: str) -> tuple[str, int]:
    try:
        return parse_address(value)
    except AddressError as error:
        raise ConfigError(name, str(error)) from None


def _listen_addresses(name: str, value: str) -> None:
    try:
        count = len(parse_addresses(value))
    except AddressError as error:
        raise ConfigError(name, str(error)) from None
    if count > LISTEN_ADDRESSES_MAX:
        raise ConfigError(name, f"{count} addresses, at most {LISTEN_ADDRESSES_MAX}")


def _in_range(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ConfigError(name, f"{value} is not in {low}..{high}")


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError(name, f"{value!r} is not one of {', '.join(allowed)}")
