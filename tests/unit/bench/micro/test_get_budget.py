"""The steps of a get still fit the node's code: its reply is what a client gets."""

from __future__ import annotations

from quorumcache.bench.micro.allocations import Counter
from quorumcache.bench.micro.get_budget import AnyGetBudget, GetBudget
from quorumcache.bench.micro.stand_ins import VALUE, key_of
from quorumcache.bench.micro.steps import measure

NOTHING = Counter(None)
REPLY = b"VALUE %b 0 100\r\n%b\r\nEND\r\n" % (key_of(5), VALUE)


def test_a_get_is_answered_from_its_bytes() -> None:
    found = GetBudget()
    answered = found._routes.answer(found._line, 0, 1, 0, {})
    assert answered is not None
    assert answered[0] == REPLY
    measure(found.steps(), 5, NOTHING)


def test_a_get_goes_to_the_leader_and_its_answer_comes_back() -> None:
    found = AnyGetBudget()
    measure(found.steps(), 5, NOTHING)
    assert found.reply == REPLY
    counters = found._there.counters
    assert (counters.forwarded_in, counters.lease_reads) == (5 + 3, 5 + 3)
    assert not any(way.sent for way in found._bundles._ways.values())
