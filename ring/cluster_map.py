"""The cluster map: nodes, addresses and replica sets, as one immutable value with an epoch.

Same map, same answer, in every process: node, client and test compute the shard and the replicas of
a key from it. Every instance is valid: a map is checked when it is built, so also when it is
decoded. Its bytes are those of `map_form.py`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from operator import attrgetter
from typing import Any, Self

from quorumcache.ring.errors import MapError
from quorumcache.ring.hashing import SHARD_COUNT_MAX, is_shard_count, key_token
from quorumcache.ring.map_form import FORM_MAX, decode_map, encode_map
from quorumcache.ring.move import DIRECTORY_GROUP, WAITING, Move
from quorumcache.ring.node_info import (
    ACTIVE,
    LOST,
    NODE_ID_MAX,
    WEIGHT_MIN,
    NodeInfo,
    check_int,
    check_node,
    check_text,
)

NODES_MAX = 1024
REPLICATION_MAX = 9  # a wider group only makes the quorum slower
EPOCH_MAX = (1 << 63) - 1
SETTINGS_MAX = 64
CHANGE_CHARS_MAX = 1024  # a node's name, and its zone before and after

_group_of = attrgetter("group_id")


@dataclass(frozen=True, slots=True)
class ClusterMap:
    """One epoch of the cluster.

    `epoch`: version of the map, from 1, only ever grows; never a Raft term. `shard_count`: fixed
    for the life of the cluster. `replication`: wanted replicas per shard; a shard has fewer while
    there are not enough nodes, and may have others while a move is under way. `nodes`: sorted by
    node_id. `replica_sets`: one per shard, distinct node ids, the first is the preferred leader.
    `founding_sets`: the voters that each shard's group was born with; given as (), they are the
    replica sets. `started`: one bit per shard (shard 0 is the lowest), set once the group has
    committed an entry; never unset. `settings`: (name, value), by name.

    `form`: 2 once every node of the cluster is known to read what follows; a map of form 1 has
    the defaults there. `directory`: nodes with a replica of group 0. `moves`: by group id, the
    groups that are to have another replica set than they have. `next_node_id`: the id of the next
    node that joins; 0 stands for one above the highest. `change`: what an operator has asked for
    and is under way, in words; "" if nothing is. `is_paused`: no waiting move is started.
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
    form: int = 1
    directory: tuple[int, ...] = ()
    moves: tuple[Move, ...] = ()
    next_node_id: int = 0
    change: str = ""
    is_paused: bool = False

    def __post_init__(self) -> None:
        if not self.founding_sets:
            object.__setattr__(self, "founding_sets", self.replica_sets)
        _check_map(self)
        if not self.next_node_id:
            object.__setattr__(self, "next_node_id", self.nodes[-1].node_id + 1)

    def node(self, node_id: int) -> NodeInfo:
        """The node with this id; `MapError` if the map does not know it."""
        for node in self.nodes:
            if node.node_id == node_id:
                return node
        raise MapError(f"node {node_id} is not in the map of epoch {self.epoch}")

    def node_named(self, name: str) -> NodeInfo | None:
        """The node with this name; None if there is none."""
        return next((node for node in self.nodes if node.name == name), None)

    def shard_of(self, key: bytes) -> int:
        """Shard of `key`, in [0, shard_count)."""
        return key_token(key) >> (65 - self.shard_count.bit_length())

    def replicas_of(self, shard: int) -> tuple[int, ...]:
        """Node ids that hold `shard`, the preferred leader first."""
        return self.replica_sets[shard]

    def preferred_leader(self, shard: int) -> int:
        """Node id that should lead `shard` when it can."""
        return self.replica_sets[shard][0]

    def replica_set(self, group_id: int) -> tuple[int, ...]:
        """Node ids that hold a group: a shard, or the directory ((): form 1 does not say it)."""
        return self.replica_sets[group_id - 1] if group_id != DIRECTORY_GROUP else self.directory

    def move_of(self, group_id: int) -> Move | None:
        """The move of a group; None if it has none."""
        moves = self.moves
        place = bisect_left(moves, group_id, key=_group_of)
        return moves[place] if place < len(moves) and moves[place].group_id == group_id else None

    def setting(self, name: str) -> str:
        """A setting's value; "" if the map does not name it."""
        return dict(self.settings).get(name, "")

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
        next_node_id = max(self.next_node_id, ordered[-1].node_id + 1)
        return replace(self, epoch=self.epoch + 1, nodes=ordered, next_node_id=next_node_id)

    def with_node(self, info: NodeInfo) -> ClusterMap:
        """The next epoch, in which `info` is added, or replaces the node of the same id. No replica
        moves.
        """
        return self.with_nodes((info,))

    def without_node(self, node_id: int) -> ClusterMap:
        """The next epoch without this node; `MapError` if unknown or still holding a replica."""
        self.node(node_id)
        nodes = tuple(node for node in self.nodes if node.node_id != node_id)
        next_node_id = self.next_node_id if self.form > 1 else 0  # Form 1 does not remember it.
        return replace(self, epoch=self.epoch + 1, nodes=nodes, next_node_id=next_node_id)

    def with_replica_sets(self, replica_sets: Iterable[Sequence[int]]) -> ClusterMap:
        """The next epoch with these replica sets, one per shard."""
        sets = tuple(tuple(replica_set) for replica_set in replica_sets)
        return replace(self, epoch=self.epoch + 1, replica_sets=sets)

    def to_bytes(self) -> bytes:
        """The msgpack form; equal maps give equal bytes."""
        return encode_map(
            self.form,
            (self.epoch, self.cluster_id, self.shard_count, self.replication),
            self.nodes,
            (
                self.replica_sets,
                self.founding_sets,
                self.started.to_bytes((self.shard_count + 7) // 8, "little"),
                self.settings,
            ),
            (self.directory, self.moves, self.next_node_id, self.change, self.is_paused),
        )

    def bytes_for(self, form: int) -> bytes:
        """The map for a client that reads forms up to `form`: for one that reads none as new as
        this, what it needs to find its way.
        """
        return self.to_bytes() if form >= self.form else self._in_form_1().to_bytes()

    def _in_form_1(self) -> ClusterMap:
        """Without moves, states and lost nodes; gateways have the least weight. In place of a set
        of lost nodes stands another node, which forwards.
        """
        nodes = tuple(
            replace(node, state=ACTIVE, weight=max(node.weight, WEIGHT_MIN))
            for node in self.nodes
            if node.state != LOST
        )
        kept = {node.node_id for node in nodes}
        if not kept:
            raise MapError("all nodes of the map are lost")
        sets = tuple(
            tuple(n for n in replicas if n in kept) or (min(kept),)
            for replicas in self.replica_sets
        )
        return ClusterMap(
            epoch=self.epoch,
            cluster_id=self.cluster_id,
            shard_count=self.shard_count,
            replication=self.replication,
            nodes=nodes,
            replica_sets=sets,
            founding_sets=self.founding_sets,
            started=self.started,
            settings=self.settings,
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The map in `data`, none of which is trusted; `MapError` says what is wrong with it."""
        return cls(**decode_map(data))

    def fingerprint(self) -> str:
        """128-bit digest of the whole map, as 32 hexadecimal digits. Equal maps, equal
        fingerprints.
        """
        return blake2b(self.to_bytes(), digest_size=16).hexdigest()


def _check_map(candidate: ClusterMap) -> None:
    check_int("epoch", candidate.epoch, 1, EPOCH_MAX)
    check_text("cluster_id", candidate.cluster_id)
    check_int("shard_count", candidate.shard_count, 1, SHARD_COUNT_MAX)
    if not is_shard_count(candidate.shard_count):
        raise MapError(f"shard_count is {candidate.shard_count}, expected a power of two")
    check_int("replication", candidate.replication, 1, REPLICATION_MAX)
    _check_nodes(candidate.nodes)
    known = {node.node_id for node in candidate.nodes}
    _check_sets(candidate, "replica", candidate.replica_sets, known)
    _check_sets(candidate, "founding", candidate.founding_sets, None)
    check_int("started", candidate.started, 0, (1 << candidate.shard_count) - 1)
    _check_settings(candidate.settings)
    check_int("form", candidate.form, 1, FORM_MAX)
    if candidate.next_node_id != 0:
        last_id = candidate.nodes[-1].node_id
        check_int("next_node_id", candidate.next_node_id, last_id + 1, NODE_ID_MAX + 1)
    if candidate.form == 1:
        _check_old(candidate)
    else:
        _check_newer(candidate, known)


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
        check_int("node_id", node.node_id, 1, NODE_ID_MAX)
        if node.node_id <= last_id:
            raise MapError(f"node {node.node_id} follows node {last_id}: ids must ascend")
        last_id = node.node_id
        check_node(node)
        # The addresses of a lost node are free for the one that replaces it.
        fields = ("name", "peer_address", "client_address") if node.state != LOST else ("name",)
        for field in fields:
            value = getattr(node, field)
            other = taken.setdefault((field, value), node.node_id)
            if other != node.node_id:
                raise MapError(f"nodes {other} and {node.node_id} share the {field} {value!r}")


def _check_sets(candidate: ClusterMap, word: str, sets: Any, known: set[int] | None) -> None:
    """`known` None: a founding set may name nodes that have left since."""
    if type(sets) is not tuple or len(sets) != candidate.shard_count:
        count = len(sets) if type(sets) is tuple else type(sets).__name__
        raise MapError(f"{word}_sets has {count} shards, expected {candidate.shard_count}")
    for shard, replicas in enumerate(sets):
        _check_set(f"shard {shard}", replicas, known)


def _check_set(where: str, replicas: Any, known: set[int] | None) -> None:
    if type(replicas) is not tuple or not replicas:
        raise MapError(f"{where}: replicas are {replicas!r:.100}, expected node ids")
    for node_id in replicas:
        if known is None:
            check_int(f"{where}: founder", node_id, 1, NODE_ID_MAX)
        elif type(node_id) is not int or node_id not in known:
            raise MapError(f"{where}: replica {node_id!r:.100} is not a node of the map")
    if len(set(replicas)) != len(replicas):
        raise MapError(f"{where}: a node appears twice in {replicas!r:.100}")


def _check_settings(settings: Any) -> None:
    if type(settings) is not tuple or len(settings) > SETTINGS_MAX:
        raise MapError("settings are not a short array")
    for setting in settings:
        if type(setting) is not tuple or len(setting) != 2:
            raise MapError(f"a setting is {setting!r:.60}, expected name and value")
        for text in setting:
            check_text("a setting", text)


def _check_old(candidate: ClusterMap) -> None:
    """A map of form 1 says nothing that its readers do not know."""
    is_old = (
        not candidate.directory
        and not candidate.moves
        and not candidate.change
        and candidate.is_paused is False
        and candidate.next_node_id in (0, candidate.nodes[-1].node_id + 1)
        and all(node.state == ACTIVE and node.weight > 0 for node in candidate.nodes)
    )
    if not is_old:
        raise MapError("a map of form 1 says what only maps of form 2 can say")


def _check_newer(candidate: ClusterMap, known: set[int]) -> None:
    _check_set("the directory", candidate.directory, known)
    if type(candidate.is_paused) is not bool:
        raise MapError(f"is_paused is {candidate.is_paused!r:.60}, expected a bool")
    change: Any = candidate.change
    if type(change) is not str or len(change) > CHANGE_CHARS_MAX or not change.isprintable():
        raise MapError(f"change is {change!r:.100}, expected a short text")
    if type(candidate.moves) is not tuple:
        raise MapError(f"moves is {type(candidate.moves).__name__}, expected a tuple")
    last_id = -1
    for move in candidate.moves:
        if type(move) is not Move:
            raise MapError(f"a move is {type(move).__name__}, expected Move")
        check_int("the group of a move", move.group_id, last_id + 1, candidate.shard_count)
        last_id = move.group_id
        where = f"the move of group {move.group_id}"
        _check_set(where, move.origin, known)
        _check_set(where, move.target, known)
        check_int(f"{where}: decided", move.decided, WAITING, candidate.epoch)
        if candidate.replica_set(move.group_id) != move.replica_set:
            raise MapError(
                f"{where}: the replica set is {candidate.replica_set(move.group_id)!r:.100}, "
                f"expected {move.replica_set!r:.100}"
            )
