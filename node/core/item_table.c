/* See item_table.h. */

#include "item_table.h"

#include <stdlib.h>
#include <string.h>

#define DATA_OFFSET offsetof(item, data)

/* All replicas count an item alike (`item_cost` in store/item.py), whatever machine they run on. One whose
pointers are shorter runs from the sources. */
_Static_assert(sizeof(void *) == 8 && DATA_OFFSET == 38, "an item's head takes 38 bytes");

enum {
    SEGMENT_SLOTS_MIN = 8,
    FULL_PERCENT = 85,   /* a segment grows when more of its slots are taken */
    ROOMY_PERCENT = 74,  /* so many are taken in one that was just made */
    EMPTY_PERCENT = 50,  /* it shrinks when fewer are taken */
    DIRECTORY_PARTS = 16, /* entries of the directory for each full segment, at most */
    TAG_SHIFT = 48,
    POSITION_BITS = 32,
    REAPED_PER_PUT = 4
};

static const uint64_t ADDRESS_MASK = ((uint64_t)1 << TAG_SHIFT) - 1;

/* -- one item -------------------------------------------------------------------------------- */

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

/* Room for a block, up to the end of its chunk: another one with an equal chunk fits in, too. */
static item *new_item(size_t bytes)
{
    item *made = malloc(chunk_bytes(bytes) - 8);
    if ((uint64_t)(uintptr_t)made & ~ADDRESS_MASK) { /* no place in a slot: on no system that we know */
        free(made);
        made = NULL;
    }
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

bool item_parse(const unsigned char *packed, size_t length, item_parts *parts)
{
    if (length <= PACKED_HEAD_BYTES || length > UINT32_MAX || (packed[0] & ~PUBLIC_BITS))
        return false;
    parts->bits = packed[0];
    parts->expires_at_ms = read_be64(packed + 1);
    parts->cas = read_be64(packed + 9);
    if (!(parts->bits & BIT_ENDS) && parts->expires_at_ms)
        return false;
    const unsigned char *text = packed + PACKED_HEAD_BYTES, *end = packed + length;
    uint64_t flags, value_length;
    const unsigned char *value = read_text_head(text, end, &flags, &value_length);
    if (value != NULL && !(parts->bits & BIT_PIECES) && (uint64_t)(end - value) == value_length + 2 &&
        end[-2] == '\r' && end[-1] == '\n') {
        parts->text = value;
        parts->length = (uint32_t)value_length;
        parts->flags = (uint32_t)flags;
        if (flags)
            parts->bits |= BIT_FLAGS;
    } else {
        if (parts->bits & BIT_PIECES && value == NULL)
            return false;
        parts->text = text;
        parts->length = (uint32_t)(end - text);
        parts->flags = 0;
        parts->bits |= BIT_RAW;
    }
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

static const unsigned char *item_tail(const item *it) { return item_key(it) + it->key_length; }

static uint64_t chunk_of(const item *it) { return chunk_bytes(block_bytes(it->bits, it->key_length, it->length)); }

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

static void fill(item *it, const unsigned char *key, size_t key_length, const item_parts *parts, unsigned queue)
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

/* -- queues ----------------------------------------------------------------------------------- */

unsigned item_queue_of(const item *it) { return it->bits >> QUEUE_SHIFT; }

static void link_last(item_table *t, item *it, unsigned queue, uint64_t cost)
{
    item_queue *q = &t->queues[queue];
    it->bits = (uint8_t)((it->bits & ((1 << QUEUE_SHIFT) - 1)) | queue << QUEUE_SHIFT);
    it->previous = q->last;
    it->next = NULL;
    if (q->last != NULL)
        q->last->next = it;
    else
        q->first = it;
    q->last = it;
    q->count++;
    q->bytes += cost;
}

static void unlink_item(item_table *t, item *it, uint64_t cost)
{
    item_queue *q = &t->queues[item_queue_of(it)];
    if (it->previous != NULL)
        it->previous->next = it->next;
    else
        q->first = it->next;
    if (it->next != NULL)
        it->next->previous = it->previous;
    else
        q->last = it->previous;
    q->count--;
    q->bytes -= cost;
}

/* `it` takes the place of `old`, which is in the same queue. */
static void take_place(item_table *t, item *it, const item *old)
{
    item_queue *q = &t->queues[item_queue_of(old)];
    it->previous = old->previous;
    it->next = old->next;
    if (it->previous != NULL)
        it->previous->next = it;
    else
        q->first = it;
    if (it->next != NULL)
        it->next->previous = it;
    else
        q->last = it;
}

void item_table_move(item_table *t, item *it, unsigned queue, uint32_t stamp)
{
    uint64_t cost = item_cost(it);
    unlink_item(t, it, cost);
    link_last(t, it, queue, cost);
    it->stamp = stamp;
}

static uint32_t accessed(uint32_t stamp, uint32_t now_s, uint32_t fetched)
{
    uint32_t hits = (stamp & STAMP_HITS) + 1;
    return now_s << STAMP_SHIFT | fetched | (hits > STAMP_HITS ? STAMP_HITS : hits);
}

void item_note_hit(item *it, uint32_t now_s)
{
    uint32_t stamp = accessed(it->stamp, now_s, STAMP_FETCHED);
    if (stamp != it->stamp)
        it->stamp = stamp;
}

/* -- index ------------------------------------------------------------------------------------ */

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

static segment *new_segment(item_table *t, uint32_t items, uint32_t depth)
{
    uint32_t size = (uint32_t)((uint64_t)items * 100 / ROOMY_PERCENT) + 1;
    if (size < SEGMENT_SLOTS_MIN)
        size = SEGMENT_SLOTS_MIN;
    segment *made = calloc(1, segment_bytes(size));
    if (made != NULL) {
        made->references = 1;
        made->depth = depth;
        made->size = size;
        t->index_bytes += segment_bytes(size);
    }
    return made;
}

static void free_segment(item_table *t, segment *s)
{
    t->index_bytes -= segment_bytes(s->size);
    free(s);
}

/* The table's own reference: what others still hold is there for images alone from now on. */
static void release_segment(item_table *t, segment *s)
{
    if (--s->references == 0)
        free_segment(t, s);
    else
        t->imaged_bytes += segment_bytes(s->size);
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

static segment *segment_of(const item_table *t, uint64_t hash)
{
    return t->directory[hash & (((uint64_t)1 << t->depth) - 1)];
}

/* The slot of a key in its segment; s->size if there is none. */
static uint32_t slot_at(const segment *s, const unsigned char *key, size_t length, uint64_t hash)
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

item *segment_item(const segment *s, uint32_t slot) { return s->slots[slot] ? address_of(s->slots[slot]) : NULL; }

/* All entries of the directory that name the segment of `hash` name `made` from now on. */
static void install(item_table *t, uint64_t hash, segment *made)
{
    uint64_t step = (uint64_t)1 << made->depth, end = (uint64_t)1 << t->depth;
    for (uint64_t i = hash & (step - 1); i < end; i += step)
        t->directory[i] = made;
}

/* The segment of a hash, made anew for so many items, and not shared. */
static segment *rebuilt(item_table *t, uint64_t hash, uint32_t items)
{
    segment *old = segment_of(t, hash);
    segment *made = new_segment(t, items, old->depth);
    if (made == NULL)
        return NULL;
    for (uint32_t i = 0; i < old->size; i++)
        if (old->slots[i])
            insert_slot(made, old->slots[i]);
    install(t, hash, made);
    release_segment(t, old);
    return made;
}

static bool double_directory(item_table *t)
{
    size_t half = (size_t)1 << t->depth;
    segment **wider = realloc(t->directory, 2 * half * sizeof *wider);
    if (wider == NULL)
        return false;
    memcpy(wider + half, wider, half * sizeof *wider);
    t->directory = wider;
    t->depth++;
    t->index_bytes += half * sizeof *wider;
    return true;
}

static uint64_t hash_of_item(const item_table *t, const item *it)
{
    return hash_of(item_key(it), it->key_length, t->seed);
}

/* Split the segment of a hash in two. */
static bool split(item_table *t, uint64_t hash)
{
    segment *old = segment_of(t, hash);
    if (old->depth == t->depth && !double_directory(t))
        return false;
    uint64_t bit = (uint64_t)1 << old->depth;
    uint32_t ones = 0;
    for (uint32_t i = 0; i < old->size; i++)
        if (old->slots[i] && hash_of_item(t, address_of(old->slots[i])) & bit)
            ones++;
    segment *zero = new_segment(t, old->count - ones, old->depth + 1);
    segment *one = new_segment(t, ones, old->depth + 1);
    if (zero == NULL || one == NULL) {
        if (zero != NULL)
            release_segment(t, zero);
        if (one != NULL)
            release_segment(t, one);
        return false;
    }
    for (uint32_t i = 0; i < old->size; i++)
        if (old->slots[i])
            insert_slot(hash_of_item(t, address_of(old->slots[i])) & bit ? one : zero, old->slots[i]);
    install(t, hash & ~bit, zero);
    install(t, hash | bit, one);
    release_segment(t, old);
    return true;
}

/* Whether a full segment is split. Keys of equal hashes cannot be told apart: theirs grows instead. */
static bool may_split(const item_table *t, const segment *s)
{
    return s->depth < t->depth || (uint64_t)1 << t->depth <= DIRECTORY_PARTS * (t->count / SEGMENT_ITEMS_MAX + 1);
}

/* The segment of a hash, with room for one more item, and not shared. NULL: no memory. */
static segment *with_room(item_table *t, uint64_t hash)
{
    for (;;) {
        segment *s = segment_of(t, hash);
        if (s->count >= SEGMENT_ITEMS_MAX && may_split(t, s)) {
            if (!split(t, hash))
                return NULL;
            continue;
        }
        if ((uint64_t)(s->count + 1) * 100 > (uint64_t)s->size * FULL_PERCENT)
            return rebuilt(t, hash, s->count + 1);
        return s->references > 1 ? rebuilt(t, hash, s->count + 1) : s;
    }
}

/* The segment of a hash, not shared. NULL: no memory. */
static segment *own(item_table *t, uint64_t hash)
{
    segment *s = segment_of(t, hash);
    return s->references > 1 ? rebuilt(t, hash, s->count) : s;
}

item *item_table_find(const item_table *t, const unsigned char *key, size_t length)
{
    uint64_t hash = hash_of(key, length, t->seed);
    const segment *s = segment_of(t, hash);
    uint32_t at = slot_at(s, key, length, hash);
    return at < s->size ? address_of(s->slots[at]) : NULL;
}

/* -- the table -------------------------------------------------------------------------------- */

bool item_table_init(item_table *t, uint64_t seed)
{
    memset(t, 0, sizeof *t);
    t->seed = seed ^ UINT64_C(0x589965CC75374CC3);
    t->directory = malloc(sizeof *t->directory);
    if (t->directory == NULL)
        return false;
    t->directory[0] = new_segment(t, 0, 0);
    if (t->directory[0] == NULL) {
        free(t->directory);
        t->directory = NULL;
        return false;
    }
    t->index_bytes += sizeof *t->directory;
    return true;
}

static void release_directory(item_table *t)
{
    for (uint64_t i = (uint64_t)1 << t->depth; i-- > 0;) {
        segment *s = t->directory[i];
        if (i < (uint64_t)1 << s->depth) /* the first entry that names it, which is met last */
            release_segment(t, s);
    }
}

void item_table_free(item_table *t)
{
    if (t->directory == NULL)
        return;
    for (int queue = 0; queue < QUEUES; queue++)
        for (item *it = t->queues[queue].first, *next; it != NULL; it = next) {
            next = it->next;
            free(it);
        }
    for (item *it = t->retired, *next; it != NULL; it = next) {
        next = it->next;
        free(it);
    }
    release_directory(t);
    free(t->directory);
    t->directory = NULL;
}

static bool is_seen(const item_table *t, const item *it) { return t->images && it->born < t->epoch; }

static void retire(item_table *t, item *it)
{
    it->next = t->retired;
    t->retired = it;
    t->retired_count++;
    t->retired_bytes += chunk_of(it);
}

void item_table_drop(item_table *t, item *it)
{
    if (is_seen(t, it))
        retire(t, it);
    else
        free(it);
}

uint64_t item_table_reap(item_table *t, uint64_t most)
{
    uint64_t freed = 0;
    while (!t->images && t->retired != NULL && freed < most) {
        item *it = t->retired;
        t->retired = it->next;
        t->retired_count--;
        t->retired_bytes -= chunk_of(it);
        free(it);
        freed++;
    }
    return freed;
}

/* An item is in the table from now on. */
static void count_in(item_table *t, const item *it, uint64_t cost)
{
    t->bytes_used += cost;
    t->pieces_bytes += cost - chunk_of(it);
    t->expiring += it->bits & BIT_ENDS ? 1 : 0;
}

static void count_out(item_table *t, const item *it, uint64_t cost)
{
    t->bytes_used -= cost;
    t->pieces_bytes -= cost - chunk_of(it);
    t->expiring -= it->bits & BIT_ENDS ? 1 : 0;
}

static put_outcome put_new(item_table *t, const unsigned char *key, size_t key_length, const item_parts *parts,
                           uint32_t now_s, uint64_t hash)
{
    item *made = new_item(block_bytes(parts->bits, key_length, parts->length));
    segment *s = made == NULL ? NULL : with_room(t, hash);
    if (s == NULL) {
        free(made);
        return PUT_FAILED;
    }
    made->born = t->epoch;
    made->stamp = now_s << STAMP_SHIFT;
    fill(made, key, key_length, parts, SMALL);
    uint64_t cost = item_cost(made);
    insert_slot(s, slot_of(hash, made));
    link_last(t, made, SMALL, cost);
    count_in(t, made, cost);
    t->count++;
    return PUT_NEW;
}

put_outcome item_table_put(item_table *t, const unsigned char *key, size_t key_length, const item_parts *parts,
                           uint32_t now_s, item **old)
{
    *old = NULL;
    if (t->retired != NULL)
        item_table_reap(t, REAPED_PER_PUT);
    uint64_t hash = hash_of(key, key_length, t->seed);
    segment *s = segment_of(t, hash);
    uint32_t at = slot_at(s, key, key_length, hash);
    if (at == s->size)
        return put_new(t, key, key_length, parts, now_s, hash);
    item *was = address_of(s->slots[at]), *made = was;
    uint64_t cost = item_parts_cost(parts, key_length), old_cost = item_cost(was);
    unsigned queue = item_queue_of(was);
    uint32_t stamp = accessed(was->stamp, now_s, 0);
    uint8_t old_bits = was->bits;
    bool fits = !(old_bits & BIT_PIECES) && !(parts->bits & BIT_PIECES) && cost == old_cost && !is_seen(t, was);
    if (!fits) {
        made = new_item(block_bytes(parts->bits, key_length, parts->length));
        if (made != NULL && s->references > 1) {
            s = own(t, hash);
            at = s == NULL ? 0 : slot_at(s, key, key_length, hash);
        }
        if (made == NULL || s == NULL) {
            free(made);
            return PUT_FAILED;
        }
        made->born = t->epoch;
        s->slots[at] = slot_of(hash, made);
        take_place(t, made, was);
    }
    count_out(t, was, old_cost);
    fill(made, key, key_length, parts, queue);
    made->stamp = stamp;
    t->queues[queue].bytes += cost - old_cost;
    count_in(t, made, cost);
    if (queue == PLANNED)
        item_table_move(t, made, MAIN, now_s << STAMP_SHIFT);
    if (made != was) {
        if (old_bits & BIT_PIECES)
            *old = was;
        else
            item_table_drop(t, was);
    }
    return PUT_CHANGED;
}

item *item_table_take(item_table *t, const unsigned char *key, size_t length, bool *failed)
{
    *failed = false;
    uint64_t hash = hash_of(key, length, t->seed);
    segment *s = segment_of(t, hash);
    uint32_t at = slot_at(s, key, length, hash);
    if (at == s->size)
        return NULL;
    if (s->references > 1) {
        s = own(t, hash);
        if (s == NULL) {
            *failed = true;
            return NULL;
        }
        at = slot_at(s, key, length, hash);
    }
    item *it = address_of(s->slots[at]);
    remove_slot(s, at);
    uint64_t cost = item_cost(it);
    unlink_item(t, it, cost);
    count_out(t, it, cost);
    t->count--;
    if (s->size > 2 * SEGMENT_SLOTS_MIN && (uint64_t)s->count * 100 < (uint64_t)s->size * EMPTY_PERCENT)
        rebuilt(t, hash, s->count); /* without memory it stays as it is */
    return it;
}

bool item_table_clear(item_table *t)
{
    segment *empty = new_segment(t, 0, 0);
    if (empty == NULL)
        return false;
    for (int queue = 0; queue < QUEUES; queue++) {
        item_queue *q = &t->queues[queue];
        if (q->first != NULL) {
            q->last->next = t->retired;
            t->retired = q->first;
        }
        memset(q, 0, sizeof *q);
    }
    t->retired_count += t->count;
    t->retired_bytes += t->bytes_used - t->pieces_bytes;
    release_directory(t);
    t->index_bytes -= (((uint64_t)1 << t->depth) - 1) * sizeof *t->directory;
    t->depth = 0;
    t->directory[0] = empty;
    segment **narrow = realloc(t->directory, sizeof *narrow);
    if (narrow != NULL)
        t->directory = narrow;
    t->count = t->bytes_used = t->pieces_bytes = t->expiring = 0;
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

const segment *item_table_scan(const item_table *t, uint32_t position, uint32_t *next)
{
    const segment *s = segment_of(t, reversed(position));
    uint64_t part = (uint64_t)1 << (POSITION_BITS - s->depth);
    uint64_t start = position / part * part;
    *next = (uint32_t)(start + part); /* 0 behind the last one */
    return s;
}

/* -- images ----------------------------------------------------------------------------------- */

bool item_image_open(item_table *t, item_image *image)
{
    size_t entries = (size_t)1 << t->depth;
    image->segments = malloc(entries * sizeof *image->segments);
    if (image->segments == NULL)
        return false;
    image->segment_count = 0;
    for (size_t i = 0; i < entries; i++) {
        segment *s = t->directory[i];
        if (i < (size_t)1 << s->depth) {
            s->references++;
            image->segments[image->segment_count++] = s;
        }
    }
    image->item_count = t->count;
    t->images++;
    t->epoch++;
    return true;
}

void item_image_close(item_table *t, item_image *image)
{
    for (uint32_t i = 0; i < image->segment_count; i++) {
        segment *s = image->segments[i];
        if (--s->references == 0) {
            t->imaged_bytes -= segment_bytes(s->size);
            free_segment(t, s);
        }
    }
    free(image->segments);
    image->segments = NULL;
    image->segment_count = 0;
    t->images--;
}
