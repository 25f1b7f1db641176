"""The rules about configurations, each kept and each broken, on logs made by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from quorumcache.node.consensus.values import Configuration
from quorumcache.ring.cluster_map import ClusterMap
from quorumcache.ring.move import Move
from quorumcache.ring.node_info import NodeInfo
from tests.simulation.checkers import InvariantViolation
from tests.simulation.configurations import (
    CAUGHT_UP_NS,
    DIFFERS_NS,
    DISKS_EVERY_LOOKS,
    Configurations,
)

OLD = Configuration((1, 2, 3))
LEARNS = Configuration((1, 2, 3), (4,), (), 7)
FOUR = Configuration((1, 2, 3, 4), (), (), 7)
NEW = Configuration((1, 2, 4), (), (), 7)
LONG_NS = 2 * DIFFERS_NS


class Logs:
    """The world as the checker sees it: one group 1, on nodes with the logs they are given."""

    def __init__(self) -> None:
        self.loop = SimpleNamespace(now_ns=0)
        self.maps = SimpleNamespace(newest=None)
        self.nodes: list[Any] = []
        self.lasts: dict[int, int] = {}
        """What the disk of each node holds of the group."""
        self.gone: set[int] = set()
        self.forgotten: dict[int, list[int]] = {}
        self.promises = SimpleNamespace(
            is_gone=self.gone.__contains__,
            holds=lambda node, group, index, term: self.lasts.get(node, 0) >= index,
            reaches=lambda node, group, index: self.lasts.get(node, 0) >= index,
            log_of=lambda node: SimpleNamespace(forgotten=self.forgotten.get(node.node_id, [])),
        )
        self.checker = Configurations(self)  # type: ignore[arg-type]

    def say(self, node_id: int, configurations: list[Any], commit: int) -> None:
        """A node's log has these configurations, by index, and knows this much to be committed."""
        terms = SimpleNamespace(term_at=lambda index: 1)
        log = SimpleNamespace(
            configurations=configurations, configuration=configurations[-1][1], log=terms
        )
        group = SimpleNamespace(group_id=1, log=log, commit_index=commit)
        self.nodes = [node for node in self.nodes if node.node_id != node_id]
        self.nodes.append(
            SimpleNamespace(
                name=f"n{node_id}",
                node_id=node_id,
                has_own_directory=True,
                groups=lambda: [group],
            )
        )

    def look(self) -> None:
        for _ in range(DISKS_EVERY_LOOKS):
            self.checker.look()
        self.checker.judge(self.maps.newest)


def cluster_map(replicas: tuple[int, ...], move: Move | None = None, epoch: int = 7) -> ClusterMap:
    nodes = tuple(
        NodeInfo(n, f"n{n}", f"n{n}:1", f"n{n}:2", "", "", 1.0, f"{n:032x}") for n in range(1, 6)
    )
    return ClusterMap(
        epoch=epoch,
        cluster_id="c",
        shard_count=1,
        replication=3,
        nodes=nodes,
        replica_sets=(move.replica_set if move else replicas,),
        form=2,
        directory=(1, 2, 3),
        moves=(move,) if move else (),
        next_node_id=6,
    )


def logs() -> Logs:
    """Move 7 of the group is under way, and all voters hold everything."""
    made = Logs()
    made.maps.newest = cluster_map((1, 2, 3), Move(1, (1, 2, 3), (1, 2, 4), 7))
    made.lasts = dict.fromkeys(range(1, 6), 100)
    for node_id in (1, 2, 3):
        made.say(node_id, [(0, OLD)], 5)
    made.look()
    return made


def rule(made: Logs) -> str:
    with pytest.raises(InvariantViolation) as caught:
        made.look()
    return caught.value.rule


def test_a_move_step_by_step_breaks_no_rule() -> None:
    made = logs()
    made.say(1, [(0, OLD), (10, LEARNS), (20, FOUR), (30, NEW)], 30)
    made.look()
    made.maps.newest = cluster_map((1, 2, 4), epoch=8)
    made.loop.now_ns += LONG_NS
    made.forgotten[3] = [1]
    made.look()
    assert made.checker.changes == 3


def test_voters_that_lack_what_was_committed_may_not_be_a_majority() -> None:
    made = logs()
    made.lasts[1] = made.lasts[2] = 4
    assert rule(made) == "a majority of voters lacks what was committed"
    made.gone.add(2)  # It will never decide anything.
    made.look()


def test_only_one_voter_changes_at_once() -> None:
    made = logs()
    made.say(1, [(0, OLD), (10, NEW)], 5)
    assert rule(made) == "more than one voter changes at once"


def test_an_old_voter_does_not_go_first() -> None:
    made = logs()
    made.say(1, [(0, OLD), (10, Configuration((1, 2), (4,), (), 7))], 5)
    assert rule(made) == "a voter is taken before the new one is there"
    made = logs()
    move = Move(1, (1, 2, 3), (1, 4), 7)
    made.maps.newest = cluster_map((1, 2, 3), move)
    made.look()
    made.say(1, [(0, OLD), (10, Configuration((1, 2), (4,), (), 7))], 5)
    assert rule(made) == "a voter is taken before the new one is there"


def test_a_new_voter_holds_what_came_before_it() -> None:
    made = logs()
    made.lasts[4] = 4
    made.say(1, [(0, OLD), (10, LEARNS), (20, FOUR)], 5)
    made.look()  # The fifth entry is still young.
    made = logs()
    made.lasts[4] = 4
    made.loop.now_ns += 2 * CAUGHT_UP_NS
    made.say(1, [(0, OLD), (10, LEARNS), (20, FOUR)], 5)
    assert rule(made) == "a voter that has not caught up"


def test_a_voter_may_not_forget() -> None:
    made = logs()
    made.forgotten[3] = [1]
    assert rule(made) == "a voter forgets"


def test_one_that_a_newer_configuration_lets_go_may_forget() -> None:
    """Nobody who is alive need know that it is committed."""
    made = logs()
    made.say(2, [(0, FOUR), (30, NEW)], 0)
    made.forgotten[3] = [1]
    made.look()


def test_a_group_without_a_move_is_what_the_map_says() -> None:
    made = logs()
    made.say(1, [(0, OLD), (10, LEARNS), (20, FOUR)], 20)
    made.look()
    made.maps.newest = cluster_map((1, 2, 4), epoch=8)
    made.look()
    made.loop.now_ns += LONG_NS
    assert rule(made) == "a group is not what the map says"


def test_who_may_be_lost() -> None:
    made = logs()
    assert not made.checker.may_lose(3)  # Nobody knows of the directory's group.
    made.checker._committed[0] = (0, OLD)
    assert made.checker.may_lose(3)
    made.gone.add(2)
    assert not made.checker.may_lose(3)
    assert made.checker.may_lose(5)
