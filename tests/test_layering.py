"""Goal: the boundaries that deterministic simulation stands on. They are lost one import at a time.

Method: every module's syntax tree is walked; nothing is imported. Four rules:

1. Packages know each other one way only (`PACKAGES`).
2. Pure modules (`PURE`) import nothing that touches the world, nor a module that is not pure.
3. Code that runs in the simulation (`node`, `ring`) reaches the operating system only where `EDGES`
   says so.
4. Traps of Python that make two runs differ: module-level randomness, built-in `hash` and `id`, and
   the order of a set.

A failure names file and line. Extend a list only together with the reason.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

PACKAGES = {
    "ring": {"ring"},
    "node": {"node", "ring"},
    "router": {"router", "ring"},  # node and router meet on the wire
    "bench": {"bench", "router", "ring"},  # it starts nodes as processes
}

PROJECT = "quorumcache"

PURE = (
    "ring/*",
    "node/consensus/*",
    "node/core/*",
    "node/store/*",
    "node/protocol/*",
    "node/directory/addresses.py",
    "node/directory/chronicle.py",
    "node/directory/question.py",
    "node/directory/state.py",
    "node/replica/pacing.py",
    "node/replica/steering.py",
    "node/peers/founding_frames.py",
    "node/peers/founding_secret.py",
    "node/storage/checksum.py",
    "node/storage/disk_space.py",
    "node/storage/founding_record.py",
    "node/storage/starts.py",
    "node/wal/format.py",
    "node/wal/groups.py",
    "node/wal/queue.py",
    "node/peers/consensus_items.py",
    "node/peers/codec.py",
    "node/peers/items.py",
    "node/peers/proofs.py",
    "node/peers/strangers.py",
    "node/alarms.py",
    "node/settings/*",
    "node/state_machine.py",
    "node/telemetry/counters.py",
    "node/errors.py",
    "node/clients/lanes.py",
    "node/clients/write_room.py",
    "node/operations/failure.py",
    "node/operations/forward_forms.py",
    "node/operations/lock_answers.py",
    "node/operations/numbering.py",
    "node/operations/order.py",
    "node/operations/read_levels.py",
    "node/telemetry/timings.py",
    "node/version.py",
    "router/arguments.py",
    "router/commands/script.py",
    "router/commands/words.py",
    "router/codec.py",
    "router/config.py",
    "router/error_lines.py",
    "router/errors.py",
    "router/fencing.py",
    "router/leases.py",
    "router/identities.py",
    "router/levels.py",
    "router/lock_requests.py",
    "router/requests.py",
    "router/retry.py",
    "router/routing.py",
    "router/transaction_draft.py",
    "router/transaction_requests.py",
    "bench/errors.py",
    "bench/histogram.py",
    "bench/workload.py",
)

MICRO = "bench/micro/"  # measures pure parts of the node alone, so it may import them
_STEPS = "takes the steps of a request, of which most are in rooms that touch the world"
MICRO_NODES = {
    "bench/micro/clients.py": "runs a whole node in its process, without the kernel",
    "bench/micro/budget.py": "measures a send on a socket, too",
    "bench/micro/get_budget.py": _STEPS,
    "bench/micro/set_budget.py": _STEPS,
    "bench/micro/log_budget.py": _STEPS,
    "bench/micro/stand_ins.py": _STEPS,
}

# What touches the world: time, files, sockets, threads, logs, other processes, fresh randomness.
WORLD = {
    *("asyncio", "uvloop", "selectors", "socket", "ssl", "signal"),
    *("threading", "multiprocessing", "concurrent", "subprocess", "queue"),
    *("time", "datetime", "os", "io", "pathlib", "tempfile", "shutil", "fcntl", "resource"),
    *("secrets", "uuid", "logging", "prometheus_client"),
}

# Rule 3. asyncio and logging are what edges are made of; the rest needs a reason.
FREE_AT_EDGES = {"asyncio", "logging", "prometheus_client"}
_PROCESS = "the process around the node; the simulation builds nodes without it"
_DISK = "the one place where files are touched: real_disk.py and what it is made of"
EDGES: dict[str, dict[str, str]] = {
    "node/clock.py": {"time": "the one place where time is read"},
    "node/storage/real_disk.py": {"*": _DISK},
    "node/storage/disk_calls.py": {"*": _DISK},
    "node/storage/log_writer.py": {"*": _DISK},
    "node/storage/disk_worker.py": {"*": "the threads of the one place where files are touched"},
    "node/system/heap.py": {"*": "the C library's memory; the simulation has no use for it"},
    "node/system/descriptors.py": {"*": "limits of the process; used by run.py and disk_calls"},
    "node/__main__.py": {"*": _PROCESS},
    "node/compiled.py": {"*": "chooses the form of the code, before there is any"},
    "node/process/event_loop.py": {"*": _PROCESS},
    "node/process/run.py": {"*": _PROCESS},
    "node/process/launch.py": {"*": _PROCESS},
    "node/process/supervisor.py": {"*": _PROCESS},
    "node/process/local_cluster.py": {"*": _PROCESS},
    "node/process/given_secret.py": {"*": "reads the secret's file, before there is a node"},
    "node/process/given_users.py": {"*": "reads the file of users, before there is a node"},
    "node/process/control.py": {"*": _PROCESS},
    "node/process/up.py": {"*": _PROCESS},
    "node/process/up_commands.py": {"*": _PROCESS},
    "node/process/options.py": {"*": "reads the configuration file, before there is a node"},
    "node/telemetry/streams.py": {"*": _PROCESS},
    "node/process/signals.py": {"*": _PROCESS},
    "node/process/child.py": {"*": _PROCESS},
    "node/telemetry/logs.py": {"datetime": "formats the time that a log record carries"},
    "node/admin/metrics.py": {"*": "scraped over HTTP; nothing of it decides anything"},
    "node/admin/stat_general.py": {
        "os": "process id, a number in `stats`",
        "resource": "processor time, numbers in `stats`",
    },
    "node/peers/link.py": {"socket": "constants: TCP_NODELAY"},
    "node/system/kernel_timing.py": {"socket": "options of TCP, set on what the loop opened"},
    "node/clients/watch.py": {"socket": "constants: SO_KEEPALIVE"},
    "node/system/senders.py": {"os": "writes to the socket of a transport that it was given"},
    "node/system/listeners.py": {"socket": "constants: AI_PASSIVE"},
    "node/system/port_holder.py": {"*": "asks Linux who has a port, when a node cannot start"},
    "node/system/unix_sockets.py": {"*": "Unix sockets are files; the simulation has none"},
    # Of `ring`, what nodes and clients both need of the world. The rest of it is pure, and so is
    # what `import quorumcache.ring` loads.
    "ring/streams.py": {"*": "the standard streams of every command, before there is any more"},
    "ring/local_control.py": {"*": "commands speak to a local cluster over a socket of its own"},
    "ring/names.py": {
        "socket": "what IP addresses look like; look-ups for the loops of a real process",
        "threading": "a look-up in a thread of its own; other loops are asked themselves",
    },
}

ENTROPY = "node/process/run.py"
"""Takes the system's random numbers, for secrets, and hands them down as a `Random`."""

