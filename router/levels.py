"""How old the answer to a read may be: three levels, chosen per call or in `ClientConfig`. Pure.

What each of them may show is told in docs/consistency.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from quorumcache.router.errors import InvalidArgument

BOUND_MS_MAX = 86_400_000
"""A day, which is what nodes accept."""


@dataclass(frozen=True, slots=True)
class Linearizable:
    """Everything that was acknowledged before the read began, to anybody. The shard's leader
    answers."""

    words: ClassVar[bytes] = b"linearizable"


@dataclass(frozen=True, slots=True)
class Bounded:
    """A state that was current at some moment of the last `ms` milliseconds, or newer. Any replica
    that knows itself to be fresh enough answers; if none does, the leader."""

    ms: int

    def __post_init__(self) -> None:
        if not isinstance(self.ms, int) or isinstance(self.ms, bool):
            raise InvalidArgument(f"a bound is a whole number of milliseconds, not {self.ms!r}")
        if not 1 <= self.ms <= BOUND_MS_MAX:
            raise InvalidArgument(f"a bound is 1 to {BOUND_MS_MAX} ms, not {self.ms}")

    @property
    def words(self) -> bytes:
        return b"bounded %d" % self.ms


@dataclass(frozen=True, slots=True)
class Local:
    """What any replica holds, however old. It needs no other node, so it also works in a part of
    the cluster that is cut off."""

    words: ClassVar[bytes] = b"local"


ReadLevel = Linearizable | Bounded | Local

LINEARIZABLE = Linearizable()


def parse_level(text: str) -> ReadLevel:
    """`linearizable`, `bounded:MS` or `local`. Raises `InvalidArgument` that says so."""
    word, colon, bound = text.partition(":")
    if word == "linearizable" and not colon:
        return LINEARIZABLE
    if word == "local" and not colon:
        return Local()
    if word == "bounded" and bound.isascii() and bound.isdigit() and len(bound) < 20:
        return Bounded(int(bound))
    raise InvalidArgument(f"{text!r} is no read level: linearizable, bounded:MS or local")
