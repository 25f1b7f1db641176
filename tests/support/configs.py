"""Configurations of nodes that are valid, to be changed by tests of settings."""

from __future__ import annotations

from quorumcache.node.settings.config import NodeConfig

MEMBERS = {"a": "10.0.0.1:7000", "b": "10.0.0.2:7000", "c": "10.0.0.3:7000"}


def cluster(**changes: object) -> NodeConfig:
    values: dict[str, object] = {
        "name": "a",
        "peer": "10.0.0.1:7000",
        "data_dir": "data",
        "initial_cluster": MEMBERS,
    }
    return NodeConfig(**(values | changes))  # type: ignore[arg-type]


JOINER = NodeConfig(name="d", peer="10.0.0.4:7000", join="10.0.0.1:7000, [::1]:7001", data_dir="d")
