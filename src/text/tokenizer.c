/* The tokenizer: words from normalize.h, ids from wordpiece.h, and the checks
 * that a model's files agree with themselves. */
#include "text/tokenizer.h"

#include "base/mem.h"
#include "text/encode.h"
#include "text/hf.h"
#include "text/normalize.h"
#include "text/wordpiece.h"

#include <assert.h>
#include <string.h>

struct cr_tokenizer {
    cr_normalizer normalizer;
    cr_specials specials;
    cr_wordpiece wordpiece;
    int32_t cls_id, sep_id, unk_id;
    uint8_t passage_type;
    uint32_t n_specials; /* of a pair */
    size_t vocab_size;
    /* `tokenizers` instead of all of WordPiece; NULL: not. */
    const cr_hf_ops *hf;
    cr_hf_opened *opened;
};

struct cr_token_scratch {
    cr_word_reader reader;
    cr_piece pieces[CR_MAX_WORD_CHARS * CR_UTF8_MAX_BYTES];
    cr_error failure; /* the first since it was asked about */
    uint32_t max_length;
    int32_t ids[]; /* [max_length] */
};

/* ---- Making one --------------------------------------------------------- */

static cr_status check_id(const cr_tokenizer *t, int32_t id, const char *what,
                          cr_error *error) {
    if (cr_tokenizer_token_text(t, id).len)
        return CR_OK;
    return cr_fail(error, CR_ERR_MODEL,
                   "the %s token has id %d, which is not in use in the "
                   "vocabulary of %zu; check the tokenizer's files",
                   what, (int)id, t->vocab_size);
}

/* An added token is either a text of the vocabulary or behind it. */
static cr_status check_special(const cr_tokenizer *t,
                               const cr_special_token *token, cr_error *error) {
    cr_text text = cr_wordpiece_text(&t->wordpiece, token->id);
    if (token->id >= 0 &&
        (!text.len || (text.len == token->text.len &&
                       memcmp(text.data, token->text.data, text.len) == 0)))
        return CR_OK;
    return cr_fail(error, CR_ERR_MODEL,
                   "the added token \"%.*s\" has id %d, which is \"%.*s\" in "
                   "the vocabulary; check the tokenizer's files",
                   (int)(token->text.len < 100 ? token->text.len : 100),
                   token->text.data, (int)token->id,
                   (int)(text.len < 100 ? text.len : 100), text.data);
}

static cr_status check(const cr_tokenizer *t, cr_error *error) {
    cr_status status = CR_OK;
    for (size_t i = 0; i < t->specials.n && status == CR_OK; i++)
        status = check_special(t, &t->specials.tokens[i], error);
    if (status == CR_OK)
        status = check_id(t, t->cls_id, "cls", error);
    if (status == CR_OK)
        status = check_id(t, t->sep_id, "sep", error);
    if (status == CR_OK)
        status = check_id(t, t->unk_id, "unk", error);
    return status;
}

static cr_status check_limits(const cr_tokenizer_spec *spec, cr_error *error) {
    if (spec->n_vocab > INT32_MAX / 4)
        return cr_fail(error, CR_ERR_MODEL,
                       "the vocabulary has %zu tokens, the limit is %d",
                       spec->n_vocab, (int)(INT32_MAX / 4));
    if (!spec->max_word_chars || spec->max_word_chars > CR_MAX_WORD_CHARS)
        return cr_fail(error, CR_ERR_UNSUPPORTED,
                       "max_input_chars_per_word is %u; 1 to %d are supported",
                       (unsigned)spec->max_word_chars, (int)CR_MAX_WORD_CHARS);
    return CR_OK;
}

