"""From the command line and a TOML file to a `NodeConfig`.

The settings are those of `setting_table.py`. A flag overrides the file, the file overrides the
default. Every error is a ConfigError that can be printed as one line.
"""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any, Final, NoReturn

from quorumcache.node.errors import ConfigError
from quorumcache.node.process.launch import NO_LAUNCH, Launch
from quorumcache.node.process.memcached_flags import add_flags, read_flags
from quorumcache.node.process.setting_table import (
    OPTIONS,
    Option,
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
from quorumcache.node.settings.checks import check_config
from quorumcache.node.settings.config import NodeConfig
from quorumcache.ring.size import format_size

ITEMS_PER_SHARD: Final = 16
SHARDS_IN_MEMORY_MIN: Final = 4
"""Of a node in memory alone: a shard's part of the memory holds so many items of the largest size,
as far as so many shards allow."""

_SWITCHES: tuple[Read, ...] = (read_no, read_yes)
"""What is read so may stand alone as a flag: it then means yes."""
_NO_DEFAULT: tuple[Read, ...] = (read_cluster, *_SWITCHES)
"""What is read so has a default that the help need not show."""
_BY_NAME = {option.name: option for option in OPTIONS}
_BY_FIELD = {option.field: option for option in OPTIONS}


@dataclass(frozen=True, slots=True)
class Command:
    """What the command line asks for."""

    config: NodeConfig
    # Stop when standard input ends: a parent that dies takes the node with it.
    stop_on_stdin_eof: bool
    launch: Launch = NO_LAUNCH
    # (flag of memcached, why it has no effect here).
    ignored: tuple[tuple[str, str], ...] = ()


class OneLineParser(argparse.ArgumentParser):
    """argparse that raises ConfigError instead of printing its usage and exiting."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError("", message)

    def parse_all(self, argv: Sequence[str]) -> argparse.Namespace:
        """parse_args that names the nearest flag for an unknown one."""
        namespace, unknown = self.parse_known_args(argv)
        if unknown:
            flags = [flag for action in self._actions for flag in action.option_strings]
            word = unknown[0].partition("=")[0]
            # Letters are near to any other letter.
            nearest = "" if word[:1] == "-" and word[:2] != "--" else _nearest(word, flags)
            raise ConfigError("", f"unknown argument {word}{nearest}")
        return namespace


def parser() -> OneLineParser:
    """The argument parser of `quorumcached`.

    Every value is text here; `read_command` gives it a meaning.
    """
    result = OneLineParser(
        prog="quorumcached",
        allow_abbrev=False,
        add_help=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="quorumcached [options]\n       quorumcached up --nodes N [options]",
        description=(
            "A node of a QuorumCache cluster. Without options: one node that keeps nothing on\n"
            "disk, for memcached clients on 127.0.0.1:11211. `quorumcached up --nodes 3` runs\n"
            "a whole cluster on this machine."
        ),
        epilog="Sizes are bytes or 64k, 512m, 1g. Documentation: docs/operations.md",
    )
    result.add_argument(
        "--config", metavar="FILE", help="read settings from a TOML file; flags override it"
    )
    for option in OPTIONS:
        if option.is_flag:
            result.add_argument(
                f"--{option.name}",
                dest=option.field,
                metavar=option.metavar,
                help=_help(option),
                action="append" if option.is_list else "store",
                nargs="?" if option.read in _SWITCHES else None,
                const="yes" if option.read in _SWITCHES else None,
            )
    of_memcached = result.add_argument_group(
        "memcached's flags",
        "Each is the setting named beside it. docs/memcached-users.md has all of them.",
    )
    add_flags(of_memcached.add_argument)
    result.add_argument("--stop-on-stdin-eof", action="store_true", help=argparse.SUPPRESS)
    result.add_argument("--version", action="store_true", help="print the version and exit")
    result.add_argument("--help", "-h", action="store_true", help="print this and exit")
    return result


def read_command(namespace: argparse.Namespace) -> Command:
    """Flags and file as a validated configuration.

    ConfigError names the flag, or the file and the key.
    """
    values: dict[str, Any] = {}
    if namespace.config is not None:
        values.update(read_file(namespace.config))
    given = read_flags(vars(namespace), namespace.listen or (), file_has_listen="listen" in values)
    flags = {
        option.field: ",".join(text) if option.is_list else text
        for option in OPTIONS
        if (text := getattr(namespace, option.field, None)) is not None
    }
    for field, name in given.names.items():
        if field in flags and field != "listen":
            ours = f"--{_BY_FIELD[field].name}"
            raise ConfigError(name, f"says the same as {ours}: leave one of them out")
    flags.update(given.texts)
    try:
        values.update({field: _BY_FIELD[field].read(text, field) for field, text in flags.items()})
        config = make_config(values)
    except ConfigError as error:
        raise _named(error, flags, given.names, values, namespace.config) from None
    if given.launch.in_background and namespace.stop_on_stdin_eof:
        raise ConfigError("-d", "not together with --stop-on-stdin-eof: nothing is left to read")
    return Command(config, namespace.stop_on_stdin_eof, given.launch, tuple(given.ignored))


def make_config(values: Mapping[str, Any]) -> NodeConfig:
    """A validated NodeConfig from given fields, the rest by default."""
    given = dict(values)
    members = given.get("initial_cluster")
    if given.get("join") and "name" not in given:
        raise ConfigError("name", "needed with --join: a name that no node of the cluster has")
    if members and "name" not in given:
        raise ConfigError(
            "name", "needed with --initial-cluster: it says which of those nodes this one is"
        )
    if members and not given.get("peer"):
        given["peer"] = members.get(given["name"], "")
    config = NodeConfig(**given, given=frozenset(values))
    check_config(config)
    if config.durability == "memory" and "shards" not in values:
        return replace(config, shards=shards_in_memory(config))
    return config


def shards_in_memory(config: NodeConfig) -> int:
    """How many shards a node in memory alone has, if nobody says: it will always be alone, so it
    needs no more than spread its tables. Large items need large shards.
    """
    fitting = config.memory_bytes // (config.item_bytes_max * ITEMS_PER_SHARD)
    return min(config.shards, max(SHARDS_IN_MEMORY_MIN, 1 << max(0, fitting.bit_length() - 1)))


def read_file(path: str) -> dict[str, Any]:
    """The settings in a TOML file, by field of NodeConfig."""
    try:
        with open(path, "rb") as file:
            document = tomllib.load(file)
    except OSError as error:
        raise ConfigError("config", f"cannot read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError("config", f"{path} is not TOML: {error}") from None
    values: dict[str, Any] = {}
    for key, value in document.items():
        option = _BY_NAME.get(key.replace("_", "-"))
        if option is None:
            raise ConfigError(
                "config", f"{path}: unknown key {key!r}{_nearest(key, list(_BY_NAME))}"
            )
        if option.field in values:
            raise ConfigError("config", f"{path}: {key!r} is given twice")
        try:
            values[option.field] = _from_toml(option, value)
        except ConfigError as error:
            raise ConfigError("config", f"{path}: {key}: {error.why}") from None
    return values


def _from_toml(option: Option, value: object) -> object:
    """A TOML value in the type of the field; numbers may be written as numbers or as text."""
    if isinstance(value, str):
        return option.read(value, option.field)
    if option.is_list and isinstance(value, list) and all(isinstance(x, str) for x in value):
        return ",".join(value)
    if option.read is read_cluster and isinstance(value, dict):
        if not all(isinstance(address, str) for address in value.values()):
            raise ConfigError(
                option.field, "every address is a string, such as a = '10.0.0.1:7000'"
            )
        return value
    if option.read in _SWITCHES and isinstance(value, bool):
        return value is (option.read is read_yes)
    is_number = isinstance(value, int) and not isinstance(value, bool)
    if is_number and option.read in (read_integer, read_size, read_octal):
        return value
    if option.read is read_number and (is_number or isinstance(value, float)):
        return float(str(value))
    raise ConfigError(option.field, f"{value!r} is not {_kind(option)}")


def _kind(option: Option) -> str:
    kinds: dict[Read, str] = {
        read_text: "a string",
        read_integer: "a whole number",
        read_number: "a number",
        read_size: "a size, such as 1048576 or '1m'",
        read_no: "true or false",
        read_yes: "true or false",
        read_octal: "permissions, such as '0700' or 0o700",
        read_cluster: "a table of name = 'HOST:PORT'",
    }
    return kinds[option.read]


def _named(
    error: ConfigError,
    flags: Mapping[str, str],
    names: Mapping[str, str],
    values: Mapping[str, Any],
    path: str | None,
) -> ConfigError:
    """The error under the name by which the user knows the setting."""
    field = error.field.partition(",")[0]
    option = _BY_FIELD.get(field)
    if option is None:
        return error
    if field not in flags and field in values and path is not None:
        return ConfigError("config", f"{path}: {option.name}: {error.why}")
    name = f"--{option.name}" if option.is_flag else option.name
    return ConfigError(names.get(field, name), error.why)


def _nearest(word: str, known: Sequence[str]) -> str:
    close = get_close_matches(word.lower().replace("_", "-"), known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else ""


def _help(option: Option) -> str:
    default = option.default
    if "(default" in option.help or default in ("", None) or option.read in _NO_DEFAULT:
        return option.help
    shown = format_size(default) if option.read is read_size else default
    if option.read is read_octal:
        shown = f"{default:04o}"
    return f"{option.help} (default: {shown})"
