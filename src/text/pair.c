/* Pairs: how much of each side is kept, and [CLS] query [SEP] passage [SEP]
 * or <s> query </s></s> passage </s>.
 *
 * Which side is longer decides who keeps the odd token, so where the query
 * alone passes max_length both sides are counted, in growing steps, until the
 * shorter one is at its end: the cost is that of the shorter side. Everywhere
 * else reading stops at what can be kept. */
#include "text/encode.h"

#include "base/mem.h"

#include <assert.h>
#include <string.h>

static size_t min_size(size_t a, size_t b) { return a < b ? a : b; }
static size_t max_size(size_t a, size_t b) { return a > b ? a : b; }

/* Tokens that are left for the texts. */
static size_t text_budget(const cr_tokenizer *t, uint32_t max_length) {
    assert(max_length >= cr_tokenizer_pair_specials(t));
    return max_length - cr_tokenizer_pair_specials(t);
}

cr_pair_cut cr_pair_truncate(size_t n_query, size_t n_passage, size_t budget,
                             cr_truncation truncation) {
    cr_pair_cut cut = {min_size(n_query, budget), 0};
    if (truncation == CR_TRUNCATE_ONLY_SECOND) {
        cut.n_passage = min_size(n_passage, budget - cut.n_query);
        return cut;
    }
    /* The shorter side stays whole while it has at most half; the longer one
     * gets the rest. With both above half, the longer one the odd token. */
    size_t shorter = min_size(n_query, n_passage);
    size_t half = min_size(shorter, budget / 2);
    bool query_longer = n_query > n_passage;
    size_t rest = min_size(query_longer ? n_query : n_passage, budget - half);
    cut.n_query = query_longer ? rest : half;
    cut.n_passage = query_longer ? half : rest;
    return cut;
}

/* Counts both sides of a pair whose query is cut until it is known which one
 * is longer; numbers are true or both above what was counted. */
static void count_long_pair(const cr_tokenizer *t, cr_token_scratch *scratch,
                            const cr_pair *pair, const cr_tokens *query_tokens,
                            size_t budget, size_t *n_query, size_t *n_passage) {
    for (size_t limit = 2 * budget;; limit *= 2) {
        cr_tokens query = {.capacity = 0}, passage = {.capacity = 0};
        if (query_tokens)
            query = *query_tokens;
        else
            cr_encode_until(t, scratch, pair->query, limit, &query);
        *n_query = query.n + query.n_beyond;
        cr_encode_until(t, scratch, pair->passage,
                        query_tokens ? *n_query : limit, &passage);
        *n_passage = passage.n + passage.n_beyond;
        if (query_tokens || *n_query <= limit || *n_passage <= limit)
            return;
    }
}

cr_pair_frame cr_tokenizer_frame_pair(const cr_tokenizer *t, cr_pair_cut cut,
                                      int32_t *ids, uint8_t *type_ids) {
    cr_pair_frame frame = {.query = 1};
    size_t n_between = cr_tokenizer_pair_specials(t) - 2;
    size_t n_first = 1 + cut.n_query + n_between;
    frame.passage = n_first;
    frame.n = n_first + cut.n_passage + 1;
    ids[0] = cr_tokenizer_cls_id(t);
    for (size_t i = n_first - n_between; i < n_first; i++)
        ids[i] = cr_tokenizer_sep_id(t);
    ids[frame.n - 1] = cr_tokenizer_sep_id(t);
    if (type_ids) {
        memset(type_ids, 0, n_first);
        memset(type_ids + n_first, cr_tokenizer_passage_type(t),
               frame.n - n_first);
    }
    return frame;
}

static cr_pair_frame write_pair(const cr_tokenizer *t, const int32_t *query,
                                const int32_t *passage, cr_pair_cut cut,
                                int32_t *ids, uint8_t *type_ids) {
    /* The query may stand where it belongs already. */
    if (cut.n_query && query != ids + 1)
        memmove(ids + 1, query, cut.n_query * sizeof *ids);
    cr_pair_frame frame = cr_tokenizer_frame_pair(t, cut, ids, type_ids);
    if (cut.n_passage)
        memcpy(ids + frame.passage, passage, cut.n_passage * sizeof *ids);
    return frame;
}

size_t cr_tokenizer_encode_pair(const cr_tokenizer *t,
                                cr_token_scratch *scratch, const cr_pair *pair,
                                const cr_tokens *query_tokens,
                                uint32_t max_length, cr_truncation truncation,
                                int32_t *ids, uint8_t *type_ids,
                                bool *truncated) {
    size_t budget = text_budget(t, max_length);
    assert(max_length <= cr_token_scratch_max_length(scratch));
    cr_tokens query = {.ids = ids + 1, .capacity = budget};
    if (query_tokens)
        query = *query_tokens;
    else
        cr_encode_until(t, scratch, pair->query, budget, &query);
    size_t n_query = query.n + query.n_beyond;

    /* What may be kept of the passage, and how far to count it so that "too
     * long" and "longer than the query" stay true. */
    size_t room = budget - min_size(n_query, budget);
    if (truncation == CR_TRUNCATE_LONGEST_FIRST)
        room = max_size(room, budget - budget / 2);
    cr_tokens passage = {.ids = cr_token_scratch_ids(scratch),
                         .capacity = room};
    size_t stop_after = room;
    if (truncation == CR_TRUNCATE_LONGEST_FIRST && n_query <= budget)
        stop_after = max_size(room, n_query);
    cr_encode_until(t, scratch, pair->passage, stop_after, &passage);
    size_t n_passage = passage.n + passage.n_beyond;

    /* The odd token is all that depends on which side is longer. */
    if (truncation == CR_TRUNCATE_LONGEST_FIRST && n_query > budget &&
        n_passage > budget / 2 && budget % 2 && !cr_tokenizer_reads_all(t))
        count_long_pair(t, scratch, pair, query_tokens, budget, &n_query,
                        &n_passage);
    cr_pair_cut cut = cr_pair_truncate(n_query, n_passage, budget, truncation);
    assert(cut.n_query <= query.n && cut.n_passage <= passage.n);
    cr_pair_frame frame =
        write_pair(t, query.ids, passage.ids, cut, ids, type_ids);
    if (truncated)
        *truncated = cut.n_query < n_query || cut.n_passage < n_passage;
    return frame.n;
}

