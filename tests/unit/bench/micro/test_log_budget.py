"""Each record that is handed to the log's thread is heard to be durable."""

from __future__ import annotations

from contextlib import closing

from quorumcache.bench.micro.allocations import Counter
from quorumcache.bench.micro.log_budget import LogBudget
from quorumcache.bench.micro.steps import measure


def test_each_record_is_written_before_the_next_one() -> None:
    with closing(LogBudget()) as found:
        measure(found.steps(), 5, Counter(None))
        assert found.written == 5 + 3
