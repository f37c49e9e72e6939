/* How fast one thread turns pairs into tokens; bench/tokenizer.py drives it.
 *
 *     tokenizer_bench MODEL PAIRS.tsv MAX_LENGTH
 *
 * Query and passage are the last two columns. After "ready N" (pairs), each
 * line on standard input runs all pairs once: "pairs" encodes each pair whole,
 * "queries" a query once for its run of passages, as ranking does. The answer
 * is "CPU_SECONDS TOKENS". */
#include "base/buf.h"
#include "base/mem.h"
#include "model/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_FILE_BYTES = 1 << 30 };

typedef struct bench {
    const cr_tokenizer *tokenizer;
    cr_token_scratch *scratch;
    cr_pair *pairs;
    size_t n_pairs;
    uint32_t max_length;
    int32_t *ids;
    uint8_t *type_ids;
    cr_tokens query;
} bench;

static void die(const char *why) {
    fprintf(stderr, "tokenizer_bench: %s\n", why);
    exit(2);
}

static void *need(void *block) {
    if (!block)
        die("out of memory");
    return block;
}

/* Of this process's own time: others on the machine do not count. */
static double now_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The last tab-separated column of *line, which loses it. */
static cr_text take_column(cr_text *line) {
    const char *tab = memrchr(line->data, '\t', line->len);
    if (!tab)
        die("a line has fewer than two columns");
    size_t before = (size_t)(tab - line->data);
    cr_text column = {tab + 1, line->len - before - 1};
    line->len = before;
    return column;
}

static void read_pairs(bench *b, const cr_buf *file) {
    const char *p = file->data, *end = file->data + file->len;
    size_t n_lines = 0;
    for (const char *q = p; q < end; q++)
        n_lines += *q == '\n';
    b->pairs = need(cr_calloc(n_lines, sizeof *b->pairs));
    for (; b->n_pairs < n_lines; b->n_pairs++) {
        const char *newline = memchr(p, '\n', (size_t)(end - p));
        cr_text line = {p, (size_t)(newline - p)};
        b->pairs[b->n_pairs].passage = take_column(&line);
        const char *tab = memrchr(line.data, '\t', line.len);
        b->pairs[b->n_pairs].query =
            tab ? take_column(&line) : (cr_text){line.data, line.len};
        p = newline + 1;
    }
}

static bool same_text(cr_text a, cr_text b) {
    return a.len == b.len && memcmp(a.data, b.data, a.len) == 0;
}

static size_t run(bench *b, bool query_once) {
    size_t n_tokens = 0;
    for (size_t i = 0; i < b->n_pairs; i++) {
        if (query_once &&
            (!i || !same_text(b->pairs[i].query, b->pairs[i - 1].query)))
            cr_tokenizer_encode(b->tokenizer, b->scratch, b->pairs[i].query,
                                true, &b->query);
        n_tokens += cr_tokenizer_encode_pair(
            b->tokenizer, b->scratch, &b->pairs[i],
            query_once ? &b->query : NULL, b->max_length,
            CR_TRUNCATE_LONGEST_FIRST, b->ids, b->type_ids, NULL);
    }
    return n_tokens;
}

static void serve(bench *b) {
    char line[64];
    printf("ready %zu\n", b->n_pairs);
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        bool query_once = strcmp(line, "queries\n") == 0;
        double begin = now_seconds();
        size_t n_tokens = run(b, query_once);
        printf("%.9f %zu\n", now_seconds() - begin, n_tokens);
        fflush(stdout);
    }
}

int main(int argc, char **argv) {
    cr_error error;
    cr_model *model;
    cr_buf file;
    bench b = {.n_pairs = 0};
    if (argc != 4)
        die("usage: tokenizer_bench MODEL PAIRS.tsv MAX_LENGTH");
    b.max_length = (uint32_t)strtoul(argv[3], NULL, 10);
    if (b.max_length < CR_MIN_PAIR_TOKENS || b.max_length > CR_MAX_POSITIONS)
        die("MAX_LENGTH is out of its limits");
    cr_buf_init(&file, MAX_FILE_BYTES);
    if (cr_model_open(argv[1], &model, &error) != CR_OK ||
        cr_buf_read_file(&file, argv[2], &error) != CR_OK ||
        cr_token_scratch_new(b.max_length, &b.scratch, &error) != CR_OK)
        die(error.message);
    b.tokenizer = cr_model_get_tokenizer(model);
    b.ids = need(cr_calloc(b.max_length, sizeof *b.ids));
    b.type_ids = need(cr_calloc(b.max_length, 1));
    b.query.capacity = b.max_length;
    b.query.ids = need(cr_calloc(b.max_length, sizeof *b.ids));
    read_pairs(&b, &file);
    serve(&b);
    cr_free(b.ids);
    cr_free(b.type_ids);
    cr_free(b.query.ids);
    cr_free(b.pairs);
    cr_token_scratch_free(b.scratch);
    cr_model_close(model);
    cr_buf_fini(&file);
    return 0;
}
