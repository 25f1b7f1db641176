"""How an elastic cluster has to come to rest, once nothing fails any more."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from quorumcache.ring.move import DIRECTORY_GROUP
from quorumcache.ring.node_info import ACTIVE, JOINING, LOST
from tests.simulation.liveness import LivenessFailure, describe_groups
from tests.simulation.operator import DONE

if TYPE_CHECKING:
    from quorumcache.ring import ClusterMap
    from tests.simulation.elastic_world import ElasticWorld

QUIET_SECONDS = 90.0
"""Longer than the longest `dead-after-ms` and the moves that it starts."""
ASK_SECONDS = 20.0
JOIN_SECONDS = 10.0
"""Whoever waits for so long to be taken in is told of other members, and so is, at the second time,
a member that misses some."""
DIRECTORY_MAX = 5


async def await_quiet(world: ElasticWorld) -> None:
    """All moves end, the factor holds everywhere, every group has a leader, and who was drained or
    removed is gone. The operator lets the moves go on, and gives lost machines a new disk.
    """
    await world.operator.insist("resume", ASK_SECONDS)
    deadline = world.loop.time() + QUIET_SECONDS
    again = 0.0
    rounds = 0
    while True:
        if world.loop.time() >= again:
            again = world.loop.time() + JOIN_SECONDS
            _point_at_members(world)
            rounds += 1
            if rounds == 3:
                _name_moved_members(world)
        for node in world.elastic_nodes:
            if node.is_due and not node.is_up:
                node.start()
        if world.maps.newest is not None and world.maps.newest.is_paused:
            # One to pause whose answer was lost may be carried out later than the one to go on.
            await world.operator.insist("resume", ASK_SECONDS)
        await _replace_lost(world)
        left = unfinished(world)
        if not left:
            break
        if world.loop.time() > deadline:
            text = "\n".join([*left[:20], describe_groups(world)])
            raise LivenessFailure(f"the cluster does not come to rest:\n{text}")
        await asyncio.sleep(0.1)
    world.trace.say("all moves have ended")


def _point_at_members(world: ElasticWorld) -> None:
    """Those that still want to join may ask at addresses where nobody is any more."""
    for node in world.elastic_nodes:
        if node.is_joining:
            if node.is_up:
                node.crash()
            node.join(world.seeds())


def _name_moved_members(world: ElasticWorld) -> None:
    """The only one that all others knew may be gone for good, after they had moved. Members that
    miss others are told addresses, in `--join`."""
    for node in world.elastic_nodes:
        peers = node.node.peers if node.is_up and node.node_id and node.node is not None else None
        if peers is None or all(map(peers.is_up, peers.node_ids)):
            continue
        world.trace.tell(f"{node.name} is told where the others are")
        node.crash()
        node.change_settings(join=",".join(world.seeds()), initial_cluster={})
        node.start()


async def _replace_lost(world: ElasticWorld) -> None:
    """One after the other: two changes at once are refused."""
    for node in world.elastic_nodes:
        newest = world.maps.newest
        if newest is None or newest.change:
            continue
        known = newest.node_named(node.name)
        # The replacement was taken back while the successor was joining: that one was sent away,
        # and the map counts on the lost disk again.
        is_sent_away = node.has_left and known is not None and known.node_id != node.node_id
        if not is_sent_away and (not node.is_successor or node.node_id):
            continue
        if known is not None and known.state == LOST:
            continue  # Removed by force; it leaves the map when it holds nothing.
        if known is not None:
            # One that was lost before it was heard holds nothing that a successor could take over.
            is_new = known.state == JOINING
            words = f"remove {node.name} force" if is_new else f"replace {node.name}"
            outcome, _ = await world.operator.insist(words, ASK_SECONDS)
            if outcome != DONE:
                continue
        if node.is_lost or is_sent_away:
            world.trace.tell(f"{node.name} joins on a new disk")
            world.let_join(node)
        return


def unfinished(world: ElasticWorld) -> list[str]:
    """What is not yet as it has to be; [] when everything is."""
    newest = world.maps.newest
    if newest is None:
        return ["nobody has a map"]
    left = _of_map(newest)
    known = {info.node_id: info for info in newest.nodes}
    running = {}
    for node in world.elastic_nodes:
        if not node.is_due:
            if node.is_up:
                left.append(f"{node.name} has left, and still runs")
            continue
        if not node.is_up or node.node is None or node.node.map is None:
            left.append(f"{node.name} is no member: {node.joins_refused[-1:]}")
        elif node.node_id not in known:
            left.append(f"{node.name} is not in the map, and has not ended")
        elif node.node.map.epoch != newest.epoch:
            left.append(f"{node.name} knows the map of {node.node.map.epoch}, not {newest.epoch}")
        else:
            running[node.node_id] = node
    absent = [info for node_id, info in known.items() if node_id not in running]
    left += [f"{info.name} is in the map, and does not run" for info in absent]
    if left:
        return left
    placed: dict[int, dict[int, Any]] = {}
    for node_id, node in running.items():
        for group in node.groups():
            placed.setdefault(group.group_id, {})[node_id] = group
    first = DIRECTORY_GROUP if newest.form >= 2 else DIRECTORY_GROUP + 1
    for group_id in range(first, newest.shard_count + 1):
        left += _of_group(group_id, placed.get(group_id, {}), newest.replica_set(group_id))
    return left


def _of_map(newest: ClusterMap) -> list[str]:
    left = [f"{move} is under way" for move in newest.moves]
    if newest.change:
        left.append(f"the change {newest.change!r} is under way")
    if newest.form < 2:
        return left
    left += [f"{info.name} is {info.state}" for info in newest.nodes if info.state != ACTIVE]
    placeable = {info.node_id for info in newest.nodes if info.is_placeable}
    wanted = min(newest.replication, len(placeable))
    for shard, replicas in enumerate(newest.replica_sets):
        if len(replicas) != wanted or not {*replicas} <= placeable:
            left.append(f"shard {shard} is on {replicas}, of {sorted(placeable)}, wanted {wanted}")
    least = min(3, len(placeable))
    if not {*newest.directory} <= placeable or not least <= len(newest.directory) <= DIRECTORY_MAX:
        left.append(f"the directory is on {newest.directory}, of {sorted(placeable)}")
    return left


def _of_group(group_id: int, found: dict[int, Any], wanted: tuple[int, ...]) -> list[str]:
    if {*found} != {*wanted}:
        return [f"group {group_id} runs on {sorted(found)}, the map says {wanted}"]
    leaders = [group for group in found.values() if group.is_leader and group.has_lease()]
    if len(leaders) != 1:
        return [f"group {group_id} has {len(leaders)} leaders"]
    configuration = leaders[0].log.configuration
    if {*configuration.voters} != {*wanted} or configuration.learners:
        return [f"group {group_id} is {configuration}, the map says {wanted}"]
    return []
