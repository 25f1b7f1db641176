# cython: language_level=3, binding=False
"""`ItemTable` and `ItemImage` of store/item_table.py over the C table of item_table.h.

Objects are turned into bytes and pointers here, and nothing else happens. A pointer to an item is
used up before anything is called that can run Python code; an image's items stay until it is
closed. All tables of the process have their blocks in the same slabs, which is safe because
nothing in here lets go of the interpreter's lock.
"""

from cython cimport no_gc_clear
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy

from quorumcache.node.state_machine import TIMED as _TIMED

cdef object TIMED = _TIMED

cdef enum:
    REAPED_PER_TIDY = 20_000  # 1 to 2 ms


cdef item_slabs slabs


def slab_free_bytes():
    return item_slabs_free_bytes(&slabs)


cdef inline const unsigned char *_data(bytes value):
    return <const unsigned char *>PyBytes_AS_STRING(value)


cdef bytes _packed(const item *found):
    cdef bytes made = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>item_packed_length(found))
    item_pack(found, <unsigned char *>PyBytes_AS_STRING(made))
    return made


cdef bytes _key(const item *found):
    return PyBytes_FromStringAndSize(<const char *>item_key(found), found.key_length)


cdef int _parse(bytes key, bytes packed, item_parts *parts) except -1:
    if not 0 < PyBytes_GET_SIZE(key) <= KEY_BYTES_MAX:
        raise ValueError(f"a key of {len(key)} bytes: expected 1 to {KEY_BYTES_MAX}")
    if not item_parse(_data(packed), PyBytes_GET_SIZE(packed), parts):
        raise ValueError(f"{packed[:40]!r} is no packed item")
    return 0


