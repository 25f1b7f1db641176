"""What has to happen within a bounded time once nothing fails any more."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import TYPE_CHECKING

from quorumcache.ring.hashing import shard_of
from tests.simulation.client import LOST, SimulatedClient, UnexpectedReply
from tests.simulation.workload import Request, Workload, WorkloadConfig

if TYPE_CHECKING:
    from tests.simulation.cluster import SimulatedNode
    from tests.simulation.world import World


PROMPT_SECONDS = 3.0
"""An answer may take so long when nothing fails: a leader may just be changing."""

READ_ATTEMPTS = 3
"""A leadership that goes back to where it belongs may take longer than a short deadline allows."""


class LivenessFailure(AssertionError):
    """The cluster was left alone and still did not work."""


async def await_service(world: World, seconds: float, *, without: Collection[str] = ()) -> None:
    """Each node, asked alone, stores and returns a value of each shard within `seconds`.

    `without`: nodes that are gone for good, and not asked.
    """
    deadline = world.loop.time() + seconds
    probe = _prober(world)
    await asyncio.gather(
        *(
            probe.process.spawn(_await_node(world, probe, node, deadline))
            for node in world.nodes
            if node.name not in without
        )
    )


async def _await_node(
    world: World, probe: SimulatedClient, node: SimulatedNode, deadline: float
) -> None:
    loop = world.loop
    missing: list[bytes] = []
    why = "never connected"
    while loop.time() < deadline:
        map_ = node.node.map if node.node is not None and node.is_up else None
        if map_ is None:
            why = "has no cluster map" if node.is_up else "is down"
            await asyncio.sleep(0.05)
            continue
        missing = missing or probe_keys(node.name, map_.shard_count)
        try:
            async with asyncio.timeout(1.0):
                reader, writer = await asyncio.open_connection(*node.address)
        except LOST as error:
            why = f"cannot be connected to: {error!r}"
            await asyncio.sleep(0.05)
            continue
        try:
            while missing:
                requests = [Request("set", missing[0], b"x"), Request("get", missing[0], None)]
                done = await probe.run_batch(reader, writer, requests)
                if [o.outcome for o in done] != ["ok", "ok"]:
                    why = f"answers {[o.describe() for o in done]}"
                    await asyncio.sleep(0.05)
                    continue
                missing.pop(0)
            return
        except LOST as error:
            why = f"does not answer for {missing[0]!r}: {error!r}"
        except UnexpectedReply as error:
            raise LivenessFailure(f"{node.name} answers {error}") from error
        finally:
            writer.close()
    raise LivenessFailure(
        f"{node.name} does not serve all shards in time: it {why}\n" + describe_groups(world)
    )


async def await_prompt_answers(world: World) -> None:
    """Each node answers for each shard within `PROMPT_SECONDS`, whoever else does not read."""
    probe = _prober(world)

    async def ask(node: SimulatedNode) -> None:
        assert node.node is not None
        assert node.node.map is not None
        reader, writer = await asyncio.open_connection(*node.address)
        for key in probe_keys(node.name, node.node.map.shard_count):
            begin = world.loop.time()
            requests = [Request("set", key, b"y"), Request("get", key, None)]
            done = await probe.run_batch(reader, writer, requests)
            seconds = world.loop.time() - begin
            world.prompt_worst = max(world.prompt_worst, seconds)
            if seconds > PROMPT_SECONDS:
                raise LivenessFailure(
                    f"{node.name} takes {seconds:.3f} s to answer {[o.describe() for o in done]}"
                )
        writer.close()

    for node in world.nodes:
        try:
            await probe.process.spawn(ask(node))
        except LOST as error:
            raise LivenessFailure(f"{node.name} does not answer: {error!r}") from error


def probe_keys(name: str, shard_count: int) -> list[bytes]:
    """One key for each shard, used by this prober only."""
    keys: dict[int, bytes] = {}
    number = 0
    while len(keys) < shard_count:
        key = f"probe-{name}-{number}".encode()
        keys.setdefault(shard_of(key, shard_count), key)
        number += 1
    return [keys[shard] for shard in sorted(keys)]


async def read_all(
    world: World, keys: list[bytes], *, without: Collection[str] = (), is_written: bool = False
) -> None:
    """Read every key of the workload through every node: an acknowledged write that is lost shows
    here.

    `is_written`: clients go on writing. So the rest of a large value may be nowhere to be had any
    more, and the connection ends (docs/large-items.md).
    """
    probe = _prober(world)

    async def read(node: SimulatedNode) -> None:
        asked = keys
        for attempts_left in reversed(range(READ_ATTEMPTS)):
            reader, writer = await asyncio.open_connection(*node.address)
            requests = [Request("gets", key, None) for key in asked]
            try:
                done = await probe.run_batch(reader, writer, requests)
            except LOST:
                if not is_written or not attempts_left:
                    raise
                continue
            writer.close()
            failed = [operation for operation in done if operation.outcome != "ok"]
            if not failed:
                break
            if not attempts_left:
                raise LivenessFailure(f"{node.name}: {failed[0].describe()} after the healing")
            asked = [operation.key for operation in failed]

    for node in world.nodes:
        if node.name in without:
            continue
        try:
            await probe.process.spawn(read(node))
        except LOST as error:
            raise LivenessFailure(f"{node.name} cannot be read: {error!r}") from error


async def await_convergence(world: World, seconds: float) -> None:
    """All replicas of a group apply the same entries and have the same state."""
    deadline = world.loop.time() + seconds
    while True:
        differences = _differences(world)
        if not differences:
            return
        if world.loop.time() >= deadline:
            differences.append(describe_groups(world))
            raise LivenessFailure("replicas do not converge:\n" + "\n".join(differences))
        await asyncio.sleep(0.05)


def _differences(world: World) -> list[str]:
    groups: dict[int, list[tuple[str, int, bytes]]] = {}
    for node in world.nodes:
        for group in node.groups():
            facts = (node.name, group.applied_index, group.machine.digest())
            groups.setdefault(group.group_id, []).append(facts)
    return [
        f"group {group_id}: {[(name, applied) for name, applied, _ in replicas]}"
        for group_id, replicas in sorted(groups.items())
        if len({(applied, digest) for _, applied, digest in replicas}) > 1
    ]


def describe_groups(world: World) -> str:
    """Every replica in one line; for leaders also what they know of the others."""
    lines = []
    for node in world.nodes:
        for group in node.groups():
            log = group.log
            line = (
                f"  {node.name} group {group.group_id}: {group.role.name} term {group.term} "
                f"leader {group.leader_id} last {log.last_index} commit {group.commit_index} "
                f"applied {group.applied_index} unpersisted {group.unpersisted}"
            )
            if group.is_leader:
                line += f" progress {dict(sorted(log.progress().items()))}"
            lines.append(line)
    return "\n".join(lines)


def _prober(world: World) -> SimulatedClient:
    """A patient client on a host that no partition knows; its requests are in the history, too."""
    workload = Workload("probe", WorkloadConfig(), world.random("probe"))
    return SimulatedClient(
        world.loop, "probe", [], workload, world.history, world.random("probe"), reply_seconds=8.0
    )
