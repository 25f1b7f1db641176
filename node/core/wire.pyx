# cython: language_level=3, binding=False
"""Runs, frames and records of the log as bytes, and back: twins of what consensus/runs.py,
peers/codec.py, wal/format.py and wal/groups.py do in Python.

What is made has its length reckoned first, and is then written in one pass. No Python code runs in
between, so what was measured is what is written. What is read is checked against the end of the
data before each step. Values are packed by packer.pyx.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from quorumcache.node.consensus.values import Entry as _Entry
from quorumcache.node.core.packer cimport (
    measure, number_of, pack_any, put32, put64, write, write_count
)


cdef extern from "crc32.h" nogil:
    void crc32_prepare()
    uint32_t crc32_of(const unsigned char *data, size_t length, uint32_t start)
    uint32_t crc32_portable(const unsigned char *data, size_t length, uint32_t start)

cdef extern from *:
    """
    #define is_sequence(value) (PyTuple_Check(value) || PyList_Check(value))
    #define bytes_at(value) ((unsigned char *)PyBytes_AS_STRING(value))

    /* An instance of a subclass of tuple without members of its own. It gets numbers and bytes only,
       so it is in no cycle, and the collector need not know it. */
    static PyObject *new_plain(PyObject *cls, Py_ssize_t count)
    {
        PyObject *made = ((PyTypeObject *)cls)->tp_alloc((PyTypeObject *)cls, count);
        if (made != NULL)
            PyObject_GC_UnTrack(made);
        return made;
    }
    """
    bint is_sequence(PyObject *value)
    unsigned char *bytes_at(PyObject *value)
    object new_plain(PyObject *cls, Py_ssize_t count)

cdef extern from "Python.h":
    # Of pointers, which are borrowed.
    PyObject *Py_None
    bint PyBytes_CheckExact(PyObject *value)
    bint PyLong_CheckExact(PyObject *value)
    bint PyTuple_Check(PyObject *value)
    Py_ssize_t Py_SIZE(PyObject *value)
    PyObject **PySequence_Fast_ITEMS(PyObject *value)
    PyObject *PyTuple_GET_ITEM(PyObject *value, Py_ssize_t position)
    unsigned long long PyLong_AsUnsignedLongLong(PyObject *value) except? 0xFFFFFFFFFFFFFFFF
    PyObject *PyDict_GetItemWithError(PyObject *table, PyObject *key) except? NULL
    int PyDict_SetItem(PyObject *table, PyObject *key, PyObject *value) except -1
    void Py_INCREF(PyObject *value)
    void PyTuple_SET_ITEM(object value, Py_ssize_t position, object item)
    void PyList_SET_ITEM(object value, Py_ssize_t position, object item)
    list PyList_New(Py_ssize_t count)
    tuple PyTuple_New(Py_ssize_t count)

# `U` makes constants of C of those beyond 31 bits: without it Cython compares Python's numbers.
cdef uint64_t INDEX_MAX = 0xFFFFFFFFFFFFFFFFU

cdef object ENTRY = _Entry
cdef object ZERO = 0

if _Entry.__basicsize__ != tuple.__basicsize__ or _Entry.__dictoffset__:
    raise ImportError("Entry has members of its own")

crc32_prepare()

cdef enum:
    RUN_HEAD_BYTES = 40
    RUN_BYTES_MAX = 65_536  # of consensus/runs.py
    PEER_HEAD_BYTES = 8
    LOG_HEAD_BYTES = 16


cdef inline uint32_t _get32(const unsigned char *at) noexcept:
    return <uint32_t>at[0] << 24 | <uint32_t>at[1] << 16 | <uint32_t>at[2] << 8 | at[3]


cdef inline uint64_t _get64(const unsigned char *at) noexcept:
    return <uint64_t>_get32(at) << 32 | _get32(at + 4)


def crc32(bytes data not None, uint32_t start=0, bint is_portable=False):
    """As zlib's, in either way that there is."""
    cdef const unsigned char *at = bytes_at(<PyObject *>data)
    if is_portable:
        return crc32_portable(at, PyBytes_GET_SIZE(data), start)
    return crc32_of(at, PyBytes_GET_SIZE(data), start)


# --- runs


