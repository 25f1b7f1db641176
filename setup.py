"""Compiles the data path with mypyc, and the native core with Cython, where that is possible;
everything else is in pyproject.toml.

mypyc makes C extensions of typed Python: the sources stay the only ones, and are what runs where
this did not work (`node/compiled.py` chooses). Without a C compiler the installation says so and
goes on. `QUORUMCACHE_COMPILED=0 pip install .` does not even try.

mypyc writes one C file per module, and all of them become one library, so that calls between
modules stay calls of C functions. They are compiled on all processors at once, those of `HOT` with
a link that optimises across them (docs/decisions.md, "The build").
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from glob import glob
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from shutil import copyfile
from tempfile import TemporaryDirectory

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

SOURCE = "src"
"""What is installed, `quorumcache`, as a link in a directory of its own (docs/decisions.md)."""

PACKAGE = f"{SOURCE}/quorumcache/node"
LIBRARY = "quorumcache.node.native"

_TABLE = ("item_slabs.c", "item_block.c", "item_index.c", "item_table.c")
CORE = {
    "items": _TABLE,
    "senders": (),
    "gets": ("get_lines.c", "key_token.c", *_TABLE),
    "sets": ("set_batch.c", *_TABLE),
    "client_sets": ("set_lines.c", "key_token.c"),
    "packer": (),
    "wire": ("crc32.c",),
    "log_writer": ("log_writer_thread.c",),
}
"""The native core, `node/core`: each Cython module, and the C files that belong to it."""

if sys.platform != "linux":
    del CORE["log_writer"]  # It has an eventfd. Its twin in Python runs.

CORE_SOURCES = ("*.py", "*.pyx", "*.pxd", "*.c", "*.h")
"""What the compiled form is made of, here and in `ring`."""

ROOMS = {
    ".": "cluster_time inbox state_machine",
    "clients": (
        "command_prefixes connection context conversation events failures fenced_gets"
        " forwarded_answers forwarded_gets handlers key_dump lanes large_handlers lock_handlers"
        " meta_args meta_handlers meta_requests meta_writes order plain_meta_gets plain_sets"
        " prefixes pumps quick_gets replies retrievals routed_gets slots touches"
        " transaction_handlers uploads value_streams watch windows write_room writes"
    ),
    "consensus": "*",
    "consensus/raft": "*",
    "directory": "state",
    "housekeeping": "evictions packing rounds",
    "operations": "*",
    "peers": (
        "beats bundles codec consensus_items consensus_transport datagram_paths datagrams items"
        " link network open_links peer"
    ),
    "protocol": "*",
    "replica": (
        "beating bundled evicting group host installing memory_room pacing proposed read_rounds"
        " snapshotting ticking turn_bounds turns"
    ),
    "storage": "disk_worker log_file",
    "store": "*",
    "telemetry": "counters timings",
    "wal": "chain format groups queue segment wal",
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


HOT = """
    inbox state_machine
    clients/connection clients/conversation clients/handlers clients/lanes clients/order
    clients/plain_meta_gets clients/plain_sets clients/pumps clients/quick_gets
    clients/replies clients/retrievals clients/routed_gets clients/slots clients/windows
    clients/writes
    consensus/log consensus/packed consensus/progress consensus/runs
    consensus/raft/commit consensus/raft/core consensus/raft/heartbeats consensus/raft/proposals
    consensus/raft/replication consensus/raft/state consensus/raft/wire
    operations/coordinator operations/deadlines operations/forwarded operations/forwarded_writes
    operations/forwards operations/leaders operations/numbering operations/operation
    operations/order operations/serving operations/sessions operations/write_bundles
    peers/beats peers/bundles peers/codec peers/consensus_items peers/consensus_transport
    peers/datagram_paths peers/datagrams peers/items peers/link peers/network peers/peer
    protocol/parser protocol/responses protocol/storage_lines
    replica/beating replica/bundled replica/group replica/host replica/proposed replica/ticking
    replica/turns
    storage/log_file
    store/effects store/eviction_queue store/item store/sessions store/state store/store
    wal/chain wal/format wal/groups wal/queue wal/segment wal/wal
