"""A simulated program that is a client of transactions, or of locks."""

from __future__ import annotations

from typing import Protocol

from tests.simulation.program import Program


class Runs(Protocol):
    """A client."""

    async def run(self) -> None:
        """Until its host stops."""


class Dealer(Program):
    """`client` is set before it starts."""

    client: Runs

    async def _run(self) -> None:
        await self.client.run()
