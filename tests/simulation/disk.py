"""The disk of one simulated host: `tests.support.fake_disk` with a latency, and switches for the
nemesis.

It belongs to the host, not to the process: it survives crashes with what a crash leaves of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from tests.simulation.loop import VirtualLoop
from tests.support.fake_disk import FakeDisk

SLOWEST_SECONDS = 1.0
"""Even a sick disk gets one step done in this time, so that it is well soon after its healing."""


@dataclass(slots=True, kw_only=True)
class DiskConfig:
    """One elementary step takes `step_seconds` on average; once in a while it stalls."""

    step_seconds: float = 0.0003
    stall_seconds: float = 0.2
    stall_probability: float = 0.001


class SimulatedDisk(FakeDisk):
    """`slowness` multiplies every latency."""

    def __init__(self, loop: VirtualLoop, random: Random, config: DiskConfig) -> None:
        super().__init__(loop, random, delay=self._delay_seconds)
        self.config = config
        self.slowness = 1

    def _delay_seconds(self, random: Random) -> float:
        config = self.config
        seconds = random.expovariate(1 / config.step_seconds)
        if random.random() < config.stall_probability:
            seconds += random.random() * config.stall_seconds
        return min(seconds * self.slowness, SLOWEST_SECONDS)

    def set_full(self, full: bool) -> None:
        """No room for another byte; what is written already stays."""
        self.capacity_bytes = 0 if full else None

    def fail_next_sync(self) -> None:
        self.failing_syncs = 1

    def repair(self) -> None:
        """Full speed, space, no failures: as good as new but for what it holds."""
        self.slowness = 1
        self.capacity_bytes = None
        self.failing_syncs = 0
