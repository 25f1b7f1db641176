"""The machine and the versions behind a figure: a figure without them is worth nothing."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Self

from quorumcache.bench.cluster import memcached_path
from quorumcache.bench.processes import repository_environment

_PACKAGES = ("quorumcache", "uvloop", "mmh3", "msgpack")


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """`cores`: processors this process may use. `load_before`: 1-minute load average at start."""

    cpu_model: str
    cores: int
    memory_bytes: int
    kernel: str
    system: str
    python: str
    versions: dict[str, str]
    load_before: float

    def lines(self) -> list[str]:
        """For people."""
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        return [
            f"machine   {self.cpu_model}, {self.cores} cores, {self.memory_bytes / 2**30:.1f} GiB",
            f"system    {self.system}, kernel {self.kernel}, load average {self.load_before:.2f}",
            f"versions  Python {self.python}, {versions}",
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain form for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        return cls(**data)


def read_environment() -> Environment:
    """Of this machine, now."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "from a checkout" if package == "quorumcache" else "missing"
    versions["quorumcache"] += _node_form()
    versions["memcached"] = _memcached_version()
    return Environment(
        cpu_model=_cpu_model(),
        cores=len(os.sched_getaffinity(0)),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        kernel=platform.release(),
        system=_system(),
        python=platform.python_version(),
        versions=versions,
        load_before=os.getloadavg()[0],
    )


def _cpu_model() -> str:
    names = ("model name", "Model", "Hardware")  # x86, then what various ARM kernels say
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        text = ""
    for name in names:
        for line in text.splitlines():
            if line.startswith(name) and ":" in line:
                return " ".join(line.partition(":")[2].split())
    return platform.processor() or platform.machine()


def _system() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    except OSError:
        return platform.system()


def _node_form() -> str:
    """Whether the nodes that this Python starts run compiled, as they say it themselves."""
    command = [sys.executable, "-P", "-m", "quorumcache.node", "--version"]
    try:
        done = subprocess.run(
            command,
            env=repository_environment(),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    _, bracket, form = done.stdout.strip().partition(" (")
    return f"{bracket}{form}"


def _memcached_version() -> str:
    path = memcached_path()
    if path is None:
        return "not installed"
    try:
        done = subprocess.run([path, "-V"], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return done.stdout.strip().removeprefix("memcached ") or "unknown"
