"""The other nodes of the cluster, as this one knew them last: beside the map, in `nodes.known`.

With it a node finds the others although the map is of no use: its file was removed because it was
damaged, or nearly all nodes have come up at other addresses and none leads the directory that could
put them into the map. It also holds the epoch of the map that was in force, so that a node without
its map does not take an older one from a node that was away.

It is a help and no promise. It is written behind what it tells of, at most once a second, and a
damaged file is left aside. Written whole, by rename: msgpack and, behind it, the CRC-32 of that. It
names the disk id of its directory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgpack

from quorumcache.node.storage.checksum import checked, with_checksum
from quorumcache.node.storage.kept_file import KeptFile
from quorumcache.node.telemetry.logs import event, get_logger
from quorumcache.ring.address import parse_address
from quorumcache.ring.cluster_map import NODES_MAX
from quorumcache.ring.errors import AddressError
from quorumcache.ring.node_info import is_disk_id

if TYPE_CHECKING:
    from quorumcache.node.storage.disk import Disk

log: Final = get_logger("node")

KNOWN_FILE: Final = "nodes.known"


class KnownNode(NamedTuple):
    """Another node. `version`: the start of its data directory in which it told `peer_address`; 0
    if it is the map's. `disk_id`: of the directory that may speak for it.
    """

    version: int
    peer_address: str
    name: str
    disk_id: str


class KnownNodes(NamedTuple):
    """What the file holds. `epoch`: of the newest map that was in force; 0 = none."""

    epoch: int = 0
    nodes: Mapping[int, KnownNode] = {}


class KnownNodesFile:
    """See the module. `found`: what it held at the start."""

    def __init__(
        self,
        disk: Disk,
        directory: str,
        disk_id: str,
        on_failed: Callable[[BaseException], None],
    ) -> None:
        """Reads the file. `on_failed`: the disk failed while it was written."""
        path = f"{directory}/{KNOWN_FILE}"
        self.found = KnownNodes()
        if disk.exists(path):
            try:
                self.found = read_known(disk.read(path), disk_id)
            except ValueError as error:
                event(log, "warning", "known_nodes_damaged", path=path, why=error)
        self._file = KeptFile(
            disk, path, lambda known: encode_known(known, disk_id), self.found, on_failed
        )

    def store(self, known: KnownNodes) -> None:
        """Store this if it is something new. Called again and again: a disk that was full may have
        room by then.
        """
        self._file.keep(known)


def encode_known(known: KnownNodes, disk_id: str) -> bytes:
    """The content of `KNOWN_FILE`."""
    nodes = {node_id: tuple(node) for node_id, node in sorted(known.nodes.items())}
    return with_checksum(msgpack.packb((disk_id, known.epoch, nodes)))


def read_known(data: bytes, disk_id: str) -> KnownNodes:
    """What `KNOWN_FILE` holds. `ValueError` if that cannot be used."""
    try:
        owner, epoch, nodes = msgpack.unpackb(checked(data), use_list=False, strict_map_key=False)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise ValueError(str(error)) from error
    if owner != disk_id:
        raise ValueError(f"it belongs to data directory {owner!r:.60}")
    if type(epoch) is not int or type(nodes) is not dict or len(nodes) > NODES_MAX:
        raise ValueError("no epoch and nodes")
    return KnownNodes(epoch, {_id(node_id): _node(node) for node_id, node in nodes.items()})


def _id(value: Any) -> int:
    if type(value) is not int or value < 1:
        raise ValueError("a node without an id")
    return value


def _node(fields: Any) -> KnownNode:
    if type(fields) is not tuple or tuple(map(type, fields)) != (int, str, str, str):
        raise ValueError("a node that is no version, address, name and disk id")
    node = KnownNode(*fields)
    if node.version < 0 or (node.disk_id and not is_disk_id(node.disk_id)):
        raise ValueError("a node with a wrong version or disk id")
    try:
        parse_address(node.peer_address)
    except AddressError as error:
        raise ValueError(str(error)) from error
    return node
