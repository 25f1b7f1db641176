# cython: language_level=3, binding=False
"""`ReadGate` of store/read_gate.py and `GetRoutes` of clients/get_routes.py over get_lines.h.

Nothing here runs Python code between the look at a table and the copy of what it holds: the replies
are written to a place of their own first, and no pointer is kept after a call.
"""

from cython cimport no_gc_clear
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Calloc, PyMem_Free, PyMem_Malloc
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.string cimport memset

from quorumcache.node.core.items cimport ItemTable
from quorumcache.node.core.senders cimport Sender


cdef extern from "get_lines.h" nogil:
    ctypedef struct get_routes:
        read_gate **gates
        uint32_t shards
        unsigned shard_bits

    ctypedef enum gets_stop:
        GETS_ALL, GETS_LINE, GETS_GATE, GETS_TIME, GETS_ROOM

    ctypedef struct gets_done:
        size_t consumed
        size_t written
        uint32_t lines
        uint32_t keys
        uint32_t hits
        uint32_t shard
        gets_stop stop

    void answer_gets(const get_routes *routes, const unsigned char *data, size_t length, int64_t now_ns,
                     int64_t now_ms, const uint8_t *busy, unsigned char *out, size_t room, gets_done *done)


cdef enum:
    SHARDS_MAX = 4096
    ROOM_BYTES = 262_144  # REPLIES_BYTES_MAX of clients/get_routes.py


@no_gc_clear
cdef class ReadGate:
    """See `store/read_gate.py`."""

    @property
    def table(self):
        return self.items

    @table.setter
    def table(self, ItemTable table):
        self.gate.table = NULL
        self.items = table
        if table is not None:
            self.gate.table = &table.table

    @property
    def lease_until_ns(self):
        return self.gate.lease_until_ns

    @lease_until_ns.setter
    def lease_until_ns(self, int64_t until_ns):
        self.gate.lease_until_ns = until_ns

    def applied(self, int64_t applied_ms, uint32_t now_s, bint is_plain):
        self.gate.applied_ms = applied_ms
        self.gate.now_s = now_s
        self.gate.is_plain = is_plain


@no_gc_clear
cdef class GetRoutes:
    """See `clients/get_routes.py`."""

    cdef get_routes routes
    cdef list gates  # They keep what `routes` points to.
    cdef unsigned char *out
    cdef readonly int missing
    cdef readonly int timed

    def __cinit__(self, uint32_t shards):
        if not 0 < shards <= SHARDS_MAX or shards & (shards - 1):
            raise ValueError(f"{shards} shards")
        self.gates = [None] * shards
        self.routes.shards = shards
        while 1 << self.routes.shard_bits < shards:
            self.routes.shard_bits += 1
        self.routes.gates = <read_gate **>PyMem_Calloc(shards, sizeof(read_gate *))
        self.out = <unsigned char *>PyMem_Malloc(ROOM_BYTES)
        if self.routes.gates == NULL or self.out == NULL:
            raise MemoryError
        self.missing = self.timed = -1

    def __dealloc__(self):
        PyMem_Free(self.routes.gates)
        PyMem_Free(self.out)

    def set(self, uint32_t shard, ReadGate gate not None):
        if shard >= self.routes.shards:
            raise ValueError(f"shard {shard}")
        self.routes.gates[shard] = &gate.gate
        self.gates[shard] = gate

    def answer(
        self, bytes data not None, Py_ssize_t start, int64_t now_ns, int64_t now_ms, dict busy not None
    ):
        cdef gets_done done
        self.write(data, start, now_ns, now_ms, busy, &done)
        if not done.lines:
            return None
        return (
            PyBytes_FromStringAndSize(<const char *>self.out, <Py_ssize_t>done.written),
            start + <Py_ssize_t>done.consumed, done.lines, done.keys, done.keys - done.hits,
        )

    def send(
        self, Sender sender not None, bytes data not None, Py_ssize_t start, int64_t now_ns,
        int64_t now_ms, dict busy not None
    ):
        cdef gets_done done
        self.write(data, start, now_ns, now_ms, busy, &done)
        if not done.lines:
            return None
        # What it calls writes no other replies: `out` stays as it is until all is sent or copied.
        sender.send(<const char *>self.out, <Py_ssize_t>done.written)
        return (
            done.written, start + <Py_ssize_t>done.consumed, done.lines, done.keys,
            done.keys - done.hits,
        )

    cdef int write(
        self, bytes data, Py_ssize_t start, int64_t now_ns, int64_t now_ms, dict busy, gets_done *done
    ) except -1:
        """Write the replies to `out`."""
        cdef uint8_t bits[SHARDS_MAX >> 3]
        cdef const uint8_t *marks = NULL
        cdef uint32_t shard
        if not 0 <= start <= PyBytes_GET_SIZE(data):
            raise ValueError(f"start {start} in {len(data)} bytes")
        if busy:
            memset(bits, 0, sizeof(bits))
            for group in busy:
                shard = <uint32_t>(<int64_t>group - 1)
                if shard < self.routes.shards:
                    bits[shard >> 3] |= 1 << (shard & 7)
            marks = bits
        answer_gets(
            &self.routes, <const unsigned char *>PyBytes_AS_STRING(data) + start,
            PyBytes_GET_SIZE(data) - start, now_ns, now_ms, marks, self.out, ROOM_BYTES, done
        )
        self.missing = <int>done.shard if done.stop == GETS_GATE else -1
        self.timed = <int>done.shard if done.stop == GETS_TIME else -1
        return 0
