/* Added tokens: a short list, longest first, behind a filter on first bytes. */
#include "text/special.h"

#include "base/mem.h"
#include "text/unicode.h"
#include "text/utf8.h"

#include <stdlib.h>
#include <string.h>

/* Longest first; equal lengths by text, so that equal texts are neighbours. */
static int compare_tokens(const void *left, const void *right) {
    const cr_special_token *a = left, *b = right;
    if (a->text.len != b->text.len)
        return a->text.len < b->text.len ? 1 : -1;
    return memcmp(a->text.data, b->text.data, a->text.len);
}

/* Raw text is matched by bytes, which a token with U+FFFD would not survive:
 * in the text that may stand for any ill-formed part. */
static bool can_match(cr_text text) {
    const uint8_t *p = (const uint8_t *)text.data, *end = p + text.len;
    while (p < end) {
        uint32_t n_bytes;
        if (cr_utf8_decode(p, end, &n_bytes) == CR_UNICODE_REPLACEMENT)
            return false;
        p += n_bytes;
    }
    return true;
}

static cr_status check(const cr_special_token *token, cr_error *error) {
    int len = token->text.len < 100 ? (int)token->text.len : 100;
    if (token->normalized)
        return cr_fail(error, CR_ERR_UNSUPPORTED,
                       "the added token \"%.*s\" (id %d) is \"normalized\": "
                       "only tokens found in raw text are supported, set "
                       "\"normalized\" to false in tokenizer.json",
                       len, token->text.data, (int)token->id);
    if (!can_match(token->text))
        return cr_fail(error, CR_ERR_UNSUPPORTED,
                       "the added token \"%.*s\" (id %d) holds U+FFFD or is "
                       "not valid UTF-8; remove it from the tokenizer",
                       len, token->text.data, (int)token->id);
    return CR_OK;
}

cr_status cr_specials_init(cr_specials *s, const cr_special_token *tokens,
                           size_t n, cr_error *error) {
    cr_status status = CR_OK;
    size_t n_bytes = 0;
    memset(s, 0, sizeof *s);
    for (size_t i = 0; i < n; i++)
        n_bytes += tokens[i].text.len;
    s->tokens = cr_calloc(n, sizeof *s->tokens);
    s->pool = cr_alloc(n_bytes);
    if (!s->tokens || !s->pool) {
        status = cr_fail_memory(error, n_bytes, "the added tokens");
        goto done;
    }
    char *out = s->pool;
    for (size_t i = 0; i < n; i++) {
        size_t len = tokens[i].text.len;
        if (!len)
            continue;
        if ((status = check(&tokens[i], error)) != CR_OK)
            goto done;
        memcpy(out, tokens[i].text.data, len);
        s->tokens[s->n] = tokens[i];
        s->tokens[s->n++].text.data = out;
        s->first_byte[(uint8_t)out[0]] = true;
        out += len;
    }
    if (s->n)
        qsort(s->tokens, s->n, sizeof *s->tokens, compare_tokens);
    for (size_t i = 1; i < s->n; i++)
        if (compare_tokens(&s->tokens[i - 1], &s->tokens[i]) == 0) {
            status = cr_fail(error, CR_ERR_MODEL,
                             "two added tokens have one text, ids %d and %d; "
                             "remove one of them from the tokenizer",
                             (int)s->tokens[i - 1].id, (int)s->tokens[i].id);
            goto done;
        }
done:
    if (status != CR_OK)
        cr_specials_fini(s);
    return status;
}

void cr_specials_fini(cr_specials *s) {
    cr_free(s->tokens);
    cr_free(s->pool);
    memset(s, 0, sizeof *s);
}

const cr_special_token *
cr_specials_match(const cr_specials *s, const uint8_t *p, const uint8_t *end) {
    size_t len = (size_t)(end - p);
    for (size_t i = 0; i < s->n; i++) {
        cr_text text = s->tokens[i].text;
        if (text.len <= len && memcmp(text.data, p, text.len) == 0)
            return &s->tokens[i];
    }
    return NULL;
}

static bool is_space_at(const uint8_t *p, const uint8_t *end,
                        uint32_t *n_bytes) {
    return cr_unicode_get(cr_utf8_decode(p, end, n_bytes))->flags &
           CR_UNICODE_SPACE;
}

const uint8_t *cr_specials_space_before(const uint8_t *begin, const uint8_t *p,
                                        size_t *n_code_points) {
    *n_code_points = 0;
    while (p > begin) {
        const uint8_t *q = p - 1;
        while (q > begin && p - q < CR_UTF8_MAX_BYTES &&
               cr_utf8_is_continuation(*q))
            q--;
        uint32_t n_bytes;
        if (!is_space_at(q, p, &n_bytes) || q + n_bytes != p)
            break;
        p = q;
        ++*n_code_points;
    }
    return p;
}

const uint8_t *cr_specials_space_after(const uint8_t *p, const uint8_t *end,
                                       size_t *n_code_points) {
    uint32_t n_bytes;
    *n_code_points = 0;
    while (p < end && is_space_at(p, end, &n_bytes)) {
        p += n_bytes;
        ++*n_code_points;
    }
    return p;
}
