/* The tokenizer: words from normalize.h, ids from wordpiece.h, and the checks
 * that a model's files agree with themselves. */
#include "text/tokenizer.h"

#include "base/mem.h"
#include "text/encode.h"
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
    size_t vocab_size;
};

struct cr_token_scratch {
    cr_word_reader reader;
    cr_piece pieces[CR_MAX_WORD_CHARS * CR_UTF8_MAX_BYTES];
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

void cr_tokenizer_free(cr_tokenizer *t) {
    if (!t)
        return;
    cr_specials_fini(&t->specials);
    cr_wordpiece_fini(&t->wordpiece);
    cr_free(t);
}

size_t cr_tokenizer_vocab_size(const cr_tokenizer *t) { return t->vocab_size; }

cr_text cr_tokenizer_token_text(const cr_tokenizer *t, int32_t id) {
    cr_text text = cr_wordpiece_text(&t->wordpiece, id);
    for (size_t i = 0; !text.len && i < t->specials.n; i++)
        if (t->specials.tokens[i].id == id)
            text = t->specials.tokens[i].text;
    return text;
}

int32_t cr_tokenizer_cls_id(const cr_tokenizer *t) { return t->cls_id; }
int32_t cr_tokenizer_sep_id(const cr_tokenizer *t) { return t->sep_id; }
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

void cr_encode_until(const cr_tokenizer *t, cr_token_scratch *scratch,
                     cr_text text, size_t stop_after, cr_tokens *tokens) {
    cr_word_reader *reader = &scratch->reader;
    cr_word word;
    assert(stop_after >= tokens->capacity);
    tokens->n = 0;
    tokens->n_beyond = 0;
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