cdef class ItemTable:
    """See `store/item_table.py`."""

    def __cinit__(self, seed: int = 0):
        if not item_table_init(&self.table, &slabs, <uint64_t>(seed & 0xFFFFFFFFFFFFFFFF)):
            raise MemoryError

    def __dealloc__(self):
        item_table_free(&self.table)

    cdef item *find(self, bytes key):
        return item_table_find(&self.table, _data(key), PyBytes_GET_SIZE(key))

    @property
    def bytes_used(self):
        return self.table.bytes_used

    @property
    def expiring(self):
        return self.table.expiring

    @property
    def small_bytes(self):
        return self.table.queues[SMALL].bytes

    @property
    def planned_bytes(self):
        return self.table.queues[PLANNED].bytes

    @property
    def small_count(self):
        return self.table.queues[SMALL].count

    @property
    def main_count(self):
        return self.table.queues[MAIN].count

    @property
    def memory_bytes(self):
        return sizeof(item_table) + self.table.index.bytes - self.table.index.imaged_bytes

    @property
    def retired_bytes(self):
        return self.table.retired_bytes + self.table.index.imaged_bytes

    def __len__(self):
        return self.table.index.count

    def __contains__(self, key):
        return isinstance(key, bytes) and self.find(key) != NULL

    def get(self, bytes key not None):
        cdef item *found = self.find(key)
        return None if found == NULL else _packed(found)

    def peek_bits(self, bytes key not None):
        cdef item *found = self.find(key)
        return -1 if found == NULL else found.bits & PUBLIC_BITS

    def facts(self, bytes key not None):
        cdef item *found = self.find(key)
        if found == NULL:
            return None
        return found.bits & PUBLIC_BITS, item_expires_at_ms(found), found.cas, item_cost(found)

    def serve(self, bytes key not None, uint32_t now_s):
        cdef item *found = self.find(key)
        if found == NULL:
            return None
        if found.bits & PUBLIC_BITS:
            return TIMED
        item_note_hit(found, now_s)
        return _packed(found)

    def note_hit(self, bytes key not None, uint32_t now_s):
        cdef item *found = self.find(key)
        if found != NULL:
            item_note_hit(found, now_s)

    def stamp(self, bytes key not None):
        cdef item *found = self.find(key)
        return 0 if found == NULL else found.stamp

    def queue_of(self, bytes key not None):
        cdef item *found = self.find(key)
        return -1 if found == NULL else <int>item_queue_of(found)

    def first(self, unsigned queue):
        if queue >= <unsigned>QUEUES:
            raise ValueError(f"queue {queue}")
        cdef item *found = self.table.queues[queue].first
        return None if found == NULL else _key(found)

    def put(self, bytes key not None, bytes packed not None, uint32_t now_s):
        cdef item_parts parts
        cdef item *old = NULL
        _parse(key, packed, &parts)
        cdef put_outcome outcome = item_table_put(
            &self.table, _data(key), PyBytes_GET_SIZE(key), &parts, now_s, &old
        )
        if outcome == PUT_FAILED:
            raise MemoryError
        if outcome == PUT_NEW:
            return None
        if old == NULL:
            return b""
        try:
            return _packed(old)
        finally:
            item_table_drop(&self.table, old)

    def remove(self, bytes key not None):
        cdef bint failed = False
        cdef item *found = item_table_take(&self.table, _data(key), PyBytes_GET_SIZE(key), &failed)
        if failed:
            raise MemoryError
        if found == NULL:
            return None
        try:
            return _packed(found) if found.bits & BIT_PIECES else b""
        finally:
            item_table_drop(&self.table, found)

    def move(self, bytes key not None, unsigned queue, uint32_t stamp):
        cdef item *found = self.find(key)
        if found == NULL:
            raise KeyError(key)
        if queue >= <unsigned>QUEUES:
            raise ValueError(f"queue {queue}")
        item_table_move(&self.table, found, queue, stamp)

    def keys_after(self, uint32_t cursor, Py_ssize_t count):
        cdef list keys = []
        cdef const segment *part
        cdef uint32_t slot
        cdef item *found
        while True:
            part = item_index_scan(&self.table.index, cursor, &cursor)
            for slot in range(part.size):
                found = segment_item(part, slot)
                if found != NULL:
                    keys.append(_key(found))
            if cursor == 0 or len(keys) >= count:
                return cursor, keys

    def clear(self):
        if not item_table_clear(&self.table):
            raise MemoryError

    def inherit(self, ItemTable other not None):
        if other is self or not item_table_inherit(&self.table, &other.table):
            raise MemoryError if other is not self else ValueError("a table inherits from itself")

    def tidy(self):
        return item_table_reap(&self.table, REAPED_PER_TIDY)

    def image(self):
        return ItemImage(self)

    def load(self, bytes data not None, Py_ssize_t offset, Py_ssize_t count, uint32_t now_s):
        cdef Py_ssize_t at = offset, end = PyBytes_GET_SIZE(data), read = 0
        cdef Py_ssize_t key_at, packed_at, key_length = 0, packed_length = 0
        cdef const unsigned char *bytes_ = _data(data)
        cdef item_parts parts
        cdef item *old = NULL
        cdef list ending = []
        if not 0 <= offset <= end:
            raise ValueError(f"offset {offset} in {end} bytes")
        while read < count:
            key_at = _bin(bytes_, at, end, &key_length)
            if key_at == 0:
                break
            packed_at = _bin(bytes_, key_at + key_length, end, &packed_length)
            if packed_at == 0:
                break
            if not 0 < key_length <= KEY_BYTES_MAX:
                raise ValueError(f"a key of {key_length} bytes")
            if not item_parse(bytes_ + packed_at, packed_length, &parts):
                raise ValueError(f"{data[packed_at:packed_at + 40]!r} is no packed item")
            if parts.bits & BIT_PIECES:
                break
            if item_table_find(&self.table, bytes_ + key_at, key_length) != NULL:
                raise ValueError(f"the key {data[key_at:key_at + key_length]!r} comes twice")
            if item_table_put(&self.table, bytes_ + key_at, key_length, &parts, now_s, &old) == PUT_FAILED:
                raise MemoryError
            if parts.bits & BIT_ENDS:
                ending.append((parts.expires_at_ms, data[key_at:key_at + key_length]))
            at = packed_at + packed_length
            read += 1
        return at, read, ending


