"""Goal: a read runs once its round is confirmed and its index applied, or it is refused."""

from typing import Any

from quorumcache.node.consensus.errors import NotLeader
from quorumcache.node.replica.read_rounds import ReadRounds


class Log:
    """A log that notes the contexts of rounds."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []
        self.leads = True

    def request_read(self, context: int, now_ns: int) -> None:
        if not self.leads:
            raise NotLeader(2, 1)
        self.asked.append((context, now_ns))


class Reader:
    def __init__(self) -> None:
        self.heard: list[str] = []

    def on_readable(self) -> None:
        self.heard.append("readable")

    def on_refused(self, why: str) -> None:
        self.heard.append(why)


def new_rounds() -> tuple[ReadRounds, Any]:
    log: Any = Log()
    return ReadRounds(log), log


def test_a_confirmed_round_waits_until_its_index_is_applied() -> None:
    rounds, log = new_rounds()
    early, late = Reader(), Reader()
    rounds.start([early], 5)
    rounds.start([late], 6)
    (first, _), (second, _) = log.asked
    assert [now_ns for _, now_ns in log.asked] == [5, 6]
    rounds.confirm(first, 7, 7)
    rounds.confirm(second, 9, 7)
    assert (early.heard, late.heard) == (["readable"], [])
    rounds.applied(8)
    assert late.heard == []
    rounds.applied(9)
    rounds.applied(10)
    assert late.heard == ["readable"]
    assert not rounds.confirmed


def test_a_round_that_is_not_known_any_more_does_nothing() -> None:
    rounds, log = new_rounds()
    reader = Reader()
    rounds.start([reader], 0)
    context = log.asked[0][0]
    rounds.fail([context, 99])
    rounds.confirm(context, 0, 1)
    assert reader.heard == ["leadership changed"]


def test_without_leadership_all_are_refused() -> None:
    rounds, log = new_rounds()
    under_way, confirmed, new = Reader(), Reader(), Reader()
    rounds.start([confirmed], 0)
    rounds.start([under_way], 0)
    rounds.confirm(log.asked[0][0], 9, 1)
    rounds.refuse("gone")
    log.leads = False
    rounds.start([new], 0)
    rounds.applied(9)
    assert [reader.heard for reader in (under_way, confirmed, new)] == [
        ["gone"],
        ["gone"],
        ["not the leader in term 1; the leader is 2"],
    ]
