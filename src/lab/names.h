/* Names: strings to dense numbers, 0, 1, 2 ... in order of first sight.
 *
 * What a collection calls its queries and documents. Not a general map: names
 * are never removed. Threads: one writer. Ownership: names are copied in and
 * live until cr_names_fini. */
#ifndef CR_LAB_NAMES_H
#define CR_LAB_NAMES_H

#include "base/error.h"

#define CR_NO_NAME UINT32_MAX

typedef struct cr_names {
    cr_text *list;   /* [n], NUL-terminated copies */
    uint32_t *table; /* [n_slots], index + 1, 0: free; n_slots: power of 2 */
    uint32_t n;
    uint32_t capacity;
    uint32_t n_slots;
} cr_names;

void cr_names_init(cr_names *names);
void cr_names_fini(cr_names *names);
/* The number of `name`, a new one where it was never seen. CR_ERR_MEMORY. */
cr_status cr_names_add(cr_names *names, cr_text name, uint32_t *index,
                       cr_error *error);
/* CR_NO_NAME where it was never added. */
uint32_t cr_names_find(const cr_names *names, cr_text name);

#endif
