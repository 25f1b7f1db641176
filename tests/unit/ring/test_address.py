"""How addresses are written, and how a wrong one is told."""

from __future__ import annotations

import pytest

from quorumcache.ring import MapError, NodeInfo, check_node
from quorumcache.ring.address import (
    format_address,
    is_loopback,
    is_unix,
    parse_address,
    parse_addresses,
)
from quorumcache.ring.errors import AddressError

GOOD = [
    ("127.0.0.1:11211", ("127.0.0.1", 11211)),
    ("[::1]:11211", ("::1", 11211)),
    ("[::]:0", ("::", 0)),
    ("[fe80::1%eth0]:7400", ("fe80::1%eth0", 7400)),
    ("node-1.example:0", ("node-1.example", 0)),
    ("0.0.0.0:65535", ("0.0.0.0", 65535)),
    ("b\u00fccher.example:1", ("b\u00fccher.example", 1)),
    (f"{'n' * 253}:1", ("n" * 253, 1)),
]
BAD = ["", "11211", ":11211", "host", "host:", "host:x", "host:65536", "host:-1", "::1:11211",
       "[]:1", "a b:1", "a,b:1", "[::1]11211", "host:1.5", "host:\u0663", "a=b:1", "a@b:1", "[a:1",
       "[::1:1", "::1]:1", "[nonsense:1]:1", "a/b:1", "a\tb:1", "a\0:1", "[::1]", "::1",
       f"{'n' * 254}:1", f"host:{'1' * 5000}", "[fe80::1]:7400"]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), GOOD)
def test_addresses(text: str, expected: tuple[str, int]) -> None:
    assert parse_address(text) == expected
    assert format_address(*expected) == text


@pytest.mark.parametrize("text", BAD)
def test_a_wrong_address_is_shown(text: str) -> None:
    with pytest.raises(AddressError) as caught:
        parse_address(text)
    shown = repr(text)
    assert (shown if len(shown) <= 100 else shown[:100]) in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("text", ["::1:11211", "fe80::1:2", "1:2:3"])
def test_ipv6_without_brackets_is_told_how_to_write_it(text: str) -> None:
    with pytest.raises(AddressError, match=r"needs brackets and a port, as in \[::1\]:11211"):
        parse_address(text)


def test_a_link_local_address_is_told_to_name_its_interface() -> None:
    for text in ("[fe80::1]:7400", "[FEBF::1]:7400"):
        with pytest.raises(AddressError, match=r"needs its interface, as in \[.*%eth0\]:7400"):
            parse_address(text)
    assert parse_address("[fec0::1]:7400") == ("fec0::1", 7400)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("host", ("host", 5)),
        ("host:7", ("host", 7)),
        ("::1", ("::1", 5)),
        ("[::1]", ("::1", 5)),
        ("[::1]:7", ("::1", 7)),
        ("fe80::1%lo", ("fe80::1%lo", 5)),
    ],
)
def test_a_port_that_may_be_left_out(text: str, expected: tuple[str, int]) -> None:
    assert parse_address(text, default_port=5) == expected


@pytest.mark.parametrize("text", ["", ":7", "host:", "a b", "host:0", "[::1", "a:b:c", "fe80::1"])
def test_what_is_wrong_is_wrong_with_a_default_port_too(text: str) -> None:
    with pytest.raises(AddressError):
        parse_address(text, default_port=5, port_min=1)


def test_the_least_port() -> None:
    with pytest.raises(AddressError, match=r"port '0' is not in 1\.\.65535"):
        parse_address("host:0", port_min=1)


def test_several_addresses() -> None:
    assert parse_addresses("a:1, [::1]:2 ,b:0") == ("a:1", "[::1]:2", "b:0")
    for wrong in ("a:1,", "", "a:1,,b:2", "a:1;b:2", "a:1,a:1"):
        with pytest.raises(AddressError):
            parse_addresses(wrong)


@pytest.mark.parametrize("text", [text for text, _ in GOOD] + BAD)
def test_a_map_holds_only_what_can_be_dialed(text: str) -> None:
    """Nodes and clients read the addresses of a map by the same rules."""
    node = NodeInfo(1, "a", text, "h:1", "", "", 1.0)
    try:
        check_node(node)
    except MapError:
        with pytest.raises(AddressError):
            parse_address(text)
    else:
        parse_address(text)


def test_a_map_may_hold_the_unix_socket_of_a_node_for_its_clients() -> None:
    check_node(NodeInfo(1, "a", "h:1", "unix:/run/q", "", "", 1.0))
    for peer, client in (("unix:/run/q", "h:1"), ("h:1", "unix:/a b"), ("h:1", "unix:/a\n")):
        with pytest.raises(MapError):
            check_node(NodeInfo(1, "a", peer, client, "", "", 1.0))
    assert is_unix("unix:/run/q")
    assert not is_unix("unix.example:11211")


@pytest.mark.parametrize(
    ("host", "is_here"),
    [
        *((host, True) for host in ("127.0.0.1", "127.8.0.1", "::1", "[::1]", "::ffff:127.0.0.1")),
        *((host, True) for host in ("localhost", "LocalHost")),
        *((host, False) for host in ("10.0.0.1", "fe80::1%eth0", "::ffff:10.0.0.1", "0.0.0.0")),
        *((host, False) for host in ("", "x", "localhost.example", "127.0.0.1:5", "127.1")),
    ],
)
def test_loopback(host: str, is_here: bool) -> None:
    assert is_loopback(host) == is_here
