"""What is asked of the kernel for a connection between nodes, and what is left out."""

import socket
import sys
from typing import Any

import pytest

from quorumcache.node.system.kernel_timing import (
    ACKNOWLEDGE_MS_MAX,
    RETRANSMIT_MS_MIN,
    SETTINGS,
    TCP_THIN_LINEAR_TIMEOUTS,
    set_retransmission,
)


class OldKernel:
    """Knows the first option of all only if it is in `known`."""

    def __init__(self, known: set[int]) -> None:
        self.known = known
        self.found: dict[int, int] = {}

    def setsockopt(self, level: int, option: int, value: int) -> None:
        assert level == socket.IPPROTO_TCP
        if option not in self.known:
            raise OSError(92, "Protocol not available")
        self.found[option] = value


@pytest.mark.parametrize("missing", [option for option, _ in SETTINGS])
def test_what_a_kernel_does_not_have_keeps_nothing_else_away(missing: int) -> None:
    endpoint: Any = OldKernel({option for option, _ in SETTINGS} - {missing})
    set_retransmission(endpoint)
    assert endpoint.found == {o: v for o, v in SETTINGS if o != missing}


def test_nothing_is_sent_again_that_only_waits_for_its_acknowledgement() -> None:
    assert RETRANSMIT_MS_MIN >= 2 * ACKNOWLEDGE_MS_MAX


@pytest.mark.skipif(sys.platform != "linux", reason="options of Linux")
def test_linux_takes_it() -> None:
    with socket.socket() as endpoint:
        set_retransmission(endpoint)
        assert endpoint.getsockopt(socket.IPPROTO_TCP, TCP_THIN_LINEAR_TIMEOUTS) == 1