cdef Py_ssize_t _bin(
    const unsigned char *data, Py_ssize_t at, Py_ssize_t end, Py_ssize_t *length
) except -1:
    """Where the bytes of the msgpack bin at `at` begin; 0 if it is not whole before `end`."""
    cdef Py_ssize_t width, i, size = 0
    if at >= end:
        return 0
    if not 0xC4 <= data[at] <= 0xC6:
        raise ValueError(f"0x{data[at]:02x} where a msgpack bin belongs")
    width = 1 << (data[at] - 0xC4)
    if end - at < 1 + width:
        return 0
    for i in range(width):
        size = size << 8 | data[at + 1 + i]
    if end - at - 1 - width < size:
        return 0
    length[0] = size
    return at + 1 + width


@no_gc_clear
cdef class ItemImage:
    """See `store/item_table.py`. It keeps its table."""

    cdef ItemTable owner
    cdef item_image image
    cdef uint32_t part, slot

    def __cinit__(self, ItemTable owner not None):
        if not item_image_open(&owner.table, &self.image):
            raise MemoryError
        self.owner = owner

    def __dealloc__(self):
        if self.owner is not None:
            item_image_close(&self.owner.table, &self.image)

    def __len__(self):
        return self.image.item_count

    def close(self):
        if self.owner is not None:
            item_image_close(&self.owner.table, &self.image)
            self.owner = None

    cdef int _next(self, uint32_t *part, uint32_t *slot, item **found) except -1:
        """The item at a place or behind it, and the place behind that; 0 when there is none."""
        if self.owner is None:
            raise ValueError("the image is closed")
        while part[0] < self.image.segment_count:
            while slot[0] < self.image.segments[part[0]].size:
                found[0] = segment_item(self.image.segments[part[0]], slot[0])
                slot[0] += 1
                if found[0] != NULL:
                    return 1
            part[0] += 1
            slot[0] = 0
        return 0

    def pairs(self):
        cdef uint32_t part = 0, slot = 0
        cdef item *found = NULL
        while self._next(&part, &slot, &found):
            yield _key(found), _packed(found)

    def chunks(self, Py_ssize_t bytes_max):
        cdef uint32_t part = 0, slot = 0, first_part, first_slot
        cdef item *found = NULL
        cdef Py_ssize_t size, wire, count
        while True:
            first_part, first_slot = part, slot
            size = wire = count = 0
            while (size < bytes_max or not count) and self._next(&part, &slot, &found):
                size += found.key_length + <Py_ssize_t>item_packed_length(found)
                wire += 2 + found.key_length + _bin_head(<Py_ssize_t>item_packed_length(found))
                wire += <Py_ssize_t>item_packed_length(found)
                count += 1
            if not count:
                return
            yield self._chunk(first_part, first_slot, count, wire)

    cdef bytes _chunk(self, uint32_t part, uint32_t slot, Py_ssize_t count, Py_ssize_t wire):
        """`count` items from a place on: a msgpack array of keys and items in turns."""
        cdef Py_ssize_t head = 1 if count < 8 else 3 if count < 1 << 15 else 5
        cdef bytes made = PyBytes_FromStringAndSize(NULL, head + wire)
        cdef unsigned char *at = <unsigned char *>PyBytes_AS_STRING(made)
        cdef item *found = NULL
        cdef Py_ssize_t length
        if head == 1:
            at[0] = <unsigned char>(0x90 | 2 * count)
        else:
            at[0] = 0xDC if head == 3 else 0xDD
            _write_be(at + 1, head - 1, 2 * count)
        at += head
        while count and self._next(&part, &slot, &found):
            at[0] = 0xC4
            at[1] = found.key_length
            memcpy(at + 2, item_key(found), found.key_length)
            at += 2 + found.key_length
            length = <Py_ssize_t>item_packed_length(found)
            head = _bin_head(length)
            at[0] = 0xC4 if head == 2 else 0xC5 if head == 3 else 0xC6
            _write_be(at + 1, head - 1, length)
            item_pack(found, at + head)
            at += head + length
            count -= 1
        return made


cdef inline Py_ssize_t _bin_head(Py_ssize_t length):
    return 2 if length < 1 << 8 else 3 if length < 1 << 16 else 5


cdef inline void _write_be(unsigned char *to, Py_ssize_t width, Py_ssize_t number):
    while width:
        width -= 1
        to[width] = <unsigned char>(number & 0xFF)
        number >>= 8
