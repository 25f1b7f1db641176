#include "crc32.h"

#include <stdbool.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
#define HAS_CLMUL 1
#include <immintrin.h>
#endif

#define POLYNOMIAL 0xEDB88320u

/* steps[n][b]: what byte b does to the register, with n zero bytes behind it. */
static uint32_t steps[8][256];

#ifdef HAS_CLMUL
static bool can_multiply;
#endif

void crc32_prepare(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t value = byte;
        for (int bit = 0; bit < 8; bit++)
            value = value & 1 ? value >> 1 ^ POLYNOMIAL : value >> 1;
        steps[0][byte] = value;
    }
    for (int zeros = 1; zeros < 8; zeros++)
        for (uint32_t byte = 0; byte < 256; byte++) {
            uint32_t value = steps[zeros - 1][byte];
            steps[zeros][byte] = value >> 8 ^ steps[0][value & 255];
        }
#ifdef HAS_CLMUL
    __builtin_cpu_init();
    can_multiply = __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1");
#endif
}

/* The register after these bytes, by tables: eight bytes at a time. */
static uint32_t by_tables(uint32_t value, const unsigned char *at, size_t length)
{
    for (; length >= 8; at += 8, length -= 8)
        value = steps[7][(value ^ at[0]) & 255] ^ steps[6][(value >> 8 ^ at[1]) & 255]
              ^ steps[5][(value >> 16 ^ at[2]) & 255] ^ steps[4][value >> 24 ^ at[3]]
              ^ steps[3][at[4]] ^ steps[2][at[5]] ^ steps[1][at[6]] ^ steps[0][at[7]];
    for (; length; at++, length--)
        value = value >> 8 ^ steps[0][(value ^ *at) & 255];
    return value;
}

#ifdef HAS_CLMUL

#define WITH_CLMUL __attribute__((target("pclmul,sse4.1")))

WITH_CLMUL static inline __m128i load(const unsigned char *at)
{
    return _mm_loadu_si128((const __m128i *)at);
}

/* 128 bits of the message moved on by the distance of `factors`, to where `next` stands. */
WITH_CLMUL static inline __m128i fold(__m128i value, __m128i factors, __m128i next)
{
    __m128i low = _mm_clmulepi64_si128(value, factors, 0x00);
    __m128i high = _mm_clmulepi64_si128(value, factors, 0x11);
    return _mm_xor_si128(_mm_xor_si128(low, high), next);
}

/* The register after these bytes, 16 or more, by multiplication without carries.
   Source: Gopal et al. 2009, "Fast CRC computation for generic polynomials using PCLMULQDQ".

   The register is added to the first four bytes, and zeros in front of a message whose register is
   0 change nothing: so a length that is no multiple of 16 begins with a block that is part zeros,
   and nothing is left over at the end. */
WITH_CLMUL static uint32_t by_multiplication(uint32_t value, const unsigned char *at, size_t length)
{
    const __m128i by_64 = _mm_set_epi64x(0x01c6e41596, 0x0154442bd4);
    const __m128i by_16 = _mm_set_epi64x(0x00ccaa009e, 0x01751997d0);
    const __m128i by_4 = _mm_set_epi64x(0, 0x0163cd6124);
    const __m128i barrett = _mm_set_epi64x(0x01f7011641, 0x01db710641);
    const __m128i low_words = _mm_set_epi32(0, -1, 0, -1);
    size_t head = length & 15;
    __m128i x, y;
    if (head) {
        unsigned char block[32] = {0};
        unsigned char *first = block + 16 - head;
        memcpy(first, at, head + 16);
        for (int byte = 0; byte < 4; byte++)
            first[byte] ^= (unsigned char)(value >> 8 * byte);
        x = fold(load(block), by_16, load(block + 16));
        at += head + 16;
        length -= head + 16;
    } else {
        x = _mm_xor_si128(load(at), _mm_cvtsi32_si128((int)value));
        at += 16;
        length -= 16;
    }
    if (length >= 128) {
        __m128i x1 = fold(x, by_16, load(at)), x2 = load(at + 16);
        __m128i x3 = load(at + 32), x4 = load(at + 48);
        for (at += 64, length -= 64; length >= 64; at += 64, length -= 64) {
            x1 = fold(x1, by_64, load(at));
            x2 = fold(x2, by_64, load(at + 16));
            x3 = fold(x3, by_64, load(at + 32));
            x4 = fold(x4, by_64, load(at + 48));
        }
        x = fold(fold(fold(x1, by_16, x2), by_16, x3), by_16, x4);
    }
    for (; length; at += 16, length -= 16)
        x = fold(x, by_16, load(at));
    /* 128 bits to 64, to 32 of a register. */
    x = _mm_xor_si128(_mm_srli_si128(x, 8), _mm_clmulepi64_si128(x, by_16, 0x10));
    y = _mm_srli_si128(x, 4);
    x = _mm_xor_si128(_mm_clmulepi64_si128(_mm_and_si128(x, low_words), by_4, 0x00), y);
    y = _mm_clmulepi64_si128(_mm_and_si128(x, low_words), barrett, 0x10);
    y = _mm_clmulepi64_si128(_mm_and_si128(y, low_words), barrett, 0x00);
    return (uint32_t)_mm_extract_epi32(_mm_xor_si128(x, y), 1);
}

#endif

uint32_t crc32_portable(const unsigned char *data, size_t length, uint32_t start)
{
    return ~by_tables(~start, data, length);
}

uint32_t crc32_of(const unsigned char *data, size_t length, uint32_t start)
{
#ifdef HAS_CLMUL
    if (can_multiply && length >= 16)
        return ~by_multiplication(~start, data, length);
#endif
    return crc32_portable(data, length, start);
}
