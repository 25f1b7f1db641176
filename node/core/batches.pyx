# cython: language_level=3, binding=False
"""`pack_batch` of state_machine.py over pack_batch.h."""

from cpython.bytes cimport (
    PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
)
from cpython.tuple cimport PyTuple_CheckExact, PyTuple_GET_ITEM, PyTuple_GET_SIZE
from libc.stdint cimport uint64_t
from libc.string cimport memcpy


cdef extern from "pack_batch.h" nogil:
    size_t packed_int_bytes(bint is_negative, uint64_t bits)
    unsigned char *pack_int(unsigned char *out, bint is_negative, uint64_t bits)
    size_t packed_bytes_head(size_t length)
    unsigned char *pack_bytes_head(unsigned char *out, size_t length)
    size_t packed_array_head(size_t count)
    unsigned char *pack_array_head(unsigned char *out, size_t count)


cdef extern from "Python.h":
    int PyLong_CheckExact(object)
    long long PyLong_AsLongLongAndOverflow(object, int *overflow) except? -1


cdef inline bint split_int(object number, bint *is_negative, uint64_t *bits) except -1:
    """Take an int apart: its sign, and its 64 bits in two's complement. False: it is too large."""
    cdef int overflow = 0
    cdef long long found = PyLong_AsLongLongAndOverflow(number, &overflow)
    if overflow:
        return False
    is_negative[0] = found < 0
    bits[0] = <uint64_t>found
    return True


cdef inline Py_ssize_t item_bytes(object item) except -2:
    """Bytes that an argument of a command takes; -1: it is none of the simple ones."""
    cdef bint is_negative
    cdef uint64_t bits
    if PyLong_CheckExact(item):
        if not split_int(item, &is_negative, &bits):
            return -1
        return <Py_ssize_t>packed_int_bytes(is_negative, bits)
    if PyBytes_CheckExact(item) and PyBytes_GET_SIZE(item) <= 0xFFFFFFFFU:
        return <Py_ssize_t>packed_bytes_head(PyBytes_GET_SIZE(item)) + PyBytes_GET_SIZE(item)
    return -1


cdef inline unsigned char *pack_item(unsigned char *out, object item) except NULL:
    """Write what `item_bytes` has counted."""
    cdef bint is_negative
    cdef uint64_t bits
    cdef Py_ssize_t length
    if PyLong_CheckExact(item):
        split_int(item, &is_negative, &bits)
        return pack_int(out, is_negative, bits)
    length = PyBytes_GET_SIZE(item)
    out = pack_bytes_head(out, length)
    memcpy(out, PyBytes_AS_STRING(item), length)
    return out + length


def pack_batch(object version, object now_ms, object wall_ms, object item_bytes_max, list commands not None):
    """The bytes that msgpack makes of `(version, now_ms, wall_ms, item_bytes_max, commands)`; None if
    something in it is neither an int of 64 bits nor bytes, nor a command that is a tuple of them.
    """
    cdef tuple stamp = (version, now_ms, wall_ms, item_bytes_max)
    cdef Py_ssize_t size = 1, more, place
    cdef unsigned char *out
    cdef object command
    if len(commands) > 0xFFFFFFFFU:
        return None
    for item in stamp:
        more = item_bytes(item)
        if more < 0:
            return None
        size += more
    size += <Py_ssize_t>packed_array_head(len(commands))
    for command in commands:
        if not PyTuple_CheckExact(command):
            return None
        size += <Py_ssize_t>packed_array_head(PyTuple_GET_SIZE(command))
        for place in range(PyTuple_GET_SIZE(command)):
            more = item_bytes(<object>PyTuple_GET_ITEM(command, place))
            if more < 0:
                return None
            size += more
    # Nothing below runs Python code: what was counted is what is written.
    cdef bytes packed = PyBytes_FromStringAndSize(NULL, size)
    out = pack_array_head(<unsigned char *>PyBytes_AS_STRING(packed), 5)
    for item in stamp:
        out = pack_item(out, item)
    out = pack_array_head(out, len(commands))
    for command in commands:
        out = pack_array_head(out, PyTuple_GET_SIZE(command))
        for place in range(PyTuple_GET_SIZE(command)):
            out = pack_item(out, <object>PyTuple_GET_ITEM(command, place))
    return packed
