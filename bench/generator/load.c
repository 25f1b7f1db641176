/* See load.h. */
#include "load.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct arguments want = {
    .connections = 1, .depth = 1, .keys_per_get = 1, .keys = 1, .value_bytes = 100, .gets = 1, .seed = 1};
unsigned room;

_Noreturn void fail(const char *what) {
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(1);
}

void *reserve(size_t count, size_t size) {
    void *found = calloc(count ? count : 1, size);
    if (!found) fail("memory");
    return found;
}
