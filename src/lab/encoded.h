/* Encoded: pairs as tokens, scored by the scheduler that the server has.
 *
 * What is left of a request when HTTP, JSON and tokenizing are taken away: the
 * true tokens of the data, with their true lengths, wait in the queue, are
 * batched and scored as the server's are.
 *
 * Threads: scoring from any. Ownership: tokens are copied, the pairs may go. */
#ifndef CR_LAB_ENCODED_H
#define CR_LAB_ENCODED_H

#include "base/error.h"
#include "sched/batcher.h"

typedef struct cr_encoded cr_encoded;

/* Opens options->model with options->threads lanes (0: one for each CPU) and
 * tokenizes pairs[n]. CR_ERR_INPUT where they are too many; as cr_ranker_open
 * does. */
cr_status cr_encoded_open(const cr_options *options,
                          const cr_batching *batching, const cr_pair *pairs,
                          size_t n, cr_encoded **encoded, cr_error *error);
/* Nobody may be scoring. NULL is allowed. */
void cr_encoded_close(cr_encoded *encoded);

/* Logits of pairs indexes[n] for `client`; *start_ns is when they were queued,
 * *end_ns when the last one had its score. Waits. */
cr_status cr_encoded_score(cr_encoded *encoded, uint64_t client,
                           const uint32_t *indexes, uint32_t n, float *logits,
                           int64_t *start_ns, int64_t *end_ns, cr_error *error);

#endif
