/* A BEIR folder: first the small tables, then one pass over each file of
 * texts that keeps what the tables name. */
#include "lab/beir.h"

#include "base/mem.h"
#include "lab/lines.h"
#include "lab/records.h"
#include "lab/trec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_PATH_BYTES = 4096 };

/* What is only needed while a folder is read. */
typedef struct folder_reader {
    const char *folder;
    char path[MAX_PATH_BYTES];
    cr_trec_table qrels;
    cr_trec_table run;
} folder_reader;

static cr_status set_path(folder_reader *reader, const char *name,
                          cr_error *error) {
    int len = snprintf(reader->path, sizeof reader->path, "%s/%s",
                       reader->folder, name);
    if (len < 0 || (size_t)len >= sizeof reader->path)
        return cr_fail(error, CR_ERR_INPUT,
                       "%.100s...: the path is over the limit of %d bytes",
                       reader->folder, MAX_PATH_BYTES - 1);
    return CR_OK;
}

/* The first of two names that is there. */
static cr_status find_file(folder_reader *reader, const char *first,
                           const char *second, const char *fix,
                           cr_error *error) {
    const char *names[] = {first, second};
    for (size_t i = 0; i < 2; i++) {
        cr_status status = set_path(reader, names[i], error);
        if (status != CR_OK)
            return status;
        if (access(reader->path, R_OK) == 0)
            return CR_OK;
    }
    return cr_fail(error, CR_ERR_INPUT,
                   "%s: has neither %s nor %s that can be read: %s",
                   reader->folder, first, second, fix);
}

static cr_status read_qrels(folder_reader *reader, cr_collection *c,
                            cr_error *error) {
    cr_status status = find_file(reader, "qrels.test.tsv", "qrels/test.tsv",
                                 "a BEIR folder is needed", error);
    if (status == CR_OK)
        status = cr_trec_read(reader->path, CR_TREC_QRELS, &c->query_names,
                              &c->doc_names, &reader->qrels, error);
    if (status == CR_OK)
        status = cr_trec_sort(reader->path, CR_TREC_QRELS, &c->doc_names,
                              &reader->qrels, error);
    return status;
}

static cr_status read_run(folder_reader *reader, const char *run,
                          cr_collection *c, cr_error *error) {
    cr_status status = CR_OK;
    if (!run) {
        status = find_file(reader, "run.bm25.tsv", "run.given.tsv",
                           "name a first stage's run with --run FILE", error);
        run = reader->path;
    }
    if (status == CR_OK)
        status = cr_trec_read(run, CR_TREC_RUN, &c->query_names, &c->doc_names,
                              &reader->run, error);
    if (status == CR_OK)
        status =
            cr_trec_sort(run, CR_TREC_RUN, &c->doc_names, &reader->run, error);
    return status;
}

/* Both tables are sorted by query and document, and the numbers of queries
 * follow the order of the qrels: one walk joins them. */
typedef struct joint {
    const cr_trec_row *run, *run_end;
    const cr_trec_row *qrels, *qrels_end;
} joint;

static const cr_trec_row *end_of_query(const cr_trec_row *row,
                                       const cr_trec_row *end) {
    const cr_trec_row *at = row;
    while (at < end && at->query == row->query)
        at++;
    return at;
}

static int32_t grade_of(const cr_trec_row **qrels, const cr_trec_row *end,
                        uint32_t doc) {
    while (*qrels < end && (*qrels)->doc < doc)
        (*qrels)++;
    return *qrels < end && (*qrels)->doc == doc ? (int32_t)(*qrels)->value : 0;
}

/* A candidate with its name, to be sorted without a global. */
typedef struct named_candidate {
    cr_candidate candidate;
    const char *name;
} named_candidate;

static int best_first(const void *a, const void *b) {
    const named_candidate *x = a, *y = b;
    if (x->candidate.score != y->candidate.score)
        return x->candidate.score > y->candidate.score ? -1 : 1;
    return strcmp(y->name, x->name);
}

/* Candidates of one query: rows run..end of the run joined with its
 * judgements, sorted, cut at depth. */
static cr_status join_query(cr_collection *c, const joint *query, size_t depth,
                            cr_error *error) {
    size_t n = (size_t)(query->run_end - query->run);
    const cr_trec_row *qrels = query->qrels;
    cr_collection_query *out = &c->queries[c->n_queries++];
    named_candidate *all = cr_alloc(n * sizeof *all);
    if (!all)
        return cr_fail_memory(error, n * sizeof *all, "candidates");
    for (size_t i = 0; i < n; i++) {
        const cr_trec_row *row = &query->run[i];
        all[i].candidate = (cr_candidate){
            .doc = row->doc,
            .grade = grade_of(&qrels, query->qrels_end, row->doc),
            .score = (float)row->value};
        all[i].name = c->doc_names.list[row->doc].data;
    }
    qsort(all, n, sizeof *all, best_first);
    n = n < depth ? n : depth;
    for (size_t i = 0; i < n; i++)
        c->candidates[c->n_candidates + i] = all[i].candidate;
    cr_free(all);
    out->id = c->query_names.list[query->run->query];
    out->candidates = c->candidates + c->n_candidates;
    out->n = n;
    c->n_candidates += n;
    return CR_OK;
}

