"""What monitoring agents read, by an agent's own parser: collectd's plugin for memcached.

collectd reads plain `stats` into 4,096 bytes, and drops what it cannot parse without a word. So a
real memcached is asked by the same program, and what comes out has to be the same set of numbers.
The exporter of Prometheus and the plugins of Telegraf and Netdata are in no package that can be
installed here; the keys that they need are held in tests/unit/node/admin/test_stats.py.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.conformance.test_transcripts import needs_memcached, running_memcached
from tests.support.clients import program
from tests.support.processes import running_node
from tests.support.wire import DEADLINE_S, Wire

CONFIGURATION = """
Hostname "host"
FQDNLookup false
BaseDir "{directory}"
Interval 1
LoadPlugin logfile
<Plugin logfile>
  LogLevel info
  File STDOUT
</Plugin>
LoadPlugin memcached
<Plugin memcached>
  <Instance "node">
    Address "127.0.0.1"
    Port "{port}"
  </Instance>
</Plugin>
LoadPlugin csv
<Plugin csv>
  DataDir "{directory}/csv"
</Plugin>
"""


def collected(port: int, directory: Path) -> dict[str, list[float]]:
    """What collectd makes of one look at a server: its numbers, by their name."""
    directory.mkdir()
    configuration = directory / "collectd.conf"
    configuration.write_text(CONFIGURATION.format(directory=directory, port=port))
    done = subprocess.run(
        [program("collectd", "collectd-core"), "-T", "-C", str(configuration)],
        check=True,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    found = {}
    for path in (directory / "csv").rglob("*"):
        if path.is_file():
            *_, last = path.read_text().split()
            name = path.name[: -len("-2026-01-01")]  # A file per day.
            found[name] = [float(number) for number in last.split(",")[1:]]
    assert found, done.stdout
    return found


def use(port: int) -> None:
    with Wire(port) as wire:
        for number in range(5):
            assert wire.set(b"k%d" % number, b"v" * 1000) == b"STORED\r\n"
        for number in range(3):
            assert wire.get(b"k%d" % number) is not None
        assert wire.get(b"none") is None
        assert wire.ask(b"delete none") == b"NOT_FOUND\r\n"
        assert wire.ask(b"flush_all") == b"OK\r\n"
        assert wire.set(b"k", b"v" * 1000) == b"STORED\r\n"


@needs_memcached
def test_collectd_reads_from_a_node_what_it_reads_from_memcached(tmp_path: Path) -> None:
    program("collectd", "collectd-core")  # Before anything is started.
    with running_memcached() as port:
        use(port)
        theirs = collected(port, tmp_path / "theirs")
    with running_node(tmp_path / "node") as node:
        use(node.port)
        ours = collected(node.port, tmp_path / "ours")
    assert set(ours) >= set(theirs)
    assert len(theirs) > 15
    counts = ["command-get", "command-set", "command-flush", "ops-hits", "ops-misses"]
    for name in [f"memcached_{name}" for name in counts] + ["memcached_ops-delete_misses"]:
        assert ours[name] == theirs[name], name
    used, free = ours["df-cache"]
    assert (used > 1000, used + free) == (True, 1 << 30)


def test_collectd_hears_of_a_node_that_is_full_of_numbers(tmp_path: Path) -> None:
    """The reply stays below what it reads, also in a cluster whose numbers are large."""
    program("collectd", "collectd-core")
    with running_node(tmp_path / "node", name="n" * 60) as node:
        use(node.port)
        assert "uptime" in collected(node.port, tmp_path / "ours")
