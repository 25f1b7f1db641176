"""A history on disk: a JSON line when an operation begins, another when its result is known.

    {"op": 7, "client": "t1", "kind": "set", "key": "g0-r3-5", "arg": "t1.4;", "ns": ...}
    {"ok": 7, "result": "STORED", "ns": ...}
    {"fail": 7, "why": "SERVER_ERROR not done: ...", "ns": ...}

The order of the lines is the order of the events, so a file that was cut short is a history, too:
what has no second line is of unknown outcome. Bytes are written as Latin-1 text.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TextIO

from tests.simulation.history import History, Operation


class HistoryError(Exception):
    """The file is not a history. One line, with its line number."""


class Recorder(History):
    """A history that is written down as it happens."""

    def __init__(self, file: TextIO) -> None:
        super().__init__()
        self._file = file

    def invoke(self, *args: Any, **keywords: Any) -> Operation:
        operation = super().invoke(*args, **keywords)
        line: dict[str, Any] = {
            "op": operation.number,
            "client": operation.client,
            "kind": operation.kind,
            "key": operation.key.decode("latin-1"),
        }
        if operation.argument is not None:
            argument = operation.argument
            line["arg"] = argument if isinstance(argument, int) else argument.decode("latin-1")
        if operation.unique:
            line["unique"] = operation.unique
        if operation.after:
            line["after"] = operation.after
        self._write(line | {"ns": operation.invoked_ns})
        return operation

    def ok(self, operation: Operation, result: Any, *, now_ns: int = 0) -> None:
        super().ok(operation, result, now_ns=now_ns)
        told = result if isinstance(result, str) else [_text(part) for part in result]
        self._write({"ok": operation.number, "result": told, "ns": now_ns})

    def fail(self, operation: Operation, why: str = "", *, now_ns: int = 0) -> None:
        super().fail(operation, why, now_ns=now_ns)
        self._write({"fail": operation.number, "why": why, "ns": now_ns})

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line, separators=(",", ":")) + "\n")


def _text(part: Any) -> Any:
    return part.decode("latin-1") if isinstance(part, bytes) else part


def read_history(path: Path) -> History:
    """HistoryError when the file cannot be read; a torn last line is left out."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise HistoryError(f"{path}: {error}") from None
    whole, _, _torn = text.rpartition("\n")
    return parse_history(whole.splitlines(), str(path))


def parse_history(lines: Iterable[str], where: str = "history") -> History:
    """HistoryError that names the line for anything that is not as the module says."""
    history = History()
    for number, text in enumerate(lines, 1):
        try:
            _add(history, json.loads(text))
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, AssertionError) as e:
            raise HistoryError(f"{where}: line {number} is no event: {e!r}") from None
    return history


def _add(history: History, line: dict[str, Any]) -> None:
    if "op" in line:
        argument = line.get("arg")
        operation = history.invoke(
            line["client"],
            line["kind"],
            line["key"].encode("latin-1"),
            argument.encode("latin-1") if isinstance(argument, str) else argument,
            unique=line.get("unique", 0),
            after=line.get("after", 0),
            now_ns=line["ns"],
        )
        if operation.number != line["op"]:
            raise ValueError(f"operation {line['op']} where {operation.number} is next")
    elif "ok" in line:
        result = line["result"]
        if isinstance(result, list):
            if result[0] == "hit":
                result[1] = result[1].encode("latin-1")
            result = tuple(result)
        history.ok(_known(history, line["ok"]), result, now_ns=line["ns"])
    else:
        history.fail(_known(history, line["fail"]), line["why"], now_ns=line["ns"])


def _known(history: History, number: int) -> Operation:
    if not 1 <= number <= len(history.operations):
        raise ValueError(f"no operation {number}")
    return history.operations[number - 1]
