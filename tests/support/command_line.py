"""The `quorumcache` command as a process, against whatever answers."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]


class Ended(NamedTuple):
    code: int
    out: str
    err: str


async def quorumcache(
    *words: str, seeds: list[str] | None = None, stdin: bytes = b"", **environment: str
) -> Ended:
    """Run the command to its end. Whatever happens, it must not show a traceback."""
    arguments = ("-s", ",".join(seeds), *words) if seeds else words
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "quorumcache.router.cli", *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": "utf-8", **environment},
    )
    out, err = await process.communicate(stdin)
    assert process.returncode is not None
    ended = Ended(process.returncode, out.decode(), err.decode())
    assert "Traceback" not in ended.err
    return ended


def one_line(ended: Ended) -> str:
    lines = ended.err.splitlines()
    assert len(lines) == 1, ended
    return lines[0]
