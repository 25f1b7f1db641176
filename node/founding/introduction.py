"""How a node introduces itself, and the nodes it expects to meet: from settings and the map."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from quorumcache.node.founding.progress import FoundingProgress
from quorumcache.node.peers.codec import PROTOCOL_VERSION, Hello
from quorumcache.node.peers.peer import PeerSpec
from quorumcache.node.settings.config import ClusterSettings, NodeConfig
from quorumcache.node.storage.founding_record import FoundingRecord
from quorumcache.node.storage.known_nodes import KnownNode
from quorumcache.node.storage.starts import Starts
from quorumcache.node.version import VERSION
from quorumcache.ring import ClusterMap, NodeInfo
from quorumcache.ring.node_info import LOST


def own_info(
    config: NodeConfig,
    node_id: int,
    disk_id: str,
    listen_address: str,
    http_address: str,
    peer_address: str = "",
) -> NodeInfo:
    """What this node tells of itself. The addresses are those that its listeners are bound at;
    `peer_address` "": that listener is not there yet.
    """
    return NodeInfo(
        node_id,
        config.name,
        config.advertised_peer(peer_address),
        config.advertised(listen_address),
        config.reachable(http_address) if http_address else "",
        config.zone,
        float(config.weight),
        disk_id,
    )


def own_hello(
    config: NodeConfig,
    info: NodeInfo,
    founding: FoundingProgress,
    incarnation: int,
    starts: Starts,
    epoch: int,
) -> Hello:
    """The hello of this process."""
    settings = as_founded(config.cluster_settings, founding.record)
    return Hello(
        protocol_version=PROTOCOL_VERSION,
        cluster_id=founding.record.cluster_id,
        disk_id=info.disk_id,
        settings_fingerprint=settings.fingerprint(),
        node_id=info.node_id,
        name=info.name,
        incarnation=incarnation,
        start_number=starts.number,
        start_nonces=starts.nonces,
        is_founded=founding.is_complete,
        peer_address=info.peer_address,
        client_address=info.client_address,
        http_address=info.http_address,
        zone=info.zone,
        weight=info.weight,
        map_epoch=epoch,
        version=VERSION,
        settings=tuple((name, str(value)) for name, value in settings.as_dict().items()),
    )


def as_founded(settings: ClusterSettings, record: FoundingRecord) -> ClusterSettings:
    """The settings, with the values of those that were fixed when the cluster was created: so that
    one that was changed in the map since then parts no nodes.
    """
    fixed = dict(record.settings)
    return replace(
        settings,
        cluster_name=fixed.get("cluster_name", settings.cluster_name),
        shards=int(fixed.get("shards", settings.shards)),
        replication=int(fixed.get("replication", settings.replication)),
        durability=fixed.get("durability", settings.durability),
    )


def info_of(hello: Hello) -> NodeInfo:
    """What a peer told of itself."""
    return NodeInfo(
        hello.node_id,
        hello.name,
        hello.peer_address,
        hello.client_address,
        hello.http_address,
        hello.zone,
        hello.weight,
        hello.disk_id,
    )


def peer_specs(
    config: NodeConfig,
    founding: FoundingProgress,
    cluster_map: ClusterMap | None,
    known: Mapping[int, NodeInfo],
    places: Callable[[int], tuple[str, ...]],
    stored: Mapping[int, KnownNode],
) -> dict[int, PeerSpec]:
    """The other nodes: of the newest map. While there is none they are those that this node knew
    last (`stored`), or those of the founding record.

    They are dialed where this node's own settings say, else where the map says, and in turn where
    they say themselves that they are (`known`), or where the map says it while they have not, and
    where else they may be (`places`). A lost node is not dialed where another node is by now: its
    successor would answer.
    """
    record = founding.record
    if cluster_map is None and stored:
        return {
            node_id: PeerSpec(
                node.name,
                config.members.get(node.name) or node.peer_address,
                node.disk_id,
                node.peer_address,
                places(node_id),
            )
            for node_id, node in stored.items()
        }
    nodes = cluster_map.nodes if cluster_map is not None else record.founders
    specs = {}
    taken = {node.peer_address for node in nodes if node.state != LOST}
    for node in nodes:
        if node.node_id == founding.identity.node_id:
            continue
        if node.state == LOST and node.peer_address in taken:
            continue
        founder = record.founder(node.node_id)
        disk_id = node.disk_id or (founder.disk_id if founder is not None else "")
        address = config.members.get(node.name) or node.peer_address
        heard = known.get(node.node_id)
        told = heard.peer_address if heard is not None else node.peer_address
        more = places(node.node_id)
        if node.state == LOST:
            told = "" if told in taken else told
            more = tuple(each for each in more if each not in taken)
        specs[node.node_id] = PeerSpec(node.name, address, disk_id, told, more)
    return specs
