"""The fine timer fires once per arming, never early."""

from __future__ import annotations

import asyncio
import time

from quorumcache.bench.timer import FineTimer


def test_it_fires_once_and_not_early():
    async def main():
        loop = asyncio.get_running_loop()
        fired = []
        done = asyncio.Event()

        def callback():
            fired.append(time.monotonic_ns())
            done.set()

        timer = FineTimer(loop, callback)
        began = time.monotonic_ns()
        timer.arm(300_000)
        await asyncio.wait_for(done.wait(), 20)
        assert fired[0] - began >= 300_000
        done.clear()
        timer.arm(0)
        await asyncio.wait_for(done.wait(), 20)
        timer.arm(1_000_000_000)
        timer.close()
        timer.close()
        return len(fired)

    assert asyncio.run(main()) == 2
