"""The `quorumcache` command: single operations, and a look at the cluster.

Exit codes: 0 ok; 1 miss, certainly not done, or (of `status`) something is wrong in the cluster;
2 usage; 3 cannot reach the cluster; 4 the outcome of a write is unknown; 5 the output could not be
written; of `lock` those of the command that it runs. Results go to standard output; everything
else, one line each, to standard error.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from random import Random

from quorumcache.ring.streams import open_standard_streams, run_command
from quorumcache.router import requests
from quorumcache.router.client import AsyncClient
from quorumcache.router.commands import locks
from quorumcache.router.commands.basics import (
    CREDENTIALS_VARIABLE,
    DEFAULT_SEEDS,
    DEFAULT_TIMEOUT_S,
    INTERRUPTED,
    OUTPUT_FAILED,
    SEEDS_VARIABLE,
    UNREACHABLE,
    Failure,
    explain,
    parse_key,
    read_keys,
    read_value,
    say,
)
from quorumcache.router.commands.parser import make_parser
from quorumcache.router.commands.transaction import steps_of
from quorumcache.router.commands.words import take_command_out, take_value_out
from quorumcache.router.config import ClientConfig, is_credentials
from quorumcache.router.errors import (
    ClusterUnreachable,
    DeadlineExceeded,
    InvalidArgument,
    NotDone,
    RouterError,
)
from quorumcache.router.levels import parse_level
from quorumcache.router.streams import note


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    open_standard_streams()
    return run_command(lambda: _main(argv), name="quorumcache", failed=OUTPUT_FAILED, tell=note)


def _main(argv: Sequence[str] | None) -> int:
    words, value = take_value_out(sys.argv[1:] if argv is None else argv)
    words, to_run = take_command_out(words)
    options = make_parser().parse_args(words)
    options.words = to_run
    if value is not None:
        options.value = value
    try:
        if hasattr(options, "run_alone"):  # It needs no node.
            return int(options.run_alone(options))
        return asyncio.run(run(options))
    except KeyboardInterrupt:
        return INTERRUPTED
    except Failure as failure:
        return _fail(failure.code, str(failure))
    except RouterError as error:
        return _fail(*explain(error))


async def run(options: argparse.Namespace, random: Random | None = None) -> int:
    """Run the parsed command. `random` draws the jitter of pauses."""
    seeds_text = getattr(options, "seeds", "") or os.environ.get(SEEDS_VARIABLE) or DEFAULT_SEEDS
    seeds = [seed for seed in seeds_text.replace(",", " ").split() if seed]
    # Whatever is wrong with the arguments is said before anybody is bothered with them.
    options.keys = [parse_key(os.fsencode(key)) for key in getattr(options, "keys", None) or ()]
    if options.command == "set":
        options.value = read_value(options.value)
        requests.store(b"set", options.keys[0], options.value, options.flags, options.ttl)
    if options.command == "get":
        options.level = parse_level(options.read)
    if options.command == "txn":
        options.steps = steps_of(options.file)
    if options.command == "lock":
        locks.check(options)
    if options.command == "route" and not options.keys:
        options.keys = read_keys()
    timeout_s = getattr(options, "timeout", DEFAULT_TIMEOUT_S)
    options.timeout_s = timeout_s
    options.deadline = asyncio.get_running_loop().time() + timeout_s
    timeout_ms = round(1000 * timeout_s)
    credentials = os.environ.get(CREDENTIALS_VARIABLE, "")
    if credentials and not is_credentials(credentials):
        raise InvalidArgument(f"${CREDENTIALS_VARIABLE} must be user:password, without spaces")
    config = ClientConfig(timeout_ms=timeout_ms, credentials=credentials)
    client = AsyncClient(seeds, config, random=random)
    try:
        try:
            await client.connect(once=True)
        except DeadlineExceeded as error:
            raise ClusterUnreachable(str(error)) from error
        except NotDone as error:
            if type(error) is not NotDone:
                raise
            hint = "the cluster is not founded yet; are all of its nodes started?"
            raise Failure(UNREACHABLE, f"{error}: {hint}") from error
        code: int = await options.run(client, options)
        return code
    finally:
        await client.close()


def _fail(code: int, text: str) -> int:
    say(text)
    return code


if __name__ == "__main__":
    sys.exit(main())
