/* One item: a block of memory with all of it. No Python in here.

A block is a head, what is optional, the key, and the value or the text as it was given. Python sees
an item *packed*, as store/item.py tells; `item_parse` takes such bytes apart, and `item_pack` makes
them again, byte by byte the same. */

#ifndef QUORUMCACHE_ITEM_BLOCK_H
#define QUORUMCACHE_ITEM_BLOCK_H

#include "item_slabs.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    /* Bits of a packed item's first byte, see store/item.py. */
    BIT_ENDS = 1,
    BIT_STALE = 2,
    BIT_WON = 4,
    BIT_PIECES = 8,
    PUBLIC_BITS = 15,
    /* Bits of a block. */
    BIT_FLAGS = 16, /* client flags that are not 0 stand before the key */
    BIT_RAW = 32,   /* what follows the key is the wire text as it was given */
    QUEUE_SHIFT = 6 /* the two bits above are its queue */
};

enum {
    KEY_BYTES_MAX = 250,
    PACKED_HEAD_BYTES = 17,
    ADDRESS_BITS = 48 /* of a block's address: a slot of the index has no room for more */
};

typedef struct item {
    struct item *previous, *next; /* in its queue; of a retired one `next` is the next retired one */
    uint64_t cas;
    uint32_t stamp;  /* (seconds of the last access << 3) | (fetched << 2) | hits, 0..3 */
    uint32_t length; /* bytes of the value, or of the text if BIT_RAW */
    uint32_t born;   /* the table's epoch when it was made */
    uint8_t bits;
    uint8_t key_length;
    unsigned char data[]; /* [expires_at_ms u64] [flags u32] key value */
} item;

/* A packed item, taken apart. `text` points into what was given. */
typedef struct {
    const unsigned char *text;
    uint64_t expires_at_ms, cas;
    uint32_t length; /* of the value, or of the text if BIT_RAW */
    uint32_t flags;
    uint8_t bits;
} item_parts;

/* Take a packed item of `length` bytes apart. False: it is none, or longer than a snapshot can say. */
bool item_parse(const unsigned char *packed, size_t length, item_parts *parts);
/* Take the text of an item, which is not empty, apart: `parts` has its bits, without PIECES, and the rest. */
void item_parse_text(const unsigned char *text, size_t length, item_parts *parts);
/* What an item adds to the bytes used, see `item_cost` in store/item.py. */
uint64_t item_parts_cost(const item_parts *parts, size_t key_length);
uint64_t item_cost(const item *item);
const unsigned char *item_key(const item *item);
uint64_t item_expires_at_ms(const item *item); /* 0 = never */
/* Length of the packed form; `item_pack` writes so many bytes. */
size_t item_packed_length(const item *item);
void item_pack(const item *item, unsigned char *out);
/* The same without the first 17 bytes: the text as it goes out on the wire. */
size_t item_text_length(const item *item);
size_t item_write_text(const item *item, unsigned char *out);
const unsigned char *item_tail(const item *item); /* the value, or the text if BIT_RAW */
/* What its block counts for: two of an equal one can take each other's content. */
uint64_t item_chunk(const item *item);

/* A block with room for an item, and for any other one with an equal `item_chunk`. NULL: no memory. */
item *item_new(item_slabs *slabs, const item_parts *parts, size_t key_length);
/* Give a block back that was not filled, made for these; NULL does nothing. And one that holds an item. */
void item_discard(item_slabs *slabs, item *made, const item_parts *parts, size_t key_length);
void item_free(item_slabs *slabs, item *item);
/* Whether its block lies among many free ones, see `item_slabs_is_sparse`; a copy. NULL: no memory. */
bool item_is_sparse(const item_slabs *slabs, const item *item);
item *item_copy(item_slabs *slabs, const item *item);
/* Write an item into a block that has room for it. `queue`: two bits that are kept with its own. */
void item_fill(item *item, const unsigned char *key, size_t key_length, const item_parts *parts, unsigned queue);

#endif
