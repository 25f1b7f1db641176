"""The hash ring: members stand on the circle of tokens by virtual nodes, in proportion to weight.

A token belongs to the first vnode at or after it, clockwise, wrapping at 2**64:

    0 ----a3----b1-------a1--b2----a2----b3---- 2**64
             ^ token: owner b (b1), preference list b, a

The vnode i of a member stands at `key_token(b"<member>-<i>")`, and a member has as many of them as
its own weight says, whatever the others weigh. So a member that comes or goes moves no token
between two others.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

from quorumcache.ring.errors import RingError
from quorumcache.ring.hashing import key_token

VNODES_PER_WEIGHT = 128  # spread of a member's share: about 1 / sqrt(128) = 9 %
VNODES_MAX = 1 << 16  # per member, however heavy: bounds memory and build time

MemberT = TypeVar("MemberT", int, str)


class HashRing(Generic[MemberT]):
    """An immutable consistent-hash ring over members that are all ints or all strings."""

    __slots__ = ("_members", "_owners", "_tokens", "_vnodes", "_weights")

    def __init__(
        self, weights: Mapping[MemberT, float], *, vnodes_per_weight: int = VNODES_PER_WEIGHT
    ) -> None:
        """`weights` gives each member's weight, above 0; a member has at least one vnode.

        Raises `RingError` for an empty ring or a weight that is not above 0.
        """
        if not weights:
            raise RingError("a ring needs at least one member")
        if vnodes_per_weight < 1:
            raise RingError(f"vnodes_per_weight is {vnodes_per_weight}, expected at least 1")
        self._members: tuple[MemberT, ...] = tuple(sorted(weights))
        self._weights: dict[MemberT, float] = {member: weights[member] for member in self._members}
        self._vnodes = vnodes_per_weight
        points: list[tuple[int, MemberT]] = []
        for member, weight in self._weights.items():
            if not 0 < weight < float("inf"):
                raise RingError(f"weight of {member!r} is {weight!r}, expected above 0")
            count = max(1, round(min(weight * vnodes_per_weight, VNODES_MAX)))
            points += [
                (key_token(b"%b-%d" % (str(member).encode(), i)), member) for i in range(count)
            ]
        points.sort()  # equal tokens: the smaller member first, in every process
        self._tokens = [token for token, _ in points]
        self._owners: list[MemberT] = [member for _, member in points]

    @property
    def members(self) -> tuple[MemberT, ...]:
        """All members in ascending order."""
        return self._members

    def __len__(self) -> int:
        return len(self._members)

    def owner(self, key: bytes) -> MemberT:
        """The member that `key` belongs to."""
        return self.owner_of_token(key_token(key))

    def owner_of_token(self, token: int) -> MemberT:
        """The member that `token`, in [0, 2**64), belongs to."""
        index = bisect_left(self._tokens, token)
        return self._owners[index if index < len(self._owners) else 0]

    def preference_list(self, key: bytes, count: int) -> tuple[MemberT, ...]:
        """The first `count` distinct members clockwise from `key`; fewer if the ring has fewer."""
        found: list[MemberT] = []
        for member in self.walk(key_token(key)):
            if len(found) >= count:
                break
            found.append(member)
        return tuple(found)

    def walk(self, token: int) -> Iterator[MemberT]:
        """Every member once, in the order of their first vnode clockwise from `token`."""
        start = bisect_left(self._tokens, token)
        seen: set[MemberT] = set()
        for index in range(start - len(self._owners), start):
            member = self._owners[index]
            if member not in seen:
                seen.add(member)
                yield member

    def vnodes(self) -> Iterator[tuple[int, MemberT]]:
        """(token, member) of every vnode by ascending token."""
        return zip(self._tokens, self._owners, strict=True)

    def with_member(self, member: MemberT, weight: float) -> HashRing[MemberT]:
        """A ring in which `member` has this weight."""
        return HashRing({**self._weights, member: weight}, vnodes_per_weight=self._vnodes)

    def without_member(self, member: MemberT) -> HashRing[MemberT]:
        """A ring without `member`; `RingError` if it is not there or is the last."""
        if member not in self._weights:
            raise RingError(f"{member!r} is not a member of the ring")
        rest = {other: weight for other, weight in self._weights.items() if other != member}
        return HashRing(rest, vnodes_per_weight=self._vnodes)