/* Positive grades of a query, behind those of the queries before. */
static void keep_judged(cr_collection *c, const joint *query,
                        size_t *n_judged) {
    cr_collection_query *out = &c->queries[c->n_queries - 1];
    out->judged = c->judged + *n_judged;
    for (const cr_trec_row *row = query->qrels; row < query->qrels_end; row++)
        if (row->value > 0)
            c->judged[(*n_judged)++] = (int32_t)row->value;
    out->n_judged = (size_t)(c->judged + *n_judged - out->judged);
}

static cr_status allocate_tables(const folder_reader *reader, cr_collection *c,
                                 cr_error *error) {
    c->queries = cr_calloc(c->query_names.n, sizeof *c->queries);
    c->candidates = cr_calloc(reader->run.n, sizeof *c->candidates);
    c->judged = cr_calloc(reader->qrels.n, sizeof *c->judged);
    c->query_texts = cr_calloc(c->query_names.n, sizeof *c->query_texts);
    c->doc_texts = cr_calloc(c->doc_names.n, sizeof *c->doc_texts);
    if (!c->queries || !c->candidates || !c->judged || !c->query_texts ||
        !c->doc_texts)
        return cr_fail_memory(error, reader->run.n * sizeof *c->candidates,
                              "a collection's tables");
    return CR_OK;
}

/* Also of a table without rows, which has no array to count in. */
static const cr_trec_row *end_of_table(const cr_trec_table *table) {
    return table->n ? table->rows + table->n : table->rows;
}

static cr_status join(const folder_reader *reader, size_t depth,
                      cr_collection *c, cr_error *error) {
    size_t n_judged = 0;
    const cr_trec_row *run = reader->run.rows;
    const cr_trec_row *run_end = end_of_table(&reader->run);
    const cr_trec_row *qrels = reader->qrels.rows;
    const cr_trec_row *qrels_end = end_of_table(&reader->qrels);
    cr_status status = allocate_tables(reader, c, error);
    for (size_t i = 0; i < reader->qrels.n; i++)
        if (qrels[i].value > c->max_grade)
            c->max_grade = (int32_t)qrels[i].value;
    while (status == CR_OK && (run < run_end || qrels < qrels_end)) {
        joint query = {run, run, qrels, qrels};
        if (run < run_end && (qrels == qrels_end || run->query <= qrels->query))
            query.run_end = end_of_query(run, run_end);
        if (qrels < qrels_end && (run == run_end || qrels->query <= run->query))
            query.qrels_end = end_of_query(qrels, qrels_end);
        if (query.run_end == query.run)
            c->n_not_retrieved++;
        else if (query.qrels_end == query.qrels)
            c->n_not_judged++;
        else {
            status = join_query(c, &query, depth, error);
            if (status == CR_OK)
                keep_judged(c, &query, &n_judged);
        }
        run = query.run_end;
        qrels = query.qrels_end;
    }
    return status;
}

cr_status cr_beir_parse(cr_text line, cr_beir_record *record, cr_error *error) {
    json_t *json;
    *record = (cr_beir_record){.json = NULL};
    cr_status status = cr_json_line(line, &json, error);
    if (status != CR_OK)
        return status;
    record->json = json;
    status = cr_json_member(json, "_id", false, &record->id, error);
    if (status == CR_OK)
        status = cr_json_member(json, "title", true, &record->title, error);
    if (status == CR_OK)
        status = cr_json_member(json, "text", false, &record->text, error);
    if (status != CR_OK)
        cr_beir_record_fini(record);
    return status;
}

void cr_beir_record_fini(cr_beir_record *record) {
    json_decref(record->json);
    record->json = NULL;
}

/* "title text" or "text" on the heap. */
static cr_status copy_text(const cr_beir_record *record, bool with_title,
                           cr_text *text, cr_error *error) {
    size_t title_len = with_title ? record->title.len : 0;
    size_t len = title_len + (title_len > 0) + record->text.len;
    char *copy = cr_alloc(len + 1);
    if (!copy)
        return cr_fail_memory(error, len, "a passage");
    char *at = copy;
    if (title_len) {
        memcpy(at, record->title.data, title_len);
        at += title_len;
        *at++ = ' ';
    }
    memcpy(at, record->text.data, record->text.len);
    at[record->text.len] = '\0';
    *text = (cr_text){copy, len};
    return CR_OK;
}

