/* The items of a shard: a hash table of blocks, three queues, images. No Python in here.

An item is one block: its head, what is optional, its key and its value. The table knows each
block by its address; the index has 8 bytes and about a quarter for each.

Index. Extendible hashing: a directory of segments, by the low bits of a key's hash. A segment is an
open-addressing table (linear probing) of up to SEGMENT_ITEMS_MAX items. A slot is the block's address in
its low 48 bits and the high 16 bits of the hash above them; those 16 bits also say where in the
segment the slot belongs, so a segment grows, shrinks and closes gaps without a look at any block. A
full segment is split in two. So no step ever moves more than one segment.

Images. An image has all items of one moment. It shares the segments: who changes a shared one
copies it first. Blocks are never changed but for their place in a queue, their stamp and, where no
image can see them, their content. A block that an image may see is not freed but *retired*, and
freed once there are no images, a few at a time.

Rules for callers: a pointer to an item is good until the next call that puts, takes out or clears.
Keys have 1 to 250 bytes. All functions that can fail answer so when memory is short, and have
changed nothing then. */

#ifndef QUORUMCACHE_ITEM_TABLE_H
#define QUORUMCACHE_ITEM_TABLE_H

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

enum { SMALL = 0, MAIN = 1, PLANNED = 2, QUEUES = 3 };

enum {
    KEY_BYTES_MAX = 250,
    PACKED_HEAD_BYTES = 17,
    SEGMENT_ITEMS_MAX = 4096,
    STAMP_HITS = 3,
    STAMP_FETCHED = 4,
    STAMP_SHIFT = 3
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

typedef struct segment {
    uint32_t references; /* the table's own, and one for each image */
    uint32_t depth;      /* so many low bits of the hash are the same for all of its items */
    uint32_t count, size;
    uint64_t slots[]; /* 0 = free */
} segment;

typedef struct {
    item *first, *last;
    uint64_t count, bytes;
} item_queue;

typedef struct {
    segment **directory; /* 1 << depth entries */
    uint32_t depth;
    uint32_t epoch;  /* raised by each image */
    uint32_t images; /* open ones */
    uint64_t seed;
    uint64_t count, bytes_used, expiring;
    uint64_t pieces_bytes; /* of bytes_used, what values in pieces take, which are not in here */
    uint64_t index_bytes;  /* of the directory and of all segments */
    uint64_t imaged_bytes; /* of index_bytes, what only images have */
    item_queue queues[QUEUES];
    item *retired;
    uint64_t retired_count, retired_bytes;
} item_table;

/* A packed item, taken apart. `text` points into what was given. */
typedef struct {
    const unsigned char *text;
    uint64_t expires_at_ms, cas;
    uint32_t length; /* of the value, or of the text if BIT_RAW */
    uint32_t flags;
    uint8_t bits;
} item_parts;

typedef struct {
    segment **segments;
    uint32_t segment_count;
    uint64_t item_count;
} item_image;

typedef enum { PUT_FAILED = -1, PUT_NEW = 0, PUT_CHANGED = 1 } put_outcome;

/* -- one item -------------------------------------------------------------------------------- */

/* Take a packed item of `length` bytes apart. False: it is none, or longer than a snapshot can say. */
bool item_parse(const unsigned char *packed, size_t length, item_parts *parts);
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

/* -- the table -------------------------------------------------------------------------------- */

/* `seed` goes into the hash of keys. False: no memory. */
bool item_table_init(item_table *table, uint64_t seed);
/* Frees everything. There must be no open image. */
void item_table_free(item_table *table);

item *item_table_find(const item_table *table, const unsigned char *key, size_t length);

/* Place an item. A new one goes to the end of SMALL; another one of the same key keeps its place, or goes
to the end of MAIN if it was PLANNED. `old` gets the item that was replaced, if its value is in pieces
(BIT_PIECES), and the caller then gives it to `item_table_drop`; NULL otherwise. */
put_outcome item_table_put(item_table *table, const unsigned char *key, size_t key_length,
                           const item_parts *parts, uint32_t now_s, item **old);
/* Take an item out of the index and of its queue. The caller gives it to `item_table_drop`. NULL: there is
none, or (`failed`) no memory. */
item *item_table_take(item_table *table, const unsigned char *key, size_t length, bool *failed);
/* What was taken out, or replaced, is needed no more. */
void item_table_drop(item_table *table, item *item);
/* Take all items out. False: no memory. */
bool item_table_clear(item_table *table);

/* To the end of a queue, with this stamp. */
void item_table_move(item_table *table, item *item, unsigned queue, uint32_t stamp);
void item_note_hit(item *item, uint32_t now_s);
unsigned item_queue_of(const item *item);

/* Free up to `most` retired items, if no image is open. How many were freed. */
uint64_t item_table_reap(item_table *table, uint64_t most);

/* The segment at a position of a scan, and the next position. Positions are 32-bit fractions of the hash
space; a scan begins at 0 and ends when the next one is 0. Segments that are split or that grow between two
steps do no harm: a scan passes each item that is there all the time. */
const segment *item_table_scan(const item_table *table, uint32_t position, uint32_t *next);
item *segment_item(const segment *segment, uint32_t slot);

/* -- images ----------------------------------------------------------------------------------- */

bool item_image_open(item_table *table, item_image *image);
void item_image_close(item_table *table, item_image *image);

#endif
