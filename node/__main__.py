"""The command `quorumcached`: one node, or with `up` a whole local cluster.

Exit status: 0 after a clean stop, 1 when the node could not start or go on, 2 when it was told
something wrong. Errors of the user and of the machine are one line on stderr that says what to
do.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from quorumcache.node.process.signals import SignalsForbidden, hold, release
from quorumcache.node.telemetry.streams import write_line
from quorumcache.ring.streams import open_standard_streams, run_command

EXIT_FAILED = 1
EXIT_USAGE = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit status."""
    try:
        hold()  # Before all that takes time: a signal waits until the node listens to it.
    except SignalsForbidden as error:
        open_standard_streams()
        write_line(sys.stderr, f"quorumcached: {error}")
        return EXIT_FAILED
    try:
        open_standard_streams()
        words = list(sys.argv[1:] if argv is None else argv)
        return run_command(
            lambda: _main(words),
            name="quorumcached",
            failed=EXIT_FAILED,
            tell=lambda line: write_line(sys.stderr, line),
        )
    finally:
        release()


def _main(words: list[str]) -> int:
    from quorumcache.node.errors import ConfigError

    if not __debug__:
        # The code checks its own invariants with assert; without them it would go on with
        # broken ones.
        return _fail(
            "does not run with assertions stripped: leave out python -O and PYTHONOPTIMIZE"
        )
    try:
        if words[:1] == ["up"]:
            from quorumcache.node.process.up import main as up

            return up(words[1:])
        return _node(words)
    except ConfigError as error:
        return _fail(str(error) if error.field else f"{error} (see quorumcached --help)")


def _node(words: list[str]) -> int:
    from quorumcache.node.process.given_users import given_users
    from quorumcache.node.process.launch import launch
    from quorumcache.node.process.memcached_flags import LICENSE
    from quorumcache.node.process.options import parser, read_command

    flags = parser()
    namespace = flags.parse_all(words)
    if namespace.help:
        print(flags.format_help(), end="")  # print_help hides errors.
        return 0
    if namespace.memcached_i:
        print(LICENSE, end="")
        return 0
    if namespace.version or namespace.memcached_V:
        from quorumcache.node.compiled import describe
        from quorumcache.node.version import VERSION

        print(f"quorumcached {VERSION} ({describe()})")
        return 0
    command = read_command(namespace)
    users = given_users(command.config.auth_file)  # While it may still read the file.
    launched = launch(command.launch)
    if isinstance(launched, int):
        return launched
    from quorumcache.node.process.run import run_node

    ignored = list(command.ignored)
    if launched.ignored:
        ignored.append(("-u", launched.ignored))
    return run_node(
        command.config,
        stop_on_stdin_eof=command.stop_on_stdin_eof,
        launched=launched,
        ignored=ignored,
        users=users,
    )


def _fail(line: str) -> int:
    write_line(sys.stderr, "quorumcached: " + " ".join(line.split()))
    return EXIT_USAGE


if __name__ == "__main__":
    sys.exit(main())
