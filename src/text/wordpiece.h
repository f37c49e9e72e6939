/* A WordPiece vocabulary: words to ids, longest piece first.
 *
 * Every text is one entry of a hash table; those with the continuing prefix
 * ("##ing") are a second entry without it, so that the pieces of a word are
 * looked up where they stand. A word that is a token itself takes one look.
 *
 * Threads: read-only after cr_wordpiece_init. Memory: texts are copied. */
#ifndef CR_TEXT_WORDPIECE_H
#define CR_TEXT_WORDPIECE_H

#include "base/error.h"

/* The limit on one text of a vocabulary. */
enum { CR_MAX_TOKEN_BYTES = 65535 };

struct cr_wordpiece_slot;

typedef struct cr_wordpiece {
    char *pool;      /* all texts, each readable for 8 bytes more */
    size_t *offsets; /* [n + 1] into pool, by id */
    size_t n;
    size_t prefix_bytes;
    struct cr_wordpiece_slot *slots; /* [slot_mask + 1] */
    uint64_t slot_mask;
    uint32_t max_bytes[2]; /* longest key: at the start, continuing */
} cr_wordpiece;

/* One piece of a word. */
typedef struct cr_piece {
    int32_t id;
    uint32_t end_bytes; /* where it ends in the word */
} cr_piece;

/* Of equal texts the last counts; empty ones are left out. CR_ERR_MODEL for a
 * text that is not UTF-8. */
cr_status cr_wordpiece_init(cr_wordpiece *wordpiece, const cr_text *vocab,
                            size_t n, cr_text prefix, cr_error *error);
void cr_wordpiece_fini(cr_wordpiece *wordpiece);

cr_text cr_wordpiece_text(const cr_wordpiece *wordpiece, int32_t id);

/* Splits a word of n_bytes > 0 bytes, readable for 8 more, into pieces[n_bytes]
 * and returns how many, 0 where some part is in no piece. */
size_t cr_wordpiece_split(const cr_wordpiece *wordpiece, const uint8_t *word,
                          uint32_t n_bytes, cr_piece *pieces);

#endif
