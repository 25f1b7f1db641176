"""Settings that no client can run with are named, and so is a seed that is no address."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from quorumcache.ring.errors import AddressError
from quorumcache.router.arguments import TIME_MS_MAX
from quorumcache.router.config import DEFAULT_PORT, ClientConfig, node_address, seed_addresses
from quorumcache.router.errors import InvalidArgument
from quorumcache.router.levels import LINEARIZABLE, Bounded

OTHERS = ("read_level", "sessions", "credentials")
NUMBERS = [f.name for f in fields(ClientConfig) if f.name not in OTHERS]


def config(**settings: Any) -> ClientConfig:
    return ClientConfig(**settings)


def test_reads_are_linearizable_and_writes_are_numbered_unless_asked_otherwise() -> None:
    assert config().read_level == LINEARIZABLE
    assert config().sessions is True
    assert config(read_level=Bounded(5), sessions=False).read_level == Bounded(5)


@pytest.mark.parametrize("name", NUMBERS)
def test_every_number_has_a_least_and_a_most(name: str) -> None:
    """0 would mean never, or at once, and both surprise; a typo of three more digits is caught."""
    for wrong in (0, -1, 1 << 60, 1.5, True, None, "5"):
        with pytest.raises(InvalidArgument, match=f"^{name} must be"):
            config(**{name: wrong})
    if name == "backoff_first_ms":
        assert config(backoff_first_ms=1).backoff_first_ms == 1
    elif name == "backoff_max_ms":
        assert config(backoff_first_ms=1, backoff_max_ms=1).backoff_max_ms == 1
    else:
        assert getattr(config(**{name: 1}), name) == 1


def test_no_time_is_longer_than_a_day() -> None:
    assert config(timeout_ms=TIME_MS_MAX).timeout_ms == TIME_MS_MAX
    with pytest.raises(InvalidArgument, match=f"timeout_ms must be from 1 to {TIME_MS_MAX}"):
        config(timeout_ms=TIME_MS_MAX + 1)


def test_a_pause_that_shrinks_is_refused_and_both_settings_are_named() -> None:
    with pytest.raises(InvalidArgument, match="backoff_first_ms 20 is above backoff_max_ms 10"):
        config(backoff_first_ms=20, backoff_max_ms=10)
    assert config(backoff_first_ms=10, backoff_max_ms=10).backoff_max_ms == 10


@pytest.mark.parametrize(
    ("settings", "name"), [({"read_level": "local"}, "read_level"), ({"sessions": 1}, "sessions")]
)
def test_what_is_no_number_is_checked_as_well(settings: dict[str, Any], name: str) -> None:
    with pytest.raises(InvalidArgument, match=f"^{name} must be"):
        config(**settings)


@pytest.mark.parametrize("wrong", ["ann", "ann:", ":pw", "an n:pw", "ann:p w", "ann:pw\n", 5])
def test_credentials_are_a_user_and_a_password_and_are_not_shown(wrong: Any) -> None:
    assert "secret" not in repr(config(credentials="ann:se:cret"))
    with pytest.raises(InvalidArgument, match=r"^credentials must be user:password") as caught:
        config(credentials=wrong)
    assert "ann" not in str(caught.value)


def test_a_client_gives_up_after_the_node_has_said_why() -> None:
    """A node ends a request after 5 s by itself, with an exact verdict."""
    assert config().timeout_ms > 5_000


def test_seeds_are_asked_once_each_in_their_order() -> None:
    seeds = ["b:2", " a ", "b:2", f"a:{DEFAULT_PORT}", "[::1]:5"]
    assert seed_addresses(seeds) == ("b:2", "a:11211", "[::1]:5")
    assert seed_addresses([" unix:/run/q ", "unix:5"]) == ("unix:/run/q", "unix:5")
    assert seed_addresses(iter(["a:1"])) == ("a:1",)
    assert seed_addresses("a:1") == ("a:1",), "one text is one seed, and not its letters"


@pytest.mark.parametrize("seeds", [[], (), b"a:1", bytearray(b"a:1"), None, 5])
def test_no_seed_is_no_client(seeds: Any) -> None:
    with pytest.raises(InvalidArgument, match=r'^seeds must be a list of "host:port"'):
        seed_addresses(seeds)


def test_the_seed_that_is_wrong_is_shown() -> None:
    texts: Any = ["a:1", 5]
    with pytest.raises(InvalidArgument, match=r"one is 5$"):
        seed_addresses(texts)
    with pytest.raises(InvalidArgument, match=r"^seeds: .*b:x"):
        seed_addresses(["a:1", "b:x"])


@pytest.mark.parametrize("text", ["a:0", "a:65536", ":1", "", "a:1:2"])
def test_a_node_cannot_be_where_nothing_can(text: str) -> None:
    """Port 0 means any free one: fine to listen on, and nothing to call."""
    with pytest.raises(AddressError):
        node_address(text)
