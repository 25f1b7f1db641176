"""Lease arithmetic, the same for every protocol with a leader that followers promise to wait for.

Why a lease excludes a second leader. Let a leader send a round at s by its clock, and let follower
F hear it at h >= s in real time. F refuses every vote, its own included, until `election_ticks`
ticks after h, of which at least `election_ticks` - 1 full tick periods have passed by F's clock.
If a quorum did so, any other candidate's quorum contains such an F, so no vote can complete
before s + (election_ticks - 1) * tick, measured by F's clock. The leader's clock runs at most
`clock_drift_ppm` faster relative to F's, so by its own clock it stops that much earlier.
"""

from __future__ import annotations

from typing import Final

NEVER_NS: Final = -(1 << 62)
"""An instant before every other: nothing was heard yet."""


def promise_ns(election_ticks: int, tick_ms: int) -> int:
    """Least time, by its own clock, for which a follower keeps its promise to a leader."""
    return (election_ticks - 1) * tick_ms * 1_000_000


def lease_ns(election_ticks: int, tick_ms: int, clock_drift_ppm: int) -> int:
    """How long a lease lasts from the sending of its round, by the leader's clock."""
    return promise_ns(election_ticks, tick_ms) * (1_000_000 - clock_drift_ppm) // 1_000_000
