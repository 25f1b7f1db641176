"""`ReadGate` for other modules in here, and what it is in get_lines.h."""

from libc.stdint cimport int64_t, uint32_t

from quorumcache.node.core.items cimport ItemTable, item_table


cdef extern from "get_lines.h" nogil:
    ctypedef struct read_gate:
        item_table *table
        int64_t lease_until_ns
        int64_t applied_ms
        uint32_t now_s
        bint is_plain


cdef class ReadGate:
    cdef read_gate gate
    cdef ItemTable items
