/* A job: from pairs of texts to tokens laid end to end. */
#include "sched/job.h"

#include "base/mem.h"

#include <string.h>

/* Of one call to cr_job_encode. */
typedef struct encoder {
    cr_job *job;
    const cr_encode_options *options;
    const cr_tokenizer *tokenizer;
    cr_token_scratch *scratch;
    uint32_t max_length;
    size_t capacity;     /* of job->ids */
    uint32_t n_specials; /* of a pair */
    uint8_t *type_ids;   /* [max_length + CR_LONE_SPARE] */
    cr_text query;       /* whose tokens are kept */
    cr_tokens query_tokens;
} encoder;

static cr_status alloc_arrays(cr_job *job, uint32_t n, cr_error *error) {
    job->starts = cr_calloc((size_t)n + 1, sizeof *job->starts);
    job->n_first = cr_calloc(n, sizeof *job->n_first);
    job->truncated = cr_calloc(n, sizeof *job->truncated);
    job->logits = cr_calloc(n, job->generation->n_labels * sizeof *job->logits);
    if (!job->starts || !job->n_first || !job->truncated || !job->logits)
        return cr_fail_memory(error, (size_t)n * 13, "a request");
    return CR_OK;
}

static cr_status reserve(encoder *e, size_t used, cr_error *error) {
    size_t need = used + e->max_length + CR_LONE_SPARE;
    if (need <= e->capacity)
        return CR_OK;
    size_t capacity = need + e->capacity / 2;
    int32_t *ids = cr_realloc(e->job->ids, capacity * sizeof *ids);
    if (!ids)
        return cr_fail_memory(error, capacity * sizeof *ids, "tokens");
    e->job->ids = ids;
    e->capacity = capacity;
    return CR_OK;
}

static void keep_query(encoder *e, cr_text query) {
    if (e->query.data == query.data && e->query.len == query.len)
        return;
    cr_tokenizer_encode(e->tokenizer, e->scratch, query, true,
                        &e->query_tokens);
    e->query = query;
}

static size_t count_tokens(const encoder *e, cr_text text) {
    cr_tokens tokens = {.capacity = 0};
    cr_tokenizer_encode(e->tokenizer, e->scratch, text, true, &tokens);
    return tokens.n_beyond;
}

static cr_status refuse_long(const encoder *e, uint32_t pair, cr_pair texts,
                             cr_error *error) {
    size_t query = e->query_tokens.n + e->query_tokens.n_beyond;
    size_t passage = count_tokens(e, texts.passage);
    uint32_t specials = texts.passage.data ? e->n_specials : 2;
    return cr_fail(error, CR_ERR_INPUT,
                   "Input validation error: `inputs` must have less than %u "
                   "tokens. Given: %zu (document %u: %zu of the query, %zu of "
                   "the document, %u special); shorten it or allow truncation",
                   e->max_length, query + passage + specials, pair, query,
                   passage, specials);
}

/* ---- max_passage_tokens ------------------------------------------------- */

static size_t bytes_of_chars(cr_text text, size_t chars) {
    size_t at = 0;
    while (at < text.len && chars) {
        at++;
        while (at < text.len && ((uint8_t)text.data[at] & 0xC0) == 0x80)
            at++;
        chars--;
    }
    return at;
}

/* The beginning of a passage that has at most max_passage_tokens. Pieces of
 * WordPiece are greedy, so a word cut behind a piece has the same pieces; those
 * of others may be more, and then it is cut a piece earlier. */
static cr_status shorten(encoder *e, cr_text *passage, bool *cut,
                         cr_error *error) {
    uint32_t most = e->options->max_passage_tokens;
    if (!most || most >= e->max_length)
        return CR_OK;
    cr_tokens tokens = {.capacity = most};
    tokens.ids = cr_calloc(most, sizeof *tokens.ids);
    tokens.offsets = cr_calloc(most, sizeof *tokens.offsets);
    cr_status status = CR_OK;
    if (!tokens.ids || !tokens.offsets) {
        status = cr_fail_memory(error, most * sizeof *tokens.offsets, "tokens");
        goto done;
    }
    for (uint32_t keep = most;; keep--) {
        cr_tokenizer_encode(e->tokenizer, e->scratch, *passage, false, &tokens);
        if (!tokens.cut)
            break;
        uint32_t chars = keep ? tokens.offsets[keep - 1][1] : 0;
        passage->len = bytes_of_chars(*passage, chars);
        *cut = true;
    }
done:
    cr_free(tokens.ids);
    cr_free(tokens.offsets);
    return status;
}

/* ---- Cutting at the beginning ------------------------------------------- */

/* The last `keep` tokens of a text that has n tokens. */
static cr_status encode_end(const encoder *e, cr_text text, size_t n,
                            size_t keep, int32_t *out, cr_error *error) {
    cr_tokens tokens = {.ids = cr_calloc(n, sizeof *out), .capacity = n};
    if (!tokens.ids)
        return cr_fail_memory(error, n * sizeof *out, "tokens");
    cr_tokenizer_encode(e->tokenizer, e->scratch, text, true, &tokens);
    memcpy(out, tokens.ids + n - keep, keep * sizeof *out);
    cr_free(tokens.ids);
    return CR_OK;
}

