/* Judgements (qrels) and runs: tables of ids and a number.
 *
 * Columns are separated by tabs, or by blanks where a line has no tab. A first
 * line whose number is not one is a header and skipped.
 *   qrels: query, document, grade (BEIR) or query, 0, document, grade (TREC)
 *   run:   query, document, score or query, document, rank, score or
 *          query, Q0, document, rank, score, tag (TREC)
 * Ranks are not looked at: the score decides, as in trec_eval.
 *
 * Threads: one at a time. Ownership: rows are the table's until its fini. */
#ifndef CR_LAB_TREC_H
#define CR_LAB_TREC_H

#include "lab/names.h"

typedef struct cr_trec_row {
    uint32_t query;
    uint32_t doc;
    double value; /* grade or score */
    uint64_t line;
} cr_trec_row;

typedef struct cr_trec_table {
    cr_trec_row *rows; /* [n], in the file's order */
    size_t n;
    size_t capacity;
} cr_trec_table;

typedef enum cr_trec_kind { CR_TREC_QRELS, CR_TREC_RUN } cr_trec_kind;

/* Ids are added to `queries` and `docs`. Grades are whole numbers of 32 bits,
 * scores finite. CR_ERR_INPUT with FILE:LINE, CR_ERR_IO, CR_ERR_MEMORY; the
 * table then still needs its fini. */
cr_status cr_trec_read(const char *path, cr_trec_kind kind, cr_names *queries,
                       cr_names *docs, cr_trec_table *table, cr_error *error);
void cr_trec_fini(cr_trec_table *table);

/* Sorts rows by query and document. The same judgement twice is dropped; two
 * grades of one document, or one document twice in a run, are CR_ERR_INPUT
 * with FILE:LINE. */
cr_status cr_trec_sort(const char *path, cr_trec_kind kind,
                       const cr_names *docs, cr_trec_table *table,
                       cr_error *error);

#endif
