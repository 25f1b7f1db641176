/* The items of a shard: blocks (item_block.h), their index (item_index.h), three queues, images. No Python in
here.

An image has all items of one moment. It shares the segments of the index. Blocks are never changed but for their place in a queue, their stamp and, where no
image can see them, their content. A block that an image may see is not freed but *retired*, and
freed once there are no images, a few at a time.

Rules for callers: a pointer to an item is good until the next call that puts, takes out or clears.
Keys have 1 to 250 bytes. All functions that can fail answer so when memory is short, and have
changed nothing then. */

#ifndef QUORUMCACHE_ITEM_TABLE_H
#define QUORUMCACHE_ITEM_TABLE_H

#include "item_index.h"

enum { SMALL = 0, MAIN = 1, PLANNED = 2, QUEUES = 3 };

enum { STAMP_HITS = 3, STAMP_FETCHED = 4, STAMP_SHIFT = 3 };

typedef struct {
    item *first, *last;
    uint64_t count, bytes;
} item_queue;

typedef struct {
    item_slabs *slabs; /* where its blocks lie */
    item_index index;
    uint32_t epoch;  /* raised by each image */
    uint32_t images; /* open ones */
    uint64_t bytes_used, expiring;
    uint64_t pieces_bytes; /* of bytes_used, what values in pieces take, which are not in here */
    item_queue queues[QUEUES];
    item *retired;
    uint64_t retired_count, retired_bytes;
} item_table;

typedef struct {
    segment **segments;
    uint32_t segment_count;
    uint64_t item_count;
} item_image;

typedef enum { PUT_FAILED = -1, PUT_NEW = 0, PUT_CHANGED = 1 } put_outcome;

/* `slabs`: of all tables of the process, which give each other items. `seed` goes into the hash of keys. False:
no memory. */
bool item_table_init(item_table *table, item_slabs *slabs, uint64_t seed);
/* Frees everything. There must be no open image. */
void item_table_free(item_table *table);

item *item_table_find(const item_table *table, const unsigned char *key, size_t length);

/* These hashes are going to be looked up, and their items changed (`item_index_warm`). */
void item_table_warm(const item_table *table, const uint64_t *hashes, unsigned count, warm_step step);

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
/* Take all items out of another table and hold them as retired, to be freed a few at a time. They stay
where they are while the other table has open images. False: no memory. */
bool item_table_inherit(item_table *table, item_table *other);

/* To the end of a queue, with this stamp. Its block may be another one afterwards. */
void item_table_move(item_table *table, item *item, unsigned queue, uint32_t stamp);
void item_note_hit(item *item, uint32_t now_s);
unsigned item_queue_of(const item *item);

/* Free up to `most` retired items, if no image is open. How many were freed. */
uint64_t item_table_reap(item_table *table, uint64_t most);

bool item_image_open(item_table *table, item_image *image);
void item_image_close(item_table *table, item_image *image);

#endif
