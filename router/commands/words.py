"""Words of the command line that argparse alone would not read as people mean them. Pure."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

_OPTIONS_WITH_VALUE = ("-s", "--seeds", "--timeout", "--ttl", "--flags")
"""Options that `set` takes, before and after the command."""


def take_value_out(words: Sequence[str]) -> tuple[list[str], str | None]:
    """The words with a placeholder for the VALUE of a `set`, and that VALUE; None: nothing to do.

    argparse takes every word that begins with - for an option. After the KEY such a word is the
    value, unless it is exactly an option.
    """
    others = list(words)
    place = position = 0  # position: command, KEY and VALUE so far
    while place < len(others):
        word = others[place]
        if word == "--":
            break  # argparse takes what follows as it is
        if word in _OPTIONS_WITH_VALUE:
            place += 2
            continue
        is_option = word in ("-h", "--help") or word.partition("=")[0] in _OPTIONS_WITH_VALUE
        if position == 2 and not is_option:
            others[place] = "VALUE"
            return others, word
        if not is_option and not word.startswith("-"):
            position += 1
            if position == 1 and word != "set":
                break
        place += 1
    return others, None


def take_command_out(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words of `lock`, and those of the command that it is to run: what stands behind --."""
    place = 0
    while place < len(words):
        if words[place] in _OPTIONS_WITH_VALUE:
            place += 2
        elif words[place].startswith("-"):
            place += 1
        else:
            break
    if words[place : place + 1] == ["lock"] and "--" in words[place:]:
        end = words.index("--", place)
        return list(words[:end]), list(words[end + 1 :])
    return list(words), []


_UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000}


def duration_ms_of(text: str) -> int:
    """A span of time in milliseconds: `500ms`, `10s`, `1m`, `2h`; a number alone is seconds."""
    number = text.rstrip("msh")
    unit = text[len(number) :] or "s"
    whole = number.isascii() and number.isdigit() and len(number) < 10
    span = int(number) * _UNITS_MS[unit] if whole and unit in _UNITS_MS else -1
    if not 0 <= span <= 86_400_000:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a span of time such as 500ms, 10s, 1m or 2h, up to 24h"
        )
    return span


def seconds_of(text: str) -> float:
    """The value of `--timeout`: 0.001 to 86,400 seconds."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.001 <= seconds <= 86_400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0.001")
    return seconds
