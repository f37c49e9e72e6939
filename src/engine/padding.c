/* Padding: rounding lengths, and taking sequences length by length. */
#include "engine/padding.h"

enum { LEAST = 16 };

/* The next of the lengths, each half as long again or a third. */
static uint32_t longer(uint32_t length) {
    uint32_t power = LEAST;
    while (power * 2 <= length)
        power *= 2;
    if (length == LEAST)
        return 2 * LEAST;
    return length == power ? power + power / 2 : power * 2;
}

uint32_t cr_padded_length(uint32_t length, uint32_t max_length) {
    uint32_t padded = LEAST;
    while (padded < length)
        padded = longer(padded);
    return padded < max_length ? padded : max_length;
}

static uint32_t length_of(const cr_group *group, uint32_t sequence) {
    return group->starts[sequence + 1] - group->starts[sequence];
}

uint64_t cr_padding_of(const cr_group *group, uint32_t max_length) {
    uint64_t all = 0;
    for (uint32_t i = 0; i < group->n_sequences; i++)
        all += cr_padded_length(length_of(group, i), max_length);
    return all - group->n_tokens;
}

/* The least padded length above `least` that the group has; 0: none. */
static uint32_t next_length(const cr_group *group, uint32_t max_length,
                            uint32_t least) {
    uint32_t best = 0;
    for (uint32_t i = 0; i < group->n_sequences; i++) {
        uint32_t padded = cr_padded_length(length_of(group, i), max_length);
        if (padded > least && (best == 0 || padded < best))
            best = padded;
    }
    return best;
}

/* The state is the padded length (high half) and the first sequence that was
 * not looked at for it. */
bool cr_padding_next(const cr_group *group, uint32_t max_length,
                     uint32_t max_tokens, uint64_t *state,
                     cr_padded_batch *batch) {
    uint32_t length = (uint32_t)(*state >> 32), at = (uint32_t)*state;
    batch->n_rows = 0;
    do {
        if (at == 0)
            length = next_length(group, max_length, length);
        if (length == 0)
            return false;
        for (; at < group->n_sequences; at++) {
            if (cr_padded_length(length_of(group, at), max_length) != length)
                continue;
            if (batch->n_rows && (batch->n_rows + 1) * length > max_tokens)
                break;
            batch->rows[batch->n_rows++] = at;
        }
        if (at == group->n_sequences)
            at = 0;
    } while (batch->n_rows == 0);
    batch->length = length;
    *state = (uint64_t)length << 32 | at;
    return true;
}
