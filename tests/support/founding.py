"""Founding records and nodes for tests that need an identity and no founding."""

from __future__ import annotations

from random import Random

from quorumcache.node.founding.data_dir import Membership, as_member
from quorumcache.node.settings.config import NodeConfig
from quorumcache.node.storage.founding_record import FoundingRecord, propose
from quorumcache.node.storage.identity import NodeIdentity
from quorumcache.ring import NodeInfo

CLUSTER_ID = f"{0xC:032x}"


def disk_id(number: int) -> str:
    """The same disk id for the same number."""
    return f"{number:032x}"


def founder(name: str, number: int, *, disk: str = "", client: str = "") -> NodeInfo:
    """The `number`-th founder."""
    return NodeInfo(
        number,
        name,
        f"host{name}:1",
        client or f"{name}:11211",
        "",
        "",
        1.0,
        disk or disk_id(number),
    )


def record_of(*names: str, seed: int = 1, config: NodeConfig | None = None) -> FoundingRecord:
    """A founding record of nodes with these names; their disk ids are 1, 2, ..."""
    settings = (config or NodeConfig(shards=4)).fixed_settings
    founders = [founder(name, number) for number, name in enumerate(names, 1)]
    return propose(Random(seed), founders, settings)


def member_of(record: FoundingRecord, node_id: int, *, is_complete: bool = True) -> Membership:
    """What a founder's directory says."""
    named = record.founder(node_id)
    assert named is not None
    identity = as_member(NodeIdentity(named.disk_id), record)
    return Membership(identity._replace(is_complete=is_complete), record)
