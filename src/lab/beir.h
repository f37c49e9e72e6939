/* A BEIR folder: queries, the first stage's candidates, their texts, grades.
 *
 *   corpus.jsonl   {"_id", "title", "text"}
 *   queries.jsonl  {"_id", "text"}
 *   qrels.test.tsv or qrels/test.tsv            judgements, see lab/trec.h
 *   run.bm25.tsv, else run.given.tsv, or a run that is named
 *
 * Only what is scored is kept: texts of candidates and of judged queries that
 * the run has. As in trec_eval, other queries are left out (and counted).
 * A passage is its title, a space and its text; the text alone where the title
 * is empty. Candidates of a query are the best `depth` of the run by score,
 * equal scores by the greater document id first, as trec_eval orders them;
 * scores are compared as floats, as it does.
 *
 * Threads: read-only once it is open. Ownership: all is the collection's. */
#ifndef CR_LAB_BEIR_H
#define CR_LAB_BEIR_H

#include "lab/names.h"

typedef struct cr_candidate {
    uint32_t doc;  /* in docs and doc_texts */
    int32_t grade; /* 0 where not judged */
    float score;   /* the first stage's */
} cr_candidate;

typedef struct cr_collection_query {
    cr_text id;
    cr_text text;
    const cr_candidate *candidates; /* [n], best first */
    size_t n;
    const int32_t *judged; /* [n_judged], its positive grades */
    size_t n_judged;
} cr_collection_query;

typedef struct cr_collection {
    cr_collection_query *queries; /* [n_queries], in the qrels' order */
    size_t n_queries;
    cr_candidate *candidates; /* [n_candidates], query after query */
    size_t n_candidates;
    int32_t *judged;
    cr_names query_names;
    cr_names doc_names;
    cr_text *query_texts;   /* by number of query_names, data NULL: absent */
    cr_text *doc_texts;     /* by number of doc_names, data NULL: absent */
    int32_t max_grade;      /* of all judgements */
    size_t n_not_judged;    /* queries of the run that no judgement names */
    size_t n_not_retrieved; /* judged queries that the run does not name */
} cr_collection;

/* `run` may be NULL. CR_ERR_INPUT with FILE:LINE where there is one, CR_ERR_IO,
 * CR_ERR_MEMORY; the collection is then empty. */
cr_status cr_collection_open(const char *folder, const char *run, size_t depth,
                             cr_collection *collection, cr_error *error);
void cr_collection_close(cr_collection *collection);

/* One line of corpus.jsonl or queries.jsonl: its id, and its text on the heap
 * where `wanted` says so. Here for the fuzzer. */
typedef struct cr_beir_record {
    cr_text id;
    cr_text title;
    cr_text text;
    void *json; /* keeps the texts */
} cr_beir_record;
cr_status cr_beir_parse(cr_text line, cr_beir_record *record, cr_error *error);
void cr_beir_record_fini(cr_beir_record *record);

#endif
