/* See item_block.h. */

#include "item_block.h"

#include <string.h>

#define DATA_OFFSET offsetof(item, data)

/* All replicas count an item alike (`item_cost` in store/item.py), whatever machine they run on. One whose
pointers are shorter runs from the sources. */
_Static_assert(sizeof(void *) == 8 && DATA_OFFSET == 38, "an item's head takes 38 bytes");

static size_t block_bytes(uint8_t bits, size_t key_length, size_t length)
{
    size_t bytes = DATA_OFFSET + key_length + length;
    if (bits & BIT_ENDS)
        bytes += 8;
    if (bits & BIT_FLAGS)
        bytes += 4;
    return bytes < sizeof(item) ? sizeof(item) : bytes;
}

/* glibc's chunk for so many bytes: its head of 8 bytes, rounded up to 16. */
static uint64_t chunk_bytes(size_t bytes) { return ((uint64_t)bytes + 8 + 15) & ~(uint64_t)15; }

static size_t parts_bytes(const item_parts *parts, size_t key_length)
{
    return chunk_bytes(block_bytes(parts->bits, key_length, parts->length)) - 8;
}

item *item_new(item_slabs *slabs, const item_parts *parts, size_t key_length)
{
    item *made = item_slabs_take(slabs, parts_bytes(parts, key_length));
    if ((uint64_t)(uintptr_t)made >> ADDRESS_BITS) { /* no place in a slot: on no system that we know */
        item_discard(slabs, made, parts, key_length);
        made = NULL;
    }
    return made;
}

void item_discard(item_slabs *slabs, item *made, const item_parts *parts, size_t key_length)
{
    item_slabs_give(slabs, made, parts_bytes(parts, key_length));
}

void item_free(item_slabs *slabs, item *it) { item_slabs_give(slabs, it, item_chunk(it) - 8); }

bool item_is_sparse(const item_slabs *slabs, const item *it)
{
    return item_slabs_is_sparse(slabs, it, item_chunk(it) - 8);
}

item *item_copy(item_slabs *slabs, const item *it)
{
    size_t bytes = item_chunk(it) - 8;
    item *made = item_slabs_take(slabs, bytes);
    if (made != NULL)
        memcpy(made, it, bytes);
    return made;
}

static uint64_t read_be64(const unsigned char *from)
{
    uint64_t value = 0;
    for (int i = 0; i < 8; i++)
        value = value << 8 | from[i];
    return value;
}

static void write_be64(unsigned char *to, uint64_t value)
{
    for (int i = 7; i >= 0; i--, value >>= 8)
        to[i] = (unsigned char)value;
}

/* A decimal number without leading zeros, at most `most`. NULL: there is none; else what follows. */
static const unsigned char *read_number(const unsigned char *at, const unsigned char *end, uint64_t most,
                                        uint64_t *number)
{
    uint64_t value = 0;
    const unsigned char *start = at;
    while (at < end && *at >= '0' && *at <= '9' && at - start < 12)
        value = value * 10 + (uint64_t)(*at++ - '0');
    if (at == start || value > most || (*start == '0' && at - start > 1))
        return NULL;
    *number = value;
    return at;
}

/* b" <flags> <length>\r\n" at the start of a text. NULL: it does not begin so; else what follows. */
static const unsigned char *read_text_head(const unsigned char *at, const unsigned char *end, uint64_t *flags,
                                           uint64_t *length)
{
    if (at == end || *at++ != ' ' || (at = read_number(at, end, UINT32_MAX, flags)) == NULL)
        return NULL;
    if (at == end || *at++ != ' ' || (at = read_number(at, end, UINT32_MAX, length)) == NULL)
        return NULL;
    return end - at >= 2 && at[0] == '\r' && at[1] == '\n' ? at + 2 : NULL;
}

void item_parse_text(const unsigned char *text, size_t length, item_parts *parts)
{
    const unsigned char *end = text + length;
    uint64_t flags, value_length;
    const unsigned char *value = read_text_head(text, end, &flags, &value_length);
    if (value != NULL && (uint64_t)(end - value) == value_length + 2 && end[-2] == '\r' && end[-1] == '\n') {
        parts->text = value;
        parts->length = (uint32_t)value_length;
        parts->flags = (uint32_t)flags;
        if (flags)
            parts->bits |= BIT_FLAGS;
    } else {
        parts->text = text;
        parts->length = (uint32_t)length;
        parts->flags = 0;
        parts->bits |= BIT_RAW;
    }
}

