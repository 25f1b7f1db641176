"""Commands that look at the cluster: map, status, ring."""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from pathlib import Path
from typing import Any

from quorumcache.router.client import AsyncClient
from quorumcache.router.commands.basics import MISS, OK, left_ms, look_of_output, print_json
from quorumcache.router.commands.picture import ring_svg
from quorumcache.router.commands.progress import Progress
from quorumcache.router.commands.screen import Screen
from quorumcache.router.errors import RouterError
from quorumcache.router.overview import Overview
from quorumcache.router.report import (
    Look,
    is_healthy,
    map_json,
    map_lines,
    overview_json,
    ring_lines,
    status_lines,
)


async def print_map(client: AsyncClient, options: argparse.Namespace) -> int:
    """Print the cluster map."""
    cluster_map = await client.connect(timeout_ms=left_ms(options))
    if options.json:
        print_json(map_json(cluster_map))
    else:
        print("\n".join(map_lines(cluster_map, look_of_output())))
    return OK


async def status(client: AsyncClient, options: argparse.Namespace) -> int:
    """Print how the cluster is."""
    if options.watch is not None:
        return await _watch(client, options)
    view = await client.overview(timeout_ms=left_ms(options))
    if options.json:
        print_json(overview_json(view))
    else:
        lines = status_lines(view, look_of_output())
        lines += move_lines(view.moves, Progress(), 0.0, look_of_output())
        print("\n".join(lines))
    return OK if is_healthy(view) else MISS


async def ring(client: AsyncClient, options: argparse.Namespace) -> int:
    """Print how the cluster is spread."""
    view = await client.overview(timeout_ms=left_ms(options))
    if options.svg == "-":
        print(ring_svg(view), end="")
    elif options.svg is not None:
        _write(options.svg, ring_svg(view))
    elif options.json:
        print_json(overview_json(view))
    else:
        print("\n".join(ring_lines(view, look_of_output())))
    return OK


def _write(path: str, text: str) -> None:
    """What cannot be written is told as for all output."""
    Path(path).write_text(text, encoding="utf-8")


def move_lines(
    moves: dict[str, Any] | None, progress: Progress, now: float, look: Look
) -> list[str]:
    """What `status` says of moves: nothing where there are none. Pure, but for `progress`."""
    if moves is None:
        return []
    progress.feed(moves, now)
    if progress.is_done:
        return ["", "Moves    paused: no move is started"] if progress.is_paused else []
    return ["", *progress.lines(look)]


async def _watch(client: AsyncClient, options: argparse.Namespace) -> int:
    """The status again and again, until Ctrl-C."""
    loop = asyncio.get_running_loop()
    timeout_ms = left_ms(options)
    screen, progress, look = Screen(), Progress(), look_of_output()
    view: Overview | None = None
    while True:
        begin, trouble = loop.time(), ""
        try:
            await client.refresh(timeout_ms=timeout_ms)
            view = await client.overview(timeout_ms=timeout_ms, measures_lag=True)
        except RouterError as error:
            if view is None:
                raise
            trouble = f"no node answers, this is older: {error}"
        if options.json:
            print(json.dumps(overview_json(view)), flush=True)
        else:
            lines = [
                f"{time.strftime('%H:%M:%S')}  every {options.watch:g} s, Ctrl-C ends it",
                *([look.paint("red", trouble)] if trouble else []),
                *status_lines(view, look),
                *move_lines(view.moves, progress, loop.time(), look),
            ]
            screen.show(lines if screen.is_terminal else [*lines, ""])
        await asyncio.sleep(max(0.0, options.watch - (loop.time() - begin)))
