"""`quorumcache.bench.contended`, and how `run` is told of it."""

import pytest

from quorumcache.bench.contended import CONTENDED, LOCKS, TRANSACTIONS
from quorumcache.bench.errors import WorkloadError
from quorumcache.bench.options import build_parser, is_contended
from quorumcache.bench.scenarios import names


def test_their_names_are_no_names_of_workloads() -> None:
    assert set(CONTENDED) == {LOCKS, TRANSACTIONS}
    assert not set(CONTENDED) & set(names())


def test_they_run_without_workloads_and_start_their_cluster() -> None:
    parse = build_parser().parse_args
    assert is_contended(parse(["run", "locks", "transactions"]))
    assert not is_contended(parse(["run"]))
    assert not is_contended(parse(["run", "get"]))
    with pytest.raises(WorkloadError, match="run locks without other scenarios"):
        is_contended(parse(["run", "locks", "get"]))
    with pytest.raises(WorkloadError, match="leave out --cluster"):
        is_contended(parse(["run", "locks", "--cluster", "127.0.0.1:1"]))
