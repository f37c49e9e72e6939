/* One code point's part in BERT's normaliser, as the pinned `tokenizers` has
 * it.
 *
 * The entries hold the single steps (cleaning, decomposition, stripping, lower
 * case), not their outcome; normalize.c puts together those a model asks for.
 * It is not a general Unicode library: only what BERT's steps look at is here.
 *
 * Threads: constants. */
#ifndef CR_TEXT_UNICODE_H
#define CR_TEXT_UNICODE_H

#include <stdint.h>

enum {
    CR_UNICODE_MAX = 0x10FFFF,
    CR_UNICODE_REPLACEMENT = 0xFFFD,
    CR_UNICODE_DOTTED_I = 0x130, /* the only one that lowers to two */
    CR_UNICODE_DOT_ABOVE = 0x307,
    CR_UNICODE_HANGUL_FIRST = 0xAC00,
    CR_UNICODE_HANGUL_LAST = 0xD7A3,
    CR_UNICODE_MAX_PARTS = 4 /* of a decomposition */
};

/* Flags of an entry. */
enum {
    CR_UNICODE_DROP = 1,      /* clean_text removes it */
    CR_UNICODE_SPACE = 2,     /* separates words */
    CR_UNICODE_PUNCT = 4,     /* a word of its own */
    CR_UNICODE_IDEOGRAPH = 8, /* split_cjk puts spaces around it */
    CR_UNICODE_STRIP = 16,    /* a mark that strip_accents removes */
    CR_UNICODE_WORD = 32      /* \w where an added token must be a whole word */
};

typedef struct cr_unicode_entry {
    int32_t lower_delta;     /* lower case - code point */
    uint16_t decomposition;  /* cr_unicode_pool index of the count; 0: none */
    uint8_t combining_class; /* of canonical order */
    uint8_t flags;
} cr_unicode_entry;

#include "text/unicode_tables.h"

/* code_point <= CR_UNICODE_MAX. Hangul syllables have no decomposition here:
 * theirs is arithmetic. */
static inline const cr_unicode_entry *cr_unicode_get(uint32_t code_point) {
    uint32_t block = cr_unicode_blocks[code_point >> CR_UNICODE_BLOCK_BITS];
    uint32_t within = code_point & ((1u << CR_UNICODE_BLOCK_BITS) - 1);
    return &cr_unicode_entries
        [cr_unicode_indexes[(block << CR_UNICODE_BLOCK_BITS) | within]];
}

#endif
