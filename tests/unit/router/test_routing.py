"""From a shard to the address to ask."""

from __future__ import annotations

from quorumcache.ring import ClusterMap, NodeInfo
from quorumcache.router.requests import LeaderLine
from quorumcache.router.routing import RoutingTable


def map_of(
    replica_sets: tuple[tuple[int, ...], ...], *, epoch: int = 1, nodes: int = 4
) -> ClusterMap:
    return ClusterMap(
        epoch=epoch,
        cluster_id="c",
        shard_count=len(replica_sets),
        replication=3,
        nodes=tuple(
            NodeInfo(n, f"n{n}", f"h{n}:1", f"h{n}:2", "", "", 1.0) for n in range(1, nodes + 1)
        ),
        replica_sets=replica_sets,
    )


SETS = ((1, 2, 3), (2, 3, 1))


def test_starts_from_the_preferred_leader_and_says_that_it_is_a_guess() -> None:
    table = RoutingTable(map_of(SETS))
    assert [table.leader(shard) for shard in (0, 1)] == ["h1:2", "h2:2"]
    route = table.route(b"a")
    assert route.leader == ""
    assert route.replicas == table.replicas(route.shard)


def test_a_round_asks_each_address_once() -> None:
    """Leader, other replicas, other nodes, then the round is over."""
    table = RoutingTable(map_of(SETS))
    table.moved(0, "h1:2", "h3:2")
    asked: list[str] = []
    while address := table.target(0, asked):
        asked.append(address)
    assert asked == ["h3:2", "h1:2", "h2:2", "h4:2"]


def test_a_denied_leadership_of_the_same_term_is_not_believed_again() -> None:
    """One leader per term for ever: node 1 led term 4, denies it now, so term 4 is over."""
    table = RoutingTable(map_of(SETS))
    table.learn_leaders([LeaderLine(0, 4, 1)])
    table.moved(0, "h1:2", "h2:2")
    table.learn_leaders([LeaderLine(0, 4, 1)])
    assert table.leader(0) == "h2:2"
    table.learn_leaders([LeaderLine(0, 5, 3)])
    assert table.leader(0) == "h3:2"


def test_older_terms_and_strangers_are_passed_over() -> None:
    table = RoutingTable(map_of(SETS))
    table.learn_leaders([LeaderLine(0, 4, 2), LeaderLine(0, 3, 1), LeaderLine(0, 9, 77)])
    table.learn_leaders([LeaderLine(1, 4, 0), LeaderLine(9, 1, 1)])
    table.moved(9, "h1:2", "h2:2")
    assert table.leader(0) == "h2:2"
    assert table.leader(1) == "h2:2"


def test_unknown_leader_keeps_the_address_but_not_the_claim() -> None:
    table = RoutingTable(map_of(((1, 2, 3),)))
    table.learn_leaders([LeaderLine(0, 1, 2)])
    assert table.route(b"a").leader == "h2:2"
    table.moved(0, "h3:2", "")
    assert table.leader(0) == "h2:2"
    assert table.route(b"a").leader == ""


def test_a_new_map_keeps_leaders_that_still_fit() -> None:
    table = RoutingTable(map_of(SETS))
    table.learn_leaders([LeaderLine(0, 4, 2), LeaderLine(1, 4, 1)])
    after = table.succeed(map_of(((4, 2, 3), (4, 2, 3)), epoch=2))
    assert after.leader(0) == "h2:2"
    assert after.leader(1) == "h4:2"
    after.learn_leaders([LeaderLine(0, 3, 3)])
    assert after.leader(0) == "h2:2"
