"""Faults of machines: their disks and their clocks."""

from __future__ import annotations

import asyncio
from random import Random

from tests.simulation.faults import CLOCK_DRIFT_PPM
from tests.simulation.nemesis_base import Faults, until


class HostFaults(Faults):
    """Slow, hanging, full, failing and rotting disks; clocks that jump, leap and drift."""

    async def _slow_disk(self, factor: int, seconds: float, who: str, pick: int = 0) -> None:
        node = self._who(who, pick)
        self._say(f"disk of {node.name} slower by {factor}")
        node.disk.slowness *= factor
        try:
            await asyncio.sleep(seconds)
        finally:
            node.disk.slowness = max(1, node.disk.slowness // factor)

    async def _stuck_disk(self, seconds: float, who: str, pick: int = 0) -> None:
        """Nothing that begins now is done before the time is over: an fsync of seconds."""
        node = self._who(who, pick)
        self._say(f"disk of {node.name} hangs for {seconds} s")
        node.disk.hang(seconds)

    async def _full_disk(self, seconds: float, who: str, pick: int = 0) -> None:
        node = self._who(who, pick)
        self._say(f"disk of {node.name} is full")
        node.disk.fill()
        try:
            await asyncio.sleep(seconds)
        finally:
            node.disk.make_space()
        self._say(f"disk of {node.name} has space")

    async def _crowded_disk(self, seconds: float, who: str, pick: int = 0) -> None:
        """Others take all the room there is, but for what the node has set aside."""
        node = self._who(who, pick)
        self._say(f"disk of {node.name} is crowded")
        node.disk.crowd()
        try:
            await asyncio.sleep(seconds)
        finally:
            node.disk.make_space()
        self._say(f"disk of {node.name} has space")

    async def _no_descriptors(self, seconds: float, who: str, pick: int = 0) -> None:
        """Nothing more can be opened; what is open goes on."""
        node = self._who(who, pick)
        self._say(f"{node.name} is out of descriptors")
        node.disk.descriptors_left = 0
        try:
            await asyncio.sleep(seconds)
        finally:
            node.disk.descriptors_left = 1000
        self._say(f"{node.name} has descriptors")

    async def _full_disk_in_snapshot(self, seconds: float, who: str, pick: int = 0) -> None:
        """Full from the first byte of the next snapshot on."""
        node = self._who(who, pick)
        began = asyncio.Event()
        node.disk.at_snapshot = began.set
        came = await until(began)
        node.disk.at_snapshot = None
        if came:
            await self._full_disk(seconds, node.name)

    async def _failing_disk(self, seconds: float, who: str, pick: int = 0) -> None:
        """The next sync fails: the node has to end itself; it is started again later."""
        node = self._who(who, pick)
        self._say(f"next sync of {node.name} fails")
        node.disk.fail_next_sync()
        await asyncio.sleep(seconds)
        self._restart(node)

    async def _bit_rot(
        self, draw: int, power: bool, seconds: float, who: str, pick: int = 0
    ) -> None:
        """A synced bit turns while the node is down.

        The start has to refuse, or the bit has to be one that nothing depends on. Then the
        operator brings the disk back as it was ("Damaged log" in docs/operations.md): a voter may
        not come back without what it has promised.
        """
        node = self._who(who, pick)
        if not node.process.is_running or node.disk.rotten is not None:
            return
        self._crash(node, power=power)
        self.world.promises.refresh(node)
        rotten = node.disk.rot(Random(draw))
        if rotten is None:
            self._say(f"nothing on the disk of {node.name} to rot")
        else:
            self._say(f"a bit turns on {node.name}: {rotten.path} at {rotten.offset}")
        self._restart(node)
        await asyncio.sleep(seconds)
        if rotten is not None and node.disk.rotten is rotten:
            if node.is_up:
                self._crash(node, power=False)
            node.disk.unrot()
            self._say(f"the disk of {node.name} is restored")
        self._restart(node)

    async def _wall_jump(self, by_ms: int, who: str, pick: int = 0) -> None:
        node = self._who(who, pick)
        self._say(f"wall clock of {node.name} jumps by {by_ms} ms")
        node.clock.jump_wall(by_ms)

    async def _wall_glitch(self, by_ms: int, seconds: float, who: str, pick: int = 0) -> None:
        """A wall clock leaps, and is right again soon after."""
        node = self._who(who, pick)
        self._say(f"wall clock of {node.name} is {by_ms} ms off for {seconds} s")
        node.clock.jump_wall(by_ms)
        await asyncio.sleep(seconds)
        node.clock.jump_wall(-by_ms)

    async def _clock_rate(self, ppm: int, who: str, pick: int = 0) -> None:
        """Within the drift that a lease allows for."""
        node = self._who(who, pick)
        self._say(f"clock of {node.name} runs {ppm:+} ppm")
        node.clock.set_rate(ppm)

    async def _clocks_apart(self, slow: bool, who: str, pick: int = 0) -> None:
        """One clock at one end of what a lease allows for, all others at the other end."""
        node = self._who(who, pick)
        own = -CLOCK_DRIFT_PPM if slow else CLOCK_DRIFT_PPM
        self._say(f"clock of {node.name} runs {own:+} ppm, all others {-own:+}")
        for other in self.world.nodes:
            other.clock.set_rate(own if other is node else -own)
