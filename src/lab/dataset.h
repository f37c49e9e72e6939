/* Dataset: the pairs that a load is made of.
 *
 * A source is a BEIR folder (the candidates of its run), a file of pairs (TSV
 * or JSON lines, lab/records.h), or "synthetic:DISTRIBUTION", which is never
 * taken unless it is asked for:
 *   synthetic:fixed:N          N tokens a pair
 *   synthetic:uniform:A-B      from A to B tokens
 *   synthetic:lognormal:M      mean M, the spread of web passages (sigma 0.6)
 * Synthetic texts are common English words, a token each in BERT vocabularies;
 * their true lengths are counted like all others.
 *
 * Threads: read-only once it is open. Ownership: all is the dataset's. */
#ifndef CR_LAB_DATASET_H
#define CR_LAB_DATASET_H

#include "lab/beir.h"
#include "lab/wire.h"

enum { CR_DATASET_PAIRS = 1000000, CR_SYNTHETIC_PAIRS = 512 };

typedef struct cr_dataset {
    char source[256];
    bool synthetic;
    cr_pair *pairs;     /* [n], those of one query behind each other */
    cr_wire_pair *wire; /* [n], the same as JSON strings */
    uint32_t *groups;   /* [n_groups + 1], where each query's pairs begin */
    size_t n, n_groups;
    cr_collection collection; /* what pairs of a folder point into */
    char **texts;             /* [n_texts], what the others point into */
    size_t n_texts;
} cr_dataset;

/* CR_ERR_INPUT with FILE:LINE, CR_ERR_ARGUMENT, CR_ERR_IO, CR_ERR_MEMORY;
 * after failure the dataset is empty. */
cr_status cr_dataset_open(const char *source, cr_dataset *dataset,
                          cr_error *error);
void cr_dataset_close(cr_dataset *dataset);
/* Keeps the first whole queries of at most `most` pairs; of one that alone has
 * more, its first pairs. */
void cr_dataset_shorten(cr_dataset *dataset, size_t most);

/* The pairs of request `number`, as indexes into pairs. As "pairs" the file's
 * order goes on and on; as "rerank" request i has passages of query i, the
 * next ones in every round, again from the first where a query has fewer. */
void cr_dataset_take(const cr_dataset *dataset, bool as_pairs, uint64_t number,
                     size_t n, uint32_t *indexes);

#endif
