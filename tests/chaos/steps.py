"""Waits of which changes are made: generators that yield until something is so."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator

from tests.chaos.cluster import ChaosNode, ClusterError

Steps = Generator[None, None, None]

JOIN_S = 120.0
"""How long a start may take under faults."""


def until_ready(node: ChaosNode) -> Steps:
    """ClusterError when it does not start in `JOIN_S`."""
    deadline = time.monotonic() + JOIN_S
    while not node.is_ready():
        if time.monotonic() > deadline:
            raise ClusterError(f"node {node.name} does not start: {node.last_words()}")
        yield


def sleep(seconds: float) -> Steps:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        yield


def until(is_so: Callable[[], bool]) -> Steps:
    """As long as it takes: what does not come to an end is found at the end of the run."""
    while not is_so():
        yield
