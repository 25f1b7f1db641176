"""Goal: a newcomer can tell from the layout who uses whom, and it stays that way.

Method: imports are read from the sources, those for type checkers included; nothing is imported.
Rules:

1. Each room of the node, and each module on its own floor, imports only what `MAY_IMPORT`
   names for it, and that stands above it: so imports run one way.
2. No two modules anywhere import each other, not even over others.
3. The modules of ring, router, bench and each room of the node import only what their package's
   docstring names before.
4. A file is read in one sitting, and the node's own floor is seen at a glance.

A failure names the file. Extend the table only together with the reason.
"""

from __future__ import annotations

import ast
import re
from graphlib import CycleError, TopologicalSorter

import pytest

from tests.test_layering import PACKAGES, ROOT, file_of, imports, modules

FLOOR_MAX = 14
"""Files on the node's own floor."""

LINES_MAX = 450
"""Of every file of the four packages."""

MAY_IMPORT: dict[str, str] = {
    # Values, and what the whole node shares. From here on, each line may name only lines above.
    "version": "",
    "errors": "",
    "clock": "",
    "alarms": "",
    "compiled": "",
    "cluster_time": "clock",
    "settings": "errors",
    "telemetry": "",
    "core": "",  # C and Cython, which nothing here reads; of the node it knows `TIMED` and `Entry`.
    "system": "errors alarms telemetry core",
    # What decides: pure.
    "state_machine": "errors core",
    "consensus": "core",
    # What lasts.
    "storage": "version errors telemetry system core consensus",
    "wal": "version errors clock core consensus storage",
    "store": "errors state_machine core",
    "protocol": "state_machine store",
    # What one node is made of.
    "peers": "errors clock telemetry system core consensus storage",
    "replica": "errors clock cluster_time telemetry state_machine consensus storage wal",
    "operations": "errors clock cluster_time telemetry state_machine store peers replica",
    "founding": (
        "version errors clock cluster_time settings telemetry system state_machine consensus"
        " storage wal store peers"
    ),
    "directory": (
        "errors clock alarms settings telemetry state_machine consensus storage store peers replica"
        " founding"
    ),
    "housekeeping": (
        "errors clock alarms cluster_time settings telemetry state_machine consensus storage"
        " wal store peers replica founding"
    ),
    "admin": (
        "version clock alarms compiled cluster_time settings telemetry system state_machine"
        " consensus storage store protocol"
    ),
    "clients": (
        "version telemetry system state_machine core store protocol replica operations directory"
    ),
    # What puts it together.
    "inbox": (
        "errors cluster_time telemetry peers replica operations founding directory housekeeping"
    ),
    "basics": (
        "errors clock alarms cluster_time settings telemetry system storage wal peers replica"
        " directory housekeeping"
    ),
    "member": (
        "errors telemetry state_machine consensus store peers replica operations founding directory"
        " housekeeping inbox basics"
    ),
    "observed": "storage peers operations founding admin clients basics member",
    "node": (
        "errors clock settings state_machine consensus storage store peers replica operations"
        " founding housekeeping admin clients basics member observed"
    ),
    "process": "errors clock settings telemetry system consensus storage founding node",
    "__main__": "version errors compiled telemetry process",
}


def room_of(path: str) -> str:
    """`wal` for node/wal/groups.py, `clock` for node/clock.py."""
    parts = path.removesuffix(".py").split("/")
    return "compiled" if parts == ["node", "__init__"] else parts[1]


def imported_files(path: str) -> set[str]:
    """The files of this project that a module imports. A package's `__init__` counts only where
    no module of it is meant."""
    found = set()
    for _, name in imports(ast.parse((ROOT / path).read_text())):
        if not name.startswith("quorumcache."):
            continue
        source = file_of(name)
        if source is not None and source != path and not source.endswith("__init__.py"):
            found.add(source)
    return found


def test_rooms_import_only_what_they_may() -> None:
    used: dict[str, set[str]] = {room: set() for room in MAY_IMPORT}
    wrong = []
    for path in modules():
        if not path.startswith("node/"):
            continue
        room = room_of(path)
        for source in sorted(imported_files(path)):
            other = room_of(source)
            if not source.startswith("node/") or other == room:
                continue
            used[room].add(other)
            if other not in MAY_IMPORT[room].split():
                wrong.append(f"{path} imports {source}: node/{room} may not know node/{other}")
    assert not wrong, "\n" + "\n".join(wrong)
    idle = {room: sorted(set(MAY_IMPORT[room].split()) - used[room]) for room in MAY_IMPORT}
    assert not any(idle.values()), {room: names for room, names in idle.items() if names}


def test_the_table_runs_one_way() -> None:
    above: set[str] = set()
    for room, allowed in MAY_IMPORT.items():
        upwards = set(allowed.split()) - above
        assert not upwards, f"node/{room} imports upwards: {sorted(upwards)}"
        above.add(room)


def test_no_modules_import_each_other() -> None:
    graph = {path: imported_files(path) for path in modules()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError(" -> ".join(error.args[1])) from None


ROOMS = sorted(
    path.removesuffix("/__init__.py")
    for path in modules()
    if path.startswith("node/") and path.count("/") > 1 and path.endswith("/__init__.py")
)


@pytest.mark.parametrize("package", ["ring", "router", "router/commands", "bench", *ROOMS])
def test_a_package_is_read_from_its_first_module_to_its_last(package: str) -> None:
    """The docstring of each names its modules in an order in which none needs a later one: as
    `name.py`, in the rooms of the node as `name` in backquotes. bench/micro, which measures the
    node's modules, stands beside that order, and a room within a room has one of its own."""
    text = ast.get_docstring(ast.parse((ROOT / package / "__init__.py").read_text())) or ""
    form = r"`([a-z_]+)`" if package in ROOMS else r"\b(\w+)\.py\b"
    order = list(dict.fromkeys(re.findall(form, text)))
    named = [f"{package}/{name}.py" for name in order]
    there = [path for path in modules() if path.rpartition("/")[0] == package]
    assert sorted(named) == [path for path in there if not path.endswith("__init__.py")]
    wrong = [
        f"{path} imports {source}, which stands behind it in {package}/__init__.py"
        for place, path in enumerate(named)
        for source in sorted(imported_files(path) & set(named[place:]))
    ]
    assert not wrong, "\n" + "\n".join(wrong)


def test_files_are_read_in_one_sitting() -> None:
    lines = {path: (ROOT / path).read_text().count("\n") for path in modules()}
    long = {path: count for path, count in lines.items() if count > LINES_MAX}
    assert not long, f"divide them: {long}"


def test_the_node_is_seen_at_a_glance() -> None:
    floor = sorted(path.name for path in (ROOT / "node").glob("*.py"))
    assert len(floor) <= FLOOR_MAX, floor


def test_the_walk_sees_imports_of_all_kinds() -> None:
    assert "node/clock.py" in imported_files("node/node.py")
    assert {path.split("/")[0] for path in modules()} == set(PACKAGES)
