"""Is this tree worth looking for a fault in? `python -m tests.mutants.smoke MODULE ...`.

The modules have to be importable, and a node on its own, in memory, has to serve our client. A tree
that cannot do that much would be found by any test at all, which says nothing about the tests.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
from pathlib import Path
from random import Random

from quorumcache.node import node
from quorumcache.node.clock import SystemClock
from quorumcache.node.settings.config import NodeConfig
from quorumcache.router import AsyncClient

ROOT = Path(__file__).parents[2]
DEADLINE_SECONDS = 60.0


async def serve() -> None:
    """One node, and one of everything a client asks."""
    loop = asyncio.get_running_loop()
    config = NodeConfig(listen="127.0.0.1:0", http="", shards=4)
    one = node.Node(config, clock=SystemClock(), disk=None, random=Random(1), loop=loop)
    await one.start()
    async with AsyncClient([one.listen_address]) as client:
        await client.set("greeting", b"hello")
        assert await client.get("greeting") == b"hello"
        await client.set("hits", b"41")
        assert await client.incr("hits", 1) == 42
        assert await client.delete("greeting")
        assert await client.get("greeting") is None
    await one.stop()


def main() -> int:
    for loaded in (node, *map(importlib.import_module, sys.argv[1:])):
        assert loaded.__file__ is not None
        assert Path(loaded.__file__).is_relative_to(ROOT), f"{loaded.__file__} is not of this tree"
    asyncio.run(asyncio.wait_for(serve(), DEADLINE_SECONDS))
    return 0


if __name__ == "__main__":
    sys.exit(main())