bool item_parse(const unsigned char *packed, size_t length, item_parts *parts)
{
    if (length <= PACKED_HEAD_BYTES || length > UINT32_MAX || (packed[0] & ~PUBLIC_BITS))
        return false;
    parts->bits = packed[0];
    parts->expires_at_ms = read_be64(packed + 1);
    parts->cas = read_be64(packed + 9);
    if (!(parts->bits & BIT_ENDS) && parts->expires_at_ms)
        return false;
    const unsigned char *text = packed + PACKED_HEAD_BYTES;
    size_t text_length = length - PACKED_HEAD_BYTES;
    if (!(parts->bits & BIT_PIECES)) {
        item_parse_text(text, text_length, parts);
        return true;
    }
    uint64_t flags, value_length;
    if (read_text_head(text, text + text_length, &flags, &value_length) == NULL)
        return false;
    parts->text = text;
    parts->length = (uint32_t)text_length;
    parts->flags = 0;
    parts->bits |= BIT_RAW;
    return true;
}

/* What the value of a large item takes, which is kept apart: heads and rounding of its pieces are at most 128
of each 128 KiB. */
static uint64_t pieces_bytes(uint8_t bits, const unsigned char *text, size_t length)
{
    uint64_t flags, value_length;
    if (!(bits & BIT_PIECES) || read_text_head(text, text + length, &flags, &value_length) == NULL)
        return 0;
    return value_length + (value_length >> 10);
}

static uint64_t cost_of(uint8_t bits, size_t key_length, const unsigned char *text, size_t length)
{
    return chunk_bytes(block_bytes(bits, key_length, length)) + pieces_bytes(bits, text, length);
}

uint64_t item_parts_cost(const item_parts *parts, size_t key_length)
{
    return cost_of(parts->bits, key_length, parts->text, parts->length);
}

const unsigned char *item_key(const item *it)
{
    return it->data + (it->bits & BIT_ENDS ? 8 : 0) + (it->bits & BIT_FLAGS ? 4 : 0);
}

const unsigned char *item_tail(const item *it) { return item_key(it) + it->key_length; }

uint64_t item_chunk(const item *it) { return chunk_bytes(block_bytes(it->bits, it->key_length, it->length)); }

uint64_t item_cost(const item *it) { return cost_of(it->bits, it->key_length, item_tail(it), it->length); }

uint64_t item_expires_at_ms(const item *it)
{
    uint64_t value = 0;
    if (it->bits & BIT_ENDS)
        memcpy(&value, it->data, 8);
    return value;
}

static uint32_t flags_of(const item *it)
{
    uint32_t value = 0;
    if (it->bits & BIT_FLAGS)
        memcpy(&value, it->data + (it->bits & BIT_ENDS ? 8 : 0), 4);
    return value;
}

static unsigned digits_of(uint32_t number)
{
    unsigned digits = 1;
    while (number >= 10) {
        number /= 10;
        digits++;
    }
    return digits;
}

static unsigned char *write_number(unsigned char *to, uint32_t number)
{
    unsigned char *end = to + digits_of(number), *at = end;
    do {
        *--at = (unsigned char)('0' + number % 10);
        number /= 10;
    } while (at > to);
    return end;
}

size_t item_text_length(const item *it)
{
    if (it->bits & BIT_RAW)
        return it->length;
    return 1 + digits_of(flags_of(it)) + 1 + digits_of(it->length) + 2 + (size_t)it->length + 2;
}

size_t item_write_text(const item *it, unsigned char *out)
{
    if (it->bits & BIT_RAW) {
        memcpy(out, item_tail(it), it->length);
        return it->length;
    }
    unsigned char *at = out;
    *at++ = ' ';
    at = write_number(at, flags_of(it));
    *at++ = ' ';
    at = write_number(at, it->length);
    *at++ = '\r';
    *at++ = '\n';
    memcpy(at, item_tail(it), it->length);
    at += it->length;
    *at++ = '\r';
    *at++ = '\n';
    return (size_t)(at - out);
}

size_t item_packed_length(const item *it) { return PACKED_HEAD_BYTES + item_text_length(it); }

void item_pack(const item *it, unsigned char *out)
{
    out[0] = it->bits & PUBLIC_BITS;
    write_be64(out + 1, item_expires_at_ms(it));
    write_be64(out + 9, it->cas);
    item_write_text(it, out + PACKED_HEAD_BYTES);
}

void item_fill(item *it, const unsigned char *key, size_t key_length, const item_parts *parts, unsigned queue)
{
    it->cas = parts->cas;
    it->length = parts->length;
    it->bits = (uint8_t)(parts->bits | queue << QUEUE_SHIFT);
    it->key_length = (uint8_t)key_length;
    unsigned char *at = it->data;
    if (parts->bits & BIT_ENDS) {
        memcpy(at, &parts->expires_at_ms, 8);
        at += 8;
    }
    if (parts->bits & BIT_FLAGS) {
        memcpy(at, &parts->flags, 4);
        at += 4;
    }
    memmove(at, key, key_length);
    memcpy(at + key_length, parts->text, parts->length);
}
