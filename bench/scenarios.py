"""The named workloads: one TOML file each in `scenarios/`, its name is the file's."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path

from quorumcache.bench.errors import WorkloadError
from quorumcache.bench.workload import Workload

DIRECTORY = Path(__file__).resolve().parent / "scenarios"


def names() -> list[str]:
    """All named workloads, in order of name."""
    return sorted(path.stem for path in DIRECTORY.glob("*.toml"))


def load(name: str) -> Workload:
    """The workload called `name`; a path of a TOML file does as well. WorkloadError otherwise."""
    path = Path(name) if name.endswith(".toml") else DIRECTORY / f"{name}.toml"
    if not name.endswith(".toml") and name not in names():
        raise WorkloadError(f"no scenario {name!r}; there are: {', '.join(names())}")
    try:
        data = tomllib.loads(path.read_text())
    except OSError as error:
        raise WorkloadError(f"{name}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise WorkloadError(f"{name}: not a TOML file: {error}") from None
    data.setdefault("name", path.stem)
    return Workload.from_dict(data)


def load_all(chosen: Sequence[str]) -> list[Workload]:
    """Those chosen, in the given order; all when none is chosen."""
    return [load(name) for name in (chosen or names())]
