"""Commands that look at the cluster: map, status, ring."""

from __future__ import annotations

import argparse

from quorumcache.router.client import AsyncClient
from quorumcache.router.commands.basics import MISS, OK, left_ms, look_of_output, print_json
from quorumcache.router.report import (
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
    """Print how the cluster is (`status`), or how it is spread (`ring`)."""
    view = await client.overview(timeout_ms=left_ms(options))
    if options.json:
        print_json(overview_json(view))
    else:
        lines = status_lines if options.command == "status" else ring_lines
        print("\n".join(lines(view, look_of_output())))
    return OK if is_healthy(view) or options.command != "status" else MISS
