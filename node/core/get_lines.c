/* See get_lines.h. */

#include "get_lines.h"
#include "key_token.h"

#include <string.h>

enum { VALUE_WORD_BYTES = 6, END_LINE_BYTES = 5 };

static const char VALUE_WORD[] = "VALUE ";
static const char END_LINE[] = "END\r\n";

/* A key of the line, and the item that it found. */
typedef struct {
    const unsigned char *key;
    item *found;
    uint32_t now_s;
    uint8_t length;
} sought;

/* -- one line --------------------------------------------------------------------------------- */

/* Where the keys of a line begin; NULL: it is no get. */
static const unsigned char *keys_of(const unsigned char *line, size_t left, bool *with_unique)
{
    if (left < 5 || memcmp(line, "get", 3))
        return NULL;
    *with_unique = line[3] == 's';
    line += *with_unique ? 4 : 3;
    return *line == ' ' ? line + 1 : NULL;
}

static unsigned digits_of(uint64_t number)
{
    unsigned digits = 1;
    while (number >= 10) {
        number /= 10;
        digits++;
    }
    return digits;
}

/* Find a key of a line. False: the line cannot be answered, as `done` tells. */
static bool find(const get_routes *routes, sought *one, int64_t now_ns, int64_t now_ms, const uint8_t *busy,
                 bool with_unique, gets_done *done)
{
    uint32_t shard = shard_of_key(one->key, one->length, routes->shard_bits);
    const read_gate *gate = routes->gates[shard];
    done->stop = GETS_LINE;
    done->shard = shard;
    if (gate == NULL || gate->table == NULL) {
        done->stop = GETS_GATE;
        return false;
    }
    if (now_ns >= gate->lease_until_ns || !gate->is_plain || (busy != NULL && busy[shard >> 3] >> (shard & 7) & 1))
        return false;
    item *found = item_table_find(gate->table, one->key, one->length);
    one->found = found;
    one->now_s = gate->now_s;
    if (found == NULL || !(found->bits & (BIT_PIECES | BIT_ENDS | BIT_RAW)))
        return true;
    if (found->bits & BIT_PIECES || (with_unique && found->bits & BIT_RAW))
        return false;
    if (!(found->bits & BIT_ENDS))
        return true;
    if (now_ms == 0) {
        done->stop = GETS_TIME;
        return false;
    }
    uint64_t now = (uint64_t)(now_ms > gate->applied_ms ? now_ms : gate->applied_ms);
    return item_expires_at_ms(found) > now;
}

/* Find all keys of a line whose first one is at `at`. What follows the line; NULL: it cannot be answered. */
static const unsigned char *find_all(const get_routes *routes, const unsigned char *at, const unsigned char *end,
                                     int64_t now_ns, int64_t now_ms, const uint8_t *busy, bool with_unique,
                                     sought *keys, uint32_t *count, gets_done *done)
{
    *count = 0;
    done->stop = GETS_LINE;
    for (;;) {
        while (at < end && *at == ' ')
            at++;
        const unsigned char *key = at;
        const unsigned char *last = end - key > KEY_BYTES_MAX + 2 ? key + KEY_BYTES_MAX + 2 : end;
        while (at < last && *at != ' ' && *at != '\n')
            at++;
        if (at == last)
            return NULL; /* it is not whole, or has too long a key */
        size_t length = (size_t)(at - key);
        if (*at == '\n' && length && at[-1] == '\r')
            length--;
        if (length) {
            if (length > KEY_BYTES_MAX || *count == GET_KEYS_MAX)
                return NULL;
            sought *one = &keys[(*count)++];
            one->key = key;
            one->length = (uint8_t)length;
            if (!find(routes, one, now_ns, now_ms, busy, with_unique, done))
                return NULL;
        }
        if (*at == '\n')
            return *count ? at + 1 : NULL;
    }
}

static size_t reply_length(const sought *keys, uint32_t count, bool with_unique)
{
    size_t length = END_LINE_BYTES;
    for (uint32_t i = 0; i < count; i++) {
        const item *found = keys[i].found;
        if (found == NULL)
            continue;
        length += VALUE_WORD_BYTES + keys[i].length + item_text_length(found);
        if (with_unique)
            length += 1 + digits_of(found->cas);
    }
    return length;
}

/* " <flags> <length> <unique>\r\n<value>\r\n" of an item whose text is not BIT_RAW: its text, opened
before its first line end. */
static size_t write_text_with_unique(const item *found, unsigned char *out)
{
    unsigned digits = digits_of(found->cas);
    uint64_t rest = found->cas;
    unsigned char *text = out + 1 + digits;
    size_t length = item_write_text(found, text), head = 0;
    while (text[head] != '\r')
        head++;
    memmove(out, text, head);
    out[head] = ' ';
    for (unsigned char *at = out + head + digits; digits--; at--, rest /= 10)
        *at = (unsigned char)('0' + rest % 10);
    return (size_t)(text - out) + length;
}

static unsigned char *write_reply(const sought *keys, uint32_t count, bool with_unique, unsigned char *out,
                                  gets_done *done)
{
    for (uint32_t i = 0; i < count; i++) {
        item *found = keys[i].found;
        if (found == NULL)
            continue;
        memcpy(out, VALUE_WORD, VALUE_WORD_BYTES);
        out += VALUE_WORD_BYTES;
        memcpy(out, keys[i].key, keys[i].length);
        out += keys[i].length;
        out += with_unique ? write_text_with_unique(found, out) : item_write_text(found, out);
        item_note_hit(found, keys[i].now_s);
        done->hits++;
    }
    memcpy(out, END_LINE, END_LINE_BYTES);
    return out + END_LINE_BYTES;
}

void answer_gets(const get_routes *routes, const unsigned char *data, size_t length, int64_t now_ns,
                 int64_t now_ms, const uint8_t *busy, unsigned char *out, size_t room, gets_done *done)
{
    const unsigned char *line = data, *end = data + length;
    unsigned char *to = out;
    sought keys[GET_KEYS_MAX];
    memset(done, 0, sizeof *done);
    while (line < end) {
        bool with_unique;
        uint32_t count;
        const unsigned char *first = keys_of(line, (size_t)(end - line), &with_unique);
        done->stop = GETS_LINE;
        if (first == NULL)
            break;
        const unsigned char *next =
            find_all(routes, first, end, now_ns, now_ms, busy, with_unique, keys, &count, done);
        if (next == NULL)
            break;
        if (next - line - 1 > GET_LINE_BYTES_MAX) {
            done->stop = GETS_LINE;
            break;
        }
        if (reply_length(keys, count, with_unique) > room - (size_t)(to - out)) {
            done->stop = GETS_ROOM;
            break;
        }
        to = write_reply(keys, count, with_unique, to, done);
        done->lines++;
        done->keys += count;
        line = next;
        done->stop = GETS_ALL;
    }
    done->consumed = (size_t)(line - data);
    done->written = (size_t)(to - out);
}
