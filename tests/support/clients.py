"""For tests with other people's memcached clients: finding them, and what all of them have to do.

A client that is not installed skips its test, with a reason that names it. In CI (`CI=true`, where
`.ci/run` has installed them) that is an error instead.
"""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
NODE_CLIENTS = ROOT / ".venv" / "node-clients"
"""Where the Makefile puts the clients of Node.js."""

BINARIES_UP_TO = (3, 11)
"""The newest Python for which all clients come as binaries, see pyproject.toml."""


def library(name: str) -> Any:
    """A client's Python module."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        _missing(f"{name} cannot be imported ({error}): pip install -e '.[conformance]'")


def program(name: str, package: str) -> str:
    """A program of a Debian package."""
    path = shutil.which(name)
    if path is None:
        _missing(f"{name} is not installed: apt-get install {package}")
    return str(path)


def node_clients() -> str:
    """The directory with the clients of Node.js."""
    program("node", "nodejs")
    if not (NODE_CLIENTS / "node_modules").exists():
        _missing(f"{NODE_CLIENTS} is missing: rm .venv/.ready; make .venv/.ready")
    return str(NODE_CLIENTS)


def _missing(what: str) -> None:
    if os.environ.get("CI") and sys.version_info[:2] <= BINARIES_UP_TO:
        pytest.fail(what)
    pytest.skip(f"NOT TESTED: {what}")
