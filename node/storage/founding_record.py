"""The founding record: what all founders of a cluster accept before any of them votes. Pure.

It is one line of JSON with sorted keys, in the data directory and between nodes alike:

    {"cluster_id": ..., "directory_voters": [node_id, ...],
     "founders": [[node_id, name, disk_id, peer_address, client_address, http_address, zone,
                   weight], ...],
     "settings": {name: value, ...}}

The proposer makes it once. It never changes: what changes later (addresses, nodes) is in the map.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, Final, Self

from quorumcache.node.errors import FoundingError
from quorumcache.ring import ClusterMap, NodeInfo, RingError, check_node, is_disk_id, place
from quorumcache.ring.cluster_map import NODES_MAX

DIRECTORY_VOTERS_MAX: Final = 5
"""Nodes that vote on the cluster map: the first founders. More would make its quorum slower."""

RECORD_BYTES_MAX: Final = 1 << 20
"""Longest record: `NODES_MAX` founders with the longest names and addresses need 900 KiB."""

_FIELDS: Final = ("cluster_id", "directory_voters", "founders", "settings")
_SETTINGS_MAX: Final = 64


def random_id(random: Random) -> str:
    """A new id of 128 random bits, as 32 hexadecimal digits: of a disk, or of a cluster."""
    return f"{random.getrandbits(128):032x}"


@dataclass(frozen=True, slots=True)
class FoundingRecord:
    """See the module.

    `cluster_id`: random, 32 hex digits. `founders`: in order of node id, which are 1, 2, ...
    `directory_voters`: node ids that vote in group 0. `settings`: (name, value) of the settings
    that are fixed for the life of the cluster, in order of name.
    """

    cluster_id: str
    founders: tuple[NodeInfo, ...]
    directory_voters: tuple[int, ...]
    settings: tuple[tuple[str, str], ...]

    def __post_init__(self) -> None:
        _check(self)

    def founder(self, node_id: int) -> NodeInfo | None:
        """The founder with this id; None if there is none."""
        return next((f for f in self.founders if f.node_id == node_id), None)

    def founder_named(self, name: str) -> NodeInfo | None:
        """The founder with this name; None if there is none."""
        return next((f for f in self.founders if f.name == name), None)

    def differences(self, settings: Mapping[str, str]) -> list[str]:
        """How `settings` differ from those fixed at the creation, as one sentence each."""
        fixed = dict(self.settings)
        return [
            f"{name} is {settings.get(name, 'unset')} in the settings of this node, "
            f"but the cluster was created with {fixed.get(name, 'unset')}"
            for name in sorted({*fixed, *settings})
            if settings.get(name) != fixed.get(name)
        ]

    def first_map(self) -> ClusterMap:
        """The map of epoch 1. It follows from the record alone, so it does not matter who makes
        it.
        """
        fixed = dict(self.settings)
        shards, replication = int(fixed["shards"]), int(fixed["replication"])
        sets = place(self.founders, shards, min(replication, len(self.founders)))
        return ClusterMap(
            epoch=1,
            cluster_id=self.cluster_id,
            shard_count=shards,
            replication=replication,
            nodes=self.founders,
            replica_sets=sets,
            settings=self.settings,
        )

    def to_text(self) -> str:
        """One line of JSON; equal records give equal text."""
        document = {
            "cluster_id": self.cluster_id,
            "directory_voters": self.directory_voters,
            "founders": [
                (
                    *(f.node_id, f.name, f.disk_id, f.peer_address, f.client_address),
                    *(f.http_address, f.zone, f.weight),
                )
                for f in self.founders
            ],
            "settings": dict(self.settings),
        }
        return json.dumps(document, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_text(cls, text: str) -> Self:
        """The record in `text`, none of which is trusted; `FoundingError` says what is wrong."""
        if len(text) > RECORD_BYTES_MAX:
            raise FoundingError(f"a founding record is longer than {RECORD_BYTES_MAX} bytes")
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise FoundingError(f"a founding record is not valid JSON: {error!r:.100}") from error
        if type(document) is not dict or tuple(sorted(document)) != _FIELDS:
            raise FoundingError(f"a founding record needs the fields {', '.join(_FIELDS)}")
        founders, settings = document["founders"], document["settings"]
        if type(founders) is not list or type(settings) is not dict:
            raise FoundingError("a founding record's founders or settings have the wrong form")
        voters = document["directory_voters"]
        return cls(
            document["cluster_id"],
            tuple(_founder(fields) for fields in founders),
            tuple(voters) if type(voters) is list else voters,
            tuple(sorted(settings.items())),
        )


def propose(
    random: Random, founders: Iterable[NodeInfo], settings: Mapping[str, str]
) -> FoundingRecord:
    """A record of a new cluster. Node ids are given here, in the order of `founders`."""
    numbered = tuple(founder.with_id(number) for number, founder in enumerate(founders, 1))
    voters = tuple(founder.node_id for founder in numbered[:DIRECTORY_VOTERS_MAX])
    return FoundingRecord(random_id(random), numbered, voters, tuple(sorted(settings.items())))


def _founder(fields: Any) -> NodeInfo:
    if type(fields) is not list or len(fields) != 8:
        raise FoundingError(f"a founder is {fields!r:.100}, expected an array of 8 fields")
    node_id, name, disk_id, peer, client, http, zone, weight = fields
    return NodeInfo(node_id, name, peer, client, http, zone, weight, disk_id)


def _check(record: FoundingRecord) -> None:
    if not is_disk_id(record.cluster_id):
        raise FoundingError(f"cluster id {record.cluster_id!r:.60} is not 32 hexadecimal digits")
    founders = record.founders
    if not 1 <= len(founders) <= NODES_MAX:
        raise FoundingError(f"a record has {len(founders)} founders, expected 1 to {NODES_MAX}")
    for number, founder in enumerate(founders, 1):
        if founder.node_id != number or type(founder.node_id) is not int:
            raise FoundingError(f"founder {number} has the node id {founder.node_id!r:.60}")
        if not is_disk_id(founder.disk_id):
            raise FoundingError(f"founder {number} has the disk id {founder.disk_id!r:.60}")
    if len({founder.disk_id for founder in founders}) != len(founders):
        raise FoundingError("two founders have the same disk id")
    if len(record.settings) > _SETTINGS_MAX or any(
        type(name) is not str or type(value) is not str for name, value in record.settings
    ):
        raise FoundingError("a record's settings are not a few pairs of text")
    expected = tuple(range(1, min(len(founders), DIRECTORY_VOTERS_MAX) + 1))
    voters: Any = record.directory_voters
    if type(voters) is not tuple or not voters or len(voters) > DIRECTORY_VOTERS_MAX:
        raise FoundingError(f"directory voters are {voters!r:.100}, expected {expected}")
    if len(set(voters)) != len(voters) or any(
        type(v) is not int or not 1 <= v <= len(founders) for v in voters
    ):
        raise FoundingError(f"directory voters are {voters!r:.100}, expected {expected}")
    try:
        for founder in founders:
            check_node(founder)  # First: no end of a placement by weights without a bound.
        record.first_map()  # Whatever a map checks: names, zones, shards.
    except (RingError, KeyError, TypeError, ValueError) as error:
        raise FoundingError(f"a founding record makes no cluster: {error}") from error
