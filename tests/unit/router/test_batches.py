"""Calls for many keys at once: what goes out together, and that each key has its own outcome.

What a line of reads does when shards move: test_dispatcher.py. What a caller sees: test_client.py.
"""

from __future__ import annotations

from random import Random

import pytest

from quorumcache.router import (
    AsyncClient,
    ClientConfig,
    NotDone,
    OutcomeUnknown,
    PartialFailure,
    batches,
)
from tests.support.fake_cluster import CLOSE_AFTER, HANG, FakeCluster, Fault, run

PATIENT = ClientConfig(timeout_ms=20_000, stall_ms=10_000, read_attempt_ms=10_000)
UNNUMBERED = ClientConfig(
    timeout_ms=20_000, stall_ms=10_000, read_attempt_ms=10_000, sessions=False
)
KEYS = [f"key-{number}" for number in range(40)]
VALUES = {key: key.encode() for key in KEYS}


def client_of(cluster: FakeCluster, config: ClientConfig = PATIENT) -> AsyncClient:
    return AsyncClient(cluster.seeds, config, random=Random(1))


def sets_of(cluster: FakeCluster, key: str) -> int:
    """How often a `set` of this key was executed, by any node."""
    word = key.encode()
    return sum(line.split()[1] == word for node in cluster.nodes for line in node.executed)


def test_a_key_that_is_not_there_is_no_error() -> None:
    async def main() -> None:
        async with FakeCluster() as cluster, client_of(cluster) as client:
            await client.set_many({"key-1": b"1"})
            assert await client.get_many(["key-0", "key-1"]) == {"key-1": b"1"}
            assert await client.get_many([]) == {}

    run(main())


def test_more_keys_than_a_window_takes_are_all_carried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A window bounds what is under way; nothing is left out at its edge."""
    monkeypatch.setattr(batches, "WINDOW", 7)
    small = ClientConfig(timeout_ms=20_000, keys_per_get_max=1, inflight_requests_max=4)

    async def main() -> None:
        async with FakeCluster() as cluster, client_of(cluster, small) as client:
            await client.set_many(VALUES)
            assert await client.get_many(KEYS) == VALUES
            assert [sets_of(cluster, key) for key in KEYS] == [1] * len(KEYS)

    run(main())


def test_parts_of_one_node_are_of_equal_size() -> None:
    """10 keys at no more than 6 in a line are two lines of 5, and not one of 6 and one of 4."""

    async def main() -> None:
        config = ClientConfig(timeout_ms=20_000, stall_ms=10_000, keys_per_get_max=6)
        async with FakeCluster(nodes=1) as cluster, client_of(cluster, config) as client:
            await client.set_many(VALUES)
            await client.get_many(KEYS[:10])
            sizes = [len(line.split()) - 1 for _, line in cluster.node(1).reads]
            assert sizes == [5, 5]

    run(main())


@pytest.mark.parametrize("config", [PATIENT, UNNUMBERED], ids=["sessions", "no sessions"])
def test_one_refused_key_fails_alone_and_the_others_are_done(config: ClientConfig) -> None:
    async def main() -> None:
        async with (
            FakeCluster(sessions=config.sessions) as cluster,
            client_of(cluster, config) as client,
        ):
            await client.set_many(VALUES)  # The connections are open, so the next go at once.
            too_long = {**VALUES, "key-3": b"x" * ((1 << 20) + 1)}
            with pytest.raises(PartialFailure) as failure:
                await client.set_many(too_long)
            assert list(failure.value.errors) == ["key-3"]
            assert isinstance(failure.value.errors["key-3"], NotDone)
            assert [sets_of(cluster, key) for key in KEYS if key != "key-3"] == [2] * 39

    run(main())


def test_a_write_whose_reply_is_lost_is_unknown_and_is_not_sent_again_without_a_number() -> None:
    """Executed twice it would undo what others wrote in between."""

    async def main() -> None:
        async with FakeCluster() as cluster, client_of(cluster, UNNUMBERED) as client:
            await client.set_many(VALUES)
            cluster.leader_node("key-3").faults.append(Fault(b"set key-3 ", CLOSE_AFTER))
            with pytest.raises(PartialFailure) as failure:
                await client.set_many(VALUES)
            assert isinstance(failure.value.errors["key-3"], OutcomeUnknown)
            assert not failure.value.outcome_known
            assert sets_of(cluster, "key-3") == 2

    run(main())


def test_a_numbered_write_whose_reply_is_lost_is_executed_once() -> None:
    async def main() -> None:
        async with FakeCluster(sessions=True) as cluster, client_of(cluster) as client:
            await client.set_many(VALUES)
            cluster.leader_node("key-3").faults.append(Fault(b"set key-3 ", CLOSE_AFTER))
            await client.set_many(VALUES)
            assert [sets_of(cluster, key) for key in KEYS] == [2] * len(KEYS)

    run(main())


def test_writes_follow_a_shard_that_moved() -> None:
    async def main() -> None:
        async with FakeCluster() as cluster, client_of(cluster) as client:
            await client.set_many(VALUES)
            for shard in range(4):
                cluster.lead(shard, cluster.leader(shard) % 3 + 1)
            await client.set_many(dict.fromkeys(KEYS, b"new"))
            assert await client.get_many(KEYS) == dict.fromkeys(KEYS, b"new")
            assert [sets_of(cluster, key) for key in KEYS] == [2] * len(KEYS)

    run(main())


def test_a_node_that_is_silent_fails_its_own_keys_only() -> None:
    """Those of the others are there, and the caller gets them with the error."""

    async def main() -> None:
        async with FakeCluster() as cluster, client_of(cluster) as client:
            await client.set_many(VALUES)
            silent = cluster.leader_node("key-3")
            silent.faults += [Fault(b"get ", HANG) for _ in range(50)]
            with pytest.raises(PartialFailure) as failure:
                await client.get_many(KEYS, timeout_ms=300)
            lost = {key for key in KEYS if cluster.leader_node(key) is silent}
            assert set(failure.value.errors) == lost
            assert failure.value.values == {key: VALUES[key] for key in set(KEYS) - lost}

    run(main())
