"""Numbers in values."""

import pytest

from quorumcache.node.store.arithmetic import UINT64_MAX, add_delta, padded, parse_number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (b"0", 0),
        (b"007", 7),
        (b" 7", 7),
        (b"\t\n7", 7),
        (b"+7", 7),
        (b" +7", 7),
        (b"7 ", 7),
        (b"7 x", 7),
        (b"7\r\nx", 7),
        (b"0" * 400, 0),
        (b"0" * 400 + b"7", 7),
        (b"0 ", 0),
        (b"+0", 0),
        (b"18446744073709551615", UINT64_MAX),
        (b"000018446744073709551615", UINT64_MAX),
        (b"18446744073709551616", None),
        (b"99999999999999999999", None),
        (b"9" * 5000, None),
        (b"", None),
        (b" ", None),
        (b"+", None),
        (b"-1", None),
        (b"- 1", None),
        (b"+-1", None),
        (b"5x", None),
        (b"x", None),
        (b"x0", None),
        (b" x0", None),
        (b"1_0", None),
        (b"\xb2", None),
    ],
)
def test_parse_number(text: bytes, number: int | None) -> None:
    assert parse_number(text) == number


def test_add_delta() -> None:
    assert add_delta(5, 7, increment=True) == 12
    assert add_delta(UINT64_MAX, 1, increment=True) == 0
    assert add_delta(UINT64_MAX, UINT64_MAX, increment=True) == UINT64_MAX - 1
    assert add_delta(5, 5, increment=False) == 0
    assert add_delta(5, 6, increment=False) == 0
    assert add_delta(5, 1, increment=False) == 4


def test_padded() -> None:
    assert padded(9, 2) == b"9 "
    assert padded(10, 1) == b"10"
    assert padded(0, 0) == b"0"
