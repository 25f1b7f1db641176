"""The reader of bundles reads what the product writes, and notices what was not sent."""

from __future__ import annotations

import msgpack
import pytest

from quorumcache.node.consensus.raft.messages import Append
from quorumcache.node.consensus.runs import pack_run
from quorumcache.node.consensus.values import Entry
from quorumcache.node.peers.bundles import Bundle, Bundles, pack_answer
from tests.simulation.bundle_reader import APPEND, APPEND_REPLY, BUNDLE, BundleReader
from tests.simulation.checkers import InvariantViolation


def test_a_bundle_and_its_answer_are_read_as_the_messages_that_they_stand_for() -> None:
    bundles, bundle = Bundles(5), Bundle()
    for group_id, count in ((1, 1), (2, 3)):
        entries = tuple(Entry(index, 7, 0, b"x" * index) for index in range(11, 11 + count))
        append = Append(7, 10, 6, 9, entries)
        bundle.add(pack_run(group_id, append), (group_id, 7, 10 + count))
    number, packed = bundles.close(bundle)
    reader = BundleReader()
    item = msgpack.unpackb(packed, use_list=False)
    head = (7, 10, 6, 9, ())
    assert reader.messages(1, 2, item) == [(APPEND, 1, head), (APPEND, 2, head)]
    answer = msgpack.unpackb(pack_answer(5, number, [0]), use_list=False)
    assert reader.messages(2, 1, answer) == [(APPEND_REPLY, 2, (7, 13, False, 0, 0))]
    with pytest.raises(InvariantViolation, match="answers bundle 1 of node 1"):
        reader.messages(2, 1, answer)
    assert reader.messages(2, 1, (30, ())) == [(30, ())]
    with pytest.raises(InvariantViolation, match="half a run"):
        reader.messages(1, 2, (BUNDLE, 5, 9, item[3][:-1]))
