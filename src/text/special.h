/* Added tokens: texts such as "[SEP]" that are found before any cleaning.
 *
 * Finds, at one place of the raw text, the longest added token that begins
 * there; normalize.c asks at each place from left to right, which makes it the
 * leftmost-longest search of `tokenizers`. It decides nothing about words.
 *
 * Threads: read-only after cr_specials_init. Memory: texts are copied. */
#ifndef CR_TEXT_SPECIAL_H
#define CR_TEXT_SPECIAL_H

#include "text/tokenizer.h"

typedef struct cr_specials {
    cr_special_token *tokens; /* longest first; texts in `pool` */
    size_t n;
    char *pool;
    bool first_byte[256]; /* some token begins with it */
} cr_specials;

/* Copies specials[n], leaving out empty texts. CR_ERR_MODEL where two have one
 * text, CR_ERR_UNSUPPORTED for kinds that are not matched. */
cr_status cr_specials_init(cr_specials *specials,
                           const cr_special_token *tokens, size_t n,
                           cr_error *error);
void cr_specials_fini(cr_specials *specials);

/* The longest token that p begins with, or NULL. */
const cr_special_token *cr_specials_match(const cr_specials *specials,
                                          const uint8_t *p, const uint8_t *end);

/* Where the white space that ends at p begins (not before `begin`), and where
 * the white space that begins at p ends: what lstrip and rstrip take along.
 * *n_code_points is how many that are. */
const uint8_t *cr_specials_space_before(const uint8_t *begin, const uint8_t *p,
                                        size_t *n_code_points);
const uint8_t *cr_specials_space_after(const uint8_t *p, const uint8_t *end,
                                       size_t *n_code_points);

#endif
