"""quorumcache-bench: how fast is a cluster, beside a real memcached, on this machine.

Reading order: `workload.py` and `histogram.py` (pure), `connection.py` and `loadgen.py` (the load),
`worker.py` and `driver.py` (load processes and who starts them), `cluster.py` (what is measured),
`measure.py` (one measurement), `failover.py`, `idle.py`, `memory.py` (the other questions),
`report.py` (the answer), `options.py` and `__main__.py` (the command line).
"""

from quorumcache.bench.errors import BenchError
from quorumcache.bench.histogram import Histogram
from quorumcache.bench.report import Report
from quorumcache.bench.workload import Workload

__all__ = ["BenchError", "Histogram", "Report", "Workload"]
