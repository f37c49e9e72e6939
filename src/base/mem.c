/* Memory: malloc behind one counter that tests can turn into failures. */
#include "base/mem.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#ifdef __linux__
#include <sys/mman.h>
#endif

static _Atomic uint64_t n_allocations;
/* The count at which allocations begin to fail. */
static _Atomic uint64_t fail_at = UINT64_MAX;

/* Huge pages are worth asking for from this size on (Linux, 2 MB pages). */
enum { HUGE_BYTES = 2 << 20 };

static bool refused(void) {
    uint64_t n =
        atomic_fetch_add_explicit(&n_allocations, 1, memory_order_relaxed);
    return n >= atomic_load_explicit(&fail_at, memory_order_relaxed);
}

void cr_mem_fail_after(uint64_t n) {
    atomic_store(&fail_at, atomic_load(&n_allocations) + n);
}

void cr_mem_fail_never(void) { atomic_store(&fail_at, UINT64_MAX); }

uint64_t cr_mem_count(void) { return atomic_load(&n_allocations); }

void *cr_alloc(size_t bytes) {
    return refused() ? NULL : malloc(bytes ? bytes : 1);
}

void *cr_calloc(size_t n, size_t bytes) {
    /* Checked here, because sanitizers end the program where calloc does. */
    if (bytes && n > SIZE_MAX / bytes)
        return NULL;
    return refused() ? NULL : calloc(n ? n : 1, bytes ? bytes : 1);
}

void *cr_realloc(void *block, size_t bytes) {
    return refused() ? NULL : realloc(block, bytes ? bytes : 1);
}

void cr_free(void *block) { free(block); }

char *cr_strndup(const char *s, size_t len) {
    char *copy = len < SIZE_MAX ? cr_alloc(len + 1) : NULL;
    if (copy) {
        memcpy(copy, s, len);
        copy[len] = '\0';
    }
    return copy;
}

void *cr_alloc_aligned(size_t bytes) {
    size_t align = bytes >= HUGE_BYTES ? HUGE_BYTES : CR_ALIGN;
    if (bytes > SIZE_MAX - align || refused())
        return NULL;
    bytes = (bytes + align - 1) / align * align;
    void *block = aligned_alloc(align, bytes ? bytes : align);
    if (!block)
        return NULL;
#ifdef MADV_HUGEPAGE
    /* A wish, not a need: without huge pages everything works, slower. */
    if (align == HUGE_BYTES)
        (void)madvise(block, bytes, MADV_HUGEPAGE);
#endif
    memset(block, 0, bytes);
    return block;
}

void cr_free_aligned(void *block) { free(block); }
