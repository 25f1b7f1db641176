"""Structured logs: one line per event, on stderr, as `key=value` text or as JSON.

    2026-01-02T03:04:05.678Z info event=leader_elected node=a shard=3 term=7

An event has a stable name (documented in docs/operations.md) and fields; sentences belong to
the documents. Lines are written by the standard logging package, so a program that embeds a node
can send them elsewhere. Log on changes, never per request.

Logging never waits for its reader: lines go through a bounded queue and a thread (`streams.py`).
Those that find no room are dropped and counted, and `log_lines_dropped` tells of them.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import TextIO

from quorumcache.node.telemetry.streams import LineWriter, write_line

ROOT_LOGGER = "quorumcache"

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
# An event written as one string: a name, then `key=value` pairs without spaces in the values.
_FIELD = re.compile(r"([a-z_]+)=(\S*)")
_EVENT = re.compile(r"([a-z_]+)(?: [a-z_]+=\S*)*")
# Longer values are cut: a line must stay readable, and a client's bytes must not fill the disk.
_VALUE_CHARS_MAX = 1000
# For lines that are still on their way when the process ends: there may be no reader.
FLUSH_S = 1.0
STDERR = 2

_writer: LineWriter | None = None


def get_logger(part: str) -> logging.Logger:
    """The logger of one part of the node, for example `get_logger("peers")`."""
    return logging.getLogger(f"{ROOT_LOGGER}.{part}")


def event(logger: logging.Logger, level: str, name: str, /, **fields: object) -> None:
    """Log one event. `level` is debug, info, warning or error; `fields` are simple values. None of
    them is called time, level, event or node: these begin every line.
    """
    number = _LEVELS[level]
    if logger.isEnabledFor(number):
        logger.log(number, name, extra={"fields": fields})


def configure(
    *, level: str = "info", log_format: str = "text", node: str = "", stream: TextIO | None = None
) -> None:
    """Send the node's events to `stream`, or without one to stderr, which is never waited for.

    Called once by the process, never by a library user.
    """
    formatter = JsonFormatter(node) if log_format == "json" else TextFormatter(node)
    handler = logging.StreamHandler(stream) if stream is not None else _start_writer(formatter)
    handler.setFormatter(formatter)
    root = logging.getLogger(ROOT_LOGGER)
    root.handlers[:] = [handler]
    root.setLevel(_LEVELS[level])
    root.propagate = False
    # asyncio reports what was not handled. Same form, so that no line of the log has another
    # one.
    for name in ("asyncio", "uvloop"):
        other = logging.getLogger(name)
        other.handlers[:] = [handler]
        other.setLevel(logging.WARNING)
        other.propagate = False


def use_level(level: str) -> None:
    """Log events of this level and above from now on."""
    logging.getLogger(ROOT_LOGGER).setLevel(_LEVELS[level])


def say(line: str) -> None:
    """Put a sentence for people on stderr, after all that was logged before it."""
    if _writer is None:
        write_line(sys.stderr, line)
    else:
        _writer.write(line)


def flush() -> None:
    """Wait until stderr has taken all lines, for `FLUSH_S` at most."""
    if _writer is not None:
        _writer.flush(FLUSH_S)


def lines_dropped() -> int:
    """Log lines of this process that were lost because stderr did not take them."""
    return _writer.dropped if _writer is not None else 0


def _start_writer(formatter: logging.Formatter) -> logging.Handler:
    global _writer

    def resumed(count: int) -> str:
        number = logging.WARNING
        record = logging.LogRecord(
            f"{ROOT_LOGGER}.logs", number, __file__, 0, "log_lines_dropped", (), None
        )
        record.fields = {"count": count}
        return formatter.format(record)

    _writer = LineWriter(STDERR, on_resumed=resumed)
    return _QueueHandler(_writer)


class _QueueHandler(logging.Handler):
    """Hands lines to a writer. What cannot be formatted is counted as lost."""

    def __init__(self, writer: LineWriter) -> None:
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception:
            self._writer.count_lost()
            return
        self._writer.write(line)


class _EventFormatter(logging.Formatter):
    def __init__(self, node: str) -> None:
        super().__init__()
        self._node = node

    def _facts(self, record: logging.LogRecord) -> dict[str, object]:
        fields = getattr(record, "fields", None)
        facts: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.")
            + f"{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
        }
        message = record.getMessage()
        if fields is None:
            # `name key=value ...` is an event, too; all else is a sentence of the standard
            # library.
            written = _EVENT.fullmatch(message)
            name = written[1] if written else "message"
            fields = dict(_FIELD.findall(message)) if written else {"text": message}
        else:
            name = message
        facts["event"] = name
        if self._node:
            facts["node"] = self._node
        facts.update(fields)
        if record.exc_info and record.exc_info[0] is not None:
            facts["error"] = self.formatException(record.exc_info)
        return facts


class TextFormatter(_EventFormatter):
    """`time level event=name key=value ...`; values with spaces or quotes are quoted as JSON
    strings.
    """

    def format(self, record: logging.LogRecord) -> str:
        facts = self._facts(record)
        time, level = facts.pop("time"), facts.pop("level")
        return f"{time} {level} " + " ".join(f"{k}={_text(v)}" for k, v in facts.items())


class JsonFormatter(_EventFormatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(self._facts(record), default=str, ensure_ascii=False)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = str(value)
    if len(text) > _VALUE_CHARS_MAX:
        text = text[:_VALUE_CHARS_MAX] + "..."
    if text and text.isprintable() and not any(c in ' "=' for c in text):
        return text
    return json.dumps(text, ensure_ascii=False)
