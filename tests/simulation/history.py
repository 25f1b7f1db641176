"""What the clients asked and what they were told, in the order in which it happened.

An operation is invoked, and then it is *ok* (its result is known), *fail* (it certainly did
nothing), or it stays *info* for ever: it may take effect at any later time, or never. A write with
noreply is ok with the result SILENT once it is clear that it ran: nobody was told how it ended.

A flush is one operation of every key. A read of several keys is one operation for each, all with
the same span.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

OK = "ok"
FAIL = "fail"
INFO = "info"
SILENT = "<silent>"
EVERY_KEY = b""
"""Key of an operation that concerns them all."""


@dataclass(slots=True)
class Operation:
    """One request of one client.

    `kind` is the memcached verb. `argument`: the value of a storage command, the delta of incr and
    decr. `unique` is what a cas carries. `exptime` is the number of the line (of flush_all: its
    delay). `result`: see `model.py`. `invoked` and `returned` are positions in the history's total
    order; `returned` is None while the outcome is unknown. The times, virtual ns, bound the stamp
    that the leader gave it. `after`: number of an operation of the same connection that took effect
    before this one, if both did.
    """

    number: int
    client: str
    kind: str
    key: bytes
    argument: Any = None
    unique: int = 0
    outcome: str = INFO
    result: Any = None
    invoked: int = 0
    returned: int | None = None
    after: int = 0
    invoked_ns: int = 0
    returned_ns: int | None = None
    exptime: int = 0
    flags: int = 0

    @property
    def is_read(self) -> bool:
        return self.kind in ("get", "gets")

    def describe(self) -> str:
        """One line: span, client, request, result."""
        begin = f"{self.invoked_ns / 1e9 - 1000:9.4f}"
        end = "   never" if self.returned_ns is None else f"{self.returned_ns / 1e9 - 1000:8.4f}"
        words = [self.kind, show_key(self.key)]
        if self.argument is not None:
            words.append(_shortened(repr(self.argument)))
        words += [f"{name}={value}" for name, value in self._extras() if value]
        result = "unknown" if self.outcome == INFO else _shortened(repr(self.result))
        return f"[{begin} {end}] #{self.number:<5} {self.client:<4} {' '.join(words)} -> {result}"

    def _extras(self) -> tuple[tuple[str, int], ...]:
        return ("flags", self.flags), ("exptime", self.exptime), ("unique", self.unique)


def show_key(key: bytes) -> str:
    """A key for the reader: binary and long ones too."""
    text = key.decode("ascii", "backslashreplace")
    text = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
    return _shortened(text) if key else "(every key)"


def _shortened(text: str, length: int = 120) -> str:
    return text if len(text) <= length else f"{text[: length - 20]}... {len(text)} characters"


class History:
    """Collects operations. Positions, not times, define what happened before what."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self._position = 0

    def invoke(
        self,
        client: str,
        kind: str,
        key: bytes,
        argument: Any = None,
        *,
        unique: int = 0,
        exptime: int = 0,
        flags: int = 0,
        after: int = 0,
        now_ns: int = 0,
    ) -> Operation:
        self._position += 1
        operation = Operation(
            len(self.operations) + 1, client, kind, key, argument, unique, invoked=self._position
        )
        operation.exptime, operation.flags = exptime, flags
        operation.after = after
        operation.invoked_ns = now_ns
        self.operations.append(operation)
        return operation

    def ok(self, operation: Operation, result: Any, *, now_ns: int = 0) -> None:
        self._finish(operation, OK, now_ns)
        operation.result = result

    def fail(self, operation: Operation, why: str = "", *, now_ns: int = 0) -> None:
        """It certainly had no effect."""
        self._finish(operation, FAIL, now_ns)
        operation.result = why

    def _finish(self, operation: Operation, outcome: str, now_ns: int) -> None:
        assert operation.returned is None, f"{operation} finished twice"
        self._position += 1
        operation.outcome = outcome
        operation.returned = self._position
        operation.returned_ns = now_ns

    def by_key(self) -> dict[bytes, list[Operation]]:
        """Operations by key, in order of invocation; without those that did nothing. Operations of
        every key are in every list.
        """
        keys: dict[bytes, list[Operation]] = {}
        of_all: list[Operation] = []
        for operation in self.operations:
            if operation.outcome == FAIL:
                continue
            if operation.key != EVERY_KEY:
                if operation.key not in keys:
                    keys[operation.key] = list(of_all)
                keys[operation.key].append(operation)
            else:
                of_all.append(operation)
                for operations in keys.values():
                    operations.append(operation)
        return keys

    def counts(self) -> dict[str, int]:
        counts = {OK: 0, FAIL: 0, INFO: 0}
        for operation in self.operations:
            counts[operation.outcome] += 1
        return counts
