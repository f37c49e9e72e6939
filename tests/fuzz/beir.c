/* A BEIR folder of any bytes: it is refused with a message, or its queries have
 * texts, candidates in order, and metrics between 0 and 1.
 *
 * Input: a byte (depth, and whether the run is named), then corpus, queries,
 * judgements and run, parted by NUL. The folder's files are links to memory,
 * made once and written anew for every input. */
#include "fuzz.h"

#include "lab/eval.h"

#include <math.h>
#include <stdlib.h>

enum { N_FILES = 4, RUN = 3, MAX_DEPTH = 4 };

static const char *const NAMES[N_FILES] = {"corpus.jsonl", "queries.jsonl",
                                           "qrels.test.tsv", "run.bm25.tsv"};
static char folder[] = "/tmp/fuzz-beir-XXXXXX";
static fuzz_file files[N_FILES];

static void path_of(int i, char path[64]) {
    snprintf(path, 64, "%s/%s", folder, NAMES[i]);
}

static void remove_folder(void) {
    char path[64];
    for (int i = 0; i < N_FILES; i++) {
        path_of(i, path);
        unlink(path);
    }
    rmdir(folder);
}

static void make_folder(void) {
    char path[64];
    if (!mkdtemp(folder))
        abort();
    for (int i = 0; i < N_FILES; i++) {
        fuzz_file_open(&files[i], "", 0);
        path_of(i, path);
        if (symlink(files[i].path, path) != 0)
            abort();
    }
    atexit(remove_folder);
}

static void write_file(int i, cr_text text) {
    if (ftruncate(files[i].fd, 0) != 0 ||
        pwrite(files[i].fd, text.data, text.len, 0) != (ssize_t)text.len)
        abort();
}

static void check_query(const cr_collection *c, const cr_collection_query *q) {
    float scores[MAX_DEPTH];
    uint32_t order[MAX_DEPTH];
    double values[CR_N_METRICS];
    assert(q->id.data && q->text.data && q->n >= 1 && q->n <= MAX_DEPTH);
    for (size_t i = 0; i < q->n; i++) {
        const cr_candidate *candidate = &q->candidates[i];
        assert(candidate->doc < c->doc_names.n);
        assert(c->doc_texts[candidate->doc].data);
        assert(candidate->grade <= c->max_grade);
        assert(!isnan(candidate->score));
        scores[i] = candidate->score;
    }
    for (size_t i = 0; i < q->n_judged; i++)
        assert(q->judged[i] > 0 && q->judged[i] <= c->max_grade);
    /* Candidates stand in the order that evaluation gives them. */
    assert(cr_eval_order(c, q, scores, order, NULL) == CR_OK);
    for (size_t i = 0; i < q->n; i++)
        assert(order[i] == i);
    assert(cr_eval_query(c, q, order, values, NULL) == CR_OK);
    for (size_t i = 0; i < CR_N_METRICS; i++)
        assert(values[i] >= 0 && values[i] <= 1 + 1e-12);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char run[64];
    if (size < 1)
        return 0;
    if (!files[0].path[0])
        make_folder();
    size_t depth = 1 + data[0] % MAX_DEPTH;
    bool named = data[0] & 128;
    path_of(RUN, run);
    const uint8_t *rest = data + 1;
    size--;
    for (int i = 0; i < N_FILES; i++)
        write_file(i, fuzz_next_text(&rest, &size));
    cr_error error = {.message = ""};
    cr_collection collection;
    cr_status status = cr_collection_open(folder, named ? run : NULL, depth,
                                          &collection, &error);
    assert(status == CR_OK || error.message[0] != '\0');
    for (size_t i = 0; status == CR_OK && i < collection.n_queries; i++)
        check_query(&collection, &collection.queries[i]);
    cr_collection_close(&collection);
    return 0;
}
