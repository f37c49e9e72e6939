/* The vocabulary of a tokenizer source: tokens, ids and special tokens. */
#include "model/vocab.h"

#include "base/mem.h"
#include "text/utf8.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- tokenizer.json ----------------------------------------------------- */

static cr_status beyond_embedding(const char *path, const char *token,
                                  int64_t id, uint32_t limit, cr_error *error) {
    return cr_fail(error, CR_ERR_MODEL,
                   "%s: token \"%.60s\" has the id %" PRId64 ", but "
                   "\"vocab_size\" in config.json is %u: ids must be in 0..%u",
                   path, token, id, limit, limit - 1);
}

/* One pair of "model.vocab": the token is stored at its id. */
static cr_status put_token(cr_tokenizer_source *source, const char *path,
                           const char *token, const json_t *value,
                           cr_error *error) {
    int64_t id = json_is_integer(value) ? json_integer_value(value) : -1;
    if (id < 0 || id >= source->vocab_limit)
        return beyond_embedding(path, token, id, source->vocab_limit, error);
    cr_text *slot = &source->vocab[id];
    if (slot->len)
        return cr_fail(error, CR_ERR_MODEL,
                       "%s: tokens \"%.60s\" and \"%.60s\" have the same id "
                       "%" PRId64,
                       path, slot->data, token, id);
    *slot = (cr_text){token, strlen(token)};
    if ((size_t)id >= source->spec.n_vocab)
        source->spec.n_vocab = (size_t)id + 1;
    return CR_OK;
}

static cr_status alloc_vocab(cr_tokenizer_source *source, cr_error *error) {
    source->vocab = cr_calloc(source->vocab_limit, sizeof *source->vocab);
    source->spec.vocab = source->vocab;
    if (!source->vocab)
        return cr_fail_memory(error,
                              source->vocab_limit * sizeof *source->vocab,
                              "the vocabulary");
    return CR_OK;
}

cr_status cr_vocab_from_json(cr_tokenizer_source *source, const cr_json *json,
                             const json_t *vocab, cr_error *error) {
    if (!json_is_object(vocab))
        return cr_json_refuse(json, "model.vocab", vocab,
                              "an object of token: id", error);
    cr_status status = alloc_vocab(source, error);
    source->vocab_object = vocab;
    source->n_model_vocab = json_object_size(vocab);
    void *iter = json_object_iter((json_t *)(uintptr_t)vocab);
    while (iter && status == CR_OK) {
        status = put_token(source, json->path, json_object_iter_key(iter),
                           json_object_iter_value(iter), error);
        iter = json_object_iter_next((json_t *)(uintptr_t)vocab, iter);
    }
    return status;
}

/* ---- vocab.txt ---------------------------------------------------------- */

/* The next line without its end and the white space before that. */
static cr_text next_line(cr_text *rest) {
    const char *end = memchr(rest->data, '\n', rest->len);
    size_t len = end ? (size_t)(end - rest->data) : rest->len;
    cr_text line = {rest->data, len};
    size_t used = end ? len + 1 : len;
    *rest = (cr_text){rest->data + used, rest->len - used};
    while (line.len && strchr(" \t\v\f\r", line.data[line.len - 1]))
        line.len--;
    return line;
}

static cr_status check_line(const char *path, cr_text line, uint32_t number,
                            cr_error *error) {
    bool has_nul = line.len && memchr(line.data, '\0', line.len);
    if (!has_nul && cr_utf8_is_valid((const uint8_t *)line.data, line.len))
        return CR_OK;
    return cr_fail_at(error, CR_ERR_MODEL, number, 0, "%s: line %u: %s", path,
                      number, has_nul ? "a NUL byte" : "not valid UTF-8");
}

