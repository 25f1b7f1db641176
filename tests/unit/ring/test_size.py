"""How sizes are written."""

from __future__ import annotations

import pytest

from quorumcache.ring.errors import SizeError
from quorumcache.ring.size import format_size, parse_size


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", 0), ("1000", 1000), ("64k", 65536), ("512m", 512 << 20), ("1g", 1 << 30),
     ("1G", 1 << 30), ("2gb", 2 << 30), ("2GiB", 2 << 30), (" 3 t ", 3 << 40)],
)  # fmt: skip
def test_sizes(text: str, expected: int) -> None:
    assert parse_size(text) == expected
    assert parse_size(format_size(expected)) == expected


@pytest.mark.parametrize(
    "text", ["", "g", "-1", "1.5g", "1x", "1 g b", "1e9", "\u0663", "9" * 5000]
)
def test_bad_sizes(text: str) -> None:
    with pytest.raises(SizeError, match="is not a size"):
        parse_size(text)