cr_status cr_tokenizer_new(const cr_tokenizer_spec *spec,
                           cr_tokenizer **tokenizer, cr_error *error) {
    *tokenizer = NULL;
    cr_status status = check_limits(spec, error);
    if (status != CR_OK)
        return status;
    cr_tokenizer *t = cr_calloc(1, sizeof *t);
    if (!t)
        return cr_fail_memory(error, sizeof *t, "a tokenizer");
    t->passage_type = !spec->one_type;
    t->n_specials = 3;
    t->cls_id = spec->cls_id;
    t->sep_id = spec->sep_id;
    t->unk_id = spec->unk_id;
    status =
        cr_specials_init(&t->specials, spec->specials, spec->n_specials, error);
    if (status != CR_OK)
        goto done;
    status = cr_wordpiece_init(&t->wordpiece, spec->vocab, spec->n_vocab,
                               spec->continuing_prefix, error);
    if (status != CR_OK)
        goto done;
    t->vocab_size = spec->n_vocab;
    for (size_t i = 0; i < t->specials.n; i++)
        if (t->specials.tokens[i].id >= 0 &&
            (size_t)t->specials.tokens[i].id >= t->vocab_size)
            t->vocab_size = (size_t)t->specials.tokens[i].id + 1;
    if ((status = check(t, error)) != CR_OK)
        goto done;
    t->normalizer = (cr_normalizer){.clean_text = spec->clean_text,
                                    .split_cjk = spec->split_cjk,
                                    .strip_accents = spec->strip_accents,
                                    .lowercase = spec->lowercase,
                                    .max_word_chars = spec->max_word_chars,
                                    .specials = &t->specials};
    cr_normalizer_init(&t->normalizer);
    *tokenizer = t;
done:
    if (status != CR_OK)
        cr_tokenizer_free(t);
    return status;
}

cr_status cr_tokenizer_new_hf(cr_text json, cr_tokenizer **tokenizer,
                              cr_error *error) {
    const cr_hf_ops *ops;
    *tokenizer = NULL;
    cr_status status = cr_hf_find(&ops, error);
    if (status != CR_OK)
        return status;
    cr_tokenizer *t = cr_calloc(1, sizeof *t);
    if (!t)
        return cr_fail_memory(error, sizeof *t, "a tokenizer");
    char why[CR_ERROR_MESSAGE_BYTES / 2];
    const cr_hf_message message = {why, sizeof why};
    cr_hf_facts facts;
    t->hf = ops;
    t->opened = ops->open(json.data, json.len, &facts, &message);
    if (!t->opened) {
        cr_free(t);
        return cr_fail(error, CR_ERR_MODEL, "`tokenizers` %s refuses it: %s",
                       ops->version, why);
    }
    t->cls_id = facts.cls_id;
    t->sep_id = facts.sep_id;
    t->unk_id = -1;
    t->n_specials = facts.n_specials;
    t->vocab_size = facts.n_ids;
    *tokenizer = t;
    return CR_OK;
}

void cr_tokenizer_free(cr_tokenizer *t) {
    if (!t)
        return;
    if (t->opened)
        t->hf->close(t->opened);
    cr_specials_fini(&t->specials);
    cr_wordpiece_fini(&t->wordpiece);
    cr_free(t);
}

size_t cr_tokenizer_vocab_size(const cr_tokenizer *t) { return t->vocab_size; }

cr_text cr_tokenizer_token_text(const cr_tokenizer *t, int32_t id) {
    if (t->hf) {
        cr_hf_text token = t->hf->token(t->opened, id);
        return (cr_text){token.data, token.len};
    }
    cr_text text = cr_wordpiece_text(&t->wordpiece, id);
    for (size_t i = 0; !text.len && i < t->specials.n; i++)
        if (t->specials.tokens[i].id == id)
            text = t->specials.tokens[i].text;
    return text;
}

int32_t cr_tokenizer_find(const cr_tokenizer *t, cr_text token) {
    return t->hf ? t->hf->find(t->opened, token.data, token.len) : -1;
}

int32_t cr_tokenizer_cls_id(const cr_tokenizer *t) { return t->cls_id; }
int32_t cr_tokenizer_sep_id(const cr_tokenizer *t) { return t->sep_id; }
uint32_t cr_tokenizer_pair_specials(const cr_tokenizer *t) {
    return t->n_specials;
}
bool cr_tokenizer_reads_all(const cr_tokenizer *t) { return t->hf != NULL; }
uint8_t cr_tokenizer_passage_type(const cr_tokenizer *t) {
    return t->passage_type;
}

