/* Wire: what a load generator sends and reads in each dialect.
 *
 * A request asks for the scores of n pairs. As "pairs" each has a query of its
 * own; as "rerank" all have the first one's. The scores come back in the order
 * of the pairs, whatever order the server answered in.
 *
 * Threads: pure. */
#ifndef CR_LAB_WIRE_H
#define CR_LAB_WIRE_H

#include "base/buf.h"

typedef enum cr_wire_dialect {
    CR_WIRE_TEI,     /* pairs: /predict; rerank: /rerank, both raw scores */
    CR_WIRE_COHERE,  /* /v2/rerank */
    CR_WIRE_JINA,    /* /v1/rerank */
    CR_WIRE_VLLM,    /* /score */
    CR_WIRE_INFINITY /* /rerank with documents */
} cr_wire_dialect;

extern const char *const CR_WIRE_DIALECTS[];

/* Texts as JSON strings, with their quotes. */
typedef struct cr_wire_pair {
    cr_text query, passage;
} cr_wire_pair;

/* CR_REQUEST_PAIRS where the dialect has it, else CR_REQUEST_RERANK. */
uint32_t cr_wire_default_request(uint32_t dialect);
/* CR_ERR_ARGUMENT where the dialect cannot ask so; `path` is for the
 * message. */
cr_status cr_wire_check(uint32_t dialect, bool as_pairs, const char *path,
                        cr_error *error);
const char *cr_wire_path(uint32_t dialect, bool as_pairs);
/* What makes a logit a score in this dialect: nothing where raw scores are
 * asked for, the model's own function where the dialect leaves it to that. */
cr_activation cr_wire_activation(uint32_t dialect);
/* Appends the body that asks for pairs[n]; `model` is a JSON string.
 * CR_ERR_MEMORY, CR_ERR_INPUT over the buffer's limit. */
cr_status cr_wire_write(uint32_t dialect, bool as_pairs, cr_text model,
                        const cr_wire_pair *pairs, size_t n, cr_buf *body,
                        cr_error *error);
/* Reads n finite scores. CR_ERR_INPUT says what is wrong with the answer. */
cr_status cr_wire_read(uint32_t dialect, bool as_pairs, cr_text answer,
                       float *scores, size_t n, cr_error *error);

#endif
