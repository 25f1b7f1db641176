"""The bank: money that is moved between accounts of many shards, and locks, over real processes.

The clients are those of the simulation. They move money by transactions, and look at all accounts
at once: whoever does sees the same sum. At the end all transactions have to be strictly
serializable, and every node has to give every account.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.chaos.clients import LOST, Session, UnexpectedReply
from tests.simulation.dealings import BrokenLock, Dealings, NotSerializable
from tests.simulation.library_user import LibraryUser
from tests.simulation.lock_client import LockClient
from tests.simulation.talk import Talk
from tests.simulation.transaction_client import TransactionClient

ACCOUNTS = 100
SHARDS = 64
TELLERS = 5
HOLDERS = 2
USERS = 1
"""Of the client library."""
PAUSE_SECONDS = 0.02
REPLY_SECONDS = 10.0


@dataclass(slots=True)
class Teller:
    """Where a client of the bank runs; see `Host`."""

    session: Session
    name: str
    addresses: list[tuple[str, int]]
    random: Random

    @property
    def unexpected(self) -> list[str]:
        return self.session.unexpected

    @property
    def now_ns(self) -> int:
        return self.session.now_ns()

    @property
    def is_stopping(self) -> bool:
        return self.session.stopping.is_set()


class Bank:
    """All clients of the bank, and what came of their work."""

    def __init__(self, session: Session, addresses: list[tuple[str, int]], random: Random) -> None:
        self.session = session
        self.dealings = Dealings(random, accounts=ACCOUNTS)
        kinds: list[tuple[str, type[TransactionClient | LockClient | LibraryUser]]] = [
            *[("t", TransactionClient)] * TELLERS,
            *[("k", LockClient)] * HOLDERS,
            *[("u", LibraryUser)] * USERS,
        ]
        self.clients = [
            kind(
                Teller(session, f"bank-{word}{number}", addresses, Random(random.random())),
                self.dealings,
                pause_seconds=PAUSE_SECONDS,
            )
            for number, (word, kind) in enumerate(kinds)
        ]

    def totals(self) -> dict[str, int]:
        """What was done, by kind."""
        return dict(sorted(self.dealings.totals().items()))

    async def read_all(self, addresses: list[tuple[str, int]], seconds: float) -> str:
        """Every account through every node, none of which may give none for so long. What went
        wrong, or ""."""
        for address in addresses:
            why = "no answer"
            keys = self.dealings.every_key()
            left, deadline = len(keys), time.monotonic() + seconds
            while keys and time.monotonic() < deadline:
                try:
                    why = await self._read(address, keys)
                except (*LOST, UnexpectedReply) as error:
                    why = repr(error)
                if len(keys) < left:
                    left, deadline = len(keys), time.monotonic() + seconds
            if keys:
                return f"{address[0]} does not give {keys[0].decode()}: {why}"
        return ""

    async def _read(self, address: tuple[str, int], keys: list[bytes]) -> str:
        """Take those from the list that were answered."""
        history = self.dealings.history
        talk = await Talk.to(address, reply_seconds=REPLY_SECONDS)
        try:
            while keys:
                record = history.invoke("last", "get", now_ns=self.session.now_ns())
                found, line = await talk.values(b"get %b\r\n" % keys[0])
                if line != b"END":
                    history.fail(record, line.decode(), now_ns=self.session.now_ns())
                    return repr(line)
                record.reads = {keys[0]: found[keys[0]][0] if keys[0] in found else None}
                history.ok(record, now_ns=self.session.now_ns())
                keys.pop(0)
        finally:
            talk.close()
        return ""

    def judge(self, path: Path) -> str:
        """What is wrong with all that was done, or "". `path`: where it is written down."""
        lines = [transaction.describe() for transaction in self.dealings.history.all]
        path.write_text("\n".join(lines) + "\n")
        try:
            is_decided = self.dealings.judge()
        except (BrokenLock, NotSerializable) as error:
            return f"{error.rule}: {error}"
        return "" if is_decided else "the transactions are too many to be judged"
