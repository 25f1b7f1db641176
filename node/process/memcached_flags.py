"""memcached's own flags: what each of them means here.

Whoever starts `quorumcached` as he started memcached gets what he expects: a flag has its effect,
or a line says that it has none and why, or the node does not start and the line names what to use
instead. `FLAGS` is the one table of them; the help, the tests and docs/memcached-users.md follow
it. Source: `memcached -h` of 1.6.18, and what is new up to 1.6.45.

Reading order: `FLAGS`, `read_flags`.
"""

from __future__ import annotations

from argparse import SUPPRESS
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import Enum
from typing import Any, Final

from quorumcache.node.errors import ConfigError
from quorumcache.node.process.launch import NO_LAUNCH, Launch
from quorumcache.ring.address import PORT_MAX, format_address, parse_address
from quorumcache.ring.errors import AddressError

DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 11_211
ALL_HOSTS: Final = "::"
NUMBER_CHARS_MAX: Final = 12

MEGABYTES_MAX: Final = 1 << 30
IDLE_SECONDS_MAX: Final = 86_400
"""The most that the settings behind `-m` and `idle_timeout` take. What is out of range is told in
the unit of the flag, not in that of the setting."""
LICENSE: Final = (
    "QuorumCache is licensed under the Apache License 2.0:"
    " https://www.apache.org/licenses/LICENSE-2.0\n"
)


class Kind(Enum):
    """What becomes of a flag."""

    WORKS = "works"
    IGNORED = "ignored"
    """Accepted, and a line says that it has no effect."""
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag.

    `long`: its long name, "" where that is a setting of ours (or there is none). `metavar`: what
    stands behind it, "" = nothing. `text`: what it does here; of one that is ignored or refused:
    why, and what to do instead.
    """

    letter: str
    long: str
    metavar: str
    kind: Kind
    text: str

    @property
    def words(self) -> tuple[str, ...]:
        """As it is written."""
        return (f"-{self.letter}", *((f"--{self.long}",) if self.long else ()))

    @property
    def dest(self) -> str:
        """Its name in a namespace of argparse."""
        return f"memcached_{self.letter}"


_W, _I, _R = Kind.WORKS, Kind.IGNORED, Kind.REFUSED

FLAGS: Final = (
    Flag("l", "", "ADDR[,ADDR]", _W, "listen: addresses with or without a port; * = all of them"),
    Flag(
        "p", "port", "PORT", _W, "port of addresses without one (default: 11211); -1 = a free one"
    ),
    Flag("s", "unix-socket", "PATH", _W, "unix-path, and no TCP unless -l or -p is given as well"),
    Flag("a", "", "MODE", _W, "unix-mask"),
    Flag("m", "memory-limit", "MB", _W, "memory, in megabytes"),
    Flag("M", "disable-evictions", "", _W, "no-evict"),
    Flag("I", "", "SIZE", _W, "max-item-size"),
    Flag("c", "conn-limit", "N", _W, "max-connections"),
    Flag("b", "", "N", _W, "listen-backlog"),
    Flag("d", "daemon", "", _W, "run in the background; returns when the node is ready"),
    Flag("P", "pidfile", "FILE", _W, "write the process id there; removed at the end"),
    Flag("u", "user", "NAME", _W, "run as this user, when started by root"),
    Flag("r", "enable-coredumps", "", _W, "allow core dumps"),
    Flag("v", "verbose", "", _W, "log-level: info for -v, debug for -vv and -vvv"),
    Flag("A", "", "", _W, "enable-shutdown"),
    Flag("F", "", "", _W, "disable-flush-all"),
    Flag("X", "", "", _W, "disable-dumping"),
    Flag("W", "", "", _W, "disable-watch"),
    Flag("Y", "", "FILE", _W, "auth-file"),
    Flag("D", "", "CHAR", _W, "prefix-delimiter"),
    Flag(
        "o",
        "extended",
        "WORDS",
        _W,
        "of these words: idle_timeout=SECONDS; most others are ignored",
    ),
    Flag("U", "udp-port", "0", _W, "0 is what is so: there is no UDP"),
    Flag("B", "protocol", "NAME", _W, "auto and ascii are what is so: text and meta commands"),
    Flag("V", "", "", _W, "version"),
    Flag("i", "license", "", _W, "print the license and exit"),
    Flag(
        *("t", "threads", "N", _I),
        "a node is one loop on one processor; run several nodes of a cluster to use more",
    ),
    Flag(
        *("k", "lock-memory", "", _I),
        "the node's memory is not locked; systemd can keep it from being swapped out"
        " (MemorySwapMax=0)",
    ),
    Flag(
        "C",
        "disable-cas",
        "",
        _I,
        "every item has its CAS unique, and it takes no memory of its own",
    ),
    Flag("R", "max-reqs-per-event", "N", _I, "connections take turns by bytes, not by requests"),
    Flag("f", "slab-growth-factor", "X", _I, "there are no slabs"),
    Flag("n", "slab-min-size", "BYTES", _I, "there are no slabs"),
    Flag("L", "enable-largepages", "", _I, "there are no slabs; see transparent_hugepage of Linux"),
    Flag("N", "napi_ids", "N", _I, "there are no threads to choose from"),
    Flag(
        *("S", "enable-sasl", "", _R),
        "SASL needs the binary protocol, which is not spoken; see --auth-file",
    ),
    Flag(
        *("Z", "enable-ssl", "", _R),
        "there is no TLS: keep the ports in a trusted network, or put a TLS proxy in front",
    ),
    Flag(
        *("e", "memory-file", "FILE", _R),
        "to keep the items over a restart, give --data-dir DIR",
    ),
)
"""All of them, but for -h, which is our own as well."""

FLAG: Final = {flag.letter: flag for flag in FLAGS}

EXTENDED_IGNORED: Final = frozenset(
    (
        *("maxconns_fast", "hashpower", "hashexpand", "hash_algorithm", "slab_reassign"),
        *("slab_automove", "slab_automove_ratio", "slab_automove_window", "slab_sizes"),
        *("slab_automove_freeratio", "slab_automove_version", "slab_chunk_max"),
        "tail_repair_time",
        *("lru_crawler", "lru_crawler_sleep", "lru_crawler_tocrawl", "lru_maintainer"),
        *("hot_lru_pct", "warm_lru_pct", "hot_max_factor", "warm_max_factor", "temporary_ttl"),
        *("watcher_logbuf_size", "worker_logbuf_size", "track_sizes", "modern", "chunked_items"),
        *("inline_ascii_resp", "inline_ascii_response", "resp_obj_mem_limit"),
        *("read_buf_mem_limit", "drop_privileges", "relaxed_privileges", "sock_cookie_id"),
        "meta_response_old",
    )
)
"""Words of -o, without their `no_`."""

EXTENDED_SILENT: Final = frozenset(("maxconns_fast", "no_drop_privileges", "relaxed_privileges"))
"""Of those: what is so here anyway."""

EXTENDED_REFUSED: Final = {
    "ext_": "items are in memory alone: give --memory as much as they need",
    "ssl_": "there is no TLS: keep the ports in a trusted network, or put a TLS proxy in front",
    "proxy": "there is no proxy: each node of a cluster serves every key",
}

_PLAIN: Final[Mapping[str, tuple[str, str]]] = {
    "a": ("unix_mask", ""),
    "s": ("unix_path", ""),
    "I": ("item_bytes_max", ""),
    "Y": ("auth_file", ""),
    "D": ("prefix_delimiter", ""),
    "M": ("evicts", "yes"),
    "A": ("shutdown_enabled", "yes"),
    "F": ("flush_enabled", "yes"),
    "X": ("dump_enabled", "yes"),
    "W": ("watch_enabled", "yes"),
}
"""Flags that say a setting, and its text; "" = the flag's own value."""


