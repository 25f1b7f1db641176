"""A replay asks, stores what was missing, and counts only what it should."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import pytest

from quorumcache.bench.errors import TargetError
from quorumcache.bench.replay import BATCH, key_of, replay, value_of


class Server:
    """A dict that answers as a TextClient does."""

    def __init__(self) -> None:
        self.held: dict[bytes, bytes] = {}
        self.reply = b"STORED"
        self.stores: list[bytes] = []

    def get_each(self, keys: Iterable[bytes]) -> Iterator[bytes | None]:
        yield from [self.held.get(key) for key in keys]

    def set_each(self, items: Sequence[tuple[bytes, bytes]]) -> Iterator[bytes]:
        for key, value in items:
            self.stores.append(key)
            if self.reply == b"STORED":
                self.held[key] = value
            yield self.reply


def size(number: int) -> int:
    return 20 + number % 7


def test_misses_are_stored_and_found_afterwards() -> None:
    server = Server()
    numbers = [*range(BATCH), *range(BATCH)]
    found = replay(server, numbers, size, warm_requests=0)  # type: ignore[arg-type]
    assert (found.requests, found.hits, found.hit_ratio) == (2 * BATCH, BATCH, 50.0)
    assert server.held == {key_of(n): value_of(n, size(n)) for n in range(BATCH)}
    assert (found.refused, found.wrong) == (0, 0)


def test_the_first_part_does_not_count() -> None:
    seen: list[int] = []
    numbers = [n % BATCH for n in range(3 * BATCH + 5)]
    found = replay(
        Server(),  # type: ignore[arg-type]
        numbers,
        size,
        warm_requests=2 * BATCH,
        on_batch=seen.append,
    )
    assert (found.requests, found.hits) == (BATCH + 5, BATCH + 5)
    assert seen == [BATCH, 2 * BATCH, 3 * BATCH, 3 * BATCH + 5]


def test_a_key_that_is_missing_twice_in_a_batch_is_stored_once() -> None:
    server = Server()
    replay(server, [1, 2, 1], size, warm_requests=0)  # type: ignore[arg-type]
    assert server.stores == [key_of(1), key_of(2)]


def test_a_wrong_value_is_no_secret() -> None:
    server = Server()
    server.held[key_of(4)] = value_of(5, size(5))
    assert replay(server, [4], size, warm_requests=0).wrong == 1  # type: ignore[arg-type]


def test_a_refused_store_counts_and_a_nonsense_reply_ends_it() -> None:
    server = Server()
    server.reply = b"SERVER_ERROR out of memory storing object"
    assert replay(server, [1, 2], size, warm_requests=0).refused == 2  # type: ignore[arg-type]
    server.reply = b"ERROR"
    with pytest.raises(TargetError, match="set: ERROR"):
        replay(server, [1], size, warm_requests=0)  # type: ignore[arg-type]


@pytest.mark.parametrize("length", [0, 1, 100, 94 * 1024, 500_000])
def test_a_value_has_its_size_and_tells_its_key(length: int) -> None:
    assert len(value_of(7, length)) == length
    assert value_of(7, length) == value_of(7, length)
    assert length < 2 or value_of(7, length) != value_of(8, length)
