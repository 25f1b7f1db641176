"""How long requests wait while replicas move and nothing fails, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from statistics import median

import pytest

from quorumcache.ring import ClusterMap, moves
from tests.simulation.gaps import Gaps

SHARDS = 4
GAP_SECONDS = 0.15
"""Half an election timeout. What waits for a replica that nobody tells anything any more waits
longer."""

CALM_SECONDS = 1.0

MOVE_SECONDS = 0.5
"""An election timeout for which the new replica keeps up, and a few steps. To wait for the next
report or the next look of the directory takes 0.6 s and more.
"""


class Moves(Gaps):
    """A cluster that is changed while requests are measured."""

    def __init__(self, seed: int, nodes: int) -> None:
        super().__init__(seed, nodes=nodes, shards=SHARDS)
        self.answers: list[tuple[int, bytes]] = []

    def ask(self, *words: str) -> None:
        node = self.nodes[0].node
        assert node is not None
        assert node.member is not None
        node.member.office.desk.ask(words, lambda *answer: self.answers.append(answer))

    @property
    def map(self) -> ClusterMap:
        node = self.nodes[0].node
        assert node is not None
        assert node.map is not None
        return node.map

    def has_let_go(self) -> bool:
        """Whether a replica still runs that the committed configuration of its group has not."""
        voters = {
            group.group_id: group.log.configuration.voters
            for node in self.nodes
            for group in node.groups()
            if group.is_leader
        }
        return any(
            node.node_id not in voters.get(group.group_id, (node.node_id,))
            for node in self.nodes
            for group in node.groups()
        )

    def members(self, shard: int) -> set[int]:
        return set(self.map.replica_sets[shard])


@pytest.mark.parametrize("words", [("drain", "n4"), ("settings", "replication=1")])
def test_no_client_of_any_node_notices_a_move(words: Sequence[str]) -> None:
    world = Moves(1, nodes=4)

    async def play() -> None:
        await world.measure(CALM_SECONDS)
        assert world.map.form == 2
        before = [world.members(shard) for shard in range(SHARDS)]
        world.ask(*words)
        await world.measure(6.0)
        assert not world.map.moves
        assert [world.members(shard) for shard in range(SHARDS)] != before

    world.run(play)
    assert world.failures == []
    assert world.worst() < GAP_SECONDS, world.longest


def test_no_client_waits_for_a_directory_that_does_not_complete_a_move(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The replica that was let go stays, and hears no leader any more."""
    world = Moves(1, nodes=4)

    async def play() -> None:
        await world.measure(CALM_SECONDS)
        monkeypatch.setattr(moves, "is_complete", lambda move, report: False)
        world.ask("drain", "n4")
        await world.measure(4.0)
        assert world.has_let_go()

    world.run(play)
    assert world.failures == []
    assert world.worst() < GAP_SECONDS, world.longest


def test_a_move_takes_little_longer_than_its_new_replica_has_to_keep_up() -> None:
    """Nobody waits for the next report, nor for the next look of the directory."""
    world = Moves(1, nodes=4)
    lasted: list[float] = []

    async def play() -> None:
        await world.measure(CALM_SECONDS)
        world.ask("drain", "n4")
        began: dict[int, float] = {}
        for _ in range(600):
            await asyncio.sleep(0.01)
            now = world.loop.time()
            under_way = {move.group_id for move in world.map.moves if move.decided}
            for group_id in under_way - began.keys():
                began[group_id] = now
            lasted.extend(now - began.pop(group_id) for group_id in began.keys() - under_way)

    world.run(play)
    assert len(lasted) >= SHARDS - 1
    assert median(lasted) < MOVE_SECONDS, sorted(lasted)
