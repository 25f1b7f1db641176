"""The load of a race, compiled with the sanitizers that are there: a wrong access ends it."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest

from quorumcache.bench.errors import StartError
from quorumcache.bench.race_load import COMPILERS, Generator

STRICT = ("-O1", "-Wall", "-Wextra", "-Werror", "-g")
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")


@cache
def sanitized_generator() -> Generator:
    """Compiled once for the tests of a process."""
    if not any(map(shutil.which, COMPILERS)):
        pytest.skip("needs a C compiler")
    directory = Path(mkdtemp(prefix="quorumcache-test-generator-"))
    try:
        return Generator(directory, (*STRICT, *SANITIZERS))
    except StartError:  # a compiler without them; what is wrong with the source is told here
        return Generator(directory, STRICT)
