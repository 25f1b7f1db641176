# cython: language_level=3, binding=False
"""msgpack of what goes to the log and to other nodes: numbers, bytes, truth values, None, lists and
tuples, by the bytes that the msgpack library makes of them. Any other value is left to it.

What is made has its length reckoned first (`measure`), and is then written in one pass (`write`).
No Python code runs in between, so what was measured is what is written.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from msgpack import Packer as _Packer

cdef extern from *:
    """
    #define is_sequence(value) (PyTuple_Check(value) || PyList_Check(value))
    #define bytes_at(value) ((unsigned char *)PyBytes_AS_STRING(value))

    /* A number from 0 to 2^64 - 1, which most are, without a call. False: it may be another. */
    static inline int usual_number(PyObject *value, unsigned long long *number)
    {
    #if PY_VERSION_HEX < 0x030C0000 && PYLONG_BITS_IN_DIGIT == 30
        const digit *digits = ((PyLongObject *)value)->ob_digit;
        Py_ssize_t size = Py_SIZE(value);
        if ((size_t)size > 3 || (size == 3 && digits[2] >> 4))
            return 0;
        *number = 0;
        while (size-- > 0)
            *number = *number << 30 | digits[size];
        return 1;
    #else
        return 0;
    #endif
    }
    """
    bint is_sequence(PyObject *value)
    unsigned char *bytes_at(PyObject *value)
    bint usual_number(PyObject *value, unsigned long long *number)

cdef extern from "Python.h":
    # Of pointers, which are borrowed.
    PyObject *Py_None
    PyObject *Py_True
    PyObject *Py_False
    bint PyBytes_CheckExact(PyObject *value)
    bint PyLong_Check(PyObject *value)
    Py_ssize_t Py_SIZE(PyObject *value)
    PyObject **PySequence_Fast_ITEMS(PyObject *value)
    long long PyLong_AsLongLongAndOverflow(PyObject *value, int *overflow) except? -1
    unsigned long long PyLong_AsUnsignedLongLong(PyObject *value) except? 0xFFFFFFFFFFFFFFFF

# `U` makes constants of C of those beyond 31 bits: without it Cython compares Python's numbers.

cdef object PACK_ANY = _Packer(autoreset=True).pack

cdef enum:
    DEPTH_MAX = 8


cdef bytes pack_any(object value):
    return PACK_ANY(value)


cdef Py_ssize_t measure(PyObject *value, int depth) except -2:
    """Bytes of it; -1 if it is not of numbers, bytes, truth values, None, lists and tuples."""
    cdef Py_ssize_t size, part, position
    cdef PyObject **items
    cdef uint64_t number
    cdef int sign = 0
    if PyLong_Check(value):
        if value == Py_True or value == Py_False:
            return 1
        if not number_of(value, &number, &sign):
            return -1
        if sign < 0:
            number = ~number  # As many bits as the number itself has beside its sign.
            return 1 if number < 32 else 2 if number < 0x80 else 3 if number < 0x8000 else (
                5 if number < 0x80000000U else 9
            )
        return 1 if number < 0x80 else 2 if number < 0x100 else 3 if number < 0x10000 else (
            5 if number <= 0xFFFFFFFFU else 9
        )
    if PyBytes_CheckExact(value):
        size = Py_SIZE(value)
        if size > 0xFFFFFFFFU:
            return -1
        return size + (2 if size < 0x100 else 3 if size < 0x10000 else 5)
    if is_sequence(value):
        if depth == DEPTH_MAX or Py_SIZE(value) > 0xFFFFFFFFU:
            return -1
        items = PySequence_Fast_ITEMS(value)
        size = 1 if Py_SIZE(value) < 16 else 3 if Py_SIZE(value) < 0x10000 else 5
        for position in range(Py_SIZE(value)):
            part = measure(items[position], depth + 1)
            if part < 0:
                return -1
            size += part
        return size
    return 1 if value == Py_None else -1


cdef bint number_of(PyObject *value, uint64_t *number, int *sign) except -1:
    """The number's 64 bits, and -1 if it is below zero. False: it has more bits."""
    cdef int overflow = 0
    cdef long long found
    cdef unsigned long long usual
    sign[0] = 0
    if usual_number(value, &usual):
        number[0] = usual
        return True
    found = PyLong_AsLongLongAndOverflow(value, &overflow)
    if not overflow:
        number[0] = <uint64_t>found
        sign[0] = -1 if found < 0 else 0
        return True
    if overflow < 0:
        return False
    try:
        number[0] = PyLong_AsUnsignedLongLong(value)
    except OverflowError:
        return False
    return True


cdef unsigned char *write(unsigned char *at, PyObject *value) except NULL:
    """What `measure` has measured; the end of it."""
    cdef Py_ssize_t size, position
    cdef PyObject **items
    cdef uint64_t number
    cdef int sign = 0
    if PyLong_Check(value):
        if value == Py_True or value == Py_False:
            at[0] = 0xC3 if value == Py_True else 0xC2
            return at + 1
        number_of(value, &number, &sign)
        return write_number(at, number, sign)
    if PyBytes_CheckExact(value):
        size = Py_SIZE(value)
        if size < 0x100:
            at[0] = 0xC4
            at[1] = <uint8_t>size
            at += 2
        elif size < 0x10000:
            at[0] = 0xC5
            at = put16(at + 1, <uint32_t>size)
        else:
            at[0] = 0xC6
            at = put32(at + 1, <uint32_t>size)
        memcpy(at, bytes_at(value), size)
        return at + size
    if value == Py_None:
        at[0] = 0xC0
        return at + 1
    items = PySequence_Fast_ITEMS(value)
    at = write_count(at, Py_SIZE(value))
    for position in range(Py_SIZE(value)):
        at = write(at, items[position])
    return at


cdef inline unsigned char *write_number(unsigned char *at, uint64_t number, int sign) noexcept:
    cdef uint64_t bits = ~number if sign else number >> 1
    if (number < 0x80) if not sign else (bits < 32):
        at[0] = <uint8_t>number
        return at + 1
    # Below zero from 0xD0 on, otherwise from 0xCC.
    cdef uint8_t kind = 0xD0 if sign else 0xCC
    if bits < 0x80:
        at[0] = kind
        at[1] = <uint8_t>number
        return at + 2
    if bits < 0x8000:
        at[0] = kind + 1
        return put16(at + 1, <uint32_t>number)
    if bits < 0x80000000U:
        at[0] = kind + 2
        return put32(at + 1, <uint32_t>number)
    at[0] = kind + 3
    return put64(at + 1, number)


cdef unsigned char *write_count(unsigned char *at, Py_ssize_t count) noexcept:
    if count < 16:
        at[0] = 0x90 | <uint8_t>count
        return at + 1
    if count < 0x10000:
        at[0] = 0xDC
        return put16(at + 1, <uint32_t>count)
    at[0] = 0xDD
    return put32(at + 1, <uint32_t>count)


def pack(value):
    """msgpack of a value."""
    cdef Py_ssize_t size = measure(<PyObject *>value, 0)
    if size < 0:
        return pack_any(value)
    cdef bytes made = PyBytes_FromStringAndSize(NULL, size)
    write(bytes_at(<PyObject *>made), <PyObject *>value)
    return made
