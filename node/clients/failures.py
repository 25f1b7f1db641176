"""What a client reads when its operation has no result."""

from __future__ import annotations

from quorumcache.node.operations.failure import Failure, SessionGone, StaleSequence
from quorumcache.node.protocol.responses import (
    not_done,
    outcome_unknown,
    session_gone,
    stale_sequence,
)


def failure_line(failure: Failure) -> bytes:
    """The reply to a memcached client."""
    if isinstance(failure, SessionGone):
        return session_gone(failure.outcome_known)
    if isinstance(failure, StaleSequence):
        return stale_sequence(failure.outcome_known)
    return not_done(failure.why) if failure.outcome_known else outcome_unknown(failure.why)
