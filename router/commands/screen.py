"""Text that changes while somebody looks: redrawn in place on a terminal, appended to a pipe."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Sequence
from typing import TextIO

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def cut(line: str, width: int) -> str:
    """A line that takes no more than `width` columns: a longer one would break, and the next
    redraw would then begin too low. Its colours are kept. Pure."""
    parts, left, at = [], width, 0
    for match in _COLOUR.finditer(line):
        text = line[at : match.start()]
        parts += [text[:left], match[0]]
        left -= len(text[:left])
        at = match.end()
    parts.append(line[at:][:left])
    return "".join(parts)


def frame(lines: Sequence[str], drawn: int, columns: int, rows: int) -> tuple[str, int]:
    """What to write to a terminal that shows `drawn` lines of before, so that it shows these; and
    how many that are. Lines that do not fit are counted in the last one. Pure."""
    shown = list(lines)
    if len(shown) >= rows:
        hidden = len(shown) - (rows - 2)
        shown = [*shown[: rows - 2], f"... and {hidden} more lines; make the window higher"]
    up = f"\x1b[{drawn}A" if drawn else ""
    text = "".join(f"\x1b[2K{cut(line, columns - 1)}\n" for line in shown)
    return f"\r{up}{text}\x1b[J", len(shown)


class Screen:
    """Draws to `stream`; see the module."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self.is_terminal = self._stream.isatty()
        self._drawn = 0

    def show(self, lines: Sequence[str]) -> None:
        """Show these lines instead of the ones before; in a pipe: after them."""
        if self.is_terminal:
            size = shutil.get_terminal_size()
            text, self._drawn = frame(lines, self._drawn, size.columns, size.lines)
        else:
            text = "".join(f"{line}\n" for line in lines)
        self._stream.write(text)
        self._stream.flush()

    def leave(self) -> None:
        """What is shown stays; what comes next is below."""
        self._drawn = 0
