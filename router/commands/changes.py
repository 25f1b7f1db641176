"""Commands that change the cluster, and show how that goes on: node, cluster, rebalance, moves.

A change is one request; the cluster carries it out by itself, whatever becomes of this command.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from quorumcache.ring.settings import CHANGEABLE
from quorumcache.router.client import AsyncClient
from quorumcache.router.commands.basics import (
    MISS,
    OK,
    UNKNOWN,
    UNREACHABLE,
    USAGE,
    Failure,
    left_ms,
    look_of_output,
    print_json,
    say,
)
from quorumcache.router.commands.progress import Progress, size_text, time_text
from quorumcache.router.commands.screen import Screen
from quorumcache.router.commands.secret import secret_source
from quorumcache.router.errors import OutcomeUnknown, Refused, RouterError
from quorumcache.router.report import table_lines

POLL_S = 0.5
POLL_TIMEOUT_MS = 3_000
LINE_S = 5.0
"""Where nothing can be redrawn, a line is printed so often."""
SILENCE_S = 60.0
"""Without an answer of any node for so long, the display gives up; the change may go on."""


async def node_list(client: AsyncClient, options: argparse.Namespace) -> int:
    """Print the nodes and their states."""
    answer = await _moves(client, options)
    if options.json:
        print_json(answer["nodes"])
    else:
        print("\n".join(node_lines(answer)))
    return OK


async def settings(client: AsyncClient, options: argparse.Namespace) -> int:
    """Print the cluster's settings."""
    found = (await _moves(client, options))["settings"]
    if options.json:
        print_json(found)
    else:
        print("\n".join(setting_lines(found)))
    return OK


async def moves(client: AsyncClient, options: argparse.Namespace) -> int:
    """Print the moves; or pause, resume or cancel them."""
    if options.action is not None:
        return await _change(client, options, [options.action], waits=False)
    answer = await _moves(client, options)
    names = [name for name in options.wait_for.split(",") if name]
    if options.wait or names:
        return await _wait(client, options, answer["epoch"], names)
    if options.json:
        print_json(answer)
    else:
        progress = Progress()
        progress.feed(answer, 0.0)
        waiting = [move for move in answer["moves"] if move["state"] == "waiting"]
        lines = progress.lines(look_of_output())
        if waiting:
            lines.append(f"  waiting: {' '.join(_short(move) for move in waiting)}")
        print("\n".join(lines))
    return OK


async def drain(client: AsyncClient, options: argparse.Namespace) -> int:
    """Move everything away from a node, which then leaves."""
    code = await _change(client, options, ["drain", options.name])
    if code != OK or not options.wait or options.dry_run:
        return code
    nodes = (await client.moves(timeout_ms=POLL_TIMEOUT_MS))["nodes"]
    state = next((node["state"] for node in nodes if node["name"] == options.name), "")
    if state not in ("", "draining", "drained"):
        raise Failure(MISS, f"the drain of {options.name} was cancelled: it is {state}")
    if options.shows:
        say(
            f"{options.name} holds nothing any more. It serves its clients until they have left,"
            " then it ends"
        )
    return code


async def remove(client: AsyncClient, options: argparse.Namespace) -> int:
    """Take a node that will not come back out of the cluster."""
    if not options.force:
        raise Failure(
            USAGE,
            f"a node that runs leaves with `quorumcache node drain {options.name}`; for one that"
            " is lost, add --force",
        )
    return await _change(client, options, ["remove", options.name, "force"])


async def replace(client: AsyncClient, options: argparse.Namespace) -> int:
    """Give up a node's lost disk: a new node of its name takes its place."""
    return await _change(client, options, ["replace", options.name], waits=False)


async def set_node(client: AsyncClient, options: argparse.Namespace) -> int:
    """Change a node's weight or zone."""
    return await _change(client, options, ["node", options.name, *_pairs(options.pairs)])


async def set_cluster(client: AsyncClient, options: argparse.Namespace) -> int:
    """Change the cluster's settings."""
    return await _change(client, options, ["settings", *_pairs(options.pairs)])


async def rebalance(client: AsyncClient, options: argparse.Namespace) -> int:
    """Spread shards and leaders anew."""
    return await _change(client, options, ["rebalance"])


def _pairs(words: Sequence[str]) -> list[str]:
    """NAME=VALUE as it was typed; the cluster knows which names there are. A zone may be empty."""
    for word in words:
        name, sign, value = word.partition("=")
        if not sign or not name or (not value and name != "zone"):
            raise Failure(USAGE, f"{word!r} is not NAME=VALUE")
    _check_words(words)
    return list(words)


def _check_words(words: Sequence[str]) -> None:
    for word in words:
        if not word.isprintable() or " " in word or not word:
            raise Failure(USAGE, f"{word!r} is not one printable word")


async def _change(
    client: AsyncClient, options: argparse.Namespace, words: list[str], *, waits: bool = True
) -> int:
    """Ask for a change, tell what comes of it, and show its moves until none is left."""
    _check_words(words)
    secret_of = secret_source(options.secret_file)
    is_dry = options.dry_run
    options.shows = not (is_dry or options.json)
    try:
        answer = await client.change(
            [*words, "dry"] if is_dry else words, secret_of, timeout_ms=left_ms(options)
        )
    except OutcomeUnknown as error:
        raise Failure(
            UNKNOWN,
            f"outcome unknown: {error}; look at `quorumcache moves` before you ask again",
        ) from error
    except Refused as error:
        raise Failure(MISS, f"not done: {error}") from error
    if is_dry:
        if options.json:
            print_json(answer)
        else:
            print("\n".join(plan_lines(answer)))
        return OK
    if options.shows:
        print(answer.get("summary") or "done", flush=True)
    if options.wait and waits:
        code = await _wait(client, options, int(answer.get("epoch", 0)))
        if code != OK:
            return code
    if options.json:
        print_json(answer)
    return OK


