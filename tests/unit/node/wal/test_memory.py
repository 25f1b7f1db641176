"""The log of a node that keeps nothing."""

from __future__ import annotations

import asyncio
import inspect

from quorumcache.node.consensus.values import Entry, HardState
from quorumcache.node.wal.format import WalRecord
from quorumcache.node.wal.memory import MemoryWal
from quorumcache.node.wal.wal import Wal
from tests.support.manual_loop import ManualLoop


def test_it_calls_back_on_the_next_turn() -> None:
    loop = ManualLoop()
    wal = MemoryWal(loop)
    called: list[str] = []
    wal.append([WalRecord(1, None, (Entry(1, 1, 0, b"x"),))], lambda: called.append("a"))
    wal.forget(1, lambda: called.append("b"))
    wal.compacted(1, 1, 1)
    wal.installed(1, 1, 1)
    assert called == []
    loop.run()
    assert called == ["a", "b"]
    assert wal.pinned_groups() == []
    asyncio.run(wal.close())


def test_it_knows_the_hard_state_until_the_group_is_forgotten() -> None:
    wal = MemoryWal(ManualLoop())
    assert wal.hard_state(1) == HardState(0, 0)
    wal.append([WalRecord(1, HardState(3, 2), ())], lambda: None)
    wal.append([WalRecord(1, None, (Entry(1, 3, 0, b"x"),))], lambda: None)
    assert wal.hard_state(1) == HardState(3, 2)
    wal.forget(1, lambda: None)
    assert wal.hard_state(1) == HardState(0, 0)


def test_it_has_all_that_the_log_on_disk_has() -> None:
    """Its callers do not ask which of the two it is."""
    stand_in = MemoryWal()
    missing = {name for name in vars(Wal) if name[0] != "_" and not hasattr(stand_in, name)}
    assert missing == {"open"}
    for name, method in inspect.getmembers(MemoryWal, inspect.isfunction):
        if name[0] != "_":
            ours = inspect.signature(method).parameters
            assert list(ours) == list(inspect.signature(getattr(Wal, name)).parameters), name