def pack_run(uint32_t group_id, message):
    """See consensus/runs.py."""
    if not PyTuple_Check(<PyObject *>message) or Py_SIZE(<PyObject *>message) != 5:
        raise TypeError("a message that is no run")
    cdef PyObject *entries = PyTuple_GET_ITEM(<PyObject *>message, 4)
    if not is_sequence(entries):
        raise TypeError("entries that are neither a tuple nor a list")
    cdef PyObject **items = PySequence_Fast_ITEMS(entries)
    cdef Py_ssize_t count = Py_SIZE(entries)
    if not count:
        return b""
    cdef uint64_t heads[4]  # term, index before, its term, commit index
    cdef Py_ssize_t position, length, size = 0
    cdef PyObject *entry
    cdef PyObject *payload
    for position in range(4):
        heads[position] = PyLong_AsUnsignedLongLong(PyTuple_GET_ITEM(<PyObject *>message, position))
    for position in range(count):
        entry = items[position]
        if not PyTuple_Check(entry) or Py_SIZE(entry) != 4:
            raise TypeError("an entry of another form")
        payload = PyTuple_GET_ITEM(entry, 3)
        if not PyBytes_CheckExact(payload):
            raise TypeError("an entry's payload is not bytes")
        size += Py_SIZE(payload)
        if size > RUN_BYTES_MAX:
            return b""
        if PyLong_AsUnsignedLongLong(PyTuple_GET_ITEM(entry, 1)) != heads[0]:
            return b""
        if PyLong_AsUnsignedLongLong(PyTuple_GET_ITEM(entry, 2)) != 0:
            return b""
    cdef bytes made = PyBytes_FromStringAndSize(NULL, RUN_HEAD_BYTES + 4 * count + size)
    cdef unsigned char *at = bytes_at(<PyObject *>made)
    at = put32(put32(at, group_id), <uint32_t>count)
    for position in range(4):
        at = put64(at, heads[position])
    cdef unsigned char *to = at + 4 * count
    for position in range(count):
        payload = PyTuple_GET_ITEM(items[position], 3)
        length = Py_SIZE(payload)
        at = put32(at, <uint32_t>length)
        memcpy(to, bytes_at(payload), length)
        to += length
    return made


def unpack_runs(bytes data not None):
    """See consensus/runs.py."""
    cdef const unsigned char *start = bytes_at(<PyObject *>data)
    cdef const unsigned char *lengths
    cdef int64_t at = 0, end = PyBytes_GET_SIZE(data)
    cdef int64_t length
    cdef uint32_t count, position
    cdef uint64_t index
    cdef list runs = [], entries
    cdef object term, entry, number
    while at < end:
        if end - at < RUN_HEAD_BYTES:
            raise ValueError(f"a run of {end - at} bytes")
        lengths = start + at
        count = _get32(lengths + 4)
        index = _get64(lengths + 16)
        if not count or 4 * <int64_t>count > end - at - RUN_HEAD_BYTES:
            raise ValueError(f"a run of {count} entries in {end} bytes")
        if index > INDEX_MAX - count:
            raise ValueError(f"a run of {count} entries behind entry {index}")
        term = _get64(lengths + 8)
        run = (_get32(lengths), term, index, _get64(lengths + 24), _get64(lengths + 32), PyList_New(0))
        entries = run[5]
        lengths += RUN_HEAD_BYTES
        at += RUN_HEAD_BYTES + 4 * <int64_t>count
        for position in range(count):
            length = _get32(lengths)
            lengths += 4
            if length > end - at:
                raise ValueError(f"an entry that ends at {at + length} in {end} bytes")
            # All that may fail comes first: what is not filled yet is seen by nobody.
            index += 1
            number = index
            payload = PyBytes_FromStringAndSize(<const char *>start + at, length)
            entry = new_plain(<PyObject *>ENTRY, 4)
            _give(entry, 0, number)
            _give(entry, 1, term)
            _give(entry, 2, ZERO)
            _give(entry, 3, payload)
            entries.append(entry)
            at += length
        runs.append(run)
    return runs


cdef inline void _give(object made, Py_ssize_t position, object item):
    Py_INCREF(<PyObject *>item)
    PyTuple_SET_ITEM(made, position, item)


# --- frames between nodes


def frame_of_items(list packed not None, Py_ssize_t bytes_max):
    """See `encode_items` of peers/codec.py; None if the payload is longer than `bytes_max`."""
    cdef Py_ssize_t count = len(packed), position
    cdef Py_ssize_t size = 1 if count < 16 else 3 if count < 0x10000 else 5
    cdef PyObject **items = PySequence_Fast_ITEMS(<PyObject *>packed)
    for position in range(count):
        if not PyBytes_CheckExact(items[position]):
            raise TypeError("a packed item is not bytes")
        size += Py_SIZE(items[position])
    if size > bytes_max or size > 0xFFFFFFFFU:
        return None
    cdef bytes made = PyBytes_FromStringAndSize(NULL, PEER_HEAD_BYTES + size)
    cdef unsigned char *start = bytes_at(<PyObject *>made)
    cdef unsigned char *at = write_count(start + PEER_HEAD_BYTES, count)
    for position in range(count):
        memcpy(at, bytes_at(items[position]), Py_SIZE(items[position]))
        at += Py_SIZE(items[position])
    put32(start, <uint32_t>size)
    put32(start + 4, crc32_of(start + PEER_HEAD_BYTES, size, 0))
    return made


