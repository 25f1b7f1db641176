"""Goal: the native core ends as it should wherever the interpreter has no memory left, and what
packs bytes makes no object but those bytes.

Method: each function runs again and again, and each time another one of its requests for memory
fails. It raises MemoryError, or its answer is as ever.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgpack
import pytest

from quorumcache.node.consensus.values import Entry
from tests.support.get_forms import FORMS
from tests.support.item_tables import items_of
from tests.support.native_core import native

wire = native("wire")
packer = native("packer")
client_sets = native("client_sets")

pytestmark = pytest.mark.skipif(wire is None, reason="runs with the compiled form")

ENTRIES = [Entry(1 << bits, 5, 0, b"p" * bits) for bits in range(64)]
DATA = b" 0 400\r\n" + b"v" * 400 + b"\r\n"
SETS = [(7, (1 << 40) + n, 0, 1, b"key%d" % n, DATA, 60) for n in range(9)]
LINES = b"".join(b"set key%d 70000 0 3\r\nabc\r\n" % n for n in range(9))

LEAST_FAILED = 200
"""So many requests for memory are failed at the least: none of these makes as many."""


def failed(function: Callable[[], Any]) -> int:
    """How many of its requests for memory make a function fail. Otherwise it answers as ever."""
    memory = pytest.importorskip("_testcapi", reason="SKIPPED: this Python has no _testcapi")
    expected = function()
    failures = place = 0
    while place < LEAST_FAILED + failures:
        memory.set_nomemory(place, place + 1)
        place += 1
        try:
            found = function()
        except MemoryError:
            failures += 1
            continue
        finally:
            memory.remove_mem_hooks()
        assert found == expected
    return failures


@pytest.mark.parametrize("depth", [0, 3])
def test_packed_values(depth: int) -> None:
    """Of numbers of each length, below zero as well."""
    assert packer is not None
    assert wire is not None
    value: Any = [*ENTRIES, (-1 << 63, -1 << 31, -1 << 15, (1 << 64) - 1, None, True)]
    for _ in range(depth):
        value = (value,)
    assert 0 < failed(lambda: packer.pack(value)) <= 2
    assert 0 < failed(lambda: wire.log_frame(value, 7, 8, 1 << 30)) <= 3


def test_values_that_msgpack_itself_packs() -> None:
    assert wire is not None
    assert failed(lambda: wire.log_frame([*ENTRIES, 1.5], 7, 8, 1 << 30))


def test_batches() -> None:
    assert packer is not None
    now_ms = (1 << 40) + 5
    batch = (2, now_ms, -now_ms, 1 << 33, SETS)
    assert 0 < failed(lambda: packer.pack(batch)) <= 2


def test_runs_and_frames() -> None:
    assert wire is not None
    entries = [Entry(1 << 33, 5, 0, b"p" * size) for size in range(20)]
    run = wire.pack_run(1, (5, 1 << 62, 5, 1 << 63, entries))
    frame = wire.frame_of_items([b"item"] * 20, 1 << 20)
    assert 0 < failed(lambda: wire.pack_run(1, (5, 1 << 62, 5, 1 << 63, entries))) <= 5
    assert 0 < failed(lambda: wire.frame_of_items([b"item"] * 20, 1 << 20)) <= 4
    assert failed(lambda: wire.unpack_runs(run * 3)) > 3 * len(entries)

    def read() -> Any:
        payloads: list[bytes] = []
        return wire.intact_frames(frame * 3, payloads, 1 << 20, False), payloads

    assert failed(read)


def test_sets_of_clients() -> None:
    assert client_sets is not None
    reader = client_sets.SetReader(64)
    assert failed(lambda: reader.read(LINES, 0, 900)) > 9


def test_sets_of_the_log() -> None:
    form = FORMS[-1]
    payload = msgpack.packb((2, 5000, 5000, 1 << 20, SETS))

    def placed() -> Any:
        table, ending, added = form.table(), [], []  # type: ignore[var-annotated]
        found = form.sets().read(payload, table)
        form.sets().place(payload, table, form.gate(), 0, 5000, 5, ending, [], added)
        return found, ending, added, items_of(table)

    assert failed(placed) > 9
