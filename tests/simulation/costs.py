"""What computing costs, in virtual time.

Without it everything between two waits happens at one moment, and what an `await sleep(0)` lets in
is nothing at all. Each callback of a node's process is charged a little, once in a while much; each
piece of a snapshot, more. The time passes for everybody, as if all nodes shared one processor.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from random import Random
from typing import Any

from quorumcache.node.store.store import ShardStore

US = 1_000
MS = 1_000_000
DRAWS = 509
"""Small costs are drawn once and used over and over: a prime, so that no loop of callbacks meets
the same one again and again. Stalls are drawn as they come: one among these would come back all the
time, and leave the nodes no time for anything else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """`callback_ns` on average; every `stall_every` callbacks one of `stall_ns`; `piece_ns` for a
    piece of a snapshot.
    """

    callback_ns: int = 0
    stall_every: int = 0
    stall_ns: int = 0
    piece_ns: int = 0

    def describe(self) -> str:
        stalls = f", {self.stall_ns / MS:g} ms in {self.stall_every}" if self.stall_every else ""
        piece = f", {self.piece_ns / MS:g} ms a piece of a snapshot" if self.piece_ns else ""
        return f"{self.callback_ns / US:g} us a callback{stalls}{piece}"

    def of_callbacks(self, random: Random) -> Iterator[int]:
        """For ever: what the next callback costs."""
        costs = cycle([int(random.expovariate(1.0) * self.callback_ns) for _ in range(DRAWS)])
        return self._with_stalls(costs, random) if self.stall_every else costs

    def _with_stalls(self, costs: Iterator[int], random: Random) -> Iterator[int]:
        while True:
            callbacks = int(random.expovariate(1 / self.stall_every))
            yield from islice(costs, callbacks)
            yield next(costs) + int(random.random() * 2 * self.stall_ns)


def draw_costs(random: Random, node_count: int) -> Costs:
    """Nodes share the processor, so of many each may use less."""
    share = 3 / max(3, node_count)
    callback_us = random.choice((0, 2, 10, 30))
    stall_every, stall_ms = random.choice(((0, 0), (0, 0), (500, 2), (4_000, 20), (20_000, 150)))
    return Costs(
        callback_ns=int(callback_us * share * US),
        stall_every=int(stall_every / share),
        stall_ns=stall_ms * MS,
        piece_ns=random.choice((0, 200 * US, 1 * MS, 5 * MS)),
    )


@contextlib.contextmanager
def charged_pieces(charge: Callable[[], None]) -> Iterator[None]:
    """Call `charge` for every piece of a snapshot that is encoded or restored. Nothing of it when
    compiled."""
    original = ShardStore.encode_view
    original_restoring = ShardStore.restoring

    def encode_view(self: ShardStore, view: Any) -> Iterator[bytes]:
        for piece in original(self, view):
            charge()
            yield piece

    def restoring(self: ShardStore, pieces: Sequence[bytes]) -> Iterator[int]:
        for taken in original_restoring(self, pieces):
            charge()
            yield taken

    try:
        ShardStore.encode_view = encode_view  # type: ignore[method-assign]
        ShardStore.restoring = restoring  # type: ignore[method-assign]
    except (AttributeError, TypeError):
        yield
        return
    try:
        yield
    finally:
        ShardStore.encode_view = original  # type: ignore[method-assign]
        ShardStore.restoring = original_restoring  # type: ignore[method-assign]
