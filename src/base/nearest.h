/* Nearest: what somebody who wrote a wrong word most likely meant.
 *
 * Threads: pure. */
#ifndef CR_BASE_NEAREST_H
#define CR_BASE_NEAREST_H

#include <stddef.h>

/* Of names[n] the one that is most likely meant by `word`, whatever its case,
 * or NULL. */
const char *cr_nearest(const char *word, const char *const *names, size_t n);

#endif
