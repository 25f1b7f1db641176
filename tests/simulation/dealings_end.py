"""How transactions and locks end: nothing is held any more, and every node tells the same.

Holds are resolved without anybody who asked for them, and leases end by themselves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import TYPE_CHECKING

from quorumcache.node.store.state import ShardState
from tests.simulation.client import LOST
from tests.simulation.liveness import READ_ATTEMPTS, LivenessFailure
from tests.simulation.process import Process
from tests.simulation.talk import Talk

if TYPE_CHECKING:
    from tests.simulation.cluster import SimulatedNode
    from tests.simulation.dealings import Dealings
    from tests.simulation.world import World

HELD_SECONDS = 15.0
"""A place in a queue lasts 10 s; holds are resolved within a few."""
REPLY_SECONDS = 8.0


async def end_dealings(world: World, *, without: Collection[str] = ()) -> None:
    """Nothing is held after a while, and each node gives every key."""
    dealings = world.dealings
    if dealings is None:
        return
    await _await_nothing_held(world)
    reader = Process(world.loop, "teller", host="teller")
    for node in world.nodes:
        if node.name not in without:
            try:
                await reader.spawn(_read_all(world, dealings, node))
            except LOST as error:
                raise LivenessFailure(f"{node.name} cannot be read: {error!r}") from error


async def _await_nothing_held(world: World) -> None:
    deadline = world.loop.time() + HELD_SECONDS
    while held := _held(world):
        if world.loop.time() > deadline:
            raise LivenessFailure("there is still:\n" + "\n".join(held))
        await asyncio.sleep(0.05)


def _held(world: World) -> list[str]:
    """What the replicas hold for transactions and locks, a line each."""
    lines = []
    for node in world.nodes:
        for group in node.groups():
            state = group.machine
            if not isinstance(state, ShardState):
                continue  # The directory.
            where = f"{node.name}, group {group.group_id}"
            table = state.transactions
            lines += [f"{where}: a hold on {key!r}" for key in table.holds]
            lines += [f"{where}: {txn.hex()} is prepared" for txn in table.prepared]
            lines += [f"{where}: {txn.hex()} is not resolved" for txn in table.unresolved]
            if len(state.locks):
                lines.append(f"{where}: {len(state.locks)} locks")
    return lines


async def _read_all(world: World, dealings: Dealings, node: SimulatedNode) -> None:
    talk = await Talk.to(node.address, reply_seconds=REPLY_SECONDS)
    history = dealings.history
    for key in dealings.every_key():
        for attempts_left in reversed(range(READ_ATTEMPTS)):
            record = history.invoke("teller", "get", now_ns=world.loop.now_ns)
            found, line = await talk.values(b"get %b\r\n" % key)
            if line == b"END":
                record.reads = {key: found[key][0] if key in found else None}
                history.ok(record, now_ns=world.loop.now_ns)
                break
            history.fail(record, line.decode(), now_ns=world.loop.now_ns)
            if not attempts_left:
                raise LivenessFailure(f"{node.name}: {line!r} to a get after the healing")
    talk.close()
