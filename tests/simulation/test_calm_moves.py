"""How long requests wait while replicas move and nothing fails, in virtual time."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from quorumcache.ring import ClusterMap
from tests.simulation.gaps import Gaps

SHARDS = 4
GAP_SECONDS = 0.15
"""Half an election timeout. What waits for a replica that nobody tells anything any more waits
longer."""

FORM_2_SECONDS = 1.0


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

    def members(self, shard: int) -> set[int]:
        return set(self.map.replica_sets[shard])


@pytest.mark.parametrize("words", [("drain", "n4"), ("settings", "replication=1")])
def test_no_client_of_any_node_notices_a_move(words: Sequence[str]) -> None:
    world = Moves(1, nodes=4)

    async def play() -> None:
        await world.measure(FORM_2_SECONDS)
        assert world.map.form == 2
        before = [world.members(shard) for shard in range(SHARDS)]
        world.ask(*words)
        await world.measure(6.0)
        assert not world.map.moves
        assert [world.members(shard) for shard in range(SHARDS)] != before

    world.run(play)
    assert world.failures == []
    assert world.worst() < GAP_SECONDS, world.longest
