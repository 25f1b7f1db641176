"""The command `txn`: a file of commands as one transaction."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, NamedTuple

from quorumcache.router.client import AsyncClient
from quorumcache.router.commands.basics import (
    MISS,
    OK,
    USAGE,
    Failure,
    left_ms,
    print_json,
    read_value,
    say,
    show_key,
)
from quorumcache.router.commands.keys import json_item
from quorumcache.router.commands.script import STORES, Step, parse_script
from quorumcache.router.errors import ConditionFailed, InvalidArgument, NotANumber
from quorumcache.router.transactions import Transaction


class Result(NamedTuple):
    """What a command told of a key."""

    key: bytes
    value: bytes | None


class _DryRun(Exception):
    """All commands were run, and nothing is to be done."""

    def __init__(self, results: list[Result]) -> None:
        super().__init__()
        self.results = results


def steps_of(path: str) -> tuple[Step, ...]:
    """The commands of a file; `-`: of the standard input."""
    where = "the standard input" if path == "-" else path
    try:
        data = read_value("-") if path == "-" else Path(path).read_bytes()
        return parse_script(data)
    except OSError as error:
        raise Failure(USAGE, f"cannot read {path}: {error.strerror}") from None
    except InvalidArgument as error:
        raise Failure(USAGE, f"{where}: {error}") from error


async def txn(client: AsyncClient, options: argparse.Namespace) -> int:
    """Run the commands as one transaction, and print what they read."""
    steps: tuple[Step, ...] = options.steps

    async def run(transaction: Transaction) -> list[Result]:
        results = []
        for step in steps:
            try:
                results += await _run(transaction, step)
            except (ConditionFailed, NotANumber) as error:
                key = "" if isinstance(error, ConditionFailed) else f"{show_key(step.keys[0])}: "
                raise Failure(
                    MISS, f"not done, nothing was changed: line {step.line}: {key}{error}"
                ) from error
        if options.dry_run:
            raise _DryRun(results)
        return results

    try:
        results = await client.transact(run, timeout_ms=left_ms(options))
    except _DryRun as dry:
        results = dry.results
    writes = [step for step in steps if options.dry_run and _writes(step)]
    if options.json:
        shown: dict[str, Any] = {
            "committed": not options.dry_run,
            "reads": [json_item(key, value) for key, value in results],
        }
        if options.dry_run:
            shown["writes"] = [_json_write(step) for step in writes]
        print_json(shown)
        return OK
    out = sys.stdout.buffer
    for key, value in results:
        if value is None:
            say(f"{show_key(key)}: not found")
        else:
            out.write(key + b" " + value + b"\n")
    for step in writes:
        out.write(f"would {step.verb} ".encode() + step.keys[0] + b"\n")
    out.flush()
    print("dry run: nothing was changed" if options.dry_run else "committed")
    return OK


async def _run(transaction: Transaction, step: Step) -> list[Result]:
    """One command. Raises `ConditionFailed` if what must be is not."""
    key, verb = step.keys[0], step.verb
    if verb == "get":
        values = await transaction.get_many(step.keys)
        return [Result(key, values.get(key)) for key in step.keys]
    if verb == "check":
        value = await transaction.get(key)
        if value != step.value:
            raise ConditionFailed(key, "is not there" if value is None else "holds another value")
    elif verb in ("present", "absent"):
        await transaction.require(key, present=verb == "present")
    elif verb == "delete":
        await transaction.delete(key)
    elif verb in STORES:
        if verb != "set":
            await transaction.require(key, present=verb == "replace")
        await transaction.set(key, step.value, exptime=step.ttl, flags=step.flags)
    else:
        count = transaction.incr if verb == "incr" else transaction.decr
        number = await count(key, step.delta)
        if number is None:
            raise ConditionFailed(key, "is not there")
        return [Result(key, b"%d" % number)]
    return []


def _writes(step: Step) -> bool:
    return step.verb not in ("get", "check", "present", "absent")


def _json_write(step: Step) -> dict[str, object]:
    shown: dict[str, object] = {"line": step.line, "verb": step.verb}
    shown["key"] = show_key(step.keys[0])
    return shown