SET_MAKERS = ("set", "frozenset")

Violation = tuple[int, str]


def is_pure(path: str) -> bool:
    """What `PURE` names, but for what has its reason in `EDGES`."""
    return path not in EDGES and any(fnmatch(path, pattern) for pattern in PURE)


def modules() -> list[str]:
    return sorted(
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
    )


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of all imports anywhere; `from a import b` gives a and a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute"
            yield node.lineno, node.module or ""
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


def package_of(dotted: str) -> str:
    """`ring` for `quorumcache.ring.errors`; for what is not ours, the first name."""
    first, _, rest = dotted.partition(".")
    return rest.partition(".")[0] if first == PROJECT else first


def called_name(node: ast.AST) -> str:
    """`f` if the node is a call of the plain name f, else ""."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return node.func.id
    return ""


def file_of(dotted: str) -> str | None:
    """The file of a module of this project; None for names that are no module."""
    path = dotted.removeprefix(f"{PROJECT}.").replace(".", "/")
    for candidate in (f"{path}.py", f"{path}/__init__.py", f"{path}.pyi"):
        if (ROOT / candidate).is_file():
            return candidate
    return None


def package_violations(path: str, tree: ast.AST) -> Iterator[Violation]:
    package = path.split("/")[0]
    for line, name in imports(tree):
        top = package_of(name)
        if name.split(".")[0] in PACKAGES:
            yield line, f"import {name} as {PROJECT}.{name}: only that is installed"
        if path in MICRO_NODES and top == "node":
            continue
        if path.startswith(MICRO) and top == "node":
            source = file_of(name)
            if source and not source.endswith("__init__.py") and not is_pure(source):
                yield line, f"{MICRO} measures pure modules, {name} is none"
        elif top == "tests" or (top in PACKAGES and top not in PACKAGES[package]):
            yield line, f"{package} may not import {name}"


def purity_violations(path: str, tree: ast.AST) -> Iterator[Violation]:
    for line, name in imports(tree):
        top = name.split(".")[0]
        if top in WORLD:
            yield line, f"pure, but imports {name}"
        if name == "random" and not from_import(tree, line):
            yield line, "import `Random` from random, and receive an instance"
        source = file_of(name) if top == PROJECT else None
        # A package's own __init__ only lists names.
        if source and not source.endswith("__init__.py") and not is_pure(source):
            yield line, f"pure, but imports {name}, which is not"
    for node in ast.walk(tree):
        if called_name(node) in ("open", "print", "input"):
            yield node.lineno, f"pure, but calls {called_name(node)}"


def from_import(tree: ast.AST, line: int) -> bool:
    return any(isinstance(n, ast.ImportFrom) and n.lineno == line for n in ast.walk(tree))


def edge_violations(path: str, tree: ast.AST) -> Iterator[Violation]:
    allowed = EDGES.get(path, {})
    if "*" in allowed:
        return
    for line, name in imports(tree):
        top = name.split(".")[0]
        if top in WORLD and top not in FREE_AT_EDGES and top not in allowed:
            yield line, f"imports {name}: ask the loop, the clock or the disk, or say why in EDGES"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called == "open" or called.endswith((".run_in_executor", "asyncio.to_thread")):
                yield (
                    node.lineno,
                    f"calls {called}: files and threads belong to node/storage/real_disk.py",
                )


def trap_violations(path: str, tree: ast.AST) -> Iterator[Violation]:
    """Rule 4. `hash` and `id` and set order are of no matter where nothing is replicated."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "random":
            if node.attr != "Random" and imports_random(tree):
                yield node.lineno, f"random.{node.attr} is the module's: hand a Random down"
        elif isinstance(node, ast.ImportFrom) and node.module == "random":
            for alias in node.names:
                if alias.name != "Random" and (alias.name, path) != ("SystemRandom", ENTROPY):
                    yield node.lineno, f"random.{alias.name} is the module's: hand a Random down"
        elif is_pure(path) and called_name(node) in ("hash", "id"):
            yield node.lineno, f"{called_name(node)}() differs from process to process"
    if is_pure(path):
        yield from set_order_violations(tree)


