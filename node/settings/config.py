"""Configuration of a node: one frozen value, checked once (`checks.py`), handed to everything.

Reading order: `ClusterSettings` (what has to be equal on all nodes of a cluster, and the
fingerprint that peers compare), `NodeConfig` (everything). How users write addresses and sizes is
in `ring/address.py` and `ring/size.py`; where the values come from (flags, a TOML file) is
`process/options.py`. Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from math import gcd

from quorumcache.node.errors import ConfigError
from quorumcache.ring.address import format_address, is_unix, parse_address
from quorumcache.ring.hashing import default_shard_count
from quorumcache.ring.settings import DEAD_AFTER_MS

# Founders are compared by name; a longer list of names is compared by its fingerprint.
FOUNDERS_CHARS_MAX = 2000

WILDCARDS = ("0.0.0.0", "::")


def parse_initial_cluster(text: str) -> dict[str, str]:
    """`a=HOST:PORT,b=HOST:PORT` as {name: peer address}. Spaces around commas are allowed, double
    names are not.
    """
    members: dict[str, str] = {}
    for part in text.split(","):
        name, equals, address = part.strip().partition("=")
        if not equals:
            raise ConfigError("initial_cluster", f"{part.strip()!r} is not NAME=HOST:PORT")
        if name in members:
            raise ConfigError("initial_cluster", f"node {name!r} is named twice")
        members[name] = address
    return members


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSettings:
    """What must be equal on all nodes of one cluster.

    Peers compare `fingerprint()` when they connect.
    """

    cluster_name: str
    shards: int
    replication: int
    heartbeat_ms: int
    election_ms: int
    durability: str

    def as_dict(self) -> dict[str, int | str]:
        """Flat form for a handshake, so that a refusal can name what differs."""
        values: dict[str, int | str] = asdict(self)
        return values

    def fingerprint(self) -> str:
        """16 hex digits.

        Equal settings have equal fingerprints, on every machine and Python version.
        """
        text = "\n".join(f"{name}={value}" for name, value in sorted(self.as_dict().items()))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig:
    """Everything a node is told.

    Call `check_config` before use; the defaults alone describe one node that keeps nothing.
    """

    # --- name and addresses
    # This node's name. Letters, digits, `.`, `_`, `-`; at most 64.
    name: str = "a"
    # Addresses for memcached clients, separated by commas. Port 0 = any free one. "" = none (only
    # beside `unix_path`, for a node that is alone).
    listen: str = "127.0.0.1:11211"
    # Path of a Unix socket for memcached clients, beside `listen`. "" = none.
    unix_path: str = ""
    # Permissions of that socket.
    unix_mask: int = 0o700
    # Connections that the kernel keeps until this node takes them in, for each address.
    listen_backlog: int = 1024
    # Address for the other nodes. "" = none (only for a node that is alone).
    peer: str = ""
    # Addresses for /metrics, /health and /status, separated by commas. "" = none.
    http: str = ""
    # What clients are told to connect to. "" = the first listen address; where that is a wildcard,
    # with the host that the other nodes know this node by.
    advertise: str = ""
    # What the other nodes are told to connect to. "" = the address in initial_cluster, else `peer`.
    advertise_peer: str = ""
    # Failure domain: replicas of one shard go to distinct zones first. "" = none.
    zone: str = ""
    # Share of shards relative to the other nodes. 0 = a gateway, which holds no shards and passes
    # on what its clients ask.
    weight: float = 1.0

    # --- the cluster (equal on all nodes)
    cluster_name: str = "quorumcache"
    # Name -> peer address of the nodes that create the cluster, this one included. Empty = this
    # node alone.
    initial_cluster: Mapping[str, str] = field(default_factory=dict)
    # Peer addresses of members, separated by commas: this node joins their cluster. "" = it founds
    # one, or is a member already.
    join: str = ""
    # Power of two. Fixed when the cluster is created. 0 = by the number of nodes that create it.
    shards: int = 0
    # Replicas per shard. Fewer nodes than this: as many as there are nodes.
    replication: int = 3
    heartbeat_ms: int = 50
    election_ms: int = 300
    # "fsync" or "memory". "" becomes fsync with a data_dir, memory without.
    durability: str = ""

    # File that holds the secret of the cluster, at least 16 characters. "" = the environment has
    # it, or the data directory.
    secret_file: str = ""

    # --- what memcached clients may do
    # File with `user:password` lines: clients have to say one of them first. "" = they need none.
    auth_file: str = ""
    # False = `flush_all` is refused.
    flush_enabled: bool = True
    # False = commands that list keys (`lru_crawler metadump`, `stats cachedump`) are refused.
    dump_enabled: bool = True
    # False = `watch` is refused.
    watch_enabled: bool = True
    # What ends the prefix of a key in `stats detail`, which then counts from the start.
    # "" = `:`, and it counts once a client has switched it on.
    prefix_delimiter: str = ""
    # True = `shutdown` stops this node.
    shutdown_enabled: bool = False

    # --- resources
    # Largest item that clients of this node may store, and that an append at this leader may make.
    # Should be equal on all nodes, and may differ while it is being changed.
    item_bytes_max: int = 1 << 20
    # Where the log and the snapshots are. None = nothing is kept (durability memory).
    data_dir: str | None = None
    # Memory for the items of all replicas on this node, as memcached counts it.
    memory_bytes: int = 1 << 30
    # Memory for log entries, of all replicas on this node. 0 = 64 MiB, or a quarter of
    # `memory_bytes` if that is more.
    log_memory_bytes: int = 0
    # A full shard drops what was not used for longest. False = it refuses to store, as memcached
    # does with -M.
    evicts: bool = True
    connections_max: int = 4096
    # A client that reads none of its replies for this time is closed. 0 = never.
    slow_client_ms: int = 60_000
    # A client that sends nothing and waits for nothing for this time is closed. 0 = never, as in
    # memcached.
    idle_timeout_ms: int = 0
    # How long a request is held through an election before it is answered with SERVER_ERROR.
    request_timeout_ms: int = 5000
    # How long a stopping node may take to hand its leaderships over and write what it has. Docker
    # kills after 10 seconds; a request may take 5.
    stop_timeout_ms: int = 8_000
    # A log file is closed and the next one begun at this size.
    segment_bytes_max: int = 64 << 20
    # Beyond this the groups that hold the oldest segment back are snapshotted at once.
    wal_bytes_max: int = 1 << 30
    # A group is snapshotted when its log has grown by this much and by as much as its last
    # snapshot.
    snapshot_bytes_min: int = 4 << 20
    # A node that is silent for so long counts as dead: its replicas are rebuilt elsewhere. A first
    # value: the cluster's is in the map.
    dead_after_ms: int = DEAD_AFTER_MS
    # Bytes a second that a node sends to new replicas, for all groups together: half of what a link
    # of 1 Gbit/s carries, so that clients keep the other half. 0 = no bound. A first value, too.
    move_bytes_per_s: int = 64 << 20
    # How long a drained node lets its clients stay before it leaves.
    drain_timeout_ms: int = 60_000
    # A client session that is idle for longer is expired through the log.
    session_idle_ms: int = 3_600_000
    # Consensus clock. Heartbeat and election times are whole numbers of ticks. 0 = the longest
    # tick that divides both and is at most half a heartbeat: an idle node wakes for every tick.
    tick_ms: int = 0

    # --- logs
    log_level: str = "info"
    log_format: str = "text"

    # --- where it comes from
    # Fields that the user has set. What a member's cluster says replaces all others of
    # `fixed_settings`. None = all of them count as set.
    given: frozenset[str] | None = field(default=None, compare=False, repr=False)
    # Of a member: what its cluster was founded with, whatever the map says by now. 0 = not known.
    founding_replication: int = field(default=0, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not self.durability:
            object.__setattr__(self, "durability", "fsync" if self.data_dir else "memory")
        if not self.shards and "shards" not in (self.given or ()):
            count = default_shard_count(len(self.members))
            object.__setattr__(self, "shards", count)
        if not self.tick_ms:
            object.__setattr__(self, "tick_ms", _longest_tick(self.heartbeat_ms, self.election_ms))

    # --- what follows from it

    @property
    def members(self) -> dict[str, str]:
        """The initial cluster in order of name; this node alone when none was given."""
        return dict(sorted(self.initial_cluster.items())) or {self.name: self.peer}

    @property
    def is_alone(self) -> bool:
        """True when this node founds a cluster of its own, without waiting for others."""
        return len(self.members) == 1 and not self.join

    @property
    def seeds(self) -> tuple[str, ...]:
        """The addresses in `join`."""
        return tuple(part.strip() for part in self.join.split(",")) if self.join else ()

    @property
    def heartbeat_ticks(self) -> int:
        return self.heartbeat_ms // self.tick_ms

    @property
    def election_ticks(self) -> int:
        return self.election_ms // self.tick_ms

    @property
    def fixed_settings(self) -> dict[str, str]:
        """What the founding record holds: first of all what is fixed when the cluster is created. A
        restart with another value is refused.
        """
        return {
            "cluster_name": self.cluster_name,
            "durability": self.durability,
            "replication": str(self.replication),
            "shards": str(self.shards),
        }

    def is_given(self, name: str) -> bool:
        """Whether the user has set this field."""
        return self.given is None or name in self.given

    @property
    def joining_settings(self) -> dict[str, str]:
        """What a node that joins tells of its settings: what must be equal on all nodes and is not
        told to it, and what its user has given.
        """
        own = {name: str(value) for name, value in self.cluster_settings.as_dict().items()}
        told = ("heartbeat_ms", "election_ms")
        asked = ("cluster_name", "shards")
        return {
            name: own[name]
            for name in (*told, *asked)
            if name in told or (self.given is not None and name in self.given)
        }

    def of_cluster(self, settings: Mapping[str, str]) -> NodeConfig:
        """The configuration of this node as a member of a cluster whose record holds `settings`."""
        return replace(
            self,
            cluster_name=settings["cluster_name"],
            durability=settings["durability"],
            shards=int(settings["shards"]),
            founding_replication=int(settings["replication"]),
        )

    @property
    def founding_settings(self) -> tuple[tuple[str, str], ...]:
        """(name, value) of what has to be equal on all founders of a cluster.

        Addresses are left out: a founder may be reached by another one from each side.
        """
        names = ",".join(self.members)
        if len(names) > FOUNDERS_CHARS_MAX:
            digest = hashlib.sha256(names.encode()).hexdigest()[:16]
            names = f"{len(self.members)} nodes, fingerprint of their names {digest}"
        settings = {**self.cluster_settings.as_dict(), "initial_cluster": names}
        return tuple((name, str(value)) for name, value in sorted(settings.items()))

    @property
    def cluster_settings(self) -> ClusterSettings:
        """The part that must be equal on all nodes. Of a member: as since the founding, so that a
        replication that was changed later cuts no links.
        """
        return ClusterSettings(
            cluster_name=self.cluster_name,
            shards=self.shards,
            replication=self.founding_replication or self.replication,
            heartbeat_ms=self.heartbeat_ms,
            election_ms=self.election_ms,
            durability=self.durability,
        )

    def advertised(self, bound: str) -> str:
        """The address to tell others for a listener bound at `bound` (`HOST:PORT`, port known,
        several separated by commas: the first one; `unix:/path` where there is no other).

        `advertise` applies to the memcached listener; call this with its bound address. A
        wildcard host is replaced by the host of this node's peer address, which the others can
        reach.
        """
        if self.advertise:
            host, port = parse_address(self.advertise)
            if not port and is_unix(_first_of(bound)):
                return bound
            return format_address(host, port or parse_address(_first_of(bound))[1])
        return self.reachable(bound)

    def advertised_peer(self, bound: str) -> str:
        """The peer address to tell others, for a peer listener bound at `bound`; "" = at none."""
        address = self.advertise_peer or self.members[self.name] or self.peer or "127.0.0.1:0"
        host, port = parse_address(address)
        return format_address(host, port or (parse_address(_first_of(bound))[1] if bound else 0))

    def reachable(self, bound: str) -> str:
        """`bound`, with a wildcard host replaced by the host that the other nodes know this
        node by.
        """
        first = _first_of(bound)
        if is_unix(first):
            return first
        host, port = parse_address(first)
        peer_address = self.advertise_peer or self.members[self.name]
        if host in WILDCARDS and peer_address:
            host = parse_address(peer_address)[0]
        return format_address(host, port)


def _first_of(addresses: str) -> str:
    return addresses.partition(",")[0]


def _longest_tick(heartbeat_ms: int, election_ms: int) -> int:
    common = max(1, gcd(heartbeat_ms, election_ms))
    longest = max(1, heartbeat_ms // 2)
    return next(tick for tick in range(min(common, longest), 0, -1) if common % tick == 0)
