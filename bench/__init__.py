"""quorumcache-bench: measures a cluster beside a real memcached, on this machine.

Read in this order: errors.py, addresses.py, workload.py, scenarios.py and histogram.py (what is
asked, and how long it takes), timer.py, connection.py, loadgen.py and worker.py (the load),
ports.py, processes.py, procfs.py and driver.py (load processes and who starts them), text_client.py
and cluster.py (what is measured), environment.py and report.py (the answer), measure.py (one
measurement), expected.py (what a key may hold), failover.py, timeline.py, chart.py, goals.py (what
a measurement is held to), changes.py, mixed_load.py and stages.py (a steady load while a cluster
changes), elastic.py, moving.py, idle.py, memory_parts.py, memory.py and memory_report.py (where the
memory of an item is), probe.py, large.py, client.py, tasks.py, locks.py, transactions.py and
contended.py (the other questions), traces.py, replay.py, curves.py and hitratio.py (which items a
full cache keeps), race_load.py (a load in C), race_peers.py, race.py, bars.py, race_report.py and
race_command.py (side by side with memcached and redis), restart.py (how fast a node is back),
flag_values.py, options.py, outcome.py and __main__.py (the command line).
Each imports only what stands before it.
"""

from quorumcache.bench.errors import BenchError
from quorumcache.bench.histogram import Histogram
from quorumcache.bench.report import Report
from quorumcache.bench.workload import Workload

__all__ = ["BenchError", "Histogram", "Report", "Workload"]
