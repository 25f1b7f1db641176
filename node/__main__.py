"""The command `quorumcached`: one node, or with `up` a whole local cluster.

Exit status: 0 after a clean stop, 1 when the node could not start or go on, 2 when it was told
something wrong. Errors of the user and of the machine are one line on stderr that says what to
do.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from node.compiled import describe
from node.errors import ConfigError
from node.options import parser, read_command
from node.version import VERSION


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not __debug__:
        # The code checks its own invariants with assert; without them it would go on with
        # broken ones.
        return _fail(
            "does not run with assertions stripped: leave out python -O and PYTHONOPTIMIZE"
        )
    try:
        if words[:1] == ["up"]:
            from node.supervisor import main as up

            return up(words[1:])
        return _node(words)
    except ConfigError as error:
        return _fail(str(error) if error.field else f"{error} (see quorumcached --help)")


def _node(words: list[str]) -> int:
    flags = parser()
    namespace = flags.parse_all(words)
    if namespace.help:
        flags.print_help()
        return 0
    if namespace.version:
        print(f"quorumcached {VERSION} ({describe()})")
        return 0
    command = read_command(namespace)
    from node.run import run_node

    return run_node(command.config, stop_on_stdin_eof=command.stop_on_stdin_eof)


def _fail(line: str) -> int:
    print("quorumcached: " + " ".join(line.split()), file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
