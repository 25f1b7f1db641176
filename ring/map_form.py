"""The bytes of a cluster map. Pure.

One msgpack array, at most MAP_BYTES_MAX long. A map of form 1 is format 2:

    [ 2, epoch, cluster_id, shard_count, replication,
      [ [node_id, name, peer_address, client_address, http_address, zone, weight, disk_id], ...
        by node_id ],
      [ [node_id of the preferred leader, node_id, ...], ... by shard ],
      [ [node_id, ...], ... the founding set of each shard, by shard ],
      started: shard_count bits, shard 0 in the lowest bit of the first byte,
      [ [name, value], ... the settings, by name ] ]

A map of form 2 is format 3. It has the same members in the same places; each node also has its
state, and these follow:

      form, [node_id, ... the replica set of the directory],
      [ [group_id, [node_id, ... origin], [node_id, ... target], decided], ... by group_id ],
      next_node_id, change, is_paused ]
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgpack

from quorumcache.ring.errors import MapError
from quorumcache.ring.move import Move
from quorumcache.ring.node_info import NodeInfo

MAP_BYTES_MAX: Final = 4 << 20  # 4096 shards of 7 replicas and 1000 nodes need less than 400 KiB

FORM_MAX: Final = 2
"""The newest form that this version reads and writes. 3 says of a node that it knows bundles of
entries, and is of no map (`node/peers/proofs.py`)."""

_FORMATS: Final = {1: 2, 2: 3}
"""Format number of each form."""

_FIELD_COUNTS: Final = {2: 10, 3: 16}
_NODE_FIELD_COUNTS: Final = {2: 8, 3: 9}

_COMMON: Final = (
    *("epoch", "cluster_id", "shard_count", "replication", "nodes", "replica_sets"),
    *("founding_sets", "started", "settings"),
)
_NEWER: Final = ("form", "directory", "moves", "next_node_id", "change", "is_paused")


def node_fields(node: NodeInfo, form: int) -> tuple[Any, ...]:
    """A node as the array that stands in a map of this form."""
    return (
        node.node_id,
        node.name,
        node.peer_address,
        node.client_address,
        node.http_address,
        node.zone,
        float(node.weight),
        node.disk_id,
        *((node.state,) if form > 1 else ()),
    )


def encode_map(
    form: int,
    common: Sequence[Any],
    nodes: Iterable[NodeInfo],
    sets: Sequence[Any],
    newer: Sequence[Any],
) -> bytes:
    """`common`: the members before the nodes. `sets`: those behind them. `newer`: of form 2."""
    packed: bytes = msgpack.packb(
        (
            _FORMATS[form],
            *common,
            [node_fields(node, form) for node in nodes],
            *sets,
            *((form, *newer) if form > 1 else ()),
        )
    )
    return packed


def decode_map(data: bytes) -> dict[str, Any]:
    """The arguments of `ClusterMap` in `data`, none of which is trusted: the map checks them.

    `MapError` says what is wrong with the form.
    """
    if len(data) > MAP_BYTES_MAX:
        raise MapError(f"a map of {len(data)} bytes is larger than {MAP_BYTES_MAX}")
    try:
        fields = msgpack.unpackb(data, use_list=False, strict_map_key=True)
    except (ValueError, RecursionError, msgpack.UnpackException) as error:
        raise MapError(f"a map is not valid msgpack: {error!r}") from error
    if type(fields) is not tuple or not fields:
        raise MapError(f"a map is {type(fields).__name__}, expected an array of fields")
    known = sorted(_FIELD_COUNTS)
    if type(fields[0]) is not int or fields[0] not in _FIELD_COUNTS:
        raise MapError(
            f"the map is in format {fields[0]!r:.60}, this version reads formats "
            f"{known[0]} to {known[-1]}"
        )
    format_, rest = fields[0], fields[1:]
    if len(fields) != _FIELD_COUNTS[format_]:
        raise MapError(f"a map has {len(fields)} fields, expected {_FIELD_COUNTS[format_]}")
    names = _COMMON if format_ == _FORMATS[1] else (*_COMMON, *_NEWER)
    values: dict[str, Any] = dict(zip(names, rest, strict=True))
    if values.get("form", 1) == 1 and format_ != _FORMATS[1]:
        raise MapError(f"a map in format {format_} says that it has form 1")
    if type(values["nodes"]) is not tuple:
        raise MapError(f"nodes is {type(values['nodes']).__name__}, expected an array")
    values["nodes"] = tuple(_node(node, _NODE_FIELD_COUNTS[format_]) for node in values["nodes"])
    if type(values["started"]) is not bytes:
        raise MapError(f"started is {type(values['started']).__name__}, expected bytes")
    values["started"] = int.from_bytes(values["started"], "little")
    if not values["founding_sets"]:
        raise MapError("founding_sets is empty, expected one set per shard")
    if "moves" in values:
        if type(values["moves"]) is not tuple:
            raise MapError(f"moves is {type(values['moves']).__name__}, expected an array")
        values["moves"] = tuple(_move(move) for move in values["moves"])
    return values


def _node(fields: Any, count: int) -> NodeInfo:
    if type(fields) is not tuple or len(fields) != count:
        raise MapError(f"a node is {fields!r:.100}, expected an array of {count} fields")
    return NodeInfo(*fields)


def _move(fields: Any) -> Move:
    if type(fields) is not tuple or len(fields) != 4:
        raise MapError(f"a move is {fields!r:.100}, expected an array of 4 fields")
    return Move(*fields)
