"""Goal: the table names each field of a configuration once, and its readers say what is wrong.

How flags and a file go through it is tested in test_options.py.
"""

from __future__ import annotations

import dataclasses

import pytest

from quorumcache.node.errors import ConfigError
from quorumcache.node.process.setting_table import (
    OPTIONS,
    Read,
    read_cluster,
    read_integer,
    read_no,
    read_number,
    read_octal,
    read_size,
    read_text,
    read_yes,
)
from quorumcache.node.settings.config import NodeConfig


def test_each_setting_is_a_field_and_stands_there_once() -> None:
    fields = {field.name for field in dataclasses.fields(NodeConfig)}
    assert {option.field for option in OPTIONS} <= fields
    assert len({option.field for option in OPTIONS}) == len(OPTIONS)
    assert len({option.name for option in OPTIONS}) == len(OPTIONS)
    assert all(option.help and option.metavar for option in OPTIONS)


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (read_text, " a ", " a "),
        (read_integer, "-7", -7),
        (read_number, "0.5", 0.5),
        (read_size, "2k", 2048),
        (read_no, "yes", False),
        (read_yes, "yes", True),
        (read_yes, "no", False),
        (read_octal, "0700", 0o700),
        (read_octal, "0o77", 0o77),
        (read_cluster, "a=h:1,b=h:2", {"a": "h:1", "b": "h:2"}),
    ],
)
def test_a_text_is_read(read: Read, text: str, value: object) -> None:
    assert read(text, "field") == value


@pytest.mark.parametrize(
    ("read", "text", "why"),
    [
        (read_integer, "1.5", "'1.5' is not a whole number"),
        (read_number, "much", "'much' is not a number"),
        (read_size, "2 x", "'2 x'"),
        (read_no, "true", "'true' is not yes or no"),
        (read_yes, "1", "'1' is not yes or no"),
        (read_octal, "0780", "'0780' is not permissions in octal digits"),
        (read_octal, "-7", "'-7' is not permissions"),
        (read_octal, "", "'' is not permissions"),
    ],
)
def test_a_wrong_text_is_told_with_its_field(read: Read, text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why) as caught:
        read(text, "field")
    assert caught.value.field == "field"
