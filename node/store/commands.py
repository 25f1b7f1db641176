"""The commands of a store: ops, and what each carries (the form: `state_machine.py`).

| op | key | args |
|---|---|---|
| OP_SET, OP_ADD, OP_REPLACE | key | data, exptime |
| OP_CAS | key | data, exptime, cas unique |
| OP_APPEND, OP_PREPEND | key | value |
| OP_DELETE | key | |
| OP_INCR, OP_DECR | key | delta |
| OP_TOUCH, OP_GAT | key | exptime |
| OP_FLUSH | `b""` | delay |
| OP_EXPIRE | `b""` | ((key, cas unique), ...) |
| OP_TICK | `b""` | |
| OP_SESSION_OPEN | `b""` | (opens the session named in the first field) |
| OP_SESSION_EXPIRE | `b""` | (session, ...), [idle_ms] |
| OP_REFUSE | key | (stands in for a command that its leader had no room for) |

`data` is the wire form of a value, `b" <flags> <length>\\r\\n<value>\\r\\n"`; `value` is the bare
bytes. `exptime` and `delay` are the numbers of the memcached line; `apply` gives them a meaning
with the batch's times. Session 0 is no session: such a command is never deduplicated.
"""

from typing import Final

OP_SET: Final = 1
OP_ADD: Final = 2
OP_REPLACE: Final = 3
OP_CAS: Final = 4
OP_APPEND: Final = 5
OP_PREPEND: Final = 6
OP_DELETE: Final = 7
OP_INCR: Final = 8
OP_DECR: Final = 9
OP_TOUCH: Final = 10
OP_GAT: Final = 11
OP_FLUSH: Final = 12
OP_EXPIRE: Final = 13
OP_TICK: Final = 14
OP_SESSION_OPEN: Final = 15
OP_SESSION_EXPIRE: Final = 16

OP_REFUSE: Final = 17

OP_COUNT: Final = 18
"""One more than the largest op."""
