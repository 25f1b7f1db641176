"""The native core's modules, for tests: as the compiled form has them, or built apart.

`SANITIZED_CORE` in the environment names a directory of modules that `build` has made: with the
address and the undefined behaviour sanitizer, whose library has to be loaded first (`environment`).
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import sysconfig
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from quorumcache.node import compiled
from tests.test_layering import ROOT

VARIABLE = "SANITIZED_CORE"

_TABLE = ("item_slabs.c", "item_block.c", "item_index.c", "item_table.c")
MODULES = {
    "items": _TABLE,
    "senders": (),
    "gets": ("get_lines.c", "key_token.c", *_TABLE),
    "sets": ("set_batch.c", *_TABLE),
    "client_sets": ("set_lines.c", "key_token.c"),
    "packer": (),
    "wire": ("crc32.c",),
    "log_writer": ("log_writer_thread.c",),
}
"""As in setup.py, whose test compares them. Each may use those before it."""

SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=undefined")


def native(name: str) -> ModuleType | None:
    """A module of the core; None where only the sources run."""
    directory = os.environ.get(VARIABLE)
    full_name = f"quorumcache.node.core.{name}"
    if directory is None:
        return importlib.import_module(full_name) if compiled.form == "compiled" else None
    if full_name not in sys.modules:
        for earlier in list(MODULES)[: list(MODULES).index(name)]:
            native(earlier)
        path = Path(directory, name + EXTENSION_SUFFIXES[0])
        spec = spec_from_file_location(full_name, path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[full_name] = module_from_spec(spec)
        spec.loader.exec_module(sys.modules[full_name])
    return sys.modules[full_name]


def build(directory: Path) -> None:
    """Make all modules there, with the sanitizers."""
    core = ROOT / "node/core"
    for name in MODULES:
        cython = [sys.executable, "-m", "cython", "-3", "-I", "src", str(core / f"{name}.pyx")]
        cython += ["--module-name", f"quorumcache.node.core.{name}"]
        cython += ["-o", str(directory / f"{name}.c")]
        subprocess.run(cython, check=True, cwd=ROOT)
        build_library(name, core, directory)


def build_library(name: str, core: Path, directory: Path) -> None:
    """Of what Cython has made in a directory, and the C of a core."""
    flags = ["-std=c11", "-O1", "-g1", "-shared", "-fPIC", *SANITIZERS]
    target = directory / (name + EXTENSION_SUFFIXES[0])
    sources = [str(directory / f"{name}.c"), *(str(core / file) for file in MODULES[name])]
    includes = [f"-I{sysconfig.get_paths()['include']}", f"-I{core}"]
    subprocess.run(["cc", *flags, "-w", *includes, *sources, "-o", str(target)], check=True)


def environment(directory: Path) -> dict[str, str]:
    """The environment of a process that uses what was built there."""
    found = subprocess.run(
        ["cc", "-print-file-name=libasan.so"], check=True, capture_output=True, text=True
    )
    return {
        **os.environ,
        VARIABLE: str(directory),
        "QUORUMCACHE_COMPILED": "0",
        "LD_PRELOAD": found.stdout.strip(),
        # What Python itself leaves behind at its end is not looked for.
        "ASAN_OPTIONS": "detect_leaks=0",
        "PYTHONMALLOC": "malloc",
    }
