"""How moves go on, from one answer of `cluster moves` to the next: lines for people. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple

from quorumcache.router.report import Look

WINDOW_S = 10.0
"""The rate is that of the last seconds: a move's first ones tell little."""
MEASURED_S = 2.0
"""A rate over less is not shown."""
BAR_WIDTH = 30
ROW_BAR_WIDTH = 10
ROWS_MAX = 12
"""Moves that are shown one by one. So many are under way at most in a cluster with the default
bounds, which is 8, with some room."""

UNDER_WAY = ("copying", "voting", "leaving")


class _Sample(NamedTuple):
    """What was done at a moment. `bytes` and `moves`: since the first answer, never less."""

    at: float
    bytes: int
    moves: int


class Progress:
    """Takes answers as they come; `lines` and `line` tell how it stands."""

    def __init__(self) -> None:
        self._samples: deque[_Sample] = deque()
        self._sizes: dict[tuple[int, str], int] = {}  # of the moves there were, in bytes
        self._moves: list[Mapping[str, Any]] = []
        self._answer: Mapping[str, Any] = {}
        self._first_at: float | None = None
        self._done_bytes = 0
        self._total_bytes = 0
        self._done_moves = 0
        self._total_moves = 0

    def feed(self, answer: Mapping[str, Any], now: float) -> None:
        """An answer of `cluster moves`; `now` in seconds, of any clock that does not leap."""
        self._answer = answer
        self._moves = list(answer["moves"])
        present = {_key(move): move for move in self._moves}
        for key, move in present.items():
            self._sizes[key] = max(self._sizes.get(key, 0), move["bytes"], move["bytes_done"])
        complete = self._sizes.keys() - present.keys()
        # Another node may know less of the moves than the one before: nothing is undone by that.
        if self._moves:
            self._done_moves = max(self._done_moves, len(complete), answer["done"])
            self._total_moves = max(self._done_moves + len(self._moves), answer["total"])
        else:  # The nodes have stopped counting.
            self._done_moves = self._total_moves = max(self._total_moves, len(complete))
        # Of moves that were complete before the first answer no size is known: a mean one, then.
        sizes = sum(self._sizes.values())
        earlier = max(0, self._done_moves - len(complete))
        unseen = earlier * sizes // len(self._sizes) if self._sizes and self._moves else 0
        done = unseen + sum(self._sizes[key] for key in complete)
        done += sum(move["bytes_done"] for move in self._moves)
        self._done_bytes = max(self._done_bytes, done)
        self._total_bytes = max(sizes + unseen, self._done_bytes)
        if self._first_at is None:
            self._first_at = now
        self._samples.append(_Sample(now, self._done_bytes, self._done_moves))
        while len(self._samples) > 2 and now - self._samples[0].at > WINDOW_S:
            self._samples.popleft()

    @property
    def is_done(self) -> bool:
        """No move is left."""
        return not self._moves

    @property
    def is_paused(self) -> bool:
        """No waiting move is started."""
        return bool(self._answer.get("paused"))

    @property
    def done_moves(self) -> int:
        """Moves that are complete."""
        return self._done_moves

    @property
    def total_moves(self) -> int:
        """Moves that are complete, under way, or wait."""
        return self._total_moves

    @property
    def total_bytes(self) -> int:
        """What has to be copied in all, as far as it is known."""
        return self._total_bytes

    @property
    def fraction(self) -> float:
        """How much is done, from 0 to 1: of the bytes if they are known, else of the moves."""
        if self.is_done:
            return 1.0
        if self.total_bytes:
            # Even with all bytes there the last moves still have to end.
            return min(0.99, self._done_bytes / self.total_bytes)
        return self._done_moves / self.total_moves if self.total_moves else 0.0

    @property
    def bytes_per_s(self) -> float:
        """Copied in the last seconds; 0: not known yet."""
        return self._rate(1)

    @property
    def seconds_left(self) -> float | None:
        """None: not known, or nothing goes on."""
        left_bytes = self.total_bytes - self._done_bytes
        if left_bytes > 0 and self.bytes_per_s > 0:
            return left_bytes / self.bytes_per_s
        rate = self._rate(2)
        left_moves = self.total_moves - self._done_moves
        return left_moves / rate if rate > 0 and left_moves else None

    def seconds(self, now: float) -> float:
        """Since the first answer."""
        return now - (self._first_at if self._first_at is not None else now)

    def _rate(self, field: int) -> float:
        first, last = self._samples[0], self._samples[-1]
        if last.at - first.at < MEASURED_S:
            return 0.0
        return float(last[field] - first[field]) / (last.at - first.at)

    def line(self) -> str:
        """How it stands, as one line."""
        parts = [f"{self._title()}: {self.done_moves} of {self.total_moves} moves done"]
        if self.total_bytes:
            parts.append(f"{size_text(self._done_bytes)} of {size_text(self.total_bytes)}")
        return ", ".join([*parts, *self._speed()])

    def lines(self, look: Look) -> list[str]:
        """How it stands, with a bar for all moves and one for each that is under way."""
        if self.is_done:
            state = "no moves under way"
            if self.is_paused:
                state += ", and none starts before `quorumcache moves resume`"
            return [f"{self._title()}: {state}" if self._answer.get("change") else state]
        waiting = sum(move["state"] == "waiting" for move in self._moves)
        under_way = len(self._moves) - waiting
        counts = f"{self.done_moves} of {self.total_moves} moves done, {under_way} under way"
        head = look.paint("bold", self._title()) + f": {counts}, {waiting} waiting"
        if self.is_paused:
            head += look.paint("yellow", "  (paused)")
        sizes = ""
        if self.total_bytes:
            sizes = f"{size_text(self._done_bytes)} of {size_text(self.total_bytes)}"
        tail = "   ".join(part for part in (sizes, *self._speed()) if part)
        bar = f"  {bar_of(self.fraction, BAR_WIDTH, look)} {self.fraction:4.0%}   {tail}".rstrip()
        return [head, bar, *self._rows(look)]

    def _title(self) -> str:
        return str(self._answer.get("change") or "moves")

    def _speed(self) -> list[str]:
        if self.is_done:
            return []
        if self.is_paused and not any(move["state"] in UNDER_WAY for move in self._moves):
            return ["paused"]
        rate, left = self.bytes_per_s, self.seconds_left
        speed = [f"{size_text(rate)}/s"] if rate > 0 else []
        return [*speed, f"about {time_text(left)} left"] if left is not None else speed

    def _rows(self, look: Look) -> list[str]:
        moves = [move for move in self._moves if move["state"] in UNDER_WAY]
        rows = []
        for move in moves[:ROWS_MAX]:
            size, done = move["bytes"], move["bytes_done"]
            copied = move["state"] != "copying"
            part = 1.0 if copied else min(1.0, done / size) if size else 0.0
            rows.append(
                (
                    *(group_text(move), change_text(move), move["state"]),
                    f"{bar_of(part, ROW_BAR_WIDTH, look)} {part:4.0%}",
                    f"{size_text(done)} of {size_text(size)}" if size and not copied else "",
                )
            )
        lines = []
        if rows:
            widths = [max(len(row[column]) for row in rows) for column in range(3)]
            for row in rows:
                cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
                lines.append("  " + "  ".join([*cells, *row[3:]]).rstrip())
        if len(moves) > ROWS_MAX:
            lines.append(f"  and {len(moves) - ROWS_MAX} more under way")
        return lines


def _key(move: Mapping[str, Any]) -> tuple[int, str]:
    return move["group"], " ".join(move["add"])


def group_text(move: Mapping[str, Any]) -> str:
    """`shard 12`, or `directory`."""
    return "directory" if move["shard"] is None else f"shard {move['shard']}"


def change_text(move: Mapping[str, Any]) -> str:
    """`+d -c`: the nodes that get a replica, and those that give one up."""
    words = [f"+{name}" for name in move["add"]] + [f"-{name}" for name in move["remove"]]
    return " ".join(words) or "other leader"


def bar_of(fraction: float, width: int, look: Look) -> str:
    """A bar of `width` characters; full only when it is."""
    filled = int(width * max(0.0, min(1.0, fraction)))
    rest = "░" if look.block == "█" else "."
    return look.block * filled + rest * (width - filled)


def size_text(count: float) -> str:
    """Bytes as people read them: `812 B`, `4.0 KiB`, `12 MiB`."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 10 else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.0f} TiB" if size >= 10 else f"{size:.1f} TiB"


def time_text(seconds: float) -> str:
    """`8 s`, `2 min 5 s`, `3 h 10 min`."""
    whole = max(1, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
