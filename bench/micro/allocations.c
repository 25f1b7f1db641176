/* Counts the blocks that Python allocates: every request to its object and memory allocators, which pass through here. Blocks
 * that come from a list of free objects (small tuples, floats) ask neither, and are not counted. */
#include <Python.h>

unsigned long long allocation_count;

static PyMemAllocatorEx inner[2];
static const PyMemAllocatorDomain domains[2] = {PYMEM_DOMAIN_MEM, PYMEM_DOMAIN_OBJ};

static void *count_malloc(void *context, size_t size) {
    PyMemAllocatorEx *to = context;
    allocation_count++;
    return to->malloc(to->ctx, size);
}

static void *count_calloc(void *context, size_t count, size_t size) {
    PyMemAllocatorEx *to = context;
    allocation_count++;
    return to->calloc(to->ctx, count, size);
}

static void *count_realloc(void *context, void *block, size_t size) {
    PyMemAllocatorEx *to = context;
    allocation_count++;
    return to->realloc(to->ctx, block, size);
}

static void pass_free(void *context, void *block) {
    PyMemAllocatorEx *to = context;
    to->free(to->ctx, block);
}

void install(void) {
    for (int at = 0; at < 2; at++) {
        PyMem_GetAllocator(domains[at], &inner[at]);
        PyMemAllocatorEx counting = {&inner[at], count_malloc, count_calloc, count_realloc, pass_free};
        PyMem_SetAllocator(domains[at], &counting);
    }
}

void uninstall(void) {
    for (int at = 0; at < 2; at++) PyMem_SetAllocator(domains[at], &inner[at]);
}
