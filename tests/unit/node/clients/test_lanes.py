"""Order of one connection's requests to one group."""

import itertools
from random import Random

from quorumcache.node.clients.lanes import Lane


class Leading(Lane):
    """A lane whose writes may follow each other, or may not."""

    def __init__(self) -> None:
        super().__init__()
        self.follows = False

    def may_follow(self) -> bool:
        return self.follows


class Trace:
    """A lane driven by hand: what has started, in order, and what is under way."""

    def __init__(self, follows: bool = False) -> None:
        self.lane = Leading()
        self.lane.follows = follows
        self.started: list[int] = []
        self.running: dict[int, bool] = {}

    def request(self, number: int, is_write: bool) -> None:
        def start() -> None:
            self.started.append(number)
            self.running[number] = is_write

        if self.lane.may_start(is_write):
            self.lane.started(is_write)
            start()
        else:
            self.lane.wait(is_write, start)

    def end(self, number: int) -> None:
        self.lane.ended(self.running.pop(number))


def test_reads_run_together() -> None:
    trace = Trace()
    trace.request(1, False)
    trace.request(2, False)
    assert trace.started == [1, 2]


def test_a_read_waits_for_an_earlier_write() -> None:
    trace = Trace()
    trace.request(1, True)
    trace.request(2, False)
    assert trace.started == [1]
    trace.end(1)
    assert trace.started == [1, 2]


def test_a_write_waits_for_earlier_reads_also_where_writes_follow() -> None:
    trace = Trace(follows=True)
    trace.request(1, False)
    trace.request(2, True)
    trace.request(3, False)
    assert trace.started == [1]
    trace.end(1)
    assert trace.started == [1, 2]
    trace.end(2)
    assert trace.started == [1, 2, 3]


def test_writes_follow_each_other_at_once_only_where_they_may() -> None:
    trace = Trace()
    trace.request(1, True)
    trace.request(2, True)
    assert trace.started == [1]
    following = Trace(follows=True)
    following.request(1, True)
    following.request(2, True)
    assert following.started == [1, 2]


def test_whether_writes_may_follow_is_asked_before_each() -> None:
    """The first that goes on may be one that is followed, and its bundle full after some more."""
    trace = Trace()
    for number in range(6):
        trace.request(number, True)

    def follows() -> bool:
        return len(trace.started) < 4

    trace.lane.may_follow = follows  # type: ignore[method-assign]
    trace.end(0)
    assert trace.started == [0, 1, 2, 3]


def test_nobody_overtakes_what_waits() -> None:
    trace = Trace()
    trace.request(1, False)
    trace.request(2, True)
    trace.request(3, False)
    assert trace.started == [1], "the read must not pass the waiting write"


def test_thousands_of_waiting_requests_that_end_at_once_do_not_recurse() -> None:
    lane = Leading()
    lane.started(True)
    count = 5000
    ended = itertools.count()

    def start() -> None:
        next(ended)
        lane.ended(False)

    for _ in range(count):
        lane.wait(False, start)
    lane.ended(True)
    assert next(ended) == count
    assert lane.is_idle


def test_random_schedules_keep_the_order() -> None:
    """Whatever ends when: reads never run beside writes, and starts come in request order."""
    random = Random(7)
    for _ in range(300):
        trace = Trace(follows=random.random() < 0.5)
        next_number = 0
        while next_number < 40 or trace.running:
            if next_number < 40 and random.random() < 0.6:
                trace.request(next_number, random.random() < 0.4)
                next_number += 1
            elif trace.running:
                trace.end(random.choice(sorted(trace.running)))
            kinds = set(trace.running.values())
            assert len(kinds) <= 1, "reads and writes at the same time"
            if not trace.lane.follows:
                assert sum(trace.running.values()) <= 1, "two writes at the same time"
        assert trace.started == list(range(40))
        assert trace.lane.is_idle
