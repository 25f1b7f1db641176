# cython: language_level=3, binding=False
"""`SetBatches` of store/set_batches.py over set_batch.h.

The commands of a payload are read twice: once to see that all of them are plain, before anything
changes, and once to place them. Nothing is kept between the two.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint32_t, uint64_t

from quorumcache.node.core.gets cimport ReadGate
from quorumcache.node.core.items cimport (
    PUT_FAILED,
    PUT_NEW,
    ItemTable,
    item,
    item_pack,
    item_packed_length,
    item_table,
    item_table_drop,
    put_outcome,
)


cdef extern from "set_batch.h" nogil:
    int SET_RUNS_MAX

    ctypedef struct set_run:
        uint64_t session
        uint64_t first
        uint64_t count
        uint64_t floor

    ctypedef struct set_batch:
        uint64_t now_ms
        uint64_t wall_ms
        uint64_t item_bytes_max
        const unsigned char *commands
        uint64_t count
        bint has_ends
        uint32_t run_count
        set_run *runs
        unsigned warm
        const uint64_t *hashes

    ctypedef enum warm_step:
        WARM_SEGMENT
        WARM_SLOT
        WARM_ITEM

    ctypedef struct plain_set:
        uint64_t exptime
        const unsigned char *key
        size_t key_length

    void item_table_warm(const item_table *table, const uint64_t *hashes, unsigned count, warm_step step)
    bint set_batch_open(const unsigned char *payload, size_t length, set_batch *batch)
    bint set_batch_read(const unsigned char *payload, size_t length, const item_table *table, set_batch *batch)
    const unsigned char *plain_set_read(const unsigned char *at, const unsigned char *end, plain_set *set)
    put_outcome plain_set_place(item_table *table, const plain_set *set, uint64_t unique, uint64_t now_ms,
                                uint32_t now_s, item **old)


cdef bytes _key(const plain_set *found):
    return PyBytes_FromStringAndSize(<const char *>found.key, <Py_ssize_t>found.key_length)


cdef class SetBatches:
    """See `store/set_batches.py`."""

    def read(self, bytes payload not None, ItemTable table not None):
        cdef set_batch batch
        cdef uint32_t i
        cdef list runs
        cdef object now_ms, wall_ms
        cdef tuple found
        if not set_batch_read(
            <const unsigned char *>PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload), &table.table, &batch
        ):
            return None
        # Between the steps to the items is what takes about as long as each of them.
        now_ms = batch.now_ms
        wall_ms = batch.wall_ms
        item_table_warm(&table.table, batch.hashes, batch.warm, WARM_SEGMENT)
        runs = []
        for i in range(batch.run_count):
            runs.append(batch.runs[i].session)
            runs.append(batch.runs[i].first)
            runs.append(batch.runs[i].count)
            runs.append(batch.runs[i].floor)
        item_table_warm(&table.table, batch.hashes, batch.warm, WARM_SLOT)
        found = now_ms, wall_ms, batch.item_bytes_max, batch.count, batch.has_ends, runs
        item_table_warm(&table.table, batch.hashes, batch.warm, WARM_ITEM)
        return found

    def place(
        self, bytes payload not None, ItemTable table not None, ReadGate gate not None, uint64_t unique,
        int64_t now_ms, uint32_t now_s, list ending, list replaced, list added
    ):
        cdef set_batch batch
        cdef plain_set found
        cdef item *old = NULL
        cdef put_outcome outcome
        cdef uint64_t i
        cdef int64_t before = table.table.bytes_used
        cdef const unsigned char *at = <const unsigned char *>PyBytes_AS_STRING(payload)
        cdef const unsigned char *end = at + PyBytes_GET_SIZE(payload)
        cdef bytes packed
        if not set_batch_open(at, end - at, &batch):
            raise ValueError("the batch is not plain")
        at = batch.commands
        for i in range(batch.count):
            at = plain_set_read(at, end, &found)
            if at == NULL:
                raise ValueError("the batch is not plain")
            outcome = plain_set_place(&table.table, &found, unique + 1 + i, now_ms, now_s, &old)
            if outcome == PUT_FAILED:
                raise MemoryError
            if old != NULL:
                packed = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>item_packed_length(old))
                item_pack(old, <unsigned char *>PyBytes_AS_STRING(packed))
                item_table_drop(&table.table, old)
                replaced.append(packed)
            if outcome == PUT_NEW and added is not None:
                added.append(_key(&found))
            if found.exptime:
                ending.append((now_ms + <int64_t>found.exptime * 1000, _key(&found)))
        gate.gate.applied_ms = now_ms
        gate.gate.now_s = now_s
        gate.gate.is_plain = True
        return <int64_t>table.table.bytes_used - before
