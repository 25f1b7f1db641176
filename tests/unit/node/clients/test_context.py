"""What all client connections of a node share."""

import logging

import pytest

from quorumcache.node.clients.context import ClientSettings
from quorumcache.node.operations.failure import Failure
from quorumcache.node.operations.read_levels import LINEARIZABLE_NS
from quorumcache.ring import shard_of
from tests.support.fake_server import SHARDS, FakeServer


def test_a_key_belongs_to_the_group_after_its_shard() -> None:
    context = FakeServer()
    groups = set()
    for number in range(1000):
        key = b"k%d" % number
        assert context.group_of(key) == shard_of(key, SHARDS) + 1
        groups.add(context.group_of(key))
    assert groups == set(range(1, SHARDS + 1))


@pytest.mark.parametrize("bits", range(13))
def test_it_does_for_any_number_of_shards(bits: int) -> None:
    context = FakeServer()
    context.use_shards(1 << bits)
    for number in range(1000):
        key = b"key:%d" % number
        assert context.group_of(key) == shard_of(key, 1 << bits) + 1


def test_only_a_replica_here_leads_or_is_fresh() -> None:
    context = FakeServer()
    assert not context.leads(1)
    context.groups[1].lead()  # type: ignore[attr-defined]
    assert context.leads(1)
    assert not context.leads(2)
    assert not context.leads(SHARDS + 1), "no replica here"
    context.coordinator.fresh_groups = [context.groups[2]]  # type: ignore[attr-defined]
    assert context.is_fresh(2, 1)
    assert not context.is_fresh(3, 1)
    assert not context.is_fresh(SHARDS + 1, 1), "no replica here"


def test_a_failure_is_counted_by_whether_its_outcome_is_known() -> None:
    context = FakeServer()
    counters = context.counters
    reply = context.failed(Failure("why", outcome_known=True))
    assert reply == b"SERVER_ERROR not done: why\r\n"
    assert (counters.requests_failed, counters.requests_unknown) == (1, 0)
    reply = context.failed(Failure("why", outcome_known=False))
    assert reply == b"SERVER_ERROR outcome unknown: why\r\n"
    assert (counters.requests_failed, counters.requests_unknown) == (1, 1)


def test_the_first_client_of_the_binary_protocol_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    context = FakeServer()
    with caplog.at_level(logging.WARNING):
        context.note_binary_client("192.0.2.1:5000")
        context.counters.reset()
        context.note_binary_client("192.0.2.2:5000")
    assert [record.message for record in caplog.records] == ["binary_client"]
    assert context.counters.since_start("binary_clients") == 2


def test_a_client_has_chosen_nothing_at_first() -> None:
    settings = ClientSettings()
    assert not settings.redirect
    assert settings.staleness_ns == LINEARIZABLE_NS