@dataclass(slots=True)
class Given:
    """What the flags say: settings as texts by field, the flag that said each, and the rest."""

    texts: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    ignored: list[tuple[str, str]] = field(default_factory=list)
    """(flag, why it has no effect)."""
    launch: Launch = NO_LAUNCH

    def say(self, letter: str, field_name: str, text: str) -> None:
        """One setting."""
        self.texts[field_name] = text
        self.names[field_name] = f"-{letter}"


def read_flags(values: Mapping[str, Any], listen: Sequence[str], *, file_has_listen: bool) -> Given:
    """What memcached's flags say.

    `values`: of a namespace, by `dest`; None = not given. `listen`: what --listen was given, which
    may leave out ports as well. `file_has_listen`: the configuration file says where to listen.
    `ConfigError` names the flag.
    """
    found: dict[str, Any] = {flag.letter: values.get(flag.dest) for flag in FLAGS}
    given = Given()
    for flag in FLAGS:
        if flag.kind is _W or found[flag.letter] is None:
            continue
        if flag.kind is _R:
            raise ConfigError(f"-{flag.letter}", flag.text)
        given.ignored.append((f"-{flag.letter}", flag.text))
    for letter, (field_name, text) in _PLAIN.items():
        if found[letter] is not None:
            given.say(letter, field_name, text or found[letter])
    if found["m"] is not None:
        given.say("m", "memory_bytes", f"{_megabytes(found['m'])}m")
    for letter, field_name in (("c", "connections_max"), ("b", "listen_backlog")):
        if found[letter] is not None:
            given.say(letter, field_name, str(_number(letter, found[letter])))
    if found["v"] is not None:
        given.say("v", "log_level", "info" if found["v"] == 1 else "debug")
    if found["U"] is not None and _number("U", found["U"]) != 0:
        raise ConfigError("-U", "there is no UDP: leave it out, or give -U 0")
    if found["B"] not in (None, "auto", "ascii"):
        raise ConfigError(
            "-B", f"{found['B']!r:.60} is not auto or ascii, and the binary protocol is not spoken"
        )
    if found["o"] is not None:
        _read_extended(given, ",".join(found["o"]))
    _read_listen(given, found, listen, file_has_listen=file_has_listen)
    given.launch = Launch(
        in_background=found["d"] is not None,
        keeps_stderr=found["v"] is not None,
        user=found["u"] or "",
        pid_path=found["P"] or "",
        dumps_core=found["r"] is not None,
    )
    return given


