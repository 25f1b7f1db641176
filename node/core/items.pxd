"""The C functions of item_table.h, and `ItemTable` for other modules in here."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t


cdef extern from "item_slabs.h" nogil:
    ctypedef struct item_slabs:
        pass

    uint64_t item_slabs_free_bytes(const item_slabs *slabs)


cdef extern from "item_table.h" nogil:
    int BIT_ENDS, BIT_PIECES, PUBLIC_BITS, KEY_BYTES_MAX, PACKED_HEAD_BYTES
    int SMALL, MAIN, PLANNED, QUEUES

    ctypedef struct item:
        uint64_t cas
        uint32_t stamp
        uint8_t bits
        uint8_t key_length

    ctypedef struct segment:
        uint32_t count
        uint32_t size

    ctypedef struct item_queue:
        item *first
        uint64_t count
        uint64_t bytes

    ctypedef struct item_index:
        uint64_t count
        uint64_t bytes
        uint64_t imaged_bytes

    ctypedef struct item_table:
        item_index index
        uint64_t bytes_used
        uint64_t expiring
        item_queue *queues
        uint64_t retired_bytes

    ctypedef struct item_parts:
        uint64_t expires_at_ms
        uint8_t bits

    ctypedef struct item_image:
        segment **segments
        uint32_t segment_count
        uint64_t item_count

    ctypedef enum put_outcome:
        PUT_FAILED, PUT_NEW, PUT_CHANGED

    bint item_parse(const unsigned char *packed, size_t length, item_parts *parts)
    uint64_t item_parts_cost(const item_parts *parts, size_t key_length)
    uint64_t item_cost(const item *item)
    uint64_t item_expires_at_ms(const item *item)
    const unsigned char *item_key(const item *item)
    size_t item_packed_length(const item *item)
    void item_pack(const item *item, unsigned char *out)
    size_t item_text_length(const item *item)
    size_t item_write_text(const item *item, unsigned char *out)

    bint item_table_init(item_table *table, item_slabs *slabs, uint64_t seed)
    void item_table_free(item_table *table)
    item *item_table_find(const item_table *table, const unsigned char *key, size_t length)
    put_outcome item_table_put(item_table *table, const unsigned char *key, size_t key_length,
                               const item_parts *parts, uint32_t now_s, item **old)
    item *item_table_take(item_table *table, const unsigned char *key, size_t length, bint *failed)
    void item_table_drop(item_table *table, item *item)
    bint item_table_clear(item_table *table)
    bint item_table_inherit(item_table *table, item_table *other)
    void item_table_move(item_table *table, item *item, unsigned queue, uint32_t stamp)
    void item_note_hit(item *item, uint32_t now_s)
    unsigned item_queue_of(const item *item)
    uint64_t item_table_reap(item_table *table, uint64_t most)
    const segment *item_index_scan(const item_index *index, uint32_t position, uint32_t *next)
    item *segment_item(const segment *segment, uint32_t slot)
    bint item_image_open(item_table *table, item_image *image)
    void item_image_close(item_table *table, item_image *image)


cdef class ItemTable:
    cdef item_table table

    cdef item *find(self, bytes key)