async def _moves(client: AsyncClient, options: argparse.Namespace) -> dict[str, Any]:
    try:
        return await client.moves(timeout_ms=left_ms(options))
    except Refused as error:
        raise Failure(
            MISS, "the nodes are of an older version, which does not tell of moves"
        ) from error


async def _wait(
    client: AsyncClient, options: argparse.Namespace, epoch: int, names: Sequence[str] = ()
) -> int:
    """Show the moves until none is left in a map that is not older than `epoch`, and in which the
    nodes called `names` are active."""
    loop = asyncio.get_running_loop()
    progress, screen, look = Progress(), Screen(), look_of_output()
    heard_at, told_at, told = loop.time(), -LINE_S, ""
    try:
        while True:
            try:
                answer = await client.moves(timeout_ms=POLL_TIMEOUT_MS)
            except RouterError as error:
                if loop.time() - heard_at > SILENCE_S:
                    raise Failure(
                        UNREACHABLE,
                        f"no node has answered for {SILENCE_S:.0f} s: {error}. The change may go"
                        " on: `quorumcache moves` shows it",
                    ) from error
                await asyncio.sleep(POLL_S)
                continue
            heard_at = loop.time()
            if answer["epoch"] >= epoch:
                progress.feed(answer, heard_at)
                if progress.is_done and _are_active(answer, names):
                    break
                joining = f"waiting until {' '.join(names)} is active"
                line = joining if progress.is_done else progress.line()
                if not options.json and screen.is_terminal:
                    screen.show([joining] if progress.is_done else progress.lines(look))
                elif not options.json and heard_at - told_at >= LINE_S and line != told:
                    told_at, told = heard_at, line
                    screen.show([told])
            await asyncio.sleep(POLL_S)
    except asyncio.CancelledError:
        screen.leave()
        say(
            "the change goes on without this command: `quorumcache moves` shows it,"
            " `quorumcache moves cancel` ends it"
        )
        raise
    if not options.json:
        count = progress.done_moves
        took = time_text(progress.seconds(heard_at))
        done = f"done: {count} {'move' if count == 1 else 'moves'} in {took}"
        screen.show([done if count else "done: no moves are left"])
    return OK


def _are_active(answer: Mapping[str, Any], names: Sequence[str]) -> bool:
    states = {node["name"]: node["state"] for node in answer["nodes"]}
    return all(states.get(name) == "active" for name in names)


def _short(move: Mapping[str, Any]) -> str:
    return "directory" if move["shard"] is None else str(move["shard"])


def node_lines(answer: Mapping[str, Any]) -> list[str]:
    """The nodes of a `cluster moves`, as a table. Pure."""
    rows: list[tuple[str, ...]] = [
        ("NODE", "STATE", "HEARD", "ZONE", "WEIGHT", "SHARDS", "DIRECTORY", "CLIENT", "PEER")
    ]
    for node in answer["nodes"]:
        rows.append(
            (
                *(node["name"], node["state"], "yes" if node["heard"] else "NO"),
                *(node["zone"] or "-", f"{node['weight']:g}", str(node["shards"])),
                "yes" if node["directory"] else "-",
                *(node["client_address"], node["peer_address"]),
            )
        )
    return table_lines(rows)


def setting_lines(settings: Mapping[str, str]) -> list[str]:
    """The settings of a `cluster moves`, by the names that `cluster set` takes. Pure."""
    rows: list[tuple[str, ...]] = [("SETTING", "VALUE", "")]
    for name in sorted(settings):
        is_changeable = name in CHANGEABLE or name == "replication"
        note = "" if is_changeable else "fixed since the founding"
        if name == "secret":
            note = "set by the nodes themselves, once all of them prove that they know it"
        rows.append((name.replace("_", "-"), settings[name], note))
    return table_lines(rows)


def plan_lines(answer: Mapping[str, Any]) -> list[str]:
    """What a change with --dry-run would do. Pure."""
    estimate: Mapping[str, Any] = answer.get("estimate") or {}
    lines = [str(answer.get("summary") or answer.get("change") or "")]
    count = int(estimate.get("replicas_moved", 0))
    if count:
        lines.append(
            f"  would copy {count} {'replica' if count == 1 else 'replicas'},"
            f" {size_text(estimate.get('bytes', 0))}, in about"
            f" {time_text(estimate.get('seconds', 0))}"
        )
        received: Mapping[str, int] = estimate.get("received") or {}
        lines += [f"  {name} would receive {received[name]}" for name in sorted(received)]
        too_much: Mapping[str, Sequence[int]] = estimate.get("too_much") or {}
        lines += [
            f"  warning: node {name} would hold {size_text(held)} of {size_text(memory)}: writes"
            " there will be refused"
            for name, (held, memory) in sorted(too_much.items())
        ]
    else:
        lines.append("  no replica would move")
    leaders = int(estimate.get("leaders_changed", 0))
    if leaders:
        lines.append(f"  {leaders} {'shard' if leaders == 1 else 'shards'} would change leaders")
    return [*lines, "nothing was changed (--dry-run)"]
