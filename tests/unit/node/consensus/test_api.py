"""Goal: settings that no replica can run with are named; a Ready says whether it has to be stored.

That the interface holds for each protocol: test_protocols.py.
"""

from __future__ import annotations

from typing import Any

import pytest

from quorumcache.node.consensus.api import ConsensusConfig, Ready
from quorumcache.node.consensus.values import (
    Configuration,
    Entry,
    HardState,
    SnapshotMeta,
    SnapshotSource,
)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"replica_id": 0}, "replica_id must be at least 1, got 0"),
        ({"inflight_bytes_max": 0}, "inflight_bytes_max must be at least 1, got 0"),
        ({"heartbeat_ticks": 5, "election_ticks": 9}, "at least 2 \\* heartbeat_ticks = 10, got 9"),
        ({"clock_drift_ppm": 1_000_000}, r"clock_drift_ppm must be in \[0, 1000000\)"),
        ({"clock_drift_ppm": -1}, "clock_drift_ppm"),
        ({"stagger_ticks": -1}, "stagger_ticks must not be negative, got -1"),
    ],
)
def test_settings_that_cannot_work_are_named(changes: dict[str, Any], why: str) -> None:
    settings: dict[str, Any] = {"replica_id": 1, **changes}
    with pytest.raises(ValueError, match=why):
        ConsensusConfig(**settings).validate()


def test_the_usual_settings_are_valid() -> None:
    ConsensusConfig(replica_id=1).validate()
    ConsensusConfig(replica_id=1, heartbeat_ticks=1, election_ticks=2, stagger_ticks=0).validate()


def test_what_has_to_be_durable_makes_a_ready_that_has_to_be_stored() -> None:
    for name, value in (
        ("entries", [Entry(1, 1, 0, b"")]),
        ("hard_state", HardState(1, 0)),
        ("snapshot", SnapshotSource(SnapshotMeta(1, 1, Configuration((1,))), [])),
    ):
        ready = Ready()
        assert not ready.must_persist
        setattr(ready, name, value)
        assert ready.must_persist, name
    assert Ready().entries == [], "the empty list is shared: nobody may add to it"
