"""quorumcache-bench: how fast is a cluster, beside a real memcached, on this machine.

Reading order: `workload.py` and `histogram.py` (pure), `connection.py` and `loadgen.py` (the load),
`worker.py` and `driver.py` (load processes and who starts them), `cluster.py` (what is measured),
`measure.py` (one measurement), `failover.py`, `idle.py`, `memory.py` (the other questions),
`report.py` (the answer), `options.py` and `__main__.py` (the command line).
"""

from bench.errors import BenchError
from bench.histogram import Histogram
from bench.report import Report
from bench.workload import Workload

__all__ = ["BenchError", "Histogram", "Report", "Workload"]