/* As cr_tokenizer_encode_pair, with e->type_ids. */
static cr_status encode_ends(encoder *e, cr_pair pair, uint32_t most,
                             int32_t *ids, size_t *n, cr_error *error) {
    size_t n_query = e->query_tokens.n + e->query_tokens.n_beyond;
    size_t n_passage = count_tokens(e, pair.passage);
    cr_pair_cut cut = cr_pair_truncate(n_query, n_passage, most - e->n_specials,
                                       e->options->truncation);
    cr_pair_frame frame =
        cr_tokenizer_frame_pair(e->tokenizer, cut, ids, e->type_ids);
    cr_status status = encode_end(e, pair.query, n_query, cut.n_query,
                                  ids + frame.query, error);
    if (status == CR_OK)
        status = encode_end(e, pair.passage, n_passage, cut.n_passage,
                            ids + frame.passage, error);
    *n = frame.n;
    return status;
}

/* ---- Pairs -------------------------------------------------------------- */

static uint32_t count_first(const uint8_t *type_ids, size_t n) {
    uint32_t first = 0;
    while (first < n && type_ids[first] == 0)
        first++;
    return first;
}

static cr_status encode_pair(encoder *e, uint32_t i, cr_pair pair,
                             cr_error *error) {
    cr_job *job = e->job;
    size_t at = job->starts[i], n;
    /* As a pair, a text alone has [SEP] too many: they are left out below. */
    bool lone = !pair.passage.data;
    uint32_t too_many = lone ? e->n_specials - 2 : 0;
    uint32_t most = e->max_length + too_many;
    bool shortened = false, truncated = false;
    cr_status status = reserve(e, at, error);
    if (status == CR_OK)
        status = shorten(e, &pair.passage, &shortened, error);
    if (status != CR_OK)
        return status;
    keep_query(e, pair.query);
    n = cr_tokenizer_encode_pair(e->tokenizer, e->scratch, &pair,
                                 &e->query_tokens, most, e->options->truncation,
                                 job->ids + at, e->type_ids, &truncated);
    if ((status = cr_token_scratch_check(e->scratch, error)) != CR_OK)
        return status;
    if (truncated && e->options->refuse_long)
        return refuse_long(e, i, pair, error);
    if (truncated && e->options->keep_end)
        status = encode_ends(e, pair, most, job->ids + at, &n, error);
    n -= too_many;
    job->n_first[i] = lone ? (uint32_t)n : count_first(e->type_ids, n);
    job->truncated[i] = truncated || shortened;
    job->n_truncated += job->truncated[i];
    job->starts[i + 1] = (uint32_t)(at + n);
    return status;
}

cr_status cr_job_encode(cr_job *job, cr_generation *g, const cr_pair *pairs,
                        uint32_t n, const cr_encode_options *options,
                        cr_error *error) {
    job->generation = cr_generation_ref(g);
    job->max_group_tokens = g->backend->description.max_group_tokens;
    if ((uint64_t)n * g->max_length > UINT32_MAX)
        return cr_fail(error, CR_ERR_INPUT,
                       "%u pairs are too many for one request; at most %u", n,
                       UINT32_MAX / g->max_length);
    encoder e = {.job = job,
                 .options = options,
                 .tokenizer = cr_model_get_tokenizer(g->model),
                 .max_length = g->max_length};
    if (options->max_tokens && options->max_tokens < e.max_length)
        e.max_length = options->max_tokens;
    e.n_specials = cr_tokenizer_pair_specials(e.tokenizer);
    e.type_ids = cr_calloc(g->max_length + CR_LONE_SPARE, sizeof *e.type_ids);
    e.query_tokens.ids = cr_calloc(g->max_length, sizeof *e.query_tokens.ids);
    e.query_tokens.capacity = g->max_length;
    cr_status status = alloc_arrays(job, n, error);
    if (status == CR_OK && (!e.type_ids || !e.query_tokens.ids))
        status = cr_fail_memory(error, g->max_length * 5, "tokens");
    if (status == CR_OK)
        status = cr_generation_borrow(g, &e.scratch, error);
    for (uint32_t i = 0; status == CR_OK && i < n; i++)
        status = encode_pair(&e, i, pairs[i], error);
    if (status == CR_OK)
        job->n_pairs = n;
    if (e.scratch)
        cr_generation_give_back(g, e.scratch);
    cr_free(e.type_ids);
    cr_free(e.query_tokens.ids);
    return status;
}

void cr_job_fini(cr_job *job) {
    cr_free(job->ids);
    cr_free(job->starts);
    cr_free(job->n_first);
    cr_free(job->truncated);
    cr_free(job->logits);
    cr_generation_unref(job->generation);
    *job = (cr_job){.n_pairs = 0};
}

void cr_job_lay_out(const cr_job *job, uint32_t pair, cr_group_room *room,
                    cr_group *g) {
    size_t at = g->n_tokens, n = cr_job_pair_tokens(job, pair);
    size_t first = job->n_first[pair];
    memcpy(room->ids + at, job->ids + job->starts[pair], n * sizeof *room->ids);
    memset(room->type_ids + at, 0, first);
    memset(room->type_ids + at + first, 1, n - first);
    cr_model_fill_positions(job->generation->model, room->ids + at, n,
                            room->positions + at);
    g->n_tokens += n;
    room->starts[++g->n_sequences] = (uint32_t)g->n_tokens;
}