/* ---- Scratch ------------------------------------------------------------ */

cr_status cr_token_scratch_new(uint32_t max_length, cr_token_scratch **scratch,
                               cr_error *error) {
    size_t n_bytes = sizeof **scratch + max_length * sizeof(int32_t);
    *scratch = cr_calloc(1, n_bytes);
    if (!*scratch)
        return cr_fail_memory(error, n_bytes, "a tokenizer's scratch");
    (*scratch)->max_length = max_length;
    return CR_OK;
}

void cr_token_scratch_free(cr_token_scratch *scratch) { cr_free(scratch); }

cr_status cr_token_scratch_check(cr_token_scratch *scratch, cr_error *error) {
    cr_status status = scratch->failure.status;
    scratch->failure.status = CR_OK;
    if (status != CR_OK && error)
        *error = scratch->failure;
    return status;
}

uint32_t cr_token_scratch_max_length(const cr_token_scratch *scratch) {
    return scratch->max_length;
}

int32_t *cr_token_scratch_ids(cr_token_scratch *scratch) {
    return scratch->ids;
}

/* ---- Encoding ----------------------------------------------------------- */

static void add_token(cr_tokens *tokens, int32_t id, uint32_t begin,
                      uint32_t end) {
    if (tokens->n == tokens->capacity) {
        tokens->n_beyond++;
        return;
    }
    if (tokens->offsets) {
        tokens->offsets[tokens->n][0] = begin;
        tokens->offsets[tokens->n][1] = end;
    }
    tokens->ids[tokens->n++] = id;
}

/* Pieces end at bytes, offsets are about characters: walk along both. */
static void add_pieces(const cr_word *word, const cr_piece *pieces, size_t n,
                       cr_tokens *tokens) {
    uint32_t i_byte = 0, i_char = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t first = i_char;
        if (tokens->offsets)
            for (; i_byte < pieces[i].end_bytes; i_byte++)
                i_char += !cr_utf8_is_continuation(word->bytes[i_byte]);
        if (tokens->offsets)
            add_token(tokens, pieces[i].id, word->sources[first],
                      word->sources[i_char - 1] + 1);
        else
            add_token(tokens, pieces[i].id, 0, 0);
    }
}

static void add_word(const cr_tokenizer *t, cr_token_scratch *scratch,
                     const cr_word *word, cr_tokens *tokens) {
    size_t n = 0;
    if (word->special) {
        add_token(tokens, word->special->id, word->begin, word->end);
        return;
    }
    if (!word->too_long)
        n = cr_wordpiece_split(&t->wordpiece, word->bytes, word->n_bytes,
                               scratch->pieces);
    if (n)
        add_pieces(word, scratch->pieces, n, tokens);
    else
        add_token(tokens, t->unk_id, word->begin, word->end);
}

/* The tokens of a text that `tokenizers` encodes; none where it fails. */
static void encode_hf(const cr_tokenizer *t, cr_token_scratch *scratch,
                      cr_text text, cr_tokens *tokens) {
    char why[CR_ERROR_MESSAGE_BYTES / 2];
    const cr_hf_message message = {why, sizeof why};
    cr_hf_tokens all;
    if (!t->hf->encode(t->opened, text.data, text.len, &all, &message)) {
        if (scratch->failure.status == CR_OK)
            cr_fail(&scratch->failure, CR_ERR_INPUT,
                    "a text of %zu bytes cannot be tokenized: %s", text.len,
                    why);
        return;
    }
    tokens->n = all.n < tokens->capacity ? all.n : tokens->capacity;
    tokens->n_beyond = all.n - tokens->n;
    for (size_t i = 0; i < tokens->n; i++)
        tokens->ids[i] = (int32_t)all.ids[i];
    if (tokens->offsets && tokens->n)
        memcpy(tokens->offsets, all.offsets,
               tokens->n * sizeof *tokens->offsets);
    t->hf->free_tokens(&all);
}

