/* Padding: from packed sequences to rectangles of few lengths.
 *
 * For backends whose products want rectangles. Lengths are rounded up to a
 * dozen values, and a batch holds sequences of one of them, so whatever comes,
 * the shapes that a backend meets stay few. No state. */
#ifndef CR_ENGINE_PADDING_H
#define CR_ENGINE_PADDING_H

#include "engine/backend.h"

/* The length that a sequence of `length` tokens is padded to: 16, 32, 48, 64,
 * 96, 128, 192, 256 and so on, `max_length` at most. */
uint32_t cr_padded_length(uint32_t length, uint32_t max_length);

/* All padding of the group's sequences. */
uint64_t cr_padding_of(const cr_group *group, uint32_t max_length);

/* Sequences of one padded length. */
typedef struct cr_padded_batch {
    uint32_t length;
    uint32_t n_rows;
    uint32_t *rows; /* [n_rows] sequences of the group */
} cr_padded_batch;

/* Walks through the group's batches, the shortest first: fills *batch, whose
 * rows[n_sequences] are the caller's, with up to max_tokens tokens, padding
 * included, but at least a row. *state is 0 at first; false at the end. */
bool cr_padding_next(const cr_group *group, uint32_t max_length,
                     uint32_t max_tokens, uint64_t *state,
                     cr_padded_batch *batch);

#endif
