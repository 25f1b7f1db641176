"""What clients were told of locks: do tokens grow, and was a holder the only one?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tests.simulation.history import INFO
from tests.simulation.serializability import Transaction


class Clock(Protocol):
    """What the cluster's time can have been, in ms; see `ClusterTimes`."""

    def earliest_ms(self, begin_ns: int, end_ns: int | None) -> int:
        """The least that a command of this span can have been stamped with."""

    def latest_ms(self, end_ns: int | None) -> int:
        """The most that a command that ended then can have been stamped with."""


@dataclass(slots=True)
class Asked:
    """A command about a lock: `acquire`, `renew` or `release`. `token`: it was answered with this
    one; 0: it was not, or otherwise."""

    verb: str
    lock: bytes
    owner: bytes
    record: Transaction
    ttl_ms: int = 0
    is_shared: bool = False
    token: int = 0

    def describe(self) -> str:
        mode = "shared" if self.is_shared else "exclusive"
        words = f"{self.lock.decode()} {self.owner.decode()} {mode} {self.ttl_ms} ms"
        return f"{self.record.describe()}: {self.verb} {words}, token {self.token}"


def token_fault(asked: Sequence[Asked]) -> str:
    """Tokens of a lock grow from each that was given to those that were asked for after it was
    told. An owner that still holds the lock hears its token again."""
    given = [ask for ask in asked if ask.token and ask.verb == "acquire"]
    for lock in sorted({ask.lock for ask in given}):
        mine = [ask for ask in given if ask.lock == lock]
        owners: dict[int, Asked] = {}
        for ask in mine:
            other = owners.setdefault(ask.token, ask)
            if other.owner != ask.owner:
                return f"two owners have one token:\n{other.describe()}\n{ask.describe()}"
        told = sorted(mine, key=lambda ask: ask.record.returned)
        newest, place = None, 0
        for ask in sorted(mine, key=lambda ask: ask.record.invoked):
            while told[place].record.returned < ask.record.invoked:
                if newest is None or told[place].token > newest.token:
                    newest = told[place]
                place += 1
            if newest is not None and ask.token < newest.token and not ask.is_shared:
                return f"a token does not grow:\n{newest.describe()}\n{ask.describe()}"
    return ""


def holder_fault(asked: Sequence[Asked], clock: Clock) -> str:
    """Nobody is given a lock while the lease of another one certainly lasts.

    An owner of which anything is not known is left out: what it asked for may be executed late, and
    end its lease early.
    """
    doubtful = {(ask.lock, ask.owner) for ask in asked if ask.record.outcome == INFO}
    certain = [ask for ask in asked if (ask.lock, ask.owner) not in doubtful]
    acquired = [ask for ask in certain if ask.token and ask.verb == "acquire"]
    for other in acquired:
        latest: dict[bytes, Asked] = {}
        """Of each other owner the last that it asked for before."""
        for ask in certain:
            if ask.lock != other.lock or ask.owner == other.owner:
                continue
            if ask.record.invoked < other.record.returned:
                latest[ask.owner] = ask
        for held in latest.values():
            if not held.token or held.record.returned > other.record.invoked:
                continue  # Not given, or in either order.
            if held.is_shared and other.is_shared:
                continue
            begins_ms = clock.earliest_ms(held.record.invoked_ns, held.record.returned_ns)
            if clock.latest_ms(other.record.returned_ns) < begins_ms + held.ttl_ms:
                return f"two hold a lock:\n{held.describe()}\n{other.describe()}"
    return ""
