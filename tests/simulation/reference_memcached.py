"""One key of a memcached with a clock, as a server would run it, and true histories made with it.

It shares no code with `model.py`, which it is there to check.
"""

from __future__ import annotations

from random import Random
from typing import Any

from tests.simulation.history import EVERY_KEY, SILENT, History, Operation

KEY = b"k"
READS = ("get", "gets", "gat", "gats")
KINDS = (
    *("set",) * 5,
    *("get",) * 5,
    *("gets",) * 4,
    *("cas",) * 3,
    *("delete",) * 2,
    *("touch",) * 3,
    *("incr", "decr", "add", "replace", "append", "prepend", "gat", "gats"),
)
EXPTIMES = (0, 0, 1, 2, 3, -1)


class ReferenceMemcached:
    """`run` answers one operation at a time of its own clock, in ms."""

    def __init__(self) -> None:
        self.item: dict[str, Any] | None = None
        self.flush_ms: int | None = None
        self.counter = 0

    def run(self, operation: Operation, now_ms: int) -> Any:
        if self.flush_ms is not None and now_ms >= self.flush_ms:
            self.item = self.flush_ms = None
        if self.item and self.item["ends"] is not None and now_ms >= self.item["ends"]:
            self.item = None
        return getattr(self, f"_{operation.kind}", self._store)(operation, now_ms)

    def _put(self, value: bytes, flags: int, ends: int | None) -> str:
        self.counter += 1
        self.item = {"value": value, "flags": flags, "ends": ends, "unique": self.counter}
        return "STORED"

    def _store(self, operation: Operation, now_ms: int) -> str:
        kind, item = operation.kind, self.item
        if kind in ("append", "prepend"):
            if item is None:
                return "NOT_STORED"
            parts = (item["value"], operation.argument)
            value = b"".join(parts if kind == "append" else parts[::-1])
            return self._put(value, item["flags"], item["ends"])
        if kind == "cas":
            if item is None:
                return "NOT_FOUND"
            if item["unique"] != operation.unique:
                return "EXISTS"
        elif kind != "set" and (kind == "add") != (item is None):
            return "NOT_STORED"
        self._put(operation.argument, operation.flags, self._ends(operation.exptime, now_ms))
        if operation.exptime < 0:
            self.item = None
        return "STORED"

    @staticmethod
    def _ends(exptime: int, now_ms: int) -> int | None:
        return now_ms + exptime * 1000 if exptime else None

    def _get(self, operation: Operation, now_ms: int) -> Any:
        item = self.item
        if item is None:
            return ("miss",)
        unique = item["unique"] if operation.kind in ("gets", "gats") else 0
        return ("hit", item["value"], unique, item["flags"])

    _gets = _get

    def _gat(self, operation: Operation, now_ms: int) -> Any:
        result = self._get(operation, now_ms)
        self._touch(operation, now_ms)
        return result

    _gats = _gat

    def _touch(self, operation: Operation, now_ms: int) -> str:
        if self.item is None:
            return "NOT_FOUND"
        self.item["ends"] = self._ends(operation.exptime, now_ms)
        if operation.exptime < 0:
            self.item = None
        return "TOUCHED"

    def _delete(self, operation: Operation, now_ms: int) -> str:
        found, self.item = self.item, None
        return "NOT_FOUND" if found is None else "DELETED"

    def _flush_all(self, operation: Operation, now_ms: int) -> str:
        self.flush_ms = None
        if operation.exptime > 0:
            self.flush_ms = now_ms + operation.exptime * 1000
        else:
            self.item = None
        return "OK"

    def _incr(self, operation: Operation, now_ms: int) -> Any:
        item = self.item
        if item is None:
            return "NOT_FOUND"
        text = item["value"]
        if not text.strip().isdigit():
            return "NON_NUMERIC"
        sign = 1 if operation.kind == "incr" else -1
        number = max(int(text) + sign * operation.argument, 0) & 0xFFFF_FFFF_FFFF_FFFF
        self._put(b"%-*d" % (len(text), number), item["flags"], item["ends"])
        return ("number", number)

    _decr = _incr


def true_history(
    random: Random,
    steps: int,
    *,
    clients: int = 5,
    lost: float = 0.1,
    silent: float = 0.0,
    flushes: float = 0.02,
    step_ms: int = 40,
    offset_ms: int = 0,
) -> History:
    """What overlapping clients see of one key. Of the share `lost` the answer never arrives, some
    of those never run, and others run long after. `offset_ms`: what the server's clock is ahead.
    """
    server, history, unique = ReferenceMemcached(), History(), 1
    waiting: list[tuple[Operation, Any, str]] = []
    abandoned: list[Operation] = []
    now_ms = 0

    def run(operation: Operation) -> Any:
        return server.run(operation, now_ms + offset_ms)

    for step in range(steps):
        now_ms += random.randrange(1, 2 * step_ms)
        if abandoned and random.random() < 0.05:
            run(abandoned.pop(random.randrange(len(abandoned))))
        elif len(waiting) < clients and random.random() < 0.5:
            fate = "lost" if random.random() < lost else ""
            operation = _invoke(random, history, step, unique, flushes, now_ms)
            if not fate and operation.kind not in (*READS, "flush_all"):
                fate = "silent" if random.random() < silent else ""
            if fate == "lost" and random.random() < 0.6:
                if random.random() < 0.5:
                    abandoned.append(operation)
            else:
                waiting.append((operation, None, fate))
        elif waiting:
            index = random.randrange(len(waiting))
            operation, result, fate = waiting[index]
            if result is None:
                result = run(operation)
                waiting[index] = (operation, result, fate)
                if result[0] == "hit" and result[2]:
                    unique = result[2]
                continue
            waiting.pop(index)
            if fate != "lost":
                answer = SILENT if fate == "silent" else result
                history.ok(operation, answer, now_ns=now_ms * 1_000_000)
    return history


def _invoke(
    random: Random, history: History, step: int, unique: int, flushes: float, now_ms: int
) -> Operation:
    kind = "flush_all" if random.random() < flushes else random.choice(KINDS)
    argument: Any = None
    if kind in ("set", "add", "replace", "append", "prepend", "cas"):
        argument = b"%d" % step if random.random() < 0.5 else b"v%d;" % step
    elif kind in ("incr", "decr"):
        argument = random.randrange(1, 20)
    timed = kind in ("set", "add", "replace", "cas", "touch", "gat", "gats", "flush_all")
    return history.invoke(
        "c",
        kind,
        EVERY_KEY if kind == "flush_all" else KEY,
        argument,
        unique=unique if kind == "cas" else 0,
        exptime=random.choice(EXPTIMES) if timed else 0,
        flags=random.choice((0, 5)) if kind in ("set", "add", "replace", "cas") else 0,
        now_ns=now_ms * 1_000_000,
    )