def imports_random(tree: ast.AST) -> bool:
    return any(isinstance(n, ast.Import) and n.names[0].name == "random" for n in ast.walk(tree))


def set_order_violations(tree: ast.AST) -> Iterator[Violation]:
    """Loops, lists and tuples over what is visibly a set: a display, a call of set, or a name or
    attribute that is somewhere in the module bound to one. `sorted(a_set)` is the way."""
    names = set(names_of_sets(tree))
    free = order_free(tree)

    def is_set(node: ast.expr) -> bool:
        if isinstance(node, ast.Set | ast.SetComp):
            return True
        if called_name(node) in SET_MAKERS:
            return True
        if isinstance(node, ast.BinOp):
            return is_set(node.left) or is_set(node.right)
        return isinstance(node, ast.Name | ast.Attribute) and ast.unparse(node) in names

    for node in ast.walk(tree):
        walked: list[ast.expr] = []
        if isinstance(node, ast.For | ast.AsyncFor):
            walked = [node.iter]
        elif isinstance(node, ast.ListComp | ast.GeneratorExp | ast.DictComp):
            walked = [part.iter for part in node.generators]
            if id(node) in free:
                walked = []
        elif called_name(node) in ("list", "tuple", "enumerate", "iter", "zip", "map"):
            walked = node.args  # type: ignore[attr-defined]
        for expression in walked:
            if is_set(expression):
                yield expression.lineno, f"the order of {ast.unparse(expression)} is not fixed"


def order_free(tree: ast.AST) -> set[int]:
    """Generators whose consumer gives the same result in every order."""
    free = ("sorted", "set", "frozenset", "any", "all", "len", "min", "max")
    return {
        id(argument)
        for node in ast.walk(tree)
        if called_name(node) in free
        for argument in node.args  # type: ignore[attr-defined]
    }


def names_of_sets(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign):
            if ast.unparse(node.annotation).startswith(("set[", "frozenset[", "AbstractSet[")):
                yield ast.unparse(node.target)
        elif isinstance(node, ast.arg) and node.annotation is not None:
            if ast.unparse(node.annotation).startswith(("set[", "frozenset[", "AbstractSet[")):
                yield node.arg
        elif isinstance(node, ast.Assign):
            value = node.value
            if isinstance(value, ast.Set | ast.SetComp) or called_name(value) in SET_MAKERS:
                for target in node.targets:
                    yield ast.unparse(target)


