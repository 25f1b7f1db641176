"""What flags of the command line mean as values; wrong ones are told as argparse tells. Pure."""

from __future__ import annotations

import argparse

from quorumcache.ring.errors import SizeError
from quorumcache.ring.size import parse_size


def count(text: str) -> int:
    """A number from 1."""
    if not text.replace("_", "").isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1")
    return int(text)


def seconds(text: str) -> float:
    """More than 0, at most a day."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds") from None
    if not 0 < value <= 86_400:
        raise argparse.ArgumentTypeError(f"{text} seconds is not in 0..86400 (0 excluded)")
    return value


def fraction(text: str) -> float:
    """From 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1") from None
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not in 0..1")
    return value


def size(text: str) -> int:
    """Bytes, such as 100 or 4k."""
    try:
        return parse_size(text)
    except SizeError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def sizes(text: str) -> tuple[int, ...]:
    """Several of them, with commas between, ascending."""
    return tuple(sorted({size(part) for part in text.split(",")}))


def size_range(text: str) -> tuple[int, int]:
    """`10-4k`, or one size."""
    low, dash, high = text.partition("-")
    sizes = size(low), size(high if dash else low)
    if sizes[0] > sizes[1]:
        raise argparse.ArgumentTypeError(f"{text!r}: the first size is the larger one")
    return sizes


def distribution(text: str) -> tuple[str, float | None]:
    """Its name, and the exponent of a `zipf` that has one."""
    name, colon, exponent = text.partition(":")
    if name not in ("uniform", "zipf") or (colon and name != "zipf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not uniform, zipf or zipf:EXPONENT")
    try:
        return name, float(exponent) if colon else None
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: {exponent!r} is not a number") from None


def pids(text: str) -> tuple[int, ...]:
    """Process ids, with commas between."""
    parts = text.split(",")
    if not all(part.strip().isdigit() for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of process ids")
    return tuple(int(part) for part in parts)
