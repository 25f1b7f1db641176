"""What other modules of the core need of packer.pyx, and numbers as big endian bytes."""

from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint32_t, uint64_t


cdef inline unsigned char *put16(unsigned char *at, uint32_t value) noexcept:
    at[0] = <uint8_t>(value >> 8)
    at[1] = <uint8_t>value
    return at + 2


cdef inline unsigned char *put32(unsigned char *at, uint32_t value) noexcept:
    return put16(put16(at, value >> 16), value)


cdef inline unsigned char *put64(unsigned char *at, uint64_t value) noexcept:
    return put32(put32(at, <uint32_t>(value >> 32)), <uint32_t>value)


cdef Py_ssize_t measure(PyObject *value, int depth) except -2
cdef bint number_of(PyObject *value, uint64_t *number, int *sign) except -1
cdef unsigned char *write(unsigned char *at, PyObject *value) except NULL
cdef unsigned char *write_count(unsigned char *at, Py_ssize_t count) noexcept
cdef bytes pack_any(object value)
