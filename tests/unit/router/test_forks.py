"""Clients in a child process. Their sockets: tests/integration/test_client_fork.py."""

from __future__ import annotations

import gc

from quorumcache.router import forks


class Client:
    def __init__(self) -> None:
        self.told = 0

    def forked(self) -> None:
        self.told += 1


def test_every_living_client_is_told_once_and_a_dead_one_is_not_kept() -> None:
    gc.collect()  # What tests before this one have left must not go in the middle of it.
    first, second = Client(), Client()
    gc.collect()  # clients of other tests
    before = len(forks._living)
    for client in (first, second, second):
        forks.watch(client)
    assert len(forks._living) == before + 2
    forks._in_child()
    assert (first.told, second.told) == (1, 1)
    del first
    gc.collect()
    assert len(forks._living) == before + 1
