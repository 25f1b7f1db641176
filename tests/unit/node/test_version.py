"""What the version tells clients, and whoever finds files of another format."""

import re

import pytest

from quorumcache.node.version import FORMAT_VERSION, VERSION, WIRE_VERSION, other_format


def test_clients_read_a_memcached_version_that_has_what_they_look_for() -> None:
    """They compare numbers: `touch` from 1.4.8 on."""
    found = re.match(r"(\d+)\.(\d+)\.(\d+)-", WIRE_VERSION)
    assert found is not None
    assert tuple(map(int, found.groups())) >= (1, 4, 8)
    assert WIRE_VERSION.endswith(f"quorumcache-{VERSION}")
    assert " " not in WIRE_VERSION, "the line is VERSION and one word"


@pytest.mark.parametrize("version", range(1, FORMAT_VERSION))
def test_an_older_format_names_the_version_that_reads_it(version: int) -> None:
    text = other_format(version)
    assert text.startswith(f"is in format {version}, this version reads format {FORMAT_VERSION}. ")
    assert "development versions of quorumcache 0.1.0 before" in text


def test_a_newer_format_is_named_and_nothing_is_made_up() -> None:
    text = other_format(FORMAT_VERSION + 1)
    assert text == f"is in format {FORMAT_VERSION + 1}, this version reads format {FORMAT_VERSION}"
