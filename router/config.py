"""Settings of a client, and the addresses it starts from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields

from quorumcache.ring.address import UNIX_PREFIX, format_address, is_unix, parse_address
from quorumcache.ring.errors import AddressError
from quorumcache.router.arguments import TIME_MS_MAX, shown, truth_of, whole
from quorumcache.router.errors import InvalidArgument
from quorumcache.router.levels import LINEARIZABLE, ReadLevel

DEFAULT_PORT = 11211


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientConfig:
    """Settings of one client. Times are whole milliseconds."""

    timeout_ms: int = 6_000
    """Deadline of a call that names none. Above the nodes' own request timeout of 5 s, so that a
    node's exact verdict arrives before the client has to give up with an unknown outcome."""

    connect_timeout_ms: int = 1_000
    """Bound of one connection attempt, handshake included."""

    read_attempt_ms: int = 500
    """How long the first attempt of a read waits for its reply before it asks elsewhere; doubled
    with each further attempt."""

    sessions: bool = True
    """Number writes, so that they can be sent again whatever became of the attempt before, and are
    executed once. Off: a write whose reply is lost ends in `OutcomeUnknown` at once."""

    write_attempt_ms: int = 1_000
    """The same for a numbered write. One without a number has no such bound: it may not be sent
    twice."""

    stall_ms: int = 1_000
    """A connection that owes replies and was silent for this long gets no further requests."""

    hedge_ms: int = 200
    """When the map is fetched and one node does not answer: delay before the next is asked, too."""

    refresh_pause_ms: int = 100
    """Least time between the end of one fetch of the map and the start of the next."""

    backoff_first_ms: int = 10
    backoff_max_ms: int = 100
    """Pause between attempts: doubles from first to max, with jitter between half and whole."""

    connections_per_node: int = 1
    """One pipelined connection per node carries everything; more help only with big values."""

    inflight_requests_max: int = 1_024
    """Requests on one connection without a reply; further callers wait their turn, in order."""

    inflight_bytes_max: int = 8 << 20
    """Request bytes on one connection without a reply. A single larger request goes alone."""

    keys_per_get_max: int = 64
    """Keys in one `get` line. 64 keys of 250 bytes stay inside of a 16 KiB read buffer."""

    value_bytes_max: int = 256 << 20
    """Longest value accepted from a node; more is taken for garbage."""

    read_level: ReadLevel = LINEARIZABLE
    """Of reads that name none."""

    credentials: str = field(default="", repr=False)
    """`user:password`, for nodes with an `auth-file`. Said only to a node that asks for it."""

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:
        """Raise `InvalidArgument` that names the offending field and its value."""
        if not isinstance(self.read_level, ReadLevel):
            raise InvalidArgument(f"read_level must be a read level, not {shown(self.read_level)}")
        truth_of("sessions", self.sessions)
        for each in fields(self):
            if each.name not in ("read_level", "sessions", "credentials"):
                most = TIME_MS_MAX if each.name.endswith("_ms") else _MOST[each.name]
                whole(each.name, getattr(self, each.name), 1, most)
        if self.credentials != "" and not is_credentials(self.credentials):
            raise InvalidArgument("credentials must be user:password, without spaces")
        if self.backoff_first_ms > self.backoff_max_ms:
            raise InvalidArgument(
                f"backoff_first_ms {self.backoff_first_ms} is above "
                f"backoff_max_ms {self.backoff_max_ms}"
            )


_MOST = {
    # A node takes 1,024 clients by default.
    "connections_per_node": 256,
    # Above these a bound would bound nothing: no memory holds so much.
    "inflight_requests_max": 1 << 24,
    "inflight_bytes_max": 1 << 40,
    "value_bytes_max": 1 << 40,
    # With keys of 250 bytes, just below the 1 MiB that a node takes as one line.
    "keys_per_get_max": 4_096,
}
"""Largest values of the settings that are no times."""


def is_credentials(text: object) -> bool:
    """Whether this is `user:password` as a node's auth-file may hold it."""
    if not isinstance(text, str) or any(letter.isspace() for letter in text):
        return False
    user, _, password = text.partition(":")
    return bool(user and password)


def seed_addresses(seeds: Iterable[str]) -> tuple[str, ...]:
    """The addresses a client starts from, each once, as `host:port` or `unix:/path`. Raises
    `InvalidArgument`.
    """
    if isinstance(seeds, str):
        seeds = (seeds,)
    try:
        found = tuple(seeds)
    except TypeError:
        found = ()
    if not found or isinstance(seeds, bytes | bytearray | memoryview):
        raise InvalidArgument(
            f'seeds must be a list of "host:port" with at least one, not {shown(seeds)}'
        )
    for seed in found:
        if not isinstance(seed, str):
            raise InvalidArgument(
                f'seeds must be texts of the form "host:port"; one is {shown(seed)}'
            )
    try:
        return tuple(
            dict.fromkeys(
                seed.strip() if unix_path(seed) else format_address(*node_address(seed))
                for seed in found
            )
        )
    except AddressError as error:
        raise InvalidArgument(f"seeds: {error}") from None


def unix_path(text: str) -> str:
    """The path in `unix:/path`; "" if this is an address of another kind."""
    address = text.strip()
    return address.removeprefix(UNIX_PREFIX) if is_unix(address) else ""


def node_address(text: str) -> tuple[str, int]:
    """Where a node is, as (host, port): `host:port`, or a host alone for port 11211.

    Raises `AddressError` that shows the text.
    """
    return parse_address(text.strip(), default_port=DEFAULT_PORT, port_min=1)
