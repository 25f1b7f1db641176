/* Log entries that hold nothing but plain sets: their payload in, items in a table out. No Python in here.

A payload is a batch as `node/state_machine.py` tells. One is *plain* if each of its commands is a set whose
exptime is 0 or a span, and the commands of one session follow each other without a gap, none with a floor above the
first of them. What else has to be true before it is applied is said in store/set_batches.py. */

#ifndef QUORUMCACHE_SET_BATCH_H
#define QUORUMCACHE_SET_BATCH_H

#include "item_table.h"

enum {
    PLAIN_VERSION = 2, /* BATCH_VERSION of state_machine.py */
    PLAIN_OP = 1,      /* OP_SET of store/commands.py */
    SET_RUNS_MAX = 8,  /* sessions of one batch */
    WARM_MAX = 64,     /* commands whose items are fetched into the processor's cache at once */
    SPAN_SECONDS_MAX = 60 * 60 * 24 * 30 /* RELATIVE_SECONDS_MAX of store/exptime.py */
};

/* The commands of one session. */
typedef struct {
    uint64_t session, first, count, floor;
} set_run;

typedef struct {
    uint64_t now_ms, wall_ms, item_bytes_max;
    const unsigned char *commands; /* where the first one begins */
    uint64_t count;                /* how many there are, at least one */
    bool has_ends;                 /* one of them has an exptime */
    uint32_t run_count;
    set_run runs[SET_RUNS_MAX]; /* in the order of their last commands */
    unsigned warm;              /* so many hashes of the first commands' keys */
    uint64_t hashes[WARM_MAX];
} set_batch;

typedef struct {
    uint64_t session, sequence, floor, exptime;
    const unsigned char *key, *data;
    size_t key_length, data_length;
} plain_set;

/* A payload. False: it is not plain, or malformed. Nothing of it is read beyond its length. `hashes` are by `table`,
and the first step of its `item_table_warm` was made with them. */
bool set_batch_read(const unsigned char *payload, size_t length, const item_table *table, set_batch *batch);
/* The same without a look at the commands: fills what stands before `has_ends`. */
bool set_batch_open(const unsigned char *payload, size_t length, set_batch *batch);
/* The command at a place of a payload that ends at `end`. NULL: it is no plain set; else what follows it. */
const unsigned char *plain_set_read(const unsigned char *at, const unsigned char *end, plain_set *set);
/* Place the item of a command. `now_ms`: what the state takes for the present. `old`: see `item_table_put`. */
put_outcome plain_set_place(item_table *table, const plain_set *set, uint64_t unique, uint64_t now_ms,
                            uint32_t now_s, item **old);

#endif
