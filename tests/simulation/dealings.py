"""What the programs with transactions and locks of a run share: keys, the history, the rules.

- A *bank*: accounts that are opened by one transaction, with `OPENING` each. Whoever sees all of
  them at once sees the same sum.
- *Registers*: anything is written to them, by transactions and by plain commands.
- *Guarded* keys: written only under a lock, with its token as a fence. What a holder reads and then
  writes under one token is one transaction.

Every value is written once only, so that what was read tells who wrote it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.simulation.history import FAIL, INFO, OK
from tests.simulation.lock_watch import Asked, Clock, holder_fault, token_fault
from tests.simulation.serializability import (
    ILLEGAL,
    UNKNOWN,
    Transaction,
    Transactions,
    Value,
    check_transactions,
)
from tests.simulation.talk import Host

OPENING = 100
PARTS = ("lock", "fenced")
"""Kinds that tell when something was asked, and no reads and writes of their own."""


class NotSerializable(AssertionError):
    """No order of the transactions explains what was read."""

    rule = "not serializable"


class BrokenLock(AssertionError):
    """A token that does not grow, or a holder that was not the only one."""

    rule = "a lock that is none"


@dataclass(frozen=True, slots=True)
class Fenced:
    """A command with a token was executed."""

    lock: bytes
    key: bytes
    token: int
    invoked: int
    returned: int


class Dealings:
    """See the module."""

    def __init__(self, random: Random, *, accounts: int = 0) -> None:
        """`accounts` 0: a few."""
        self.accounts = [b"account-%d" % n for n in range(accounts or random.randint(2, 8))]
        self.registers = [b"dealt-%d" % n for n in range(random.randint(2, 5))]
        self.locks = [b"lock-%d" % n for n in range(random.randint(1, 2))]
        self.history = Transactions()
        self.asked: list[Asked] = []
        """About locks."""
        self.fenced: list[Fenced] = []
        self.snapshots = 0
        """How often the whole bank was seen."""
        self.counts: Counter[str] = Counter()
        """What was tried, and how it ended."""

    @property
    def total(self) -> int:
        return OPENING * len(self.accounts)

    def guarded(self, lock: bytes) -> list[bytes]:
        """The keys that are written under a lock."""
        return [b"guarded-%b-%d" % (lock, n) for n in range(2)]

    def every_key(self) -> list[bytes]:
        """Of all kinds."""
        guarded = [key for lock in self.locks for key in self.guarded(lock)]
        return [*self.accounts, *self.registers, *guarded]

    # -- the bank ----------------------------------------------------------------------------------

    def wrong_sum(self, seen: Mapping[bytes, Value]) -> str:
        """What is wrong with the accounts, all seen at once; "" if nothing is."""
        self.snapshots += 1
        values = [seen[key] for key in self.accounts]
        if all(value is None for value in values):
            return ""
        total = sum(balance(value) for value in values if value is not None)
        if None not in values and total == self.total:
            return ""
        return f"the accounts hold {total}, not {self.total}: {values}"

    # -- locks -------------------------------------------------------------------------------------

    def ask(self, verb: str, host: Host, lock: bytes, owner: bytes, **facts: Any) -> Asked:
        """A command about a lock is about to be sent."""
        record = self.history.invoke(host.name, "lock", now_ns=host.now_ns)
        asked = Asked(verb, lock, owner, record, **facts)
        self.asked.append(asked)
        return asked

    def executed(self, lock: bytes, key: bytes, token: int, command: Transaction) -> None:
        """`command` was executed with this token."""
        done = Fenced(lock, key, token, command.invoked, command.returned)
        self.fenced.append(done)

    # -- at the end --------------------------------------------------------------------------------

    def judge(self, clock: Clock | None = None) -> bool:
        """Raises `BrokenLock` or `NotSerializable`. False: it could not be decided. Without a clock
        nothing is said of how long locks were held."""
        broken = token_fault(self.asked) or fence_fault(self.fenced)
        if clock is not None:
            broken = broken or holder_fault(self.asked, clock)
        if broken:
            raise BrokenLock(broken)
        verdict = check_transactions([t for t in self.history.all if t.kind not in PARTS])
        if verdict.kind == ILLEGAL:
            raise NotSerializable(verdict.describe())
        return verdict.kind != UNKNOWN

    def totals(self) -> dict[str, int]:
        """What was tried, by kind, and how it ended."""
        ends = Counter((t.kind, t.outcome) for t in self.history.all)
        words = {OK: "done", FAIL: "refused", INFO: "unknown"}
        return {
            **{f"{kind}_{words[outcome]}": count for (kind, outcome), count in ends.items()},
            "snapshots_of_the_bank": self.snapshots,
            "fenced_commands": len(self.fenced),
            "locks_granted": sum(asked.token > 0 for asked in self.asked),
            **self.counts,
        }


def balance(value: bytes) -> int:
    """Of an account; behind it stands who wrote it."""
    return int(value.split(b" ")[0])


def fence_fault(fenced: list[Fenced]) -> str:
    """No command was executed with a token when a greater one of the same lock had been executed at
    the same key before it began."""
    for key in sorted({command.key for command in fenced}):
        mine = [command for command in fenced if command.key == key]
        ended = sorted(mine, key=lambda command: command.returned)
        newest, place = None, 0
        for command in sorted(mine, key=lambda command: command.invoked):
            while ended[place].returned < command.invoked:
                if newest is None or ended[place].token > newest.token:
                    newest = ended[place]
                place += 1
            if newest is not None and command.token < newest.token:
                return f"an old holder was let through: {newest}, then {command}"
    return ""
