# cython: language_level=3, binding=False
"""`SetReader` of clients/set_reader.py over set_lines.h."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.list cimport PyList_Append
from libc.stdint cimport uint32_t
from libc.string cimport memcpy


cdef extern from "set_lines.h" nogil:
    enum: SET_HEAD_BYTES_MAX

    ctypedef struct plain_set:
        const unsigned char *key
        const unsigned char *value
        size_t key_length
        size_t value_length
        size_t consumed
        uint32_t flags
        uint32_t exptime
        bint noreply

    bint read_plain_set(const unsigned char *data, size_t length, size_t value_max, plain_set *found)
    size_t write_set_head(const plain_set *found, unsigned char *out)


cdef extern from "key_token.h" nogil:
    uint32_t shard_of_key(const unsigned char *key, size_t length, unsigned shard_bits)


cdef class SetReader:
    """See `clients/set_reader.py`."""

    cdef unsigned shard_bits

    def __cinit__(self, uint32_t shards):
        if not 0 < shards <= 4096 or shards & (shards - 1):
            raise ValueError(f"{shards} shards")
        while 1 << self.shard_bits < shards:
            self.shard_bits += 1

    def read(self, bytes data not None, Py_ssize_t start, Py_ssize_t value_bytes_max):
        cdef plain_set found
        cdef unsigned char head[SET_HEAD_BYTES_MAX]
        cdef size_t head_length, block_length
        cdef unsigned char *out
        cdef bytes block
        cdef const unsigned char *at = <const unsigned char *>PyBytes_AS_STRING(data)
        cdef Py_ssize_t length = PyBytes_GET_SIZE(data)
        if not 0 <= start <= length:
            raise ValueError(f"start {start} in {length} bytes")
        if value_bytes_max < 0:
            raise ValueError(f"values of {value_bytes_max} bytes")
        cdef list fields = []
        while read_plain_set(at + start, <size_t>(length - start), <size_t>value_bytes_max, &found):
            head_length = write_set_head(&found, head)
            block_length = found.value_length + 2
            block = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>(head_length + block_length))
            out = <unsigned char *>PyBytes_AS_STRING(block)
            memcpy(out, head, head_length)
            memcpy(out + head_length, found.value, block_length)
            PyList_Append(
                fields, PyBytes_FromStringAndSize(<const char *>found.key, <Py_ssize_t>found.key_length)
            )
            PyList_Append(fields, (block, found.exptime))
            PyList_Append(fields, 1 + shard_of_key(found.key, found.key_length, self.shard_bits))
            PyList_Append(fields, found.noreply)
            start += <Py_ssize_t>found.consumed
        return (fields, start) if fields else None
