"""How old the answer to a read may be, as a client chooses it for its connection. Pure.

A level is one number, `staleness_ns`: by how much the state that answers may lag behind what is
committed. 0 is linearizable, which only the leader can give; ANY_STALENESS_NS is `local`. What each
level may show is told in docs/consistency.md.
"""

from __future__ import annotations

from typing import Final

LINEARIZABLE_NS: Final = 0

ANY_STALENESS_NS: Final = 1 << 63
"""More than any clock can measure, and than the distance to an instant before every other."""

BOUND_MS_MAX: Final = 86_400_000
"""A day. For longer bounds, use `local`."""


def parse_level(words: tuple[bytes, ...]) -> int | None:
    """`linearizable`, `bounded MS` or `local` as a staleness in nanoseconds; None for all else."""
    match words:
        case (b"linearizable",):
            return LINEARIZABLE_NS
        case (b"local",):
            return ANY_STALENESS_NS
        case (b"bounded", bound) if bound.isdigit() and len(bound) < 10:
            bound_ms = int(bound)
            if 1 <= bound_ms <= BOUND_MS_MAX:
                return bound_ms * 1_000_000
    return None
