"""The cluster map: nodes, addresses and replica sets, as one immutable value with an epoch.

Same map, same answer, in every process: node, client and test compute the shard and the replicas of
a key from it. Every instance is valid: a map is checked when it is built, so also when it is
decoded.

Bytes of a map: one msgpack array, at most MAP_BYTES_MAX long.

    [ MAP_FORMAT, epoch, cluster_id, shard_count, replication,
      [ [node_id, name, peer_address, client_address, http_address, zone, weight, disk_id], ...
        by node_id ],
      [ [node_id of the preferred leader, node_id, ...], ... by shard ],
      [ [node_id, ...], ... the founding set of each shard, by shard ],
      started: shard_count bits, shard 0 in the lowest bit of the first byte,
      [ [name, value], ... the settings that are fixed since the creation, by name ] ]
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, Self

import msgpack

from quorumcache.ring.address import parse_address
from quorumcache.ring.errors import AddressError, MapError
from quorumcache.ring.hashing import SHARD_COUNT_MAX, is_shard_count, key_token

MAP_FORMAT = 2
MAP_BYTES_MAX = 4 << 20  # 4096 shards of 7 replicas and 1000 nodes need less than 400 KiB
NODES_MAX = 1024
NODE_ID_MAX = (1 << 31) - 1
REPLICATION_MAX = 9  # a wider group only makes the quorum slower
EPOCH_MAX = (1 << 63) - 1
TEXT_CHARS_MAX = 255  # names, zones and addresses: longer than any DNS name with a port
WEIGHT_MAX = 1e6
SETTINGS_MAX = 64
FIELD_COUNT = 10

_DISK_ID = re.compile(r"[0-9a-f]{32}\Z")


def is_disk_id(text: object) -> bool:
    """Whether this is an id of 128 random bits, as 32 lower-case hexadecimal digits."""
    return type(text) is str and _DISK_ID.match(text) is not None


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """What the cluster knows about one node.

    `node_id`: from 1, never used again for another node. `name`: unique, without white space. The
    three addresses are host:port; `http_address` may be "" (no HTTP endpoint). `zone`: failure
    domain, "" if there are none. `weight`: share of the replicas relative to the other nodes, in
    (0, 1e6]. `disk_id`: the random id of the data directory that may speak for this node; "" where
    no process stands behind the map.
    """

    node_id: int
    name: str
    peer_address: str
    client_address: str
    http_address: str
    zone: str
    weight: float
    disk_id: str = ""

    def with_id(self, node_id: int) -> NodeInfo:
        """The same node under another id: a founder gets its id when the record is made."""
        return replace(self, node_id=node_id)


@dataclass(frozen=True, slots=True)
class ClusterMap:
    """One epoch of the cluster.

    `epoch`: version of the map, from 1, only ever grows; never a Raft term. `shard_count`: fixed
    for the life of the cluster. `replication`: wanted replicas per shard; a shard has fewer while
    there are not enough nodes, and may have others while a move is under way. `nodes`: sorted by
    node_id. `replica_sets`: one per shard, distinct node ids, the first is the preferred leader.
    `founding_sets`: the voters that each shard's group was born with; given as (), they are the
    replica sets. `started`: one bit per shard (shard 0 is the lowest), set once the group has
    committed an entry; never unset. `settings`: what is fixed since the creation, by name.
    """

    epoch: int
    cluster_id: str
    shard_count: int
    replication: int
    nodes: tuple[NodeInfo, ...]
    replica_sets: tuple[tuple[int, ...], ...]
    founding_sets: tuple[tuple[int, ...], ...] = ()
    started: int = 0
    settings: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if not self.founding_sets:
            object.__setattr__(self, "founding_sets", self.replica_sets)
        _check_map(self)

    def node(self, node_id: int) -> NodeInfo:
        """The node with this id; `MapError` if the map does not know it."""
        for node in self.nodes:
            if node.node_id == node_id:
                return node
        raise MapError(f"node {node_id} is not in the map of epoch {self.epoch}")

    def shard_of(self, key: bytes) -> int:
        """Shard of `key`, in [0, shard_count)."""
        return key_token(key) >> (65 - self.shard_count.bit_length())

    def replicas_of(self, shard: int) -> tuple[int, ...]:
        """Node ids that hold `shard`, the preferred leader first."""
        return self.replica_sets[shard]

    def preferred_leader(self, shard: int) -> int:
        """Node id that should lead `shard` when it can."""
        return self.replica_sets[shard][0]

    def is_started(self, shard: int) -> bool:
        """Whether the shard's group has committed an entry: a new replica is then born empty."""
        return bool(self.started >> shard & 1)

    def with_started(self, shards: Iterable[int]) -> ClusterMap:
        """The next epoch, in which the groups of these shards, too, have started."""
        started = self.started
        for shard in shards:
            started |= 1 << shard
        return replace(self, epoch=self.epoch + 1, started=started)

    def with_nodes(self, infos: Iterable[NodeInfo]) -> ClusterMap:
        """The next epoch, in which each of `infos` is added, or replaces the node of the same id,
        all at once. No replica moves.
        """
        nodes = {node.node_id: node for node in self.nodes}
        nodes.update((info.node_id, info) for info in infos)
        ordered = tuple(nodes[node_id] for node_id in sorted(nodes))
        return replace(self, epoch=self.epoch + 1, nodes=ordered)

    def with_node(self, info: NodeInfo) -> ClusterMap:
        """The next epoch, in which `info` is added, or replaces the node of the same id. No replica
        moves.
        """
        return self.with_nodes((info,))

    def without_node(self, node_id: int) -> ClusterMap:
        """The next epoch without this node; `MapError` if unknown or still holding a replica."""
        self.node(node_id)
        nodes = tuple(node for node in self.nodes if node.node_id != node_id)
        return replace(self, epoch=self.epoch + 1, nodes=nodes)

    def with_replica_sets(self, replica_sets: Iterable[Sequence[int]]) -> ClusterMap:
        """The next epoch with these replica sets, one per shard."""
        sets = tuple(tuple(replica_set) for replica_set in replica_sets)
        return replace(self, epoch=self.epoch + 1, replica_sets=sets)

    def with_replicas(self, shard: int, replicas: Sequence[int]) -> ClusterMap:
        """The next epoch, in which `shard` is held by `replicas`, the preferred leader first."""
        if not 0 <= shard < self.shard_count:
            raise MapError(f"shard is {shard}, expected a number in [0, {self.shard_count})")
        sets = self.replica_sets
        return self.with_replica_sets((*sets[:shard], tuple(replicas), *sets[shard + 1 :]))

    def to_bytes(self) -> bytes:
        """The msgpack form; equal maps give equal bytes."""
        packed: bytes = msgpack.packb(
            (
                MAP_FORMAT,
                self.epoch,
                self.cluster_id,
                self.shard_count,
                self.replication,
                [
                    (
                        node.node_id,
                        node.name,
                        node.peer_address,
                        node.client_address,
                        node.http_address,
                        node.zone,
                        float(node.weight),
                        node.disk_id,
                    )
                    for node in self.nodes
                ],
                self.replica_sets,
                self.founding_sets,
                self.started.to_bytes((self.shard_count + 7) // 8, "little"),
                self.settings,
            )
        )
        return packed

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The map in `data`, none of which is trusted; `MapError` says what is wrong with it."""
        if len(data) > MAP_BYTES_MAX:
            raise MapError(f"a map of {len(data)} bytes is larger than {MAP_BYTES_MAX}")
        try:
            fields = msgpack.unpackb(data, use_list=False, strict_map_key=True)
        except (ValueError, RecursionError, msgpack.UnpackException) as error:
            raise MapError(f"a map is not valid msgpack: {error!r}") from error
        if type(fields) is not tuple or not fields:
            raise MapError(
                f"a map is {type(fields).__name__}, expected an array of {FIELD_COUNT} fields"
            )
        if type(fields[0]) is not int or fields[0] != MAP_FORMAT:
            raise MapError(
                f"the map is in format {fields[0]!r:.60}, this version reads format {MAP_FORMAT}"
            )
        if len(fields) != FIELD_COUNT:
            raise MapError(f"a map has {len(fields)} fields, expected {FIELD_COUNT}")
        _, epoch, cluster_id, shard_count, replication, nodes, replica_sets = fields[:7]
        founding_sets, started, settings = fields[7:]
        if type(nodes) is not tuple:
            raise MapError(f"nodes is {type(nodes).__name__}, expected an array")
        if type(started) is not bytes:
            raise MapError(f"started is {type(started).__name__}, expected bytes")
        if not founding_sets:
            raise MapError("founding_sets is empty, expected one set per shard")
        return cls(
            epoch=epoch,
            cluster_id=cluster_id,
            shard_count=shard_count,
            replication=replication,
            nodes=tuple(_node_from(fields) for fields in nodes),
            replica_sets=replica_sets,
            founding_sets=founding_sets,
            started=int.from_bytes(started, "little"),
            settings=settings,
        )

    def fingerprint(self) -> str:
        """128-bit digest of the whole map, as 32 hexadecimal digits. Equal maps, equal
        fingerprints.
        """
        return blake2b(self.to_bytes(), digest_size=16).hexdigest()


def _node_from(fields: Any) -> NodeInfo:
    if type(fields) is not tuple or len(fields) != 8:
        raise MapError(f"a node is {fields!r:.100}, expected an array of 8 fields")
    return NodeInfo(*fields)


def _check_map(candidate: ClusterMap) -> None:
    _check_int("epoch", candidate.epoch, 1, EPOCH_MAX)
    _check_text("cluster_id", candidate.cluster_id)
    _check_int("shard_count", candidate.shard_count, 1, SHARD_COUNT_MAX)
    if not is_shard_count(candidate.shard_count):
        raise MapError(f"shard_count is {candidate.shard_count}, expected a power of two")
    _check_int("replication", candidate.replication, 1, REPLICATION_MAX)
    _check_nodes(candidate.nodes)
    known = {node.node_id for node in candidate.nodes}
    _check_sets(candidate, "replica", candidate.replica_sets, known)
    _check_sets(candidate, "founding", candidate.founding_sets, None)
    _check_int("started", candidate.started, 0, (1 << candidate.shard_count) - 1)
    _check_settings(candidate.settings)


def _check_nodes(nodes: Any) -> None:
    if type(nodes) is not tuple:
        raise MapError(f"nodes is {type(nodes).__name__}, expected a tuple")
    if not 1 <= len(nodes) <= NODES_MAX:
        raise MapError(f"a map has {len(nodes)} nodes, expected 1 to {NODES_MAX}")
    taken: dict[tuple[str, str], int] = {}
    last_id = 0
    for node in nodes:
        if type(node) is not NodeInfo:
            raise MapError(f"a node is {type(node).__name__}, expected NodeInfo")
        _check_int("node_id", node.node_id, 1, NODE_ID_MAX)
        if node.node_id <= last_id:
            raise MapError(f"node {node.node_id} follows node {last_id}: ids must ascend")
        last_id = node.node_id
        check_node(node)
        for field in ("name", "peer_address", "client_address"):
            value = getattr(node, field)
            other = taken.setdefault((field, value), node.node_id)
            if other != node.node_id:
                raise MapError(f"nodes {other} and {node.node_id} share the {field} {value!r}")


def check_node(node: NodeInfo) -> None:
    """Raise `MapError` for the first thing that is wrong with what is known of a node."""
    where = f"node {node.node_id}"
    _check_text(f"{where}: name", node.name)
    _check_address(f"{where}: peer_address", node.peer_address)
    _check_address(f"{where}: client_address", node.client_address)
    if node.http_address != "":
        _check_address(f"{where}: http_address", node.http_address)
    if node.zone != "":
        _check_text(f"{where}: zone", node.zone)
    if node.disk_id != "" and not is_disk_id(node.disk_id):
        raise MapError(f"{where}: disk_id is {node.disk_id!r:.60}, expected 32 hexadecimal digits")
    weight: Any = node.weight
    if (
        type(weight) not in (int, float)
        or not math.isfinite(weight)
        or not 0 < weight <= WEIGHT_MAX
    ):
        raise MapError(f"{where}: weight is {weight!r}, expected a number in (0, {WEIGHT_MAX:g}]")


def _check_sets(candidate: ClusterMap, word: str, sets: Any, known: set[int] | None) -> None:
    """`known` None: a founding set may name nodes that have left since."""
    if type(sets) is not tuple or len(sets) != candidate.shard_count:
        count = len(sets) if type(sets) is tuple else type(sets).__name__
        raise MapError(f"{word}_sets has {count} shards, expected {candidate.shard_count}")
    for shard, replicas in enumerate(sets):
        if type(replicas) is not tuple or not replicas:
            raise MapError(f"shard {shard}: replicas are {replicas!r:.100}, expected node ids")
        for node_id in replicas:
            if known is None:
                _check_int(f"shard {shard}: founder", node_id, 1, NODE_ID_MAX)
            elif type(node_id) is not int or node_id not in known:
                raise MapError(f"shard {shard}: replica {node_id!r:.100} is not a node of the map")
        if len(set(replicas)) != len(replicas):
            raise MapError(f"shard {shard}: a node appears twice in {replicas!r:.100}")


def _check_settings(settings: Any) -> None:
    if type(settings) is not tuple or len(settings) > SETTINGS_MAX:
        raise MapError("settings are not a short array")
    for setting in settings:
        if type(setting) is not tuple or len(setting) != 2:
            raise MapError(f"a setting is {setting!r:.60}, expected name and value")
        for text in setting:
            _check_text("a setting", text)


def _check_int(field: str, value: Any, low: int, high: int) -> None:
    if type(value) is not int or not low <= value <= high:
        raise MapError(f"{field} is {value!r:.100}, expected an integer in [{low}, {high}]")


def _check_text(field: str, value: Any) -> None:
    """Printable text without white space, since it appears as one word in replies and logs."""
    if type(value) is not str or not 1 <= len(value) <= TEXT_CHARS_MAX:
        raise MapError(f"{field} is {value!r:.100}, expected 1 to {TEXT_CHARS_MAX} characters")
    if not value.isprintable() or " " in value:
        raise MapError(f"{field} is {value!r:.100}, expected printable text without spaces")


def _check_address(field: str, value: Any) -> None:
    _check_text(field, value)
    try:
        parse_address(value)
    except AddressError as error:
        raise MapError(f"{field}: {error}") from None