/* ---- With offsets, for people ------------------------------------------- */

/* A cr_encoding and its arrays, in one block each. */
typedef struct owned_encoding {
    cr_encoding encoding;
    int32_t *ids;
    uint8_t *type_ids;
    uint32_t (*offsets)[2];
} owned_encoding;

void cr_encoding_free(cr_encoding *encoding) {
    owned_encoding *owned = (owned_encoding *)(void *)encoding;
    if (!owned)
        return;
    cr_free(owned->ids);
    cr_free(owned->type_ids);
    cr_free(owned->offsets);
    cr_free(owned);
}

static cr_status new_encoding(size_t capacity, owned_encoding **owned,
                              cr_error *error) {
    owned_encoding *o = cr_calloc(1, sizeof *o);
    *owned = o;
    if (!o)
        return cr_fail_memory(error, sizeof *o, "an encoding");
    o->ids = cr_calloc(capacity, sizeof *o->ids);
    o->type_ids = cr_calloc(capacity, sizeof *o->type_ids);
    o->offsets = cr_calloc(capacity, sizeof *o->offsets);
    if (!o->ids || !o->type_ids || !o->offsets)
        return cr_fail_memory(error, capacity * sizeof *o->offsets,
                              "an encoding");
    return CR_OK;
}

/* Room for the tokens of one side. */
static cr_status new_tokens(size_t capacity, cr_tokens *tokens,
                            cr_error *error) {
    *tokens = (cr_tokens){.capacity = capacity};
    tokens->ids = cr_calloc(capacity, sizeof *tokens->ids);
    tokens->offsets = cr_calloc(capacity, sizeof *tokens->offsets);
    if (!tokens->ids || !tokens->offsets)
        return cr_fail_memory(error, capacity * sizeof *tokens->offsets,
                              "the tokens of a text");
    return CR_OK;
}

static void free_tokens(cr_tokens *tokens) {
    cr_free(tokens->ids);
    cr_free(tokens->offsets);
}

static void fill_encoding(const cr_tokenizer *t, const cr_tokens *query,
                          const cr_tokens *passage, uint32_t max_length,
                          cr_truncation truncation, owned_encoding *o) {
    size_t n_query = query->n + query->n_beyond;
    size_t n_passage = passage->n + passage->n_beyond;
    cr_pair_cut cut = cr_pair_truncate(n_query, n_passage,
                                       text_budget(t, max_length), truncation);
    cr_pair_frame frame =
        write_pair(t, query->ids, passage->ids, cut, o->ids, o->type_ids);
    if (cut.n_query)
        memcpy(o->offsets + frame.query, query->offsets,
               cut.n_query * sizeof *o->offsets);
    if (cut.n_passage)
        memcpy(o->offsets + frame.passage, passage->offsets,
               cut.n_passage * sizeof *o->offsets);
    o->encoding = (cr_encoding){.n_tokens = frame.n,
                                .ids = o->ids,
                                .type_ids = o->type_ids,
                                .offsets = (const uint32_t(*)[2])o->offsets,
                                .n_truncated = n_query + n_passage -
                                               cut.n_query - cut.n_passage};
}

cr_status cr_tokenizer_explain_pair(const cr_tokenizer *t, const cr_pair *pair,
                                    uint32_t max_length,
                                    cr_truncation truncation,
                                    cr_encoding **encoding, cr_error *error) {
    cr_tokens query = {.capacity = 0}, passage = {.capacity = 0};
    cr_token_scratch *scratch = NULL;
    owned_encoding *owned = NULL;
    *encoding = NULL;
    cr_status status = CR_OK;
    if (max_length < cr_tokenizer_pair_specials(t))
        return cr_fail(error, CR_ERR_ARGUMENT,
                       "max_length is %u; a pair needs at least %u tokens",
                       (unsigned)max_length, cr_tokenizer_pair_specials(t));
    size_t budget = text_budget(t, max_length);
    if ((status = cr_token_scratch_new(max_length, &scratch, error)) != CR_OK ||
        (status = new_tokens(budget, &query, error)) != CR_OK ||
        (status = new_tokens(budget, &passage, error)) != CR_OK ||
        (status = new_encoding(max_length, &owned, error)) != CR_OK)
        goto done;
    cr_tokenizer_encode(t, scratch, pair->query, true, &query);
    cr_tokenizer_encode(t, scratch, pair->passage, true, &passage);
    if ((status = cr_token_scratch_check(scratch, error)) != CR_OK)
        goto done;
    fill_encoding(t, &query, &passage, max_length, truncation, owned);
    *encoding = &owned->encoding;
done:
    if (status != CR_OK && owned)
        cr_encoding_free(&owned->encoding);
    free_tokens(&query);
    free_tokens(&passage);
    cr_token_scratch_free(scratch);
    return status;
}