def intact_frames(
    bytes data not None, list payloads not None, Py_ssize_t bytes_max, bint is_one_enough
):
    """See peers/codec.py."""
    cdef const unsigned char *start = bytes_at(<PyObject *>data)
    cdef Py_ssize_t at = 0, end = PyBytes_GET_SIZE(data)
    cdef Py_ssize_t length
    while end - at >= PEER_HEAD_BYTES:
        length = _get32(start + at)
        if length > bytes_max or length > end - at - PEER_HEAD_BYTES:
            break
        if crc32_of(start + at + PEER_HEAD_BYTES, length, 0) != _get32(start + at + 4):
            break
        at += PEER_HEAD_BYTES
        payloads.append(PyBytes_FromStringAndSize(<const char *>start + at, length))
        at += length
        if is_one_enough:
            break
    return at


# --- the log


def log_frame(items, uint32_t offset, uint32_t salt, Py_ssize_t bytes_max):
    """See `encode_frame` of wal/format.py; None if the payload is longer than `bytes_max`."""
    cdef bytes packed = None
    cdef Py_ssize_t size = measure(<PyObject *>items, 0)
    if size < 0:
        packed = pack_any(items)
        size = PyBytes_GET_SIZE(packed)
    if size > bytes_max or size > 0xFFFFFFFFU:
        return None
    cdef bytes made = PyBytes_FromStringAndSize(NULL, LOG_HEAD_BYTES + size)
    cdef unsigned char *start = bytes_at(<PyObject *>made)
    if packed is None:
        write(start + LOG_HEAD_BYTES, <PyObject *>items)
    else:
        memcpy(start + LOG_HEAD_BYTES, bytes_at(<PyObject *>packed), size)
    # The first 12 bytes stand right before the payload while the checksum is reckoned.
    memcpy(start + 4, <const char *>b"QCfr", 4)
    put32(put32(start + 8, offset), <uint32_t>size)
    cdef uint32_t checksum = crc32_of(start + 4, 12 + size, salt)
    memcpy(start, <const char *>b"QCfr", 4)
    put32(put32(put32(start + 4, offset), <uint32_t>size), checksum)
    return made


def take_following(
    items, Py_ssize_t position, dict last_indexes not None, dict touched not None
):
    """See wal/groups.py."""
    if not is_sequence(<PyObject *>items) or position < 0:
        raise TypeError("items that are neither a tuple nor a list")
    cdef PyObject **records = PySequence_Fast_ITEMS(<PyObject *>items)
    cdef PyObject *group
    cdef PyObject *entries
    cdef PyObject *first
    cdef PyObject *last
    cdef uint64_t before, number
    cdef int sign = 0
    cdef Py_ssize_t end = Py_SIZE(<PyObject *>items)
    for position in range(position, end):
        if not PyTuple_Check(records[position]) or Py_SIZE(records[position]) != 3:
            return position
        group = PyTuple_GET_ITEM(records[position], 0)
        entries = PyTuple_GET_ITEM(records[position], 2)
        if PyTuple_GET_ITEM(records[position], 1) != Py_None or not PyLong_CheckExact(group):
            return position
        if not is_sequence(entries) or not Py_SIZE(entries):
            return position
        first = PySequence_Fast_ITEMS(entries)[0]
        last = PySequence_Fast_ITEMS(entries)[Py_SIZE(entries) - 1]
        if not PyTuple_Check(first) or not Py_SIZE(first):
            return position
        if not PyTuple_Check(last) or not Py_SIZE(last):
            return position
        first = PyTuple_GET_ITEM(first, 0)
        last = PyTuple_GET_ITEM(last, 0)
        if not PyLong_CheckExact(first) or not PyLong_CheckExact(last):
            return position
        if not number_of(first, &number, &sign) or sign or number < 2:
            return position
        first = PyDict_GetItemWithError(<PyObject *>last_indexes, group)
        if first == NULL or not number_of(first, &before, &sign) or sign or before + 1 != number:
            return position
        PyDict_SetItem(<PyObject *>last_indexes, group, last)
        PyDict_SetItem(<PyObject *>touched, group, last)
    return end
