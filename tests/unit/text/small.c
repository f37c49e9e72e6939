/* A tokenizer of a few words. */
#include "small.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { SMALL_CAPACITY = 512 };

void small_describe(small *s, const char *words) {
    memset(s, 0, sizeof *s);
    int n = snprintf(s->text, sizeof s->text,
                     "[PAD] [UNK] [CLS] [SEP] [MASK] %s", words);
    assert_in_range(n, 1, sizeof s->text - 1);
    s->spec = (cr_tokenizer_spec){.vocab = s->vocab,
                                  .specials = s->specials,
                                  .unk_id = 1,
                                  .cls_id = 2,
                                  .sep_id = 3,
                                  .clean_text = true,
                                  .split_cjk = true,
                                  .strip_accents = true,
                                  .lowercase = true,
                                  .max_word_chars = 100,
                                  .continuing_prefix = {"##", 2}};
    for (const char *p = s->text; *p;) {
        size_t len = strcspn(p, " ");
        assert_in_range(s->spec.n_vocab, 0, 255);
        s->vocab[s->spec.n_vocab++] = (cr_text){p, len};
        p += len + (p[len] == ' ');
    }
    for (int32_t id = 0; id < 5; id++)
        small_add_special(s,
                          (cr_special_token){.text = s->vocab[id], .id = id});
}

void small_add_special(small *s, cr_special_token token) {
    assert_in_range(s->spec.n_specials, 0, 15);
    s->specials[s->spec.n_specials++] = token;
}

void small_open(small *s) {
    cr_error error = {.message = ""};
    if (cr_tokenizer_new(&s->spec, &s->tokenizer, &error) != CR_OK)
        fail_msg("%s", error.message);
}

void small_close(small *s) { cr_tokenizer_free(s->tokenizer); }

const char *small_tokens(const small *s, cr_text text) {
    static char out[16384];
    static int32_t ids[SMALL_CAPACITY];
    static uint32_t offsets[SMALL_CAPACITY][2];
    cr_tokens tokens = {
        .ids = ids, .offsets = offsets, .capacity = SMALL_CAPACITY};
    cr_token_scratch *scratch;
    size_t len = 0;
    out[0] = '\0';
    assert_int_equal(cr_token_scratch_new(SMALL_CAPACITY, &scratch, NULL),
                     CR_OK);
    cr_tokenizer_encode(s->tokenizer, scratch, text, true, &tokens);
    cr_token_scratch_free(scratch);
    for (size_t i = 0; i < tokens.n; i++) {
        cr_text token = cr_tokenizer_token_text(s->tokenizer, ids[i]);
        len +=
            (size_t)snprintf(out + len, sizeof out - len, "%s%.*s[%u,%u]",
                             i ? " " : "", (int)token.len, token.data,
                             (unsigned)offsets[i][0], (unsigned)offsets[i][1]);
    }
    return out;
}
