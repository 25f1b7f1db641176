"""Goal: settings that can be changed are read as users write them, within their bounds."""

from __future__ import annotations

import pytest

from quorumcache.ring.settings import dead_after_ms, move_rate, read_setting


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("dead_after_ms", "20000", "20000"),
        ("move_rate", "64k", "65536"),
        ("move_rate", "0", "0"),
        ("max_item_size", "2m", "2097152"),
    ],
)
def test_a_value_is_a_decimal_number_in_the_map(name: str, text: str, value: str) -> None:
    assert read_setting(name, text) == value


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("dead_after_ms", "soon", "dead-after-ms is 'soon', expected 1000 to 604800000 milli"),
        ("dead_after_ms", "999", "dead-after-ms is '999'"),
        ("dead_after_ms", "0", "dead-after-ms is '0'"),
        ("move_rate", "1k", "move-rate is '1k', expected 65536 to 1099511627776 bytes per second"),
        ("max_item_size", "129m", "max-item-size is '129m', expected 1024 to 134217728 bytes"),
    ],
)
def test_other_values_are_refused_with_the_bounds(name: str, text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read_setting(name, text)


def test_an_older_map_has_the_defaults() -> None:
    assert dead_after_ms({}) == 60_000
    assert dead_after_ms({"dead_after_ms": "x"}) == 60_000
    assert dead_after_ms({"dead_after_ms": "2000"}) == 2000
    assert move_rate({}) == 0