"""
"""Modules whose code a get or a set of an ordinary item runs. They are optimised most, and linked
as one: forwarded requests took 4 % more without that, and the build took much longer when it was
done for all. Not: modules that only declare types."""

HOT_FLAGS = ["-O2", "-flto"]
COLD_FLAGS = ["-O1"]
LINK_AS_ONE = ["-flto=auto", "-O2"]

CHUNK_BYTES = 1_200_000
"""C files are put together up to this size: their headers take 0.13 s, a tenth of what most of them
take in all, and are read once for several files."""


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


def is_hot(source: str) -> bool:
    """Whether a C file is of a module of `HOT`, or of what mypyc gives to all of them."""
    name = Path(source).stem.removeprefix("__native_")
    prefix = PACKAGE.removeprefix(f"{SOURCE}/").replace("/", "___") + "___"
    if name.startswith(prefix):
        return name.removeprefix(prefix).replace("___", "/") in HOT.split()
    return name != LIBRARY.rpartition(".")[2]


def together(sources: list[str], name: str) -> list[str]:
    """Files that include `sources`, each of about `CHUNK_BYTES`; the largest first."""
    chunks: list[list[str]] = []
    room = 0
    for source in sorted(sources, key=os.path.getsize, reverse=True):
        if not chunks or os.path.getsize(source) > room:
            chunks.append([])
            room = CHUNK_BYTES
        chunks[-1].append(source)
        room -= os.path.getsize(source)
    made = []
    for number, chunk in enumerate(chunks):
        text = "".join(f'#include "{os.path.abspath(source)}"\n' for source in chunk)
        made.append(chunk_file(f"{name}_{number}", text))
    return made


def chunk_file(name: str, text: str) -> str:
    """The path of a C file that holds `text`."""
    path = Path("build/chunks", f"{name}.c")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def is_shim(extension: Extension) -> bool:
    """What mypyc makes for each module, so that Python finds it: its code is in the library."""
    return extension.sources == [f"build/{extension.name.replace('.', '/')}.c"]


def room_of(extension: Extension) -> str:
    """The package of its module."""
    return extension.name.rpartition(".")[0]


def read_sources() -> dict[str, bytes]:
    """What the compiled form is made of, by its path from `PACKAGE`."""
    return {
        os.path.relpath(path, PACKAGE): path.read_bytes()
        for package in (PACKAGE, f"{SOURCE}/quorumcache/ring")
        for pattern in CORE_SOURCES
        for path in Path(package).rglob(pattern)
    }


class CompileAndTell(build_ext):
    """Builds the extensions; the manifest is written only when this run has made all of them.

    What an earlier run left is removed first, also of modules that are no longer compiled. Python
    prefers a binary to the source beside it: an old one would be believed when this run fails, and
    would look for itself in a library without it when this run succeeds.
    """

    sources: dict[str, bytes] = {}
    """What `read_sources` returned before anything was compiled: a file that changes meanwhile is
    not what the manifest tells then, and is not run compiled."""

    def build_extensions(self) -> None:
        """The C files of an extension at once, which distutils compiles one by one."""
        compile_in_turn = self.compiler.compile
        self.as_one = links_as_one(self.compiler)

        def compile_one(source: str, options: dict) -> list[str]:
            flags = COLD_FLAGS if Path(source).name.startswith("cold_") else []
            if Path(source).name.startswith("hot_"):
                flags = HOT_FLAGS[: 1 + self.as_one]
            postargs = [*(options.get("extra_postargs") or ()), *flags]
            return compile_in_turn([source], **{**options, "extra_postargs": postargs})

        def compile_at_once(sources: list[str], **options: object) -> list[str]:
            with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
                made = pool.map(lambda source: compile_one(source, options), sources)
                return [path for paths in made for path in paths]

        self.compiler.compile = compile_at_once
        self.shims = {}
        super().build_extensions()

    def build_extension(self, extension: Extension) -> None:
        """Of the library, hot and cold files are compiled apart. The small libraries that Python
        finds beside the sources, one for each module, are the same one within a room.
        """
        if extension.name.startswith(LIBRARY):
            hot = [source for source in extension.sources if is_hot(source)]
            cold = [source for source in extension.sources if not is_hot(source)]
            extension.sources = [*together(hot, "hot"), *together(cold, "cold")]
            if self.as_one:
                extension.extra_link_args = [*extension.extra_link_args, *LINK_AS_ONE]
        elif is_shim(extension):
            target = Path(self.get_ext_fullpath(extension.name))
            target.parent.mkdir(parents=True, exist_ok=True)
            copyfile(self.shims_of(room_of(extension)), target)
            return
        super().build_extension(extension)

    def shims_of(self, room: str) -> str:
        """The library with the shims of all modules of a room."""
        if room not in self.shims:
            shims = [one for one in self.extensions if is_shim(one) and room_of(one) == room]
            # Each has a PyInit___init__ beside its own, for which nobody asks.
            text = "".join(
                f"#define PyInit___init__ unused_{number}\n"
                f'#include "{os.path.abspath(shim.sources[0])}"\n'
                "#undef PyInit___init__\n"
                for number, shim in enumerate(shims)
            )
            objects = self.compiler.compile(
                [chunk_file(f"shims_{len(self.shims)}", text)],
                output_dir=self.build_temp,
                extra_postargs=["-Os", "-g0", "-w"],
            )
            path = str(Path(self.build_temp, f"shims_{len(self.shims)}.so"))
            self.compiler.link_shared_object(objects, path, extra_postargs=["-s"])
            self.shims[room] = path
        return self.shims[room]

    def run(self) -> None:
        binaries = [Path(self.get_ext_fullpath(extension.name)) for extension in self.extensions]
        directory = Path(self.get_ext_fullpath("quorumcache.node.module")).parent
        target = directory / "compiled.json"
        suffix = self.get_ext_filename("x").removeprefix("x")
        # `build_ext --inplace` copies from the second, and takes what it finds there for new.
        places = (directory, Path(self.build_lib))
        old = {path for place in places for path in place.rglob(f"*{suffix}") if not path.is_dir()}
        for path in {target, *binaries, *old}:
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
        names = [str(path.relative_to(directory)) for path in binaries]
        assert self.sources, "nobody has read them: the manifest would hold for any"
        target.write_text(compiled.manifest(self.sources, names, suffix))


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
    CompileAndTell.sources = read_sources()
    setup(ext_modules=extensions(), cmdclass={"build_ext": CompileAndTell})