void cr_encode_until(const cr_tokenizer *t, cr_token_scratch *scratch,
                     cr_text text, size_t stop_after, cr_tokens *tokens) {
    cr_word_reader *reader = &scratch->reader;
    cr_word word;
    assert(stop_after >= tokens->capacity);
    tokens->n = 0;
    tokens->n_beyond = 0;
    if (t->hf) {
        encode_hf(t, scratch, text, tokens);
        tokens->cut = tokens->n_beyond > 0;
        tokens->n_bytes_read = text.len;
        return;
    }
    cr_word_reader_start(reader, &t->normalizer, text, tokens->offsets != NULL);
    while (tokens->n + tokens->n_beyond <= stop_after &&
           cr_word_reader_next(reader, &word))
        add_word(t, scratch, &word, tokens);
    tokens->cut = tokens->n_beyond > 0;
    tokens->n_bytes_read = cr_word_reader_n_read(reader);
}

void cr_tokenizer_encode(const cr_tokenizer *t, cr_token_scratch *scratch,
                         cr_text text, bool count_all, cr_tokens *tokens) {
    cr_encode_until(t, scratch, text, count_all ? SIZE_MAX : tokens->capacity,
                    tokens);
}

/* ---- Decoding ----------------------------------------------------------- */

static bool is(cr_text text, const char *word) {
    return text.len == strlen(word) && memcmp(text.data, word, text.len) == 0;
}

static bool is_special(cr_text token) {
    return is(token, "[CLS]") || is(token, "[SEP]") || is(token, "[PAD]") ||
           is(token, "[UNK]") || is(token, "[MASK]");
}

/* The clean-up of the WordPiece decoder: no space before these. */
static bool clings(cr_text token) {
    static const char *const heads[] = {".",  "?",  "!",   ",",  "n't",
                                        "'m", "'s", "'ve", "'re"};
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        size_t len = strlen(heads[i]);
        if (token.len >= len && memcmp(token.data, heads[i], len) == 0)
            return true;
    }
    return false;
}

static cr_status append_token(cr_buf *text, cr_text token, bool first,
                              cr_error *error) {
    bool inside = token.len >= 2 && memcmp(token.data, "##", 2) == 0;
    cr_status status = CR_OK;
    if (!first && inside)
        return cr_buf_append(text, token.data + 2, token.len - 2, error);
    if (!first && !clings(token))
        status = cr_buf_append(text, " ", 1, error);
    return status == CR_OK ? cr_buf_append(text, token.data, token.len, error)
                           : status;
}

static cr_status decode_hf(const cr_tokenizer *t, const int32_t *ids, size_t n,
                           bool skip_specials, cr_buf *text, cr_error *error) {
    char why[CR_ERROR_MESSAGE_BYTES / 2];
    const cr_hf_message message = {why, sizeof why};
    cr_hf_text decoded;
    uint32_t *known = cr_calloc(n, sizeof *known);
    size_t n_known = 0;
    if (!known)
        return cr_fail_memory(error, n * sizeof *known, "ids");
    for (size_t i = 0; i < n; i++)
        if (ids[i] >= 0)
            known[n_known++] = (uint32_t)ids[i];
    bool good = t->hf->decode(t->opened, known, n_known, skip_specials,
                              &decoded, &message);
    cr_free(known);
    if (!good)
        return cr_fail(error, CR_ERR_INTERNAL, "ids cannot be decoded: %s",
                       why);
    cr_status status = cr_buf_append(text, decoded.data, decoded.len, error);
    t->hf->free_text(&decoded);
    return status;
}

cr_status cr_tokenizer_decode(const cr_tokenizer *t, const int32_t *ids,
                              size_t n, bool skip_specials, cr_buf *text,
                              cr_error *error) {
    bool first = true;
    cr_status status = CR_OK;
    if (t->hf)
        return decode_hf(t, ids, n, skip_specials, text, error);
    for (size_t i = 0; i < n && status == CR_OK; i++) {
        if (ids[i] < 0 || (size_t)ids[i] >= t->vocab_size)
            continue;
        cr_text token = cr_tokenizer_token_text(t, ids[i]);
        if (skip_specials && is_special(token))
            continue;
        status = append_token(text, token, first, error);
        first = false;
    }
    return status;
}
