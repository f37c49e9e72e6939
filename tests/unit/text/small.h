/* A tokenizer of a few words for tests, and its tokens as readable text. */
#ifndef CR_TESTS_TEXT_SMALL_H
#define CR_TESTS_TEXT_SMALL_H

#include "text/tokenizer.h"

/* "[PAD] [UNK] [CLS] [SEP] [MASK]" and then `words`, ids from 0. The five are
 * added tokens as well. Steps as of an uncased BERT; change them as needed. */
typedef struct small {
    cr_tokenizer_spec spec;
    cr_text vocab[256];
    cr_special_token specials[16];
    char text[4096];
    cr_tokenizer *tokenizer;
} small;

void small_describe(small *s, const char *words);
void small_add_special(small *s, cr_special_token token);
/* Makes s->tokenizer; it must succeed. */
void small_open(small *s);
void small_close(small *s);

/* A text from a literal, NUL bytes and all. */
#define SMALL_TEXT(literal) ((cr_text){(literal), sizeof(literal) - 1})

/* Tokens of a text as "hello[0,5] ##s[5,6]"; lives until the next call. */
const char *small_tokens(const small *s, cr_text text);

#endif
