"""What a set takes of a node, from its bytes to its reply.

    python -m quorumcache.bench.micro.clients [sets]

A whole node that is alone and keeps nothing runs in this process, and its clients are transports
that hand over bytes and count lines: parser, lanes, coordinator, session table, store and replies,
consensus of one replica, and the loop; no kernel, no disk and no other node. Reported is processor
time of one set: the best of many short rounds, and the best quarter of them.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from random import Random
from time import process_time
from typing import Any, Final

import uvloop

from quorumcache.node.clock import SystemClock
from quorumcache.node.node import Node
from quorumcache.node.settings.config import NodeConfig

VALUE: Final = b"x" * 100
KEYS: Final = 10_000
ROUNDS: Final = 25
LOADS: Final = ((50, 1), (200, 1), (50, 16))
"""Connections, and requests under way in each of them."""


class Client:
    """One connection: as its transport, it hears what the node sends."""

    def __init__(self, load: Load, depth: int, keys: list[bytes]) -> None:
        self._load = load
        self._depth = depth
        requests = [b"set %b 0 0 100\r\n%b\r\n" % (key, VALUE) for key in keys]
        self._sends = [b"".join(requests[at : at + depth]) for at in range(0, len(requests), depth)]
        self._next = 0
        self._waiting = 0
        self.writes = 0
        """Calls of `write`."""
        transport: Any = self
        self.connection: Any = load.node.server._new_client()
        self.connection.connection_made(transport)

    def send(self) -> None:
        """As many requests as may be under way."""
        self._waiting = self._depth
        self._next = (self._next + 1) % len(self._sends)
        self.connection.data_received(self._sends[self._next])

    def write(self, data: bytes) -> None:
        """Replies."""
        self.writes += 1
        self._waiting -= data.count(b"STORED\r\n")
        if not self._waiting:
            self._load.answered(self, self._depth)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """For the connection: there is no socket."""
        return default

    def get_write_buffer_size(self) -> int:
        """All was taken."""
        return 0

    def close(self) -> None:
        """The node ends."""

    abort = pause_reading = resume_reading = close


class Load:
    """Clients that each send again once they have their replies, until so many sets are done."""

    def __init__(self, node: Node, connections: int, depth: int, random: Random) -> None:
        self.node = node
        keys = [b"key:%010d" % number for number in range(KEYS)]
        self._clients = [
            Client(self, depth, random.sample(keys, 16 * depth)) for _ in range(connections)
        ]
        self._left = 0
        self._done: asyncio.Future[None] = node.loop.create_future()

    def answered(self, client: Client, sets: int) -> None:
        """A client has all its replies."""
        self._left -= sets
        if self._left > 0:
            self.node.loop.call_soon(client.send)
        elif not self._done.done():
            self._done.set_result(None)

    async def run(self, sets: int) -> tuple[float, float]:
        """Microseconds of processor of one set, and calls of `write` for it."""
        self._left = sets
        began = process_time()
        for client in self._clients:
            self.node.loop.call_soon(client.send)
        await self._done
        spent = process_time() - began
        await asyncio.sleep(0.02)
        for client in self._clients:
            client.connection.connection_lost(None)
        return spent / sets * 1e6, sum(client.writes for client in self._clients) / sets


async def measure(connections: int, depth: int, sets: int) -> tuple[list[float], float]:
    """The figures of all rounds, the best first, and calls of `write` for one set."""
    loop = asyncio.get_running_loop()
    config = NodeConfig(listen="127.0.0.1:0", durability="memory", shards=64)
    node = Node(config, clock=SystemClock(), disk=None, random=Random(1), loop=loop)
    await node.start()
    await node.wait_member()
    await asyncio.sleep(0.5)
    random = Random(2)
    found = [await Load(node, connections, depth, random).run(sets) for _ in range(ROUNDS)]
    await node.stop()
    return sorted([us for us, _ in found]), found[-1][1]


def main() -> None:
    """Print the figures."""
    sets = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    # As the process of a node does it (`node/process/run.py`).
    gc.collect()
    gc.freeze()
    gc.set_threshold(2_000, 1_000_000, 1_000_000)
    for connections, depth in LOADS:
        rounds, writes = uvloop.run(measure(connections, depth, sets))
        print(
            f"set, {connections} connections, depth {depth:<3} {rounds[0]:8.2f} us,"
            f" a quarter below {rounds[len(rounds) // 4]:8.2f} us, {writes:.3f} writes",
            flush=True,
        )


if __name__ == "__main__":
    main()
