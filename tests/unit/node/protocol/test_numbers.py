"""The three ways memcached reads a number. Each place: tests/conformance/test_number_words.py."""

import pytest

from quorumcache.node.protocol.numbers import (
    INT32_MAX,
    INT32_MIN,
    UINT32_MAX,
    UINT64_MAX,
    cut_to_int32,
    loose_number,
    strict_number,
    unsigned32,
    unsigned64,
)


@pytest.mark.parametrize(
    ("word", "number"),
    [
        (b"0", 0),
        (b"2147483647", INT32_MAX),
        (b"-2147483648", INT32_MIN),
        (b"00000000005", 5),
        (b"000000000005", None),
        (b"2147483648", None),
        (b"-2147483649", None),
        (b"", None),
        (b"-", None),
        (b"--5", None),
        (b"+5", None),
        (b"5x", None),
        (b"5\t", None),
        (b"1_0", None),
        (b"\xb2", None),
    ],
)
def test_strict(word: bytes, number: int | None) -> None:
    assert strict_number(word, INT32_MIN, INT32_MAX) == number


@pytest.mark.parametrize("word", [b"", b"-", b"-0", b"+1", b"-1", b"\t1", b"1\t", b"1x", b"\xb2"])
def test_unsigned_is_digits_and_nothing_else(word: bytes) -> None:
    assert unsigned32(word) is None
    assert unsigned64(word) is None


def test_unsigned_limits() -> None:
    assert unsigned32(b"%011d" % UINT32_MAX) == UINT32_MAX
    assert unsigned32(b"%012d" % 5) is None
    assert unsigned32(b"%d" % (UINT32_MAX + 1)) is None
    assert unsigned64(b"%022d" % UINT64_MAX) == UINT64_MAX
    assert unsigned64(b"%023d" % 5) is None
    assert unsigned64(b"%d" % (UINT64_MAX + 1)) is None
    assert unsigned64(b"9" * 5000) is None


@pytest.mark.parametrize(
    ("word", "number"),
    [
        (b"0", 0),
        (b"-0", 0),
        (b"18446744073709551615", UINT64_MAX),
        (b"18446744073709551616", None),
        (b"99999999999999999999", None),
        (b"9" * 5000, None),
        (b"0" * 5000 + b"7", 7),
        (b"0" * 5000, 0),
        (b"+7", 7),
        (b"\t7", 7),
        (b"7\tx", 7),
        (b"-7", None),
        (b"", None),
        (b"+", None),
        (b"\t", None),
        (b"x", None),
        (b"7x", None),
        (b"1_0", None),
    ],
)
def test_loose(word: bytes, number: int | None) -> None:
    assert loose_number(word, 0, UINT64_MAX) == number


def test_loose_with_a_sign() -> None:
    assert loose_number(b"-7", -10, 10) == -7
    assert loose_number(b"-11", -10, 10) is None


@pytest.mark.parametrize(
    ("number", "cut"),
    [
        (0, 0),
        (INT32_MAX, INT32_MAX),
        (INT32_MIN, INT32_MIN),
        (1 << 32, 0),
        ((1 << 32) - 1, -1),
        (1 << 31, INT32_MIN),
        (-(1 << 31) - 1, INT32_MAX),
        ((1 << 63) - 1, -1),
    ],
)
def test_cut_to_int32(number: int, cut: int) -> None:
    assert cut_to_int32(number) == cut
