"""The words of `cluster`: what a client that routes by itself asks a node (docs/protocol.md)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from quorumcache.node.clients.context import ClientSettings
from quorumcache.node.operations.read_levels import BOUND_MS_MAX, parse_level
from quorumcache.node.protocol.responses import moved, not_done
from quorumcache.ring import ClusterMap

NO_MAP = not_done("no cluster map yet")
USAGE = (
    b"CLIENT_ERROR usage: cluster map [known_epoch] | cluster form <n> | cluster redirect on|off | "
    b"cluster read linearizable|bounded <ms>|local | cluster leaders | cluster nodes | "
    b"cluster health | cluster session [open <shard>] | "
    b"cluster once <session> <sequence> <floor> | cluster lock [acquire|renew|release|show ...] | "
    b"cluster fence <lock> <token> | cluster auth [<proof>] | "
    b"cluster change <words> | cluster moves | cluster settings | cluster txn <words>\r\n"
)
READ_USAGE = (
    b"CLIENT_ERROR usage: cluster read linearizable|bounded <ms>|local, ms from 1 to %d\r\n"
    % BOUND_MS_MAX
)


class KnownGroup(Protocol):
    """This node's replica of a group."""

    @property
    def term(self) -> int: ...


class KnownCluster(Protocol):
    """What a node knows of its cluster. None of it is asked on the way of a read or write."""

    @property
    def node_id(self) -> int: ...
    # None before the cluster has agreed on its first map.
    @property
    def map(self) -> ClusterMap | None: ...
    # "" if that is not known.
    def client_address_of(self, node_id: int) -> str: ...
    def peers_up(self) -> Mapping[int, bool]: ...


class ClusterWords:
    """Answers `cluster`, and tells where a shard is led."""

    def __init__(
        self,
        known: KnownCluster,
        *,
        shards: int,
        groups: Mapping[int, KnownGroup],
        leader_node: Callable[[int], int],
        health: Callable[[], tuple[Sequence[str], Sequence[str]]],
    ) -> None:
        """`groups`: this node's replicas, by group id. `leader_node`: group id -> node that leads
        it; 0 = unknown. `health`: what is wrong with the node, and what it warns of, in sentences.
        """
        self._known = known
        self.shards = shards
        self._groups = groups
        self._leader_node = leader_node
        self._health = health

    def reply(self, settings: ClientSettings, args: tuple[bytes, ...]) -> bytes:
        """The whole reply to `cluster <args>`; some of them change the client's settings."""
        match args:
            case (b"map",):
                return self._map(0, settings.form)
            case (b"map", epoch) if epoch.isdigit() and len(epoch) < 20:
                return self._map(int(epoch), settings.form)
            case (b"form", form) if form.isdigit() and len(form) < 5 and int(form) > 0:
                settings.form = int(form)
                return b"OK\r\n"
            case (b"redirect", b"on" | b"off"):
                settings.redirect = args[1] == b"on"
                return b"OK\r\n"
            case (b"read", *level):
                staleness_ns = parse_level(tuple(level))
                if staleness_ns is None:
                    return READ_USAGE
                settings.staleness_ns = staleness_ns
                return b"OK\r\n"
            case (b"leaders",):
                return self._leaders()
            case (b"nodes",):
                return self._nodes()
            case (b"health",):
                return self._health_lines()
            case (b"session",) | (b"txn",):
                return b"OK\r\n"
            case (b"session", b"open", _):
                # Where there is such a shard its log has the answer: see `handlers.py`.
                return self._no_shard()
            case _:
                return USAGE

    def moved_line(self, group_id: int) -> bytes:
        """`MOVED <epoch> <shard> <leader node id> <client address>`; 0 and - while unknown."""
        known = self._known
        epoch = known.map.epoch if known.map is not None else 0
        leader = self._leader_node(group_id)
        if leader == known.node_id:
            leader = 0  # We have just lost it: say so, rather than send the client in a circle.
        address = known.client_address_of(leader) if leader else ""
        return moved(epoch, group_id - 1, leader, address)

    def _health_lines(self) -> bytes:
        """What `/health` says, for clients that reach this port only."""
        problems, warnings = self._health()
        lines = [f"HEALTH {'unavailable' if problems else 'ok'}"]
        lines += [f"PROBLEM {' '.join(sentence.split())}" for sentence in problems]
        lines += [f"WARNING {' '.join(sentence.split())}" for sentence in warnings]
        return "".join(f"{line}\r\n" for line in [*lines, "END"]).encode()

    def _no_shard(self) -> bytes:
        """The reply to a `cluster session open` that names none of the cluster's shards."""
        return b"CLIENT_ERROR no such shard: it must be 0 to %d\r\n" % (self.shards - 1)

    def _map(self, known_epoch: int, form: int) -> bytes:
        cluster_map = self._known.map
        if cluster_map is None:
            return NO_MAP
        if cluster_map.epoch == known_epoch:
            return b"MAP %d unchanged\r\n" % known_epoch
        data = cluster_map.bytes_for(form)
        return b"MAP %d %d\r\n%b\r\n" % (cluster_map.epoch, len(data), data)

    def _leaders(self) -> bytes:
        cluster_map = self._known.map
        if cluster_map is None:
            return NO_MAP
        lines = []
        for shard in range(cluster_map.shard_count):
            group = self._groups.get(shard + 1)
            term = group.term if group is not None else 0
            lines.append(f"LEADER {shard} {term} {self._leader_node(shard + 1)}\r\n")
        lines.append("END\r\n")
        return "".join(lines).encode()

    def _nodes(self) -> bytes:
        known = self._known
        cluster_map = known.map
        if cluster_map is None:
            return NO_MAP
        up = known.peers_up()
        lines = []
        for info in cluster_map.nodes:
            is_up = info.node_id == known.node_id or up.get(info.node_id, False)
            lines.append(
                f"NODE {info.node_id} {info.name} {info.peer_address or '-'} "
                f"{known.client_address_of(info.node_id) or '-'} {info.http_address or '-'} "
                f"{info.zone or '-'} {info.weight:g} {'up' if is_up else 'down'}\r\n"
            )
        lines.append("END\r\n")
        return "".join(lines).encode()