def violations(path: str, source: str) -> list[str]:
    tree = ast.parse(source)
    found = [*package_violations(path, tree), *trap_violations(path, tree)]
    if is_pure(path):
        found += purity_violations(path, tree)
    elif path.startswith(("node/", "ring/")):
        found += edge_violations(path, tree)
    return [f"{path}:{line}: {text}" for line, text in sorted(set(found))]


def test_no_module_breaks_a_boundary() -> None:
    found = [line for path in modules() for line in violations(path, (ROOT / path).read_text())]
    assert not found, "\n" + "\n".join(found)


def test_every_rule_names_something_that_exists() -> None:
    """A renamed module must not slip out of its rule."""
    paths = modules()
    for pattern in PURE:
        assert any(fnmatch(path, pattern) for path in paths), pattern
    missing = [path for path in EDGES if path not in paths]
    assert not missing


@pytest.mark.parametrize(
    ("path", "source", "text"),
    [
        (
            "ring/x.py",
            "import quorumcache.node.errors",
            "ring may not import quorumcache.node.errors",
        ),
        (
            "router/x.py",
            "from quorumcache.node import Node",
            "router may not import quorumcache.node",
        ),
        (
            "node/x.py",
            "def f():\n    from quorumcache.router import Client",
            "node may not import quorumcache.router",
        ),
        (
            "bench/x.py",
            "import quorumcache.node",
            "bench may not import quorumcache.node",
        ),
        (
            "bench/micro/x.py",
            "from quorumcache.node.replica.host import ReplicaHost",
            "measures pure modules",
        ),
        ("router/x.py", "from ring import place", "import ring as quorumcache.ring"),
        ("node/x.py", "from tests.support import y", "node may not import tests"),
        ("ring/x.py", "import asyncio", "pure, but imports asyncio"),
        (
            "ring/__init__.py",
            "from quorumcache.ring.names import Names",
            "quorumcache.ring.names, which is not",
        ),
        ("ring/names.py", "import time", "imports time: ask the loop"),
        ("node/store/x.py", "from time import monotonic", "pure, but imports time"),
        ("node/store/x.py", "def f():\n    import os.path", "pure, but imports os.path"),
        (
            "node/protocol/x.py",
            "from quorumcache.node.clock import Clock",
            "quorumcache.node.clock, which is not",
        ),
        (
            "node/protocol/x.py",
            "from quorumcache.node import clock",
            "quorumcache.node.clock, which is not",
        ),
        ("node/consensus/raft/x.py", "import logging", "pure, but imports logging"),
        ("node/store/x.py", "open('f')", "pure, but calls open"),
        ("node/store/x.py", "import random", "import `Random`"),
        ("node/x.py", "import time", "imports time: ask the loop"),
        ("node/x.py", "import socket", "imports socket: ask the loop"),
        ("node/wal/x.py", "open('f')", "calls open: files"),
        ("node/x.py", "loop.run_in_executor(None, f)", "files and threads"),
        ("node/x.py", "import random\nx = random.random()", "random.random is the module's"),
        ("router/x.py", "from random import choice", "random.choice is the module's"),
        ("node/x.py", "from random import SystemRandom", "random.SystemRandom is the module's"),
        ("ring/x.py", "hash('a')", "hash() differs"),
        ("ring/x.py", "for i in {1, 2}:\n    pass", "the order of {1, 2} is not fixed"),
        ("ring/x.py", "list(set(a))", "the order of set(a) is not fixed"),
        ("ring/x.py", "x = set(a)\n[i for i in x]", "the order of x is not fixed"),
        ("ring/x.py", "x: set[int] = f()\nfor i in x - y:\n    pass", "the order of x - y"),
        ("ring/x.py", "def f(x: set[int]):\n    return tuple(x)", "the order of x is not fixed"),
    ],
)
def test_the_rules_bite(path: str, source: str, text: str) -> None:
    found = violations(path, source)
    assert len(found) >= 1
    assert text in found[0]


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("ring/x.py", "from random import Random\nimport msgpack"),
        ("node/x.py", "import asyncio\nimport logging\nfrom quorumcache.ring import ClusterMap"),
        ("node/consensus/x.py", "from quorumcache.node.errors import NodeError"),
        ("ring/x.py", "x = set(a)\nfor i in sorted(x):\n    pass\ny = 1 in x\nlen(x)"),
        ("ring/x.py", "x = {1}\nany(i for i in x)"),
        ("bench/x.py", "import time\nimport subprocess"),
        ("node/x.py", "self.random.random()\nrandom.uniform(0, 1)"),
    ],
)
def test_the_rules_leave_the_rest_alone(path: str, source: str) -> None:
    assert violations(path, source) == []
