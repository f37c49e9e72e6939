/* Memory: the only way to the heap.
 *
 * Every allocation of the library goes through these calls, so that tests can
 * make the n-th one fail. Failure is NULL, never an abort. Thread-safe. */
#ifndef CR_BASE_MEM_H
#define CR_BASE_MEM_H

#include <stddef.h>
#include <stdint.h>

/* Alignment of cr_alloc_aligned: a cache line, and the widest vector. */
enum { CR_ALIGN = 64 };

void *cr_alloc(size_t bytes);
/* Zeroed n * bytes; NULL where the product overflows. */
void *cr_calloc(size_t n, size_t bytes);
/* Grows or shrinks a cr_alloc block; on failure the old block is untouched. */
void *cr_realloc(void *block, size_t bytes);
void cr_free(void *block);

/* A copy of `len` bytes with a NUL behind them. */
char *cr_strndup(const char *s, size_t len);

/* Zeroed and aligned to CR_ALIGN; large blocks ask for huge pages. Freed by
 * cr_free_aligned, which accepts NULL. */
void *cr_alloc_aligned(size_t bytes);
void cr_free_aligned(void *block);

/* Test hook: the allocation after `n` more successful ones fails, and so does
 * every later one until cr_mem_fail_never. Counts over all threads. */
void cr_mem_fail_after(uint64_t n);
void cr_mem_fail_never(void);
/* Allocations made since the program began, failed ones included. */
uint64_t cr_mem_count(void);

#endif
