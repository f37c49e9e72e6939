/* Lengths: what cr_dataset_take takes, summed up. */
#include "lab/lengths.h"

#include "base/mem.h"

#include <string.h>

/* Requests of a query, and numbers that are kept at all. */
enum { ROUNDS = 32, MAX_STARTS = 1 << 20 };

cr_status cr_lengths_make(const cr_job *encoded, const cr_dataset *d,
                          bool as_pairs, uint32_t pairs, cr_lengths *lengths,
                          cr_error *error) {
    size_t row = (size_t)pairs + 1, n = d->n_groups * ROUNDS;
    if (n > MAX_STARTS / row)
        n = MAX_STARTS / row ? MAX_STARTS / row : 1;
    memset(lengths, 0, sizeof *lengths);
    uint32_t *indexes = cr_calloc(pairs, sizeof *indexes);
    uint32_t *starts = cr_calloc(n * row, sizeof *starts);
    if (!indexes || !starts) {
        cr_free(indexes);
        cr_free(starts);
        return cr_fail_memory(error, n * row * sizeof *starts, "requests");
    }
    double sum = 0;
    for (size_t k = 0; k < n; k++) {
        uint32_t *at = starts + k * row;
        cr_dataset_take(d, as_pairs, k, pairs, indexes);
        for (uint32_t i = 0; i < pairs; i++)
            at[i + 1] = at[i] + cr_job_pair_tokens(encoded, indexes[i]);
        sum += at[pairs];
    }
    cr_free(indexes);
    *lengths = (cr_lengths){pairs, n, starts, sum / (double)(n * pairs)};
    return CR_OK;
}

void cr_lengths_fini(cr_lengths *lengths) {
    cr_free(lengths->starts);
    lengths->starts = NULL;
}