/* Where the texts of one file go: texts[] by number in names, and only where
 * wanted[] is set. */
typedef struct text_target {
    const cr_names *names;
    cr_text *texts;
    const bool *wanted;
    bool with_title;
} text_target;

static cr_status keep_text(const cr_lines *lines, cr_text line, void *context,
                           cr_error *error) {
    const text_target *target = context;
    cr_error why;
    cr_beir_record record;
    if (line.len == 0)
        return CR_OK;
    if (cr_beir_parse(line, &record, &why) != CR_OK)
        return cr_lines_fail(lines, error, "%s", why.message);
    cr_status status = CR_OK;
    uint32_t index = cr_names_find(target->names, record.id);
    if (index != CR_NO_NAME && target->wanted[index]) {
        if (target->texts[index].data)
            status = cr_lines_fail(lines, error,
                                   "_id \"%.100s\" stands there for the "
                                   "second time: ids must be unique",
                                   record.id.data);
        else
            status = copy_text(&record, target->with_title,
                               &target->texts[index], error);
    }
    cr_beir_record_fini(&record);
    return status;
}

static cr_status read_texts(const char *path, text_target *target,
                            cr_error *error) {
    cr_status status = cr_lines_each(path, keep_text, target, error);
    for (uint32_t i = 0; status == CR_OK && i < target->names->n; i++)
        if (target->wanted[i] && !target->texts[i].data)
            status = cr_fail(error, CR_ERR_INPUT,
                             "%s: has no _id \"%.100s\", which the run names: "
                             "the run is of another collection",
                             path, target->names->list[i].data);
    return status;
}

static cr_status read_queries(folder_reader *reader, cr_collection *c,
                              cr_error *error) {
    bool *wanted = cr_calloc(c->query_names.n, sizeof *wanted);
    if (!wanted)
        return cr_fail_memory(error, c->query_names.n, "a list of queries");
    for (size_t i = 0; i < c->n_queries; i++)
        wanted[cr_names_find(&c->query_names, c->queries[i].id)] = true;
    cr_status status = set_path(reader, "queries.jsonl", error);
    if (status == CR_OK)
        status = read_texts(
            reader->path,
            &(text_target){&c->query_names, c->query_texts, wanted, false},
            error);
    for (size_t i = 0; status == CR_OK && i < c->n_queries; i++)
        c->queries[i].text =
            c->query_texts[cr_names_find(&c->query_names, c->queries[i].id)];
    cr_free(wanted);
    return status;
}

static cr_status read_corpus(folder_reader *reader, cr_collection *c,
                             cr_error *error) {
    bool *wanted = cr_calloc(c->doc_names.n, sizeof *wanted);
    if (!wanted)
        return cr_fail_memory(error, c->doc_names.n, "a list of documents");
    for (size_t i = 0; i < c->n_candidates; i++)
        wanted[c->candidates[i].doc] = true;
    cr_status status = set_path(reader, "corpus.jsonl", error);
    if (status == CR_OK)
        status = read_texts(
            reader->path,
            &(text_target){&c->doc_names, c->doc_texts, wanted, true}, error);
    cr_free(wanted);
    return status;
}

cr_status cr_collection_open(const char *folder, const char *run, size_t depth,
                             cr_collection *collection, cr_error *error) {
    folder_reader reader = {.folder = folder};
    *collection = (cr_collection){0};
    cr_status status = read_qrels(&reader, collection, error);
    if (status == CR_OK)
        status = read_run(&reader, run, collection, error);
    if (status == CR_OK)
        status = join(&reader, depth, collection, error);
    if (status == CR_OK && collection->n_queries == 0)
        status = cr_fail(error, CR_ERR_INPUT,
                         "%s: no query of the run is judged: the run or the "
                         "qrels are of another collection",
                         folder);
    if (status == CR_OK)
        status = read_queries(&reader, collection, error);
    if (status == CR_OK)
        status = read_corpus(&reader, collection, error);
    cr_trec_fini(&reader.qrels);
    cr_trec_fini(&reader.run);
    if (status != CR_OK)
        cr_collection_close(collection);
    return status;
}

static void free_texts(cr_text *texts, uint32_t n) {
    for (uint32_t i = 0; texts && i < n; i++)
        cr_free((void *)(uintptr_t)texts[i].data);
    cr_free(texts);
}

void cr_collection_close(cr_collection *collection) {
    free_texts(collection->query_texts, collection->query_names.n);
    free_texts(collection->doc_texts, collection->doc_names.n);
    cr_free(collection->queries);
    cr_free(collection->candidates);
    cr_free(collection->judged);
    cr_names_fini(&collection->query_names);
    cr_names_fini(&collection->doc_names);
    *collection = (cr_collection){0};
}
