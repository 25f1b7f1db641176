"""Values of flags: what they mean, and what is refused with words that help."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Callable
from typing import Any

import pytest

from quorumcache.bench import flag_values


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (flag_values.count, "1_000", 1000),
        (flag_values.seconds, "0.5", 0.5),
        (flag_values.fraction, "0.9", 0.9),
        (flag_values.size, "4k", 4096),
        (flag_values.sizes, "8k,4k,8k", (4096, 8192)),
        (flag_values.size_range, "10-4k", (10, 4096)),
        (flag_values.size_range, "10", (10, 10)),
        (flag_values.distribution, "zipf:1.1", ("zipf", 1.1)),
        (flag_values.distribution, "uniform", ("uniform", None)),
        (flag_values.pids, "1,2", (1, 2)),
    ],
)
def test_what_is_meant(read: Callable[[str], Any], text: str, value: object) -> None:
    assert read(text) == value


@pytest.mark.parametrize(
    ("read", "text", "told"),
    [
        (flag_values.count, "0", "number from 1"),
        (flag_values.seconds, "soon", "number of seconds"),
        (flag_values.seconds, "0", r"0\.\.86400"),
        (flag_values.fraction, "2", r"0\.\.1"),
        (flag_values.size, "big", "not a size"),
        (flag_values.size_range, "20-10", "the larger one"),
        (flag_values.distribution, "normal", "not uniform"),
        (flag_values.pids, "me", "process ids"),
    ],
)
def test_what_is_refused(read: Callable[[str], Any], text: str, told: str) -> None:
    with pytest.raises(ArgumentTypeError, match=told):
        read(text)
