"""Which form of the data path runs: the Python source, or what was compiled.

Compiled are the modules that mypyc makes of the sources, and the native core (`core/`), which has
twins in Python.

There is one source. Where a C compiler is at hand, installing the package compiles the modules of
the data path (`setup.py` names them) into extension modules beside their sources, and writes a
manifest: which binaries there have to be, and a checksum of every source of `node` and `ring`.
Of all, since compiled code holds copies of constants that other modules define.

    node/replica/group.py                       the source
    node/group.cpython-311-....so       the same, compiled; loads its code from
    node/native__mypyc.cpython-....so   one library with the code of all compiled modules
    node/compiled.json                  the manifest

Python prefers an extension module. It may do so only when the manifest is of this Python and every
source is still what was compiled, so that an edit is never silently without effect; otherwise the
finder below makes it take the sources. Both forms behave alike, and the tests run with both.

`QUORUMCACHE_COMPILED` in the environment decides otherwise: `0` takes the sources (for a debugger,
or for tests that replace parts), `1` insists on the compiled form and ends with a line that says
why it cannot be had.

`arrange` runs as the first thing when `quorumcache.node` is imported. Edge: reads files and the
environment.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from hashlib import sha256
from importlib.abc import MetaPathFinder
from importlib.machinery import EXTENSION_SUFFIXES, SOURCE_SUFFIXES, FileFinder, SourceFileLoader
from importlib.machinery import ModuleSpec as Spec
from types import ModuleType

VARIABLE = "QUORUMCACHE_COMPILED"
MANIFEST = "compiled.json"
_ROOT = os.path.dirname(os.path.abspath(__file__))
_PACKAGE = __name__.rpartition(".")[0]


class _SourcesOnly(MetaPathFinder):
    """Finds the modules of this package in their sources, past any extension module."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> Spec | None:
        if not fullname.startswith(_PACKAGE + ".") or path is None:
            return None
        for directory in path:
            finder = FileFinder(directory, (SourceFileLoader, SOURCE_SUFFIXES))
            spec = finder.find_spec(fullname)
            if spec is not None:
                return spec
        # Of the native core, whose users have a twin for it. No other finder may find it, either.
        raise ModuleNotFoundError(f"{fullname} has no source in Python", name=fullname)


def fingerprint(source: bytes) -> str:
    """What the manifest keeps of a source file."""
    return sha256(source).hexdigest()


def manifest(sources: Mapping[str, bytes], binaries: Sequence[str], suffix: str) -> str:
    """The text of a manifest. Paths, of sources with their contents and of binaries, are relative
    to the package's directory.
    """
    prints = {path: fingerprint(source) for path, source in sorted(sources.items())}
    found = {"suffix": suffix, "binaries": sorted(binaries), "sources": prints}
    return json.dumps(found, indent=1) + "\n"


def why_not(root: str = _ROOT) -> str:
    """Why the compiled form in this directory cannot be used; "" when it can."""
    try:
        with open(os.path.join(root, MANIFEST), encoding="utf-8") as file:
            found = json.load(file)
        suffix, prints, binaries = found["suffix"], found["sources"], found["binaries"]
        if suffix != EXTENSION_SUFFIXES[0]:
            return f"it was compiled for another Python ({suffix}, this one is of {_tag()})"
        for path, expected in prints.items():
            with open(os.path.join(root, path), "rb") as file:
                if fingerprint(file.read()) != expected:
                    changed = os.path.normpath(os.path.join("node", path))
                    return f"{changed} has changed since it was compiled"
        for path in binaries:
            if not os.path.exists(os.path.join(root, path)):
                return f"{path} is missing"
    except FileNotFoundError as error:
        missing = os.path.basename(error.filename)
        return "it was not compiled" if missing == MANIFEST else f"{missing} is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"its manifest cannot be read: {error!r}"
    return ""


def _tag() -> str:
    return EXTENSION_SUFFIXES[0]


def arrange() -> None:
    """Decide which form of `quorumcache.node` this process gets. SystemExit: see the module."""
    global form, reason
    wanted = os.environ.get(VARIABLE, "")
    if wanted not in ("", "0", "1"):
        raise SystemExit(f"quorumcached: {VARIABLE} is {wanted!r}: set it to 0 or 1, or not at all")
    reason = f"{VARIABLE} is 0" if wanted == "0" else why_not()
    if not reason:
        form = "compiled"
        return
    if wanted == "1":
        raise SystemExit(
            f"quorumcached: {VARIABLE} is 1, but there is no compiled form: {reason}; "
            "install a C compiler, then install quorumcache again (in a checkout: make compile)"
        )
    form = "source"
    if not any(isinstance(finder, _SourcesOnly) for finder in sys.meta_path):
        sys.meta_path.insert(0, _SourcesOnly())


def describe() -> str:
    """For people: `compiled`, or `from source: ` and why."""
    return f"from source: {reason}" if reason else form


form = "source"
"""`compiled` or `source`."""
reason = ""
"""Why it is the source; "" when it is not."""
