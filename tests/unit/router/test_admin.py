"""Changes of the cluster through any one node, and the proof of its secret."""

from __future__ import annotations

import asyncio

import pytest

from quorumcache.ring import ClusterMap
from quorumcache.ring.secret import CLIENT, Secret
from quorumcache.router import AsyncClient, ClientConfig, admin
from quorumcache.router.admin import addresses_of, prove
from quorumcache.router.errors import ClusterUnreachable, OutcomeUnknown, Refused
from tests.support.clusters import make_map, make_nodes
from tests.support.fake_cluster import CLOSE_AFTER, CLOSE_BEFORE, FakeCluster, Fault, run

SECRET = "a secret of sixteen"
GIVEN = Secret(SECRET)
DRAINING = {"summary": "drain n3", "epoch": 2}
MOVES = {"epoch": 1, "moves": [], "nodes": [], "settings": {}, "done": 0, "total": 0}


def client_of(cluster: FakeCluster) -> AsyncClient:
    return AsyncClient(cluster.seeds, ClientConfig(timeout_ms=5000))


def test_the_proof_is_bound_to_the_nonce_and_to_clients() -> None:
    nonce = "00ff" * 8
    wanted = prove(GIVEN, nonce)
    assert GIVEN.is_proof(CLIENT, bytes.fromhex(wanted), bytes.fromhex(nonce))
    assert prove(GIVEN, "01" * 16) != wanted
    assert prove(Secret(SECRET + "x"), nonce) != wanted


def test_nodes_of_the_directory_are_asked_first() -> None:
    plain = make_map(make_nodes(3), [(1, 2), (2, 3)], 2)
    assert addresses_of(plain) == ["10.0.0.2:1", "10.0.0.2:2", "10.0.0.2:3"]
    newer = ClusterMap(
        1, "c", 2, 2, plain.nodes, plain.replica_sets, form=2, directory=(3,), next_node_id=4
    )
    assert addresses_of(newer) == ["10.0.0.2:3", "10.0.0.2:1", "10.0.0.2:2"]


def test_a_change_is_made_with_the_secret_and_passes_over_dead_nodes() -> None:
    async def main() -> None:
        async with FakeCluster() as cluster, client_of(cluster) as client:
            cluster.operators.secret = SECRET
            cluster.operators.answers = [DRAINING]
            await cluster.node(1).stop()
            asked = []

            def secret_of(path: str) -> Secret:
                asked.append(path)
                return GIVEN

            assert await client.change(["drain", "n3"], secret_of) == DRAINING
            assert cluster.operators.changes == ["drain n3"]
            assert asked == [""]

    run(main())


@pytest.mark.parametrize("is_here", [True, False])
def test_a_path_is_believed_from_a_node_of_this_machine_only(
    is_here: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proof made with the secret of another cluster here would open that one to the node."""
    monkeypatch.setattr(admin, "is_loopback", lambda host: is_here and host == "127.0.0.1")

    async def main() -> None:
        async with FakeCluster() as cluster, client_of(cluster) as client:
            cluster.operators.secret = SECRET
            cluster.operators.secret_path = "/d/cluster.secret"
            cluster.operators.answers = [DRAINING]
            asked = []

            def secret_of(path: str) -> Secret:
                asked.append(path)
                return GIVEN

            await client.change(["drain", "n3"], secret_of)
            assert asked == (["/d/cluster.secret"] if is_here else [""])

    run(main())


@pytest.mark.parametrize(
    ("secret", "answer", "why"),
    [
        ("another one of 16", b"", "this is not the cluster's secret"),
        (SECRET, b"CLIENT_ERROR refused: c is the last node\r\n", "c is the last node"),
    ],
)
def test_a_refusal_is_the_sentence_alone(secret: str, answer: bytes, why: str) -> None:
    async def main() -> None:
        async with FakeCluster() as cluster, client_of(cluster) as client:
            cluster.operators.secret = SECRET
            cluster.operators.answers = [answer]
            with pytest.raises(Refused) as caught:
                await client.change(["drain", "n3"], lambda _: Secret(secret))
            assert str(caught.value) == why

    run(main())


def test_a_node_of_an_older_version_says_so() -> None:
    async def main() -> None:
        async with FakeCluster() as cluster, client_of(cluster) as client:
            with pytest.raises(Refused, match="of an older version"):
                await client.change(["drain", "n3"], lambda _: GIVEN)

    run(main())


def test_a_change_that_was_sent_is_not_sent_again() -> None:
    async def main() -> None:
        async with FakeCluster() as cluster, client_of(cluster) as client:
            cluster.operators.secret = SECRET
            cluster.operators.answers = [DRAINING, DRAINING]
            for node in cluster.nodes:
                node.faults.append(Fault(b"cluster change", CLOSE_AFTER))
            with pytest.raises(OutcomeUnknown):
                await client.change(["drain", "n3"], lambda _: GIVEN)
            assert cluster.operators.changes == ["drain n3"]

    run(main())


def test_a_node_that_dies_at_the_challenge_is_passed_over() -> None:
    async def main() -> None:
        async with FakeCluster() as cluster, client_of(cluster) as client:
            cluster.operators.secret = SECRET
            cluster.operators.answers = [DRAINING]
            cluster.node(1).faults.append(Fault(b"cluster auth", CLOSE_BEFORE))
            assert await client.change(["drain", "n3"], lambda _: GIVEN) == DRAINING
            for node in cluster.nodes:
                node.faults.append(Fault(b"cluster auth", CLOSE_BEFORE))
            with pytest.raises(ClusterUnreachable, match="no node of the cluster answers"):
                await client.change(["drain", "n3"], lambda _: GIVEN)

    run(main())


def test_moves_are_told_by_whichever_node_answers() -> None:
    async def main() -> None:
        async with FakeCluster() as cluster, client_of(cluster) as client:
            cluster.operators.secret = SECRET
            cluster.operators.moves = [MOVES]
            assert await client.moves() == MOVES
            await cluster.node(1).stop()
            await cluster.node(2).stop()
            assert await client.moves() == MOVES
            await cluster.node(3).stop()
            with pytest.raises(Exception, match=cluster.node(3).address):
                await client.moves(timeout_ms=500)

    run(main())


def test_the_newest_map_is_fetched_when_it_is_asked_for() -> None:
    async def main() -> None:
        async with FakeCluster() as cluster, client_of(cluster) as client:
            assert (await client.refresh()).epoch == 1
            cluster.move_shard(0, (2, 3))
            await asyncio.sleep(0)
            assert (await client.refresh()).replicas_of(0) == (2, 3)

    run(main())
