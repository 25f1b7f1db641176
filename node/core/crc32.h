#ifndef QUORUMCACHE_CRC32_H
#define QUORUMCACHE_CRC32_H

#include <stddef.h>
#include <stdint.h>

/* CRC-32 as zlib's and Ethernet's: of `length` bytes that follow others whose CRC is `start`, 0 if
   there are none. */

/* Once, before the first call of `crc32_of`. */
void crc32_prepare(void);

uint32_t crc32_of(const unsigned char *data, size_t length, uint32_t start);

/* The same without any instruction that a processor may lack. */
uint32_t crc32_portable(const unsigned char *data, size_t length, uint32_t start);

#endif
