/* Raw text to words: BERT's cleaning, accents, lower case and splitting.
 *
 * A reader is pulled: each call yields the next word (already normalised) or
 * added token, so whoever has enough of them stops, and nothing behind is ever
 * read. It holds one word at a time. A word longer than max_word_chars, which
 * WordPiece makes one unknown token whatever it says, is read to its end but
 * not kept, and so is a run of combining marks that would fill such a word:
 * the result is exact for texts without any limit in bounded memory.
 *
 * Order matters and is that of `tokenizers`: drop, spaces around ideographs,
 * canonical decomposition with marks sorted in each run, strip, lower case,
 * then split at white space and around punctuation. Dropped code points do not
 * end a run of marks; a stripped mark of class 0 does.
 *
 * Threads: a cr_normalizer never changes; a reader is one thread's.
 * Ownership: a word lives until the next call on its reader. */
#ifndef CR_TEXT_NORMALIZE_H
#define CR_TEXT_NORMALIZE_H

#include "text/special.h"
#include "text/unicode.h"
#include "text/utf8.h"

typedef struct cr_normalizer {
    bool clean_text;
    bool split_cjk;
    bool strip_accents;
    bool lowercase;
    uint32_t max_word_chars; /* <= CR_MAX_WORD_CHARS */
    const cr_specials *specials;
    /* Made by cr_normalizer_init from the fields above. */
    uint8_t fold[256];  /* what a plain word byte becomes; 0: it is not one */
    bool is_space[256]; /* ASCII white space that nothing else concerns */
} cr_normalizer;

/* Fills the derived tables. */
void cr_normalizer_init(cr_normalizer *normalizer);

/* What a reader yields. */
typedef struct cr_word {
    const cr_special_token *special; /* NULL: a word of the text */
    const uint8_t *bytes;            /* [n_bytes], readable for 8 more */
    uint32_t n_bytes;
    uint32_t n_chars;
    bool too_long; /* over max_word_chars: bytes and sources are not whole */
    /* With offsets only; code points of the raw text. */
    uint32_t begin;
    uint32_t end;
    const uint32_t *sources; /* [n_chars], where each one came from */
} cr_word;

/* A combining mark that outlives stripping, waiting for its run to end. */
typedef struct cr_mark {
    uint32_t code_point;
    uint32_t rank; /* source characters of the same class before it */
    uint8_t combining_class;
    bool inserted; /* not the first part of its source character */
} cr_mark;

enum { CR_WORD_PADDING = 8 }; /* bytes that may be read behind a word */

/* Fields are normalize.c's own. */
typedef struct cr_word_reader {
    const cr_normalizer *normalizer;
    const uint8_t *begin;
    const uint8_t *pos;
    const uint8_t *end;
    size_t n_extra;     /* of the bytes before pos, those that do not begin a
                           code point: pos - begin - n_extra is its index */
    uint32_t last_wide; /* last code point before pos beyond ASCII */
    const uint8_t *match_from; /* no added token begins before it */
    const uint8_t *match_stop; /* what the last one took ends here */
    bool want_offsets;

    /* The source character being taken apart. */
    uint32_t parts[CR_UNICODE_MAX_PARTS];
    uint32_t n_parts;
    uint32_t i_part;
    uint32_t part_source;
    const uint8_t *part_pos;
    bool alone; /* an ideograph: a word of its own */

    /* The word so far. */
    uint32_t n_bytes;
    uint32_t n_chars;
    bool too_long;
    uint32_t first_source;
    uint32_t last_source;
    uint32_t sources[CR_MAX_WORD_CHARS];
    uint8_t bytes[CR_MAX_WORD_CHARS * CR_UTF8_MAX_BYTES + CR_WORD_PADDING];

    /* The open run of combining marks behind it. */
    bool run_open;
    bool run_overflow; /* marks were left out: the word is too long */
    uint32_t n_marks;
    cr_mark marks[CR_MAX_WORD_CHARS + 1]; /* in canonical order */
    /* With offsets only. */
    cr_mark run_first;
    cr_mark run_last;
    const uint8_t *run_pos; /* the run's first source character */
    uint32_t run_source;    /* its index */
    uint32_t before_run;    /* index of the source character before */
    uint32_t n_run_sources;
    uint32_t run_counts[256]; /* source characters by combining class */
} cr_word_reader;

void cr_word_reader_start(cr_word_reader *reader,
                          const cr_normalizer *normalizer, cr_text text,
                          bool want_offsets);
/* False at the end of the text. */
bool cr_word_reader_next(cr_word_reader *reader, cr_word *word);

/* Bytes of the text that were read so far. */
static inline size_t cr_word_reader_n_read(const cr_word_reader *reader) {
    return (size_t)(reader->pos - reader->begin);
}

#endif
