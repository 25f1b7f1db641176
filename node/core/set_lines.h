/* Plain sets: a client's bytes taken apart. No Python in here.

A plain set is `set <key> <flags> <exptime> <length>[ noreply]\r\n<value>\r\n`, all of it there, with single
spaces and numbers of one to nine digits. Whatever else is a set, or nearly one, goes another way: this agrees
with protocol/parser.py on what it takes, and on what it makes of it. */

#ifndef QUORUMCACHE_SET_LINES_H
#define QUORUMCACHE_SET_LINES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SET_KEY_BYTES_MAX = 250,
    SET_HEAD_BYTES_MAX = 24 /* of " <flags> <length>\r\n", whose numbers have nine digits at most */
};

typedef struct {
    const unsigned char *key, *value; /* in the data; "\r\n" follows the value */
    size_t key_length, value_length;
    size_t consumed; /* bytes of the line and of its block */
    uint32_t flags, exptime;
    bool noreply;
} plain_set;

/* Take apart the plain set that `data` begins with. False: it begins with none, or with one of a value of more
than `value_max` bytes. */
bool read_plain_set(const unsigned char *data, size_t length, size_t value_max, plain_set *found);

/* Write " <flags> <length>\r\n" as the wire form of an item has it; how many bytes. */
size_t write_set_head(const plain_set *found, unsigned char *out);

#endif
