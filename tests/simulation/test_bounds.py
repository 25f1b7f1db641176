"""The product's bounds, drawn small: all are there, nobody has another copy, and they come back."""

import ast
from importlib import import_module
from pathlib import Path
from random import Random

from tests.simulation import bounds
from tests.simulation.bounds import ALWAYS, BOUNDS, IMPORTED_BY, applied, draw_product_bounds

ROOT = Path(__file__).parents[2]


def value(name: str) -> int:
    place, last = bounds._place(name)
    return bounds._get(place, last)


def test_every_bound_is_one_of_the_product() -> None:
    for name, drawn in BOUNDS.items():
        assert all(small < value(name) or value(name) < 1024 for small in drawn), name


def test_a_copy_of_a_bounds_name_in_another_module_is_known() -> None:
    """A node with two values of one bound would be broken by the test itself."""
    found: dict[str, tuple[str, ...]] = {}
    for package in ("node", "router", "ring"):
        for path in sorted((ROOT / package).rglob("*.py")):
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            for statement in ast.walk(ast.parse(path.read_text())):
                if isinstance(statement, ast.ImportFrom):
                    home = (statement.module or "").removeprefix("quorumcache.")
                    for alias in statement.names:
                        name = f"{home}.{alias.name}"
                        if name in BOUNDS or name in ALWAYS:
                            found[name] = (*found.get(name, ()), module)
    assert found == IMPORTED_BY


def test_bounds_hold_meanwhile_and_come_back() -> None:
    before = {name: value(name) for name in (*BOUNDS, *ALWAYS)}
    small = {name: drawn[0] for name, drawn in BOUNDS.items()}
    with applied(small):
        assert {name: value(name) for name in BOUNDS} == small
        assert import_module("quorumcache.node.clients.connection").SLOTS_MAX == 2
    assert {name: value(name) for name in before} == before


def test_some_seeds_have_no_small_bound_and_some_have_most() -> None:
    counts = [len(draw_product_bounds(Random(seed))) for seed in range(50)]
    assert min(counts) == 0
    assert max(counts) > len(BOUNDS) // 2
