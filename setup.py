"""Compiles the data path with mypyc, and the native core with Cython, where that is possible;
everything else is in pyproject.toml.

mypyc makes C extensions of typed Python: the sources stay the only ones, and are what runs where
this did not work (`node/compiled.py` chooses). Without a C compiler the installation says so and
goes on. `QUORUMCACHE_COMPILED=0 pip install .` does not even try.

mypyc writes one C file per module, and all of them become one library, so that calls between
modules stay calls of C functions. As one C file of 28 MB they took 90 s of one processor; now they
take 80 s, on all processors at once, with a link that optimises across them (10 s of it).
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from glob import glob
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from tempfile import TemporaryDirectory

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

SOURCE = "src"
"""What is installed, `quorumcache`, as a link in a directory of its own (docs/decisions.md)."""

PACKAGE = f"{SOURCE}/quorumcache/node"
LIBRARY = "quorumcache.node.native"

CORE = {"items": ("item_table.c",), "gets": ("get_lines.c", "item_table.c")}
"""The native core, `node/core`: each Cython module, and the C files that belong to it."""

CORE_SOURCES = ("*.py", "*.pyx", "*.pxd", "*.c", "*.h")
"""What the compiled form is made of, here and in `ring`."""

ROOMS = {
    ".": "cluster_time inbox state_machine",
    "clients": (
        "command_prefixes connection context conversation events failures fenced_gets"
        " forwarded_answers forwarded_gets handlers key_dump lanes large_handlers lock_handlers"
        " meta_args meta_handlers meta_requests meta_writes order plain_meta_gets prefixes pumps"
        " quick_gets replies retrievals touches transaction_handlers uploads value_streams watch"
        " write_room writes"
    ),
    "consensus": "*",
    "consensus/raft": "*",
    "directory": "state",
    "housekeeping": "evictions",
    "operations": "*",
    "peers": (
        "codec consensus_items consensus_transport datagram_paths items link network open_links"
        " peer"
    ),
    "protocol": "*",
    "replica": (
        "evicting group host installing memory_room pacing read_rounds snapshotting ticking"
    ),
    "store": "*",
    "telemetry": "counters timings",
    "wal": "chain format groups queue wal",
}
COMPILED = sorted(
    os.path.normpath(path)
    for room, names in ROOMS.items()
    for name in names.split()
    for path in glob(f"{PACKAGE}/{room}/{name}.py")
    if not path.endswith("__init__.py")
)
"""What a request passes, and whatever inherits from it, since no interpreted class can inherit from
a compiled one. Not: what starts, watches and tells, where time is no matter."""


BUILDS = {"build", "build_ext", "bdist_wheel", "develop", "editable_wheel", "install"}
"""Commands that need extensions. For others, such as those about metadata, nothing is compiled."""


LINK_AS_ONE = ["-flto=auto", "-O2"]
"""The link optimises all C files as one: apart, forwarded reads and writes took 4 % more."""


def links_as_one(compiler: object) -> bool:
    """Whether the C compiler and its linker can do so."""
    with TemporaryDirectory() as directory:
        source = Path(directory, "probe.c")
        source.write_text("int quorumcache_probe(void) { return 0; }\n")
        try:
            objects = compiler.compile(
                [str(source)], output_dir="/", extra_postargs=["-flto", "-fPIC"]
            )
            compiler.link_shared_object(
                objects, str(Path(directory, "probe.so")), extra_postargs=LINK_AS_ONE
            )
        except Exception:
            return False  # What is wrong with it is told when all is compiled.
        return True


class CompileAndTell(build_ext):
    """Builds the extensions; the manifest is written only when this run has made all of them.

    What an earlier run left is removed first: when this one fails, old binaries must not stand
    beside new sources and be believed.
    """

    def build_extensions(self) -> None:
        """The same for the C files of one extension, which distutils compiles one by one."""
        compile_in_turn = self.compiler.compile
        if links_as_one(self.compiler):
            for extension in self.extensions:
                extension.extra_compile_args = [*extension.extra_compile_args, "-flto"]
                extension.extra_link_args = [*extension.extra_link_args, *LINK_AS_ONE]

        def compile_at_once(sources: list[str], **options: object) -> list[str]:
            with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
                made = pool.map(lambda source: compile_in_turn([source], **options), sources)
                return [path for paths in made for path in paths]

        self.compiler.compile = compile_at_once
        super().build_extensions()

    def run(self) -> None:
        binaries = [Path(self.get_ext_fullpath(extension.name)) for extension in self.extensions]
        directory = Path(self.get_ext_fullpath("quorumcache.node.module")).parent
        target = directory / "compiled.json"
        for path in (target, *binaries):
            path.unlink(missing_ok=True)
        super().run()
        if not all(path.exists() for path in binaries):
            print("quorumcache: not compiled (is there a C compiler?); it runs from its sources,")
            print("quorumcache: which give the same answers, more slowly")
            return
        spec = spec_from_file_location("compiled", f"{PACKAGE}/compiled.py")
        assert spec is not None
        assert spec.loader is not None
        compiled = module_from_spec(spec)
        spec.loader.exec_module(compiled)
        sources = {
            os.path.relpath(path, PACKAGE): path.read_bytes()
            for package in (PACKAGE, f"{SOURCE}/quorumcache/ring")
            for pattern in CORE_SOURCES
            for path in Path(package).rglob(pattern)
        }
        names = [str(path.relative_to(directory)) for path in binaries]
        suffix = self.get_ext_filename("x").removeprefix("x")
        target.write_text(compiled.manifest(sources, names, suffix))


def extensions() -> list:  # of setuptools.Extension
    if os.environ.get("QUORUMCACHE_COMPILED") == "0" or not BUILDS.intersection(sys.argv):
        return []
    try:
        from mypyc.build import mypycify

        core = core_extensions()
        made = mypycify(
            # Types are checked strictly elsewhere, with all that is imported at hand.
            ["--config-file=", "--ignore-missing-imports", "--cache-dir=build/mypy", *COMPILED],
            opt_level="2",
            debug_level="0",
            group_name=LIBRARY,
            multi_file=True,
        )
    except (Exception, SystemExit) as error:
        print(f"quorumcache: not compiled: {error!r}", file=sys.stderr)
        return []
    for extension in made:
        # Where mypyc puts the headers of a library whose name has a dot: it looks in build/.
        extension.include_dirs.append("build/quorumcache/node")
        # Nobody outside calls these functions: calls between modules need no detour.
        extension.extra_compile_args = [*extension.extra_compile_args, "-fvisibility=hidden"]
    made += core
    for extension in made:
        extension.optional = True
    return made


def core_extensions() -> list:
    """The native core; the C that Cython makes stays in `build`."""
    from Cython.Build import cythonize

    found = [
        Extension(
            f"quorumcache.node.core.{name}",
            [f"{PACKAGE}/core/{name}.pyx", *(f"{PACKAGE}/core/{file}" for file in files)],
            include_dirs=[f"{PACKAGE}/core"],
            extra_compile_args=["-std=c11", "-O2", "-g0", "-fvisibility=hidden"],
        )
        for name, files in CORE.items()
    ]
    return cythonize(found, build_dir="build/core", include_path=[SOURCE], language_level=3)


def missing_links() -> str:
    """What to say where the tree was copied without its links, or with files in their place."""
    names = ("bench", "node", "ring", "router")
    missing = [n for n in names if not Path(SOURCE, "quorumcache", n, "__init__.py").is_file()]
    if not missing:
        return ""
    return (
        f"quorumcache: {SOURCE}/quorumcache has no {', '.join(missing)}. It is a link to"
        " quorumcache/, and that has links to the folders bench, node, ring and router. This copy"
        " of the tree has lost them: some ways to unpack or copy do not keep symbolic links."
        " Clone the repository with git (on Windows with core.symlinks=true), or unpack the source"
        " distribution."
    )


if __name__ == "__main__":
    if said := missing_links():
        sys.exit(said)
    setup(ext_modules=extensions(), cmdclass={"build_ext": CompileAndTell})
