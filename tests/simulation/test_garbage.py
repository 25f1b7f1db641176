"""Goal: requests leave nothing behind that only a full collection would find.

What survives one collection is taken out of the collector's sight (`process/run.py`), so a cycle of
references that lives for a moment longer stays for good, with the values that it refers to.

Method: whole nodes serve requests of many kinds while the collector is off. What it then finds is
garbage in cycles. Nothing that belongs to requests may be there.
"""

from __future__ import annotations

import ast
import asyncio
import gc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType

import pytest

from tests.simulation.stage import Stage
from tests.test_layering import ROOT

VALUE = b"v" * 9000
LARGE = b"l" * 1_500_000
ROOMS = ("clients", "operations", "protocol")
"""What a request is made of. The simulated disk leaves cycles of its own, through what writes."""


@contextmanager
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def in_cycles() -> Counter[str]:
    """What of requests is garbage that refers to itself, by kind."""
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()
    found: Counter[str] = Counter()
    for each in gc.garbage:
        made_by = each if isinstance(each, FunctionType | type) else type(each)
        name = f"{made_by.__module__}.{made_by.__qualname__}"
        if name.startswith(tuple(f"quorumcache.node.{room}." for room in ROOMS)):
            found[name] += 1
    return found


def keys(stage: Stage) -> bytes:
    """Three of each shard."""
    return b" ".join(stage.key(shard, turn) for turn in range(3) for shard in range(stage.shards))


async def ask(stage: Stage, through: str, requests: bytes) -> None:
    """Read until all are answered."""
    wire = await stage.connect(through)
    wire.writer.write(requests + b"mn\r\n")
    end = b""
    while not end.endswith(b"MN\r\n"):
        data = await wire.reader.read(1 << 20)
        assert data, "the node has closed the connection"
        end = (end + data)[-4:]
    wire.writer.transport.abort()


async def fill(stage: Stage, through: str) -> None:
    for key in keys(stage).split():
        request = b"set %b 0 0 %d\r\n%b\r\n" % (key, len(VALUE), VALUE)
        assert await stage.ask(through, request) == b"STORED\r\n"


async def multi_gets(stage: Stage, through: str) -> None:
    """Quick ones, and those that wait behind a write."""
    for _ in range(5):
        some = keys(stage)
        key = some.split()[0]
        await ask(stage, through, b"get %b\r\nset %b 0 0 1\r\nx\r\ngets %b\r\n" % (some, key, some))


async def touches(stage: Stage, through: str) -> None:
    for _ in range(5):
        await ask(stage, through, b"gat 100 %b\r\n" % keys(stage))


async def transaction_reads(stage: Stage, through: str) -> None:
    for _ in range(5):
        await ask(stage, through, b"cluster txn get %b\r\n" % keys(stage))


async def unread(stage: Stage, through: str) -> None:
    """A client that asks for much, reads nothing, and leaves."""
    wires = [await stage.connect(through) for _ in range(10)]
    for wire in wires:
        for _ in range(20):
            wire.writer.write(b"get %b\r\nset z 0 0 1\r\nx\r\n" % keys(stage))
    await asyncio.sleep(0.5)
    for wire in wires:
        wire.writer.transport.abort()
    await asyncio.sleep(6.0)


async def halves(stage: Stage, through: str) -> None:
    """A client that leaves in the middle of a value."""
    for size in (len(VALUE), len(LARGE)):
        wire = await stage.connect(through)
        wire.writer.write(b"set h 0 0 %d\r\n" % size + b"x" * (size - 100))
        await asyncio.sleep(0.2)
        wire.writer.transport.abort()
    await asyncio.sleep(1.0)


async def large(stage: Stage, through: str) -> None:
    key = stage.key(0, 9)
    request = b"set %b 0 0 %d\r\n%b\r\n" % (key, len(LARGE), LARGE)
    assert await stage.ask(through, request) == b"STORED\r\n"
    for _ in range(3):
        await ask(stage, through, b"get %b %b\r\n" % (key, keys(stage)))


@pytest.mark.parametrize("work", [multi_gets, touches, transaction_reads, unread, halves, large])
def test_requests_leave_no_cycles(work: Callable[[Stage, str], object]) -> None:
    stage = Stage(shards=4, memory_bytes=64 << 20, item_bytes_max=4 << 20)

    async def scenario(stage: Stage) -> None:
        through = stage.leader(0)
        await fill(stage, through)
        with no_collector():
            await work(stage, through)  # type: ignore[misc]
            await asyncio.sleep(0.1)
            assert in_cycles() == {}

    stage.run(scenario)


ONCE_IN_A_PROCESS = {"with_prefixes", "victim_log"}
"""They make functions that live as long as the process, or as those who watch."""


def test_no_function_inside_one_refers_to_another_inside_it() -> None:
    """In the compiled form both are held by what holds their variables, and hold that."""
    found = []
    for path in (path for room in ROOMS for path in sorted((ROOT / "node" / room).glob("*.py"))):
        for outer in ast.walk(ast.parse(path.read_text())):
            if isinstance(outer, ast.FunctionDef) and outer.name not in ONCE_IN_A_PROCESS:
                inner = [n for n in ast.walk(outer) if isinstance(n, ast.FunctionDef)][1:]
                names = {each.name for each in inner}
                found += [
                    f"{path.name}: {each.name} in {outer.name} refers to {name.id}"
                    for each in inner
                    for name in ast.walk(each)
                    if isinstance(name, ast.Name) and name.id in names
                ]
    assert not found
