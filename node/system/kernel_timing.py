"""How soon the kernel sends again what a connection between two nodes has lost.

By itself Linux waits at least 200 ms for the acknowledgement of a packet, then twice as long with
every further loss. With 300 ms to an election, one heartbeat that is lost twice stops everything
behind it for longer than that, and four losses in a row for 3 s. Nodes send small messages all
the time, and seldom many at once, so sending again soon costs the network nothing.

Each setting is left out by itself where the kernel does not have it.
"""

from __future__ import annotations

import contextlib
import socket
from typing import Final

RETRANSMIT_MS_MIN: Final = 60
"""Added to the round trip that the kernel measures. More than `ACKNOWLEDGE_MS_MAX` and the ticks
of two kernels, so that nothing is sent again that has arrived."""
RETRANSMIT_MS_MAX: Final = 1_000
"""The least that Linux allows."""
ACKNOWLEDGE_MS_MAX: Final = 20

# Linux; the socket module has no names for them. The last three: since 6.15.
TCP_THIN_LINEAR_TIMEOUTS: Final = 16
TCP_RTO_MAX_MS: Final = 44
TCP_RTO_MIN_US: Final = 45
TCP_DELACK_MAX_US: Final = 46

SETTINGS: Final = (
    # No doubling for the first six losses in a row, while fewer than four packets are on their way.
    (TCP_THIN_LINEAR_TIMEOUTS, 1),
    (TCP_RTO_MAX_MS, RETRANSMIT_MS_MAX),
    (TCP_RTO_MIN_US, RETRANSMIT_MS_MIN * 1_000),
    (TCP_DELACK_MAX_US, ACKNOWLEDGE_MS_MAX * 1_000),
)


def set_retransmission(endpoint: socket.socket) -> None:
    """Set what this kernel has of `SETTINGS`. Edge."""
    for option, value in SETTINGS:
        # Not a TCP socket, another system, or an older kernel: its own times hold.
        with contextlib.suppress(OSError, AttributeError):
            endpoint.setsockopt(socket.IPPROTO_TCP, option, value)
