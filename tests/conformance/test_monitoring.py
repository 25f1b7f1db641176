"""What monitoring agents read, by an agent's own parser: collectd's plugin for memcached.

collectd reads plain `stats` into 4,096 bytes, and drops what it cannot parse without a word. So a
real memcached is asked by the same program, and what comes out has to be the same set of numbers.
The exporter of Prometheus and the plugins of Telegraf and Netdata are in no package that can be
installed here; the keys that they need are held in tests/unit/node/admin/test_stats.py.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

from tests.conformance.test_transcripts import needs_memcached, running_memcached
from tests.support.clients import program
from tests.support.processes import running_node, wait_until
from tests.support.wire import Wire

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


OPERATIONS: Final = """
    decr_hits decr_misses delete_hits delete_misses evictions hits incr_hits incr_misses misses
"""
NUMBERS: Final = {
    *("connections-opened", "df-cache", "ps_count", "ps_cputime", "uptime"),
    *("memcached_connections-current", "memcached_items-current", "memcached_octets"),
    *("total_events-listen_disabled", "memcached_command-flush", "memcached_command-get"),
    *("memcached_command-meta", "memcached_command-set", "memcached_command-touch"),
    *(f"memcached_ops-{name}" for name in OPERATIONS.split()),
}
"""What collectd 5.12 makes of the statistics of memcached 1.6.18."""


def collected(port: int, directory: Path) -> dict[str, list[float]]:
    """What collectd makes of a server's statistics: its numbers, by their name. It looks once a
    second, and is ended when they have all been written.
    """
    directory.mkdir()
    configuration = directory / "collectd.conf"
    configuration.write_text(CONFIGURATION.format(directory=directory, port=port))
    found: dict[str, list[float]] = {}

    def has_all() -> bool:
        for path in (directory / "csv").rglob("*"):
            lines = path.read_text().splitlines() if path.is_file() else []
            if len(lines) > 1 and path.read_bytes().endswith(b"\n"):
                name = path.name[: -len("-2026-01-01")]  # A file per day.
                found[name] = [float(number) for number in lines[-1].split(",")[1:]]
        return set(found) >= NUMBERS

    command = [program("collectd", "collectd-core"), "-f", "-C", str(configuration)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            wait_until("collectd has written all", has_all)
        finally:
            process.terminate()
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
    counts = ["command-get", "command-set", "command-flush", "ops-hits", "ops-misses"]
    for name in [f"memcached_{name}" for name in counts] + ["memcached_ops-delete_misses"]:
        assert ours[name] == theirs[name], name
    used, free = ours["df-cache"]
    assert (used > 1000, used + free) == (True, 1 << 30)


def test_collectd_hears_of_a_node_that_is_full_of_numbers(tmp_path: Path) -> None:
    """The reply stays below what it reads, also of a node with a long name."""
    program("collectd", "collectd-core")
    with running_node(tmp_path / "node", "--memory", "900g", name="n" * 60) as node:
        use(node.port)
        used, free = collected(node.port, tmp_path / "ours")["df-cache"]
    assert used + free == 900 << 30
