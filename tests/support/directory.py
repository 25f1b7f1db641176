"""Three founders, the map that follows from their record, and the command that sets a map."""

from __future__ import annotations

from typing import Any

from quorumcache.node.directory.state import OP_SET_MAP
from quorumcache.ring import ClusterMap, NodeInfo
from tests.support.founding import disk_id, record_of

MEMBERS = {"a": "hosta:1", "b": "hostb:1", "c": "hostc:1"}
IDS = {"a": 1, "b": 2, "c": 3}


def info(name: str, client: str = "") -> NodeInfo:
    address = MEMBERS[name]
    client = client or f"{name}:11211"
    return NodeInfo(IDS[name], name, address, client, "", "", 1.0, disk_id(IDS[name]))


RECORD = record_of(*MEMBERS)


def first_map() -> ClusterMap:
    return RECORD.first_map()


def set_map(expected_epoch: int, cluster_map: ClusterMap) -> tuple[Any, ...]:
    return (0, 0, 0, OP_SET_MAP, b"", expected_epoch, cluster_map.to_bytes())
