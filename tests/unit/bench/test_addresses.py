"""Goal: each address that other tools of ours take is one here, and a wrong one is said to be."""

import pytest

from quorumcache.bench.addresses import read_address, read_addresses, shown, unix_path
from quorumcache.bench.errors import BenchError


def test_addresses_are_read_in_their_order() -> None:
    assert read_addresses("a:1, [::1]:2,unix:/run/q.sock") == [
        ("a", 1),
        ("::1", 2),
        ("unix:/run/q.sock", 0),
    ]


@pytest.mark.parametrize("wrong", ["a", "a:", ":1", "a:0", "a:65536", "a:1,", "", "unix:q.sock"])
def test_what_is_no_address_is_refused(wrong: str) -> None:
    with pytest.raises(BenchError, match=r"is not HOST:PORT|is not in 1\.\.65535"):
        read_addresses(wrong)


def test_an_address_may_be_named_once() -> None:
    with pytest.raises(BenchError, match="twice"):
        read_addresses("a:1,a:1")


@pytest.mark.parametrize("text", ["a:1", "[::1]:2", "unix:/run/q.sock", "unix:11211"])
def test_they_are_shown_as_they_were_given(text: str) -> None:
    """`unix:11211` is a host of that name."""
    assert shown(read_address(text)) == text


def test_the_path_of_a_socket() -> None:
    assert unix_path(("unix:/run/q.sock", 0)) == "/run/q.sock"
    assert unix_path(("unix", 11211)) == ""
