"""Fencing tokens: what makes a lock one. Pure.

A holder may be stopped for longer than its lock lasts, and go on writing when another holds it. It
cannot notice that in time, and nobody can tell it. So each acquisition gets a number that is larger
than all before it, writes carry the number, and the store refuses those with a number smaller than
one that it has seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from quorumcache.router.arguments import shown, unsigned_of
from quorumcache.router.codec import encode_fence, key_bytes
from quorumcache.router.errors import InvalidArgument
from quorumcache.router.levels import LINEARIZABLE, Linearizable, ReadLevel
from quorumcache.router.requests import Request

T = TypeVar("T")

LOCK_VARIABLE: Final = "QUORUMCACHE_LOCK"
TOKEN_VARIABLE: Final = "QUORUMCACHE_FENCE_TOKEN"
"""Where `quorumcache lock` puts the lock's name and the token's number for the command it runs."""


@dataclass(frozen=True, slots=True)
class FencingToken:
    """The number of one acquisition of a lock, larger than all before it, over failovers as well.
    Tokens of one lock have an order; those of different locks have none.

    `shared`: what others may hold at the same time, such as "a semaphore"; "" for a lock that one
    holds alone. A shared token is no fence.
    """

    lock: bytes
    number: int
    shared: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "lock", key_bytes(self.lock))
        object.__setattr__(self, "number", unsigned_of("a token's number", self.number))

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> FencingToken:
        """The token that `quorumcache lock` has passed to this process (`os.environ`)."""
        name, number = environment.get(LOCK_VARIABLE), environment.get(TOKEN_VARIABLE, "")
        if name is None or not (number.isascii() and number.isdigit()):
            raise InvalidArgument(
                f"${LOCK_VARIABLE} and ${TOKEN_VARIABLE} name no token: `quorumcache lock` sets"
                " them for the command that it runs"
            )
        return cls(name.encode("utf-8", "surrogateescape"), int(number))

    def __int__(self) -> int:
        return self.number

    def __lt__(self, other: FencingToken) -> bool:
        return self.number < self._of_same_lock(other)

    def __le__(self, other: FencingToken) -> bool:
        return self.number <= self._of_same_lock(other)

    def __gt__(self, other: FencingToken) -> bool:
        return self.number > self._of_same_lock(other)

    def __ge__(self, other: FencingToken) -> bool:
        return self.number >= self._of_same_lock(other)

    def _of_same_lock(self, other: FencingToken) -> int:
        if not isinstance(other, FencingToken):
            raise InvalidArgument(f"a token is compared with another one, not with {shown(other)}")
        if other.lock != self.lock:
            raise InvalidArgument(
                f"tokens of different locks have no order: {shown(self.lock)}, {shown(other.lock)}"
            )
        return other.number


def fence_of(fence: FencingToken) -> FencingToken:
    """The `fence` of a call: a token of a lock that its holder has alone."""
    if not isinstance(fence, FencingToken):
        raise InvalidArgument(
            f"fence must be the FencingToken of an acquired lock, not {shown(fence)}"
        )
    if fence.shared:
        raise InvalidArgument(
            f"fence must be the token of a lock that one holds alone. This one is of"
            f" {fence.shared}: several hold it at the same time, each with a token of its own, and"
            " the newest of them would shut the others out"
        )
    return fence


class FencedRequest(Request[T]):
    """A request behind a fence."""

    __slots__ = ()

    is_fenced = True


def fenced(request: Request[T], fence: FencingToken | None) -> Request[T]:
    """The request behind its fence: the shard executes it unless it has seen a newer token."""
    if fence is None:
        return request
    fence = fence_of(fence)
    prefix = encode_fence(fence.lock, fence.number)
    return FencedRequest(prefix + request.data, request.decode, request.effect, request.level)


def fenced_level(level: ReadLevel | None) -> ReadLevel:
    """The level of a read behind a fence. It goes through the log, so it is linearizable; to ask
    for less is a contradiction."""
    if level is not None and not isinstance(level, Linearizable):
        raise InvalidArgument(
            "level must be Linearizable() or not given for a read behind a fence, which goes"
            " through the log of the shard"
        )
    return LINEARIZABLE
