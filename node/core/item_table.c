/* See item_table.h. */

#include "item_table.h"

#include <string.h>

enum { REAPED_PER_PUT = 4 };

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

static bool is_seen(const item_table *t, const item *it) { return t->images && it->born < t->epoch; }

/* An item that stays while those around it go would keep a slab for itself: it moves to where others are, unless
an image has it. */
static item *closer(item_table *t, item *it)
{
    if (!item_is_sparse(t->slabs, it) || is_seen(t, it))
        return it;
    uint64_t hash = item_index_hash(&t->index, item_key(it), it->key_length);
    segment *s = item_index_segment(&t->index, hash);
    item *made = s->references > 1 ? NULL : item_copy(t->slabs, it);
    if (made == NULL)
        return it;
    segment_replace(s, segment_find(s, item_key(it), it->key_length, hash), hash, made);
    take_place(t, made, it);
    item_free(t->slabs, it);
    return made;
}

void item_table_move(item_table *t, item *it, unsigned queue, uint32_t stamp)
{
    it = closer(t, it);
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

/* -- the table -------------------------------------------------------------------------------- */

bool item_table_init(item_table *t, item_slabs *slabs, uint64_t seed)
{
    memset(t, 0, sizeof *t);
    t->slabs = slabs;
    return item_index_init(&t->index, seed);
}

void item_table_free(item_table *t)
{
    if (t->index.directory == NULL)
        return;
    for (int queue = 0; queue < QUEUES; queue++)
        for (item *it = t->queues[queue].first, *next; it != NULL; it = next) {
            next = it->next;
            item_free(t->slabs, it);
        }
    for (item *it = t->retired, *next; it != NULL; it = next) {
        next = it->next;
        item_free(t->slabs, it);
    }
    item_index_free(&t->index);
}

item *item_table_find(const item_table *t, const unsigned char *key, size_t length)
{
    uint64_t hash = item_index_hash(&t->index, key, length);
    const segment *s = item_index_segment(&t->index, hash);
    uint32_t at = segment_find(s, key, length, hash);
    return at < s->size ? segment_item(s, at) : NULL;
}

void item_table_warm(const item_table *t, const uint64_t *hashes, unsigned count, warm_step step)
{
    for (unsigned i = 0; i < count; i++)
        item_index_warm(&t->index, hashes[i], step);
}

static void retire(item_table *t, item *it)
{
    it->next = t->retired;
    t->retired = it;
    t->retired_count++;
    t->retired_bytes += item_chunk(it);
}

void item_table_drop(item_table *t, item *it)
{
    if (is_seen(t, it))
        retire(t, it);
    else
        item_free(t->slabs, it);
}

uint64_t item_table_reap(item_table *t, uint64_t most)
{
    uint64_t freed = 0;
    while (!t->images && t->retired != NULL && freed < most) {
        item *it = t->retired;
        t->retired = it->next;
        t->retired_count--;
        t->retired_bytes -= item_chunk(it);
        item_free(t->slabs, it);
        freed++;
    }
    return freed;
}

/* An item is in the table from now on. */
static void count_in(item_table *t, const item *it, uint64_t cost)
{
    t->bytes_used += cost;
    t->pieces_bytes += cost - item_chunk(it);
    t->expiring += it->bits & BIT_ENDS ? 1 : 0;
}

static void count_out(item_table *t, const item *it, uint64_t cost)
{
    t->bytes_used -= cost;
    t->pieces_bytes -= cost - item_chunk(it);
    t->expiring -= it->bits & BIT_ENDS ? 1 : 0;
}

static put_outcome put_new(item_table *t, const unsigned char *key, size_t key_length, const item_parts *parts,
                           uint32_t now_s, uint64_t hash)
{
    item *made = item_new(t->slabs, parts, key_length);
    segment *s = made == NULL ? NULL : item_index_with_room(&t->index, hash);
    if (s == NULL) {
        item_discard(t->slabs, made, parts, key_length);
        return PUT_FAILED;
    }
    made->born = t->epoch;
    made->stamp = now_s << STAMP_SHIFT;
    item_fill(made, key, key_length, parts, SMALL);
    uint64_t cost = item_cost(made);
    item_index_insert(&t->index, s, hash, made);
    link_last(t, made, SMALL, cost);
    count_in(t, made, cost);
    return PUT_NEW;
}

put_outcome item_table_put(item_table *t, const unsigned char *key, size_t key_length, const item_parts *parts,
                           uint32_t now_s, item **old)
{
    *old = NULL;
    if (t->retired != NULL)
        item_table_reap(t, REAPED_PER_PUT);
    uint64_t hash = item_index_hash(&t->index, key, key_length);
    segment *s = item_index_segment(&t->index, hash);
    uint32_t at = segment_find(s, key, key_length, hash);
    if (at == s->size)
        return put_new(t, key, key_length, parts, now_s, hash);
    item *was = segment_item(s, at), *made = was;
    uint64_t cost = item_parts_cost(parts, key_length), old_cost = item_cost(was);
    unsigned queue = item_queue_of(was);
    uint32_t stamp = accessed(was->stamp, now_s, 0);
    uint8_t old_bits = was->bits;
    bool fits = !(old_bits & BIT_PIECES) && !(parts->bits & BIT_PIECES) && cost == old_cost && !is_seen(t, was);
    if (!fits) {
        made = item_new(t->slabs, parts, key_length);
        if (made != NULL && s->references > 1) {
            s = item_index_own(&t->index, hash);
            at = s == NULL ? 0 : segment_find(s, key, key_length, hash);
        }
        if (made == NULL || s == NULL) {
            item_discard(t->slabs, made, parts, key_length);
            return PUT_FAILED;
        }
        made->born = t->epoch;
        segment_replace(s, at, hash, made);
        take_place(t, made, was);
    }
    count_out(t, was, old_cost);
    item_fill(made, key, key_length, parts, queue);
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
    uint64_t hash = item_index_hash(&t->index, key, length);
    segment *s = item_index_segment(&t->index, hash);
    uint32_t at = segment_find(s, key, length, hash);
    if (at == s->size)
        return NULL;
    if (s->references > 1) {
        s = item_index_own(&t->index, hash);
        if (s == NULL) {
            *failed = true;
            return NULL;
        }
        at = segment_find(s, key, length, hash);
    }
    item *it = segment_item(s, at);
    uint64_t cost = item_cost(it);
    item_index_remove(&t->index, s, at, hash);
    unlink_item(t, it, cost);
    count_out(t, it, cost);
    return it;
}

bool item_table_clear(item_table *t)
{
    uint64_t count = t->index.count;
    if (!item_index_clear(&t->index))
        return false;
    for (int queue = 0; queue < QUEUES; queue++) {
        item_queue *q = &t->queues[queue];
        if (q->first != NULL) {
            q->last->next = t->retired;
            t->retired = q->first;
        }
        memset(q, 0, sizeof *q);
    }
    t->retired_count += count;
    t->retired_bytes += t->bytes_used - t->pieces_bytes;
    t->bytes_used = t->pieces_bytes = t->expiring = 0;
    return true;
}

bool item_table_inherit(item_table *t, item_table *other)
{
    if (other->images)
        return true;
    if (!item_table_clear(other))
        return false;
    item **end = &t->retired;
    while (*end != NULL)
        end = &(*end)->next;
    *end = other->retired;
    t->retired_count += other->retired_count;
    t->retired_bytes += other->retired_bytes;
    other->retired = NULL;
    other->retired_count = other->retired_bytes = 0;
    return true;
}

/* -- images ----------------------------------------------------------------------------------- */

bool item_image_open(item_table *t, item_image *image)
{
    image->segments = item_index_share(&t->index, &image->segment_count);
    if (image->segments == NULL)
        return false;
    image->item_count = t->index.count;
    t->images++;
    t->epoch++;
    return true;
}

void item_image_close(item_table *t, item_image *image)
{
    item_index_unshare(&t->index, image->segments, image->segment_count);
    image->segments = NULL;
    image->segment_count = 0;
    t->images--;
}
