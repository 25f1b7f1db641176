/* Gets answered on the spot: a client's bytes in, replies out, over the tables of items. No Python in here.

`get <key>...` and `gets <key>...` lines are answered one by one, each wholly or not at all. It stops before
the first one that needs more than the tables: nothing of that was written or counted. Which lines are gets,
and where their keys begin and end, is as in protocol/parser.py; what may be answered is what
clients/get_routes.py says. */

#ifndef QUORUMCACHE_GET_LINES_H
#define QUORUMCACHE_GET_LINES_H

#include "item_table.h"

enum {
    GET_KEYS_MAX = 256,          /* keys of one line */
    GET_LINE_BYTES_MAX = 1 << 20 /* its length without the line feed */
};

/* What stands between readers and the items of one shard. */
typedef struct {
    item_table *table;      /* NULL: it is shut for good */
    int64_t lease_until_ns; /* it is open while the clock is below */
    int64_t applied_ms;     /* the latest cluster time that the state has seen */
    uint32_t now_s;         /* the present second, for stamps */
    bool is_plain;          /* items are what they seem to be: no transaction holds any, no flush waits */
} read_gate;

typedef struct {
    read_gate **gates; /* by shard; NULL: none is known */
    uint32_t shards;   /* a power of two */
    unsigned shard_bits;
} get_routes;

typedef enum {
    GETS_ALL,   /* all of the data was answered */
    GETS_LINE,  /* the next line goes another way, or is not whole */
    GETS_GATE,  /* no gate is known of the shard of a key, or that is shut for good */
    GETS_TIME,  /* an item may have ended, and `now_ms` is 0 */
    GETS_ROOM   /* there is no room for the next reply */
} gets_stop;

typedef struct {
    size_t consumed, written; /* bytes of the data and of the replies */
    uint32_t lines, keys, hits;
    uint32_t shard; /* of the key at which it stopped: GETS_GATE, GETS_TIME */
    gets_stop stop;
} gets_done;

/* `now_ns`: a time of the clock after the data came; `now_ms`: cluster time, 0 = not known. `busy`: a bit for
each shard, of those whose gets must not be answered; may be NULL. */
void answer_gets(const get_routes *routes, const unsigned char *data, size_t length, int64_t now_ns,
                 int64_t now_ms, const uint8_t *busy, unsigned char *out, size_t room, gets_done *done);

#endif
