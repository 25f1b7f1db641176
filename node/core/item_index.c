/* See item_index.h. */

#include "item_index.h"

#include <stdlib.h>
#include <string.h>

enum {
    SEGMENT_SLOTS_MIN = 8,
    FULL_PERCENT = 85,   /* a segment grows when more of its slots are taken */
    ROOMY_PERCENT = 74,  /* so many are taken in one that was just made */
    EMPTY_PERCENT = 50,  /* it shrinks when fewer are taken */
    DIRECTORY_PARTS = 16, /* entries of the directory for each full segment, at most */
    TAG_SHIFT = ADDRESS_BITS,
    POSITION_BITS = 32,
    LINE_BYTES = 64, /* of the processor's cache */
    WARM_LINES = 3   /* head, key, and a value of 100 bytes */
};

static const uint64_t ADDRESS_MASK = ((uint64_t)1 << TAG_SHIFT) - 1;

static uint64_t folded(uint64_t a, uint64_t b)
{
    __extension__ unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* Products of 64 by 64 bits, folded; all keys of a shard share the first bits of their token, so another
hash is needed, and its seed keeps clients from choosing keys that meet. */
static uint64_t hash_of(const unsigned char *key, size_t length, uint64_t seed)
{
    uint64_t hash = seed ^ (length * UINT64_C(0x9E3779B97F4A7C15)), word;
    while (length >= 8) {
        memcpy(&word, key, 8);
        hash = folded(hash ^ word, UINT64_C(0xD6E8FEB86659FD93)) ^ seed;
        key += 8;
        length -= 8;
    }
    word = 0;
    memcpy(&word, key, length);
    hash = folded(hash ^ word, UINT64_C(0xA0761D6478BD642F)) ^ seed;
    return folded(hash, UINT64_C(0xE7037ED1A0B428DB));
}

static item *address_of(uint64_t slot) { return (item *)(uintptr_t)(slot & ADDRESS_MASK); }

static uint64_t slot_of(uint64_t hash, const item *it)
{
    return (hash >> TAG_SHIFT) << TAG_SHIFT | (uint64_t)(uintptr_t)it;
}

static uint32_t home_of(uint64_t slot, uint32_t size) { return (uint32_t)(((slot >> TAG_SHIFT) * size) >> 16); }

static size_t segment_bytes(uint32_t size) { return sizeof(segment) + (size_t)size * sizeof(uint64_t); }

static segment *new_segment(item_index *x, uint32_t items, uint32_t depth)
{
    uint32_t size = (uint32_t)((uint64_t)items * 100 / ROOMY_PERCENT) + 1;
    if (size < SEGMENT_SLOTS_MIN)
        size = SEGMENT_SLOTS_MIN;
    segment *made = calloc(1, segment_bytes(size));
    if (made != NULL) {
        made->references = 1;
        made->depth = depth;
        made->size = size;
        x->bytes += segment_bytes(size);
    }
    return made;
}

static void free_segment(item_index *x, segment *s)
{
    x->bytes -= segment_bytes(s->size);
    free(s);
}

/* The table's own reference: what others still hold is there for images alone from now on. */
static void release_segment(item_index *x, segment *s)
{
    if (--s->references == 0)
        free_segment(x, s);
    else
        x->imaged_bytes += segment_bytes(s->size);
}

static void insert_slot(segment *s, uint64_t slot)
{
    uint32_t at = home_of(slot, s->size);
    while (s->slots[at])
        if (++at == s->size)
            at = 0;
    s->slots[at] = slot;
    s->count++;
}

static void remove_slot(segment *s, uint32_t gap)
{
    uint32_t at = gap;
    for (;;) {
        if (++at == s->size)
            at = 0;
        uint64_t slot = s->slots[at];
        if (!slot)
            break;
        uint32_t home = home_of(slot, s->size);
        uint32_t from_home = at >= home ? at - home : at + s->size - home;
        uint32_t from_gap = at >= gap ? at - gap : at + s->size - gap;
        if (from_home >= from_gap) {
            s->slots[gap] = slot;
            gap = at;
        }
    }
    s->slots[gap] = 0;
    s->count--;
}

segment *item_index_segment(const item_index *x, uint64_t hash)
{
    return x->directory[hash & (((uint64_t)1 << x->depth) - 1)];
}

uint32_t segment_find(const segment *s, const unsigned char *key, size_t length, uint64_t hash)
{
    uint64_t tag = hash >> TAG_SHIFT;
    uint32_t at = home_of(tag << TAG_SHIFT, s->size);
    for (;;) {
        uint64_t slot = s->slots[at];
        if (!slot)
            return s->size;
        if (slot >> TAG_SHIFT == tag) {
            const item *it = address_of(slot);
            if (it->key_length == length && !memcmp(item_key(it), key, length))
                return at;
        }
        if (++at == s->size)
            at = 0;
    }
}

static void warm_item(const segment *s, uint64_t hash)
{
    uint64_t tag = hash >> TAG_SHIFT, slot;
    uint32_t at = home_of(tag << TAG_SHIFT, s->size);
    while ((slot = s->slots[at]) != 0) {
        if (slot >> TAG_SHIFT == tag) {
            const char *block = (const char *)address_of(slot);
            for (int line = 0; line < WARM_LINES; line++)
                __builtin_prefetch(block + line * LINE_BYTES, 1);
            return;
        }
        if (++at == s->size)
            at = 0;
    }
}

void item_index_warm(const item_index *x, uint64_t hash, warm_step step)
{
    if (step == WARM_ENTRY) {
        __builtin_prefetch(&x->directory[hash & (((uint64_t)1 << x->depth) - 1)]);
        return;
    }
    const segment *s = item_index_segment(x, hash);
    if (step == WARM_SEGMENT)
        __builtin_prefetch(s);
    else if (step == WARM_SLOT)
        __builtin_prefetch(&s->slots[home_of(hash >> TAG_SHIFT << TAG_SHIFT, s->size)]);
    else
        warm_item(s, hash);
}

item *segment_item(const segment *s, uint32_t slot) { return s->slots[slot] ? address_of(s->slots[slot]) : NULL; }

/* All entries of the directory that name the segment of `hash` name `made` from now on. */
static void install(item_index *x, uint64_t hash, segment *made)
{
    uint64_t step = (uint64_t)1 << made->depth, end = (uint64_t)1 << x->depth;
    for (uint64_t i = hash & (step - 1); i < end; i += step)
        x->directory[i] = made;
}

/* The segment of a hash, made anew for so many items, and not shared. */
static segment *rebuilt(item_index *x, uint64_t hash, uint32_t items)
{
    segment *old = item_index_segment(x, hash);
    segment *made = new_segment(x, items, old->depth);
    if (made == NULL)
        return NULL;
    for (uint32_t i = 0; i < old->size; i++)
        if (old->slots[i])
            insert_slot(made, old->slots[i]);
    install(x, hash, made);
    release_segment(x, old);
    return made;
}

static bool double_directory(item_index *x)
{
    size_t half = (size_t)1 << x->depth;
    segment **wider = realloc(x->directory, 2 * half * sizeof *wider);
    if (wider == NULL)
        return false;
    memcpy(wider + half, wider, half * sizeof *wider);
    x->directory = wider;
    x->depth++;
    x->bytes += half * sizeof *wider;
    return true;
}

static uint64_t hash_of_item(const item_index *x, const item *it)
{
    return hash_of(item_key(it), it->key_length, x->seed);
}

/* Split the segment of a hash in two. */
static bool split(item_index *x, uint64_t hash)
{
    segment *old = item_index_segment(x, hash);
    if (old->depth == x->depth && !double_directory(x))
        return false;
    uint64_t bit = (uint64_t)1 << old->depth;
    unsigned char *side = malloc(old->size); /* of the item in each slot: a hash costs a look at its block */
    if (side == NULL)
        return false;
    uint32_t ones = 0;
    for (uint32_t i = 0; i < old->size; i++)
        if (old->slots[i])
            ones += side[i] = (hash_of_item(x, address_of(old->slots[i])) & bit) != 0;
    segment *zero = new_segment(x, old->count - ones, old->depth + 1);
    segment *one = new_segment(x, ones, old->depth + 1);
    if (zero == NULL || one == NULL) {
        free(side);
        if (zero != NULL)
            release_segment(x, zero);
        if (one != NULL)
            release_segment(x, one);
        return false;
    }
    for (uint32_t i = 0; i < old->size; i++)
        if (old->slots[i])
            insert_slot(side[i] ? one : zero, old->slots[i]);
    free(side);
    install(x, hash & ~bit, zero);
    install(x, hash | bit, one);
    release_segment(x, old);
    return true;
}

/* Whether a full segment is split. Keys of equal hashes cannot be told apart: theirs grows instead. */
static bool may_split(const item_index *x, const segment *s)
{
    return s->depth < x->depth || (uint64_t)1 << x->depth <= DIRECTORY_PARTS * (x->count / SEGMENT_ITEMS_MAX + 1);
}

segment *item_index_with_room(item_index *x, uint64_t hash)
{
    for (;;) {
        segment *s = item_index_segment(x, hash);
        if (s->count >= SEGMENT_ITEMS_MAX && may_split(x, s)) {
            if (!split(x, hash))
                return NULL;
            continue;
        }
        if ((uint64_t)(s->count + 1) * 100 > (uint64_t)s->size * FULL_PERCENT)
            return rebuilt(x, hash, s->count + 1);
        return s->references > 1 ? rebuilt(x, hash, s->count + 1) : s;
    }
}

segment *item_index_own(item_index *x, uint64_t hash)
{
    segment *s = item_index_segment(x, hash);
    return s->references > 1 ? rebuilt(x, hash, s->count) : s;
}

uint64_t item_index_hash(const item_index *x, const unsigned char *key, size_t length)
{
    return hash_of(key, length, x->seed);
}

void item_index_insert(item_index *x, segment *s, uint64_t hash, const item *it)
{
    insert_slot(s, slot_of(hash, it));
    x->count++;
}

void segment_replace(segment *s, uint32_t slot, uint64_t hash, const item *it) { s->slots[slot] = slot_of(hash, it); }

void item_index_remove(item_index *x, segment *s, uint32_t slot, uint64_t hash)
{
    remove_slot(s, slot);
    x->count--;
    if (s->size > 2 * SEGMENT_SLOTS_MIN && (uint64_t)s->count * 100 < (uint64_t)s->size * EMPTY_PERCENT)
        rebuilt(x, hash, s->count); /* without memory it stays as it is */
}

/* -- all of it -------------------------------------------------------------------------------- */

bool item_index_init(item_index *x, uint64_t seed)
{
    memset(x, 0, sizeof *x);
    x->seed = seed ^ UINT64_C(0x589965CC75374CC3);
    x->directory = malloc(sizeof *x->directory);
    if (x->directory == NULL)
        return false;
    x->directory[0] = new_segment(x, 0, 0);
    if (x->directory[0] == NULL) {
        free(x->directory);
        x->directory = NULL;
        return false;
    }
    x->bytes += sizeof *x->directory;
    return true;
}

static void release_directory(item_index *x)
{
    for (uint64_t i = (uint64_t)1 << x->depth; i-- > 0;) {
        segment *s = x->directory[i];
        if (i < (uint64_t)1 << s->depth) /* the first entry that names it, which is met last */
            release_segment(x, s);
    }
}

void item_index_free(item_index *x)
{
    if (x->directory == NULL)
        return;
    release_directory(x);
    free(x->directory);
    x->directory = NULL;
}

bool item_index_clear(item_index *x)
{
    segment *empty = new_segment(x, 0, 0);
    if (empty == NULL)
        return false;
    release_directory(x);
    x->bytes -= (((uint64_t)1 << x->depth) - 1) * sizeof *x->directory;
    x->depth = 0;
    x->directory[0] = empty;
    segment **narrow = realloc(x->directory, sizeof *narrow);
    if (narrow != NULL)
        x->directory = narrow;
    x->count = 0;
    return true;
}

/* The bits of a position, in reverse: segments that were split are neighbours then. */
static uint32_t reversed(uint32_t bits)
{
    uint32_t result = 0;
    for (int i = 0; i < POSITION_BITS; i++, bits >>= 1)
        result = result << 1 | (bits & 1);
    return result;
}

const segment *item_index_scan(const item_index *x, uint32_t position, uint32_t *next)
{
    const segment *s = item_index_segment(x, reversed(position));
    uint64_t part = (uint64_t)1 << (POSITION_BITS - s->depth);
    uint64_t start = position / part * part;
    *next = (uint32_t)(start + part); /* 0 behind the last one */
    return s;
}

segment **item_index_share(item_index *x, uint32_t *count)
{
    size_t entries = (size_t)1 << x->depth;
    segment **segments = malloc(entries * sizeof *segments);
    if (segments == NULL)
        return NULL;
    *count = 0;
    for (size_t i = 0; i < entries; i++) {
        segment *s = x->directory[i];
        if (i < (size_t)1 << s->depth) {
            s->references++;
            segments[(*count)++] = s;
        }
    }
    return segments;
}

void item_index_unshare(item_index *x, segment **segments, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        segment *s = segments[i];
        if (--s->references == 0) {
            x->imaged_bytes -= segment_bytes(s->size);
            free_segment(x, s);
        }
    }
    free(segments);
}