static int compare_texts(cr_text a, cr_text b) {
    size_t n = a.len < b.len ? a.len : b.len;
    int order = n ? memcmp(a.data, b.data, n) : 0;
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

static int by_text_then_id(const void *a, const void *b) {
    const cr_vocab_entry *x = a, *y = b;
    int order = compare_texts(x->text, y->text);
    return order ? order : (x->id > y->id) - (x->id < y->id);
}

/* Sorts by text and keeps the last id of tokens that stand more than once,
 * whose earlier ids fall out of use, as in a Python dict. */
static void drop_duplicates(cr_tokenizer_source *source) {
    qsort(source->by_text, source->n_by_text, sizeof *source->by_text,
          by_text_then_id);
    size_t n = 0;
    for (size_t i = 0; i < source->n_by_text; i++) {
        cr_vocab_entry entry = source->by_text[i];
        if (n && compare_texts(source->by_text[n - 1].text, entry.text) == 0) {
            source->vocab[source->by_text[n - 1].id] = (cr_text){0};
            source->by_text[n - 1] = entry;
        } else {
            source->by_text[n++] = entry;
        }
    }
    source->n_by_text = n;
}

cr_status cr_vocab_from_text(cr_tokenizer_source *source, const char *path,
                             cr_text text, cr_error *error) {
    cr_status status = alloc_vocab(source, error);
    if (status != CR_OK)
        return status;
    source->by_text = cr_calloc(source->vocab_limit, sizeof *source->by_text);
    if (!source->by_text)
        return cr_fail_memory(error,
                              source->vocab_limit * sizeof *source->by_text,
                              "the vocabulary");
    bool blank = false;
    for (uint32_t id = 0; text.len; id++) {
        cr_text line = next_line(&text);
        status = check_line(path, line, id + 1, error);
        if (status != CR_OK)
            return status;
        blank |= line.len == 0;
        if (line.len == 0)
            continue;
        if (id >= source->vocab_limit) {
            char token[61] = {0};
            memcpy(token, line.data, line.len < 60 ? line.len : 60);
            return beyond_embedding(path, token, id, source->vocab_limit,
                                    error);
        }
        source->vocab[id] = line;
        source->by_text[source->n_by_text++] = (cr_vocab_entry){line, id};
        source->spec.n_vocab = (size_t)id + 1;
    }
    drop_duplicates(source);
    /* Blank lines are one token, "", to those who count. */
    source->n_model_vocab = source->n_by_text + blank;
    return CR_OK;
}

/* ---- Ids ---------------------------------------------------------------- */

static int text_against_entry(const void *text, const void *entry) {
    return compare_texts(*(const cr_text *)text,
                         ((const cr_vocab_entry *)entry)->text);
}

int32_t cr_vocab_find(const cr_tokenizer_source *source, const char *token) {
    if (source->vocab_object) {
        const json_t *id = json_object_get(source->vocab_object, token);
        return id && *token ? (int32_t)json_integer_value(id) : -1;
    }
    cr_text text = {token, strlen(token)};
    const cr_vocab_entry *entry =
        bsearch(&text, source->by_text, source->n_by_text,
                sizeof *source->by_text, text_against_entry);
    return entry ? (int32_t)entry->id : -1;
}

static const cr_special_token *find_special(const cr_tokenizer_source *source,
                                            const char *token) {
    for (size_t i = 0; i < source->spec.n_specials; i++)
        if (strcmp(source->specials[i].text.data, token) == 0)
            return &source->specials[i];
    return NULL;
}

int32_t cr_vocab_find_any(const cr_tokenizer_source *source,
                          const char *token) {
    const cr_special_token *special = find_special(source, token);
    return special ? special->id : cr_vocab_find(source, token);
}

/* Hugging Face numbers a new token after the vocabulary's count or after the
 * largest added id, whichever is more. */
static int64_t next_new_id(const cr_tokenizer_source *source) {
    int64_t next = (int64_t)source->n_model_vocab;
    for (size_t i = 0; i < source->spec.n_specials; i++)
        if (source->specials[i].id >= next)
            next = source->specials[i].id + 1;
    return next;
}

/* The id that Hugging Face gives the token, which must be the stated one. */
static cr_status id_of_special(const cr_tokenizer_source *source,
                               const char *where, const cr_special_token *token,
                               int64_t *id, cr_error *error) {
    const cr_special_token *known = find_special(source, token->text.data);
    *id = known ? known->id : cr_vocab_find(source, token->text.data);
    if (*id < 0)
        *id = next_new_id(source);
    if (token->id >= 0 && token->id != *id)
        return cr_fail(error, CR_ERR_MODEL,
                       "%s: token \"%.60s\" has the id %d here, but %" PRId64
                       " by the vocabulary: the files contradict each other",
                       where, token->text.data, (int)token->id, *id);
    if (known &&
        (known->lstrip != token->lstrip || known->rstrip != token->rstrip ||
         known->single_word != token->single_word))
        return cr_fail(
            error, CR_ERR_MODEL,
            "%s: token \"%.60s\" has other \"lstrip\", \"rstrip\" or "
            "\"single_word\" here than elsewhere: the files "
            "contradict each other",
            where, token->text.data);
    return CR_OK;
}

cr_status cr_vocab_add_special(cr_tokenizer_source *source, const char *where,
                               const cr_special_token *token, cr_error *error) {
    size_t n = source->spec.n_specials;
    if (token->text.len == 0)
        return cr_fail(error, CR_ERR_MODEL, "%s: an empty special token",
                       where);
    int64_t id;
    cr_status status = id_of_special(source, where, token, &id, error);
    if (status != CR_OK || find_special(source, token->text.data))
        return status;
    if (id >= source->vocab_limit)
        return beyond_embedding(where, token->text.data, id,
                                source->vocab_limit, error);
    if (n == CR_MAX_SPECIALS)
        return cr_fail(error, CR_ERR_UNSUPPORTED,
                       "%s: more than %d special tokens; supported: at most "
                       "that many",
                       where, CR_MAX_SPECIALS);
    if (!source->specials) {
        source->specials = cr_calloc(CR_MAX_SPECIALS, sizeof *source->specials);
        source->spec.specials = source->specials;
    }
    if (!source->specials)
        return cr_fail_memory(error, CR_MAX_SPECIALS * sizeof *source->specials,
                              "special tokens");
    source->specials[n] = *token;
    source->specials[n].id = (int32_t)id;
    source->spec.n_specials = n + 1;
    if ((size_t)id >= source->spec.n_vocab)
        source->spec.n_vocab = (size_t)id + 1;
    return CR_OK;
}
