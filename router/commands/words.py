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


def seconds_of(text: str) -> float:
    """The value of `--timeout`: 0.001 to 86,400 seconds."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.001 <= seconds <= 86_400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0.001")
    return seconds
