"""Commands about locks: `lock` runs a command while it holds one, `locks` shows one."""

from __future__ import annotations

import argparse
import asyncio
import os

from quorumcache.router.client import AsyncClient
from quorumcache.router.commands import running
from quorumcache.router.commands.basics import (
    MISS,
    OK,
    USAGE,
    Failure,
    left_ms,
    print_json,
    say,
    show_key,
)
from quorumcache.router.errors import LockNotHeld, LockTimeout, RouterError
from quorumcache.router.fencing import LOCK_VARIABLE, TOKEN_VARIABLE, FencingToken
from quorumcache.router.lock_keeper import label_of
from quorumcache.router.locks import Lock, ttl_of

NOT_FREE = 75
"""Exit code: others held the lock for as long as we would wait. The command was not run."""

LOST = 76
"""Exit code: the lock was lost while the command ran."""


def check(options: argparse.Namespace) -> None:
    """What is wrong with the arguments is said before the cluster is asked."""
    if not options.words:
        raise Failure(
            USAGE, "there is no command to run: quorumcache lock NAME [options] -- COMMAND"
        )
    ttl_of(options.ttl)
    label_of("owner", options.owner)


async def lock(client: AsyncClient, options: argparse.Namespace) -> int:
    """Run a command while holding a lock; its exit code."""
    held = client.lock(options.keys[0], options.ttl, wait_ms=options.wait, owner=options.owner)
    with running.Signals() as signals:
        try:
            return await _run(held, signals, options)
        except asyncio.CancelledError:
            if not signals.caught:
                raise
            return running.SIGNALLED + signals.caught


async def _run(held: Lock, signals: running.Signals, options: argparse.Namespace) -> int:
    name = show_key(held.name)
    timeout_ms = round(1000 * options.timeout_s)
    try:
        token = await held.acquire(timeout_ms=timeout_ms)
    except LockTimeout as error:
        raise Failure(NOT_FREE, f"{error}; the command was not run") from error
    try:
        process = await running.start(options.words, _environment(token))
    except BaseException:
        await _give_back(held, timeout_ms)
        raise
    signals.pass_on(process)
    await _until_ended_or_lost(process, held)
    if process.returncode is None:
        say(f"the lock {name} was lost: the command is ended")
        await running.end(process, options.grace / 1000)
        return LOST
    code = running.exit_code(process)
    if await _give_back(held, timeout_ms):
        return code
    say(f"the lock {name} was lost before the command ended (with exit code {code})")
    return LOST


async def locks(client: AsyncClient, options: argparse.Namespace) -> int:
    """Show who holds a lock, and who waits."""
    name: bytes = options.keys[0]
    state = await client.lock_state(name, timeout_ms=left_ms(options))
    if options.json:
        print_json(
            {
                "name": show_key(name),
                "holders": [holder._asdict() for holder in state.holders],
                "waiters": [waiter._asdict() for waiter in state.waiters],
            }
        )
    else:
        for holder in state.holders:
            print(f"holder {holder.owner} {holder.token} {holder.mode} {holder.left_ms} ms left")
        for waiter in state.waiters:
            print(f"waiter {waiter.owner} {waiter.place} {waiter.mode}")
    if state.holders:
        return OK
    say(f"{show_key(name)}: nobody holds it")
    return MISS


def _environment(token: FencingToken) -> dict[str, str]:
    """What the command is told of the lock."""
    return {
        **os.environ,
        LOCK_VARIABLE: os.fsdecode(token.lock),
        TOKEN_VARIABLE: str(token.number),
    }


async def _until_ended_or_lost(process: asyncio.subprocess.Process, held: Lock) -> None:
    tasks = [asyncio.ensure_future(process.wait()), asyncio.ensure_future(held.lost.wait())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def _give_back(held: Lock, timeout_ms: int) -> bool:
    """Release it; False: it was lost. One that cannot be released ends by itself."""
    try:
        await held.release(timeout_ms=timeout_ms)
    except LockNotHeld:
        return False
    except RouterError as error:
        say(f"the lock was not released, and ends when its time is over: {error}")
    return True