def _read_listen(
    given: Given, found: Mapping[str, Any], listen: Sequence[str], *, file_has_listen: bool
) -> None:
    port, has_tcp = DEFAULT_PORT, True
    if found["p"] is not None:
        number = -1 if found["p"] == "-1" else _number("p", found["p"])
        if number > PORT_MAX:
            raise ConfigError("-p", f"{number} is not in 1..{PORT_MAX}")
        # As in memcached: 0 is no TCP, -1 a port of the system's choice.
        has_tcp, port = number != 0, max(number, 0)
    of_l: Sequence[str] = found["l"] or ()
    if not has_tcp:
        if found["s"] is None or of_l or listen:
            raise ConfigError(
                "-p",
                "0 switches TCP off, and clients need -s then, without -l. For a free port"
                " give -p -1",
            )
        given.say("p", "listen", "")
    elif of_l or listen:
        parts = [
            (name, part)
            for name, all_of in (("-l", of_l), ("--listen", listen))
            for text in all_of
            for part in text.split(",")
        ]
        if listen and not of_l and [part for _, part in parts] == [""]:
            given.texts["listen"] = ""
            return
        given.texts["listen"] = ",".join(_with_port(name, part, port) for name, part in parts)
        given.names["listen"] = "-l" if of_l else "--listen"
    elif found["p"] is not None:
        if file_has_listen:
            raise ConfigError(
                "-p", "the configuration file says where to listen: change it there, or give -l too"
            )
        given.say("p", "listen", format_address(DEFAULT_HOST, port))
    elif found["s"] is not None and not file_has_listen:
        given.say("s", "listen", "")


def _with_port(name: str, part: str, port: int) -> str:
    """One address of -l or --listen as HOST:PORT."""
    part = part.strip().removeprefix("notls:")
    if part == "*":
        return format_address(ALL_HOSTS, port)
    if part.isdigit():
        hint = f"; for a port alone give -p {part}" if name == "-l" else ""
        raise ConfigError(name, f"{part!r:.60} is not HOST:PORT{hint}")
    host, star, rest = part.rpartition("*:")
    if star and not host and rest.isdigit():
        part = f"[{ALL_HOSTS}]:{rest}"
    try:
        return format_address(*parse_address(part, default_port=port))
    except AddressError as error:
        raise ConfigError(name, str(error)) from None


def _read_extended(given: Given, words: str) -> None:
    ignored = []
    for word in filter(None, (word.strip() for word in words.split(","))):
        name, _, value = word.partition("=")
        bare = name.removeprefix("no_")
        if name == "idle_timeout":
            seconds = _number("o", value, "idle_timeout needs seconds, as in idle_timeout=60")
            if seconds > IDLE_SECONDS_MAX:
                why = f"idle_timeout: {seconds} is not in 0..{IDLE_SECONDS_MAX}, which are seconds"
                raise ConfigError("-o", why)
            given.say("o", "idle_timeout_ms", str(seconds * 1000))
            continue
        for prefix, why in EXTENDED_REFUSED.items():
            if bare.startswith(prefix):
                raise ConfigError(f"-o {name}", why)
        if bare not in EXTENDED_IGNORED:
            close = get_close_matches(name, [*EXTENDED_IGNORED, "idle_timeout"], n=1)
            nearest = f"; did you mean {close[0]}?" if close else ""
            raise ConfigError("-o", f"unknown word {name!r:.60}{nearest}")
        if name not in EXTENDED_SILENT:
            ignored.append(name)
    if ignored:
        given.ignored.append(("-o", f"nothing here answers to {', '.join(ignored)}"))


def _megabytes(text: str) -> int:
    why = f"{text!r:.60} is not a number of megabytes; --memory takes sizes, as in --memory 1g"
    number = _number("m", text, why)
    if not 1 <= number <= MEGABYTES_MAX:
        raise ConfigError("-m", f"{number} is not in 1..{MEGABYTES_MAX}, which are megabytes")
    return number


def _number(letter: str, text: str, why: str = "") -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= NUMBER_CHARS_MAX):
        raise ConfigError(f"-{letter}", why or f"{text!r:.60} is not a whole number")
    return int(text)


def add_flags(add: Callable[..., Any]) -> None:
    """Add them to an argparse parser, or a group of one, whose `add_argument` is handed in."""
    for flag in FLAGS:
        options: dict[str, Any] = {"dest": flag.dest, "default": None}
        if not flag.metavar:
            options["action"] = "count"
        else:
            options["metavar"] = flag.metavar
            if flag.letter in ("l", "o"):
                options["action"] = "append"
        add(*flag.words, help=_help(flag), **options)


def _help(flag: Flag) -> str | None:
    if flag.kind is _W:
        return flag.text.replace("%", "%%")
    if flag.kind is _I:
        return "no effect"
    return SUPPRESS
