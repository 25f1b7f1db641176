/* msgpack's heads and numbers, each in its shortest form, as the Python library writes them. No Python in here. */

#ifndef QUORUMCACHE_PACK_BATCH_H
#define QUORUMCACHE_PACK_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* An int of 64 bits: its sign, and its bits in two's complement. How many bytes it takes. */
size_t packed_int_bytes(bool is_negative, uint64_t bits);

/* The `pack_` functions write, and return what is behind. */
unsigned char *pack_int(unsigned char *out, bool is_negative, uint64_t bits);

/* What stands before so many bytes, up to 2^32 - 1. */
size_t packed_bytes_head(size_t length);
unsigned char *pack_bytes_head(unsigned char *out, size_t length);

/* What stands before an array of so many items, up to 2^32 - 1. */
size_t packed_array_head(size_t count);
unsigned char *pack_array_head(unsigned char *out, size_t count);

#endif
