"""The operator: asks any node of the cluster for changes, over the client port, and proves that it
knows the cluster's secret (docs/protocol.md).
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from quorumcache.ring.secret import CLIENT
from tests.simulation.client import LOST
from tests.simulation.process import Process

if TYPE_CHECKING:
    from tests.simulation.cluster import SimulatedNode
    from tests.simulation.elastic_world import ElasticWorld

ANSWER_SECONDS = 6.0
"""A node forwards a change to the directory's leader, and may wait for an election."""

DONE, REFUSED, UNKNOWN = "done", "refused", "unknown"
HELD = b"SERVER_ERROR"


class Operator:
    """`asked`: every change, with its outcome and what was said, in order."""

    def __init__(self, world: ElasticWorld) -> None:
        self._world = world
        self._process = Process(world.loop, "operator", host="operator")
        self.asked: list[tuple[str, str, str]] = []

    async def change(self, words: str, *, pick: int = 0, tries: int = 3) -> tuple[str, str]:
        """Ask for it, of other nodes as well when one does not answer. The outcome, and the words
        of the answer.
        """
        outcome, text = await self._ask(words, pick, tries)
        self.asked.append((words, outcome, text))
        self._world.trace.tell(f"operator: {words}: {outcome}, {text[:160]}")
        return outcome, text

    async def _ask(self, words: str, pick: int, tries: int) -> tuple[str, str]:
        outcome, text = UNKNOWN, "nobody answers"
        nodes = self._reachable()
        for attempt in range(tries if nodes else 0):
            node = nodes[(pick + attempt) % len(nodes)]
            task = self._process.spawn(self._change(node, words))
            outcome, text = await task
            if outcome != UNKNOWN:
                break
            await asyncio.sleep(0.1)
        return outcome, text

    async def insist(self, words: str, seconds: float) -> tuple[str, str]:
        """Until it is done or refused."""
        deadline = self._world.loop.time() + seconds
        pick = 0
        while True:
            outcome, text = await self._ask(words, pick, 1)
            if outcome != UNKNOWN or self._world.loop.time() > deadline:
                break
            pick += 1
            await asyncio.sleep(0.2)
        self.asked.append((words, outcome, text))
        self._world.trace.tell(f"operator: {words}: {outcome}, {text[:160]}")
        return outcome, text

    async def moves(self, node: SimulatedNode) -> dict[str, Any]:
        """What a node says of the moves under way."""
        return await self._process.spawn(self._moves(node))

    def _reachable(self) -> list[SimulatedNode]:
        return [n for n in self._world.nodes if n.is_up and n.node is not None and n.node.map]

    async def _change(self, node: SimulatedNode, words: str) -> tuple[str, str]:
        writer = None
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                reader, writer = await asyncio.open_connection(*node.address)
                why = await self._prove(reader, writer)
                if why:
                    return UNKNOWN, why
                writer.write(f"cluster change {words}\r\n".encode())
                return await self._answer(reader)
        except LOST as error:
            return UNKNOWN, f"{node.name}: {error!r}"
        finally:
            if writer is not None:
                writer.transport.abort()

    async def _prove(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
        """Why the proof is not taken now; "" when it is."""
        writer.write(b"cluster auth\r\n")
        line = await reader.readline()
        if not line.startswith(b"AUTH "):
            return line.decode().strip() or "closed"
        nonce = bytes.fromhex(line.split()[1].decode())
        secret = self._world.secret()
        if secret is None:
            return "no member is there whose secret could be read"
        writer.write(f"cluster auth {secret.proof(CLIENT, nonce).hex()}\r\n".encode())
        line = await reader.readline()
        if line.startswith(b"CLIENT_ERROR"):
            self._world.complain(f"the cluster's secret is not taken: {line!r}")
        return "" if line == b"OK\r\n" else line.decode().strip() or "closed"

    async def _answer(self, reader: asyncio.StreamReader) -> tuple[str, str]:
        line = await reader.readline()
        if line.startswith(b"CHANGE "):
            body = await reader.readexactly(int(line.split()[1]) + 2)
            json.loads(body)
            return DONE, body.decode().strip()
        if line.startswith(b"CLIENT_ERROR refused: "):
            return REFUSED, line.decode().strip()
        if line.startswith(HELD) or not line:
            return UNKNOWN, line.decode().strip() or "closed"
        self._world.complain(f"not an answer to a change: {line!r}")
        return UNKNOWN, line.decode().strip()

    async def _moves(self, node: SimulatedNode) -> dict[str, Any]:
        writer = None
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                reader, writer = await asyncio.open_connection(*node.address)
                writer.write(b"cluster moves\r\n")
                line = await reader.readline()
                if not line.startswith(b"MOVES "):
                    return {}
                found: dict[str, Any] = json.loads(await reader.readexactly(int(line.split()[1])))
                return found
        except LOST:
            return {}
        finally:
            if writer is not None:
                writer.transport.abort()
