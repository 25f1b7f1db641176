"""The words of a change: how many there are, and pairs in them. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from quorumcache.ring.errors import ChangeRefused


def expect(words: list[str], usage: str, count: int) -> list[str]:
    """So many words, or a refusal that shows how to write it."""
    if len(words) != count:
        raise ChangeRefused(f"write it as: {usage}")
    return words


def pairs_of(words: Sequence[str]) -> list[tuple[str, str]]:
    """The parts of words such as weight=2."""
    pairs: list[tuple[str, str]] = []
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise ChangeRefused(f"{word!r:.60} sets nothing; write it as NAME=VALUE")
        pairs.append((key, value))
    return pairs
