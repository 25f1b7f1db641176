"""What a run says while it runs: lines for faults, and on a terminal one that changes in place."""

from __future__ import annotations

from typing import TextIO

from tests.chaos.faults import Outcome


class Progress:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._in_place = stream.isatty()
        self._open = False
        """The cursor stands behind a line that is to be replaced."""

    def say(self, text: str) -> None:
        self.close()
        print(text, file=self._stream, flush=True)

    def fault(self, at_s: float, outcome: Outcome, what: str) -> None:
        name = f"{outcome.fault.name} {outcome.fault.amount_text}".rstrip()
        self.say(f"{at_s:7.1f} s  {name} {what}: {', '.join(outcome.nodes)}")

    def status(self, at_s: float, outcomes: dict[str, int]) -> None:
        if self._in_place:
            text = f"{at_s:7.1f} s  {outcomes['ok']} answered, {outcomes['fail']} not done, "
            text += f"{outcomes['info']} under way or unknown"
            print(f"\r\x1b[K{text}", end="", file=self._stream, flush=True)
            self._open = True

    def close(self) -> None:
        """The line that changes is left out of what follows."""
        if self._open:
            print("\r\x1b[K", end="", file=self._stream, flush=True)
            self._open = False
