/* The tokenizer: pairs of texts to ids, exactly as Hugging Face `tokenizers`.
 *
 * BERT's text cleaning, word splitting and WordPiece, then the pair layout
 * [CLS] query [SEP] passage [SEP] cut to a budget. Ids, type ids, truncation
 * and offsets are those of the package version that tables are generated
 * from (tools/gen_unicode_tables.py). It is not a general tokenizer: BPE and
 * Unigram models are somebody else's work, `tokenizers` itself behind
 * text/hf.h, of which the single texts' tokens come; pairs are cut and framed
 * here all the same, as <s> query </s></s> passage </s>.
 *
 * Threads: a cr_tokenizer never changes after it is made; any number of
 * threads may encode with it, each with a scratch of its own.
 * Memory: encoding allocates nothing; all sizes are known from max_length.
 * Only `tokenizers` allocates, reads every text to its end, and may fail:
 * cr_token_scratch_check says so. */
#ifndef CR_TEXT_TOKENIZER_H
#define CR_TEXT_TOKENIZER_H

#include "base/buf.h"
#include "base/error.h"

typedef struct cr_tokenizer cr_tokenizer;

/* A token that is found in raw text before any cleaning, such as "[SEP]",
 * with the switches of an added token in tokenizer.json. */
typedef struct cr_special_token {
    cr_text text;
    int32_t id;       /* may lie outside the vocabulary */
    bool single_word; /* only where no word character touches it */
    bool lstrip;      /* its offsets take along the white space before it */
    bool rstrip;      /* ... and behind it */
    bool normalized;  /* found in cleaned text: refused as not supported */
} cr_special_token;

/* The limit on max_word_chars, which sets the size of a scratch. */
enum { CR_MAX_WORD_CHARS = 1000 };

/* What the model's files say about its tokenizer. Texts belong to whoever
 * filled it and are copied by cr_tokenizer_new. */
typedef struct cr_tokenizer_spec {
    /* [n_vocab] by id; empty text: id is not in use. Of equal texts the last
     * one counts, as in vocab.txt. */
    const cr_text *vocab;
    size_t n_vocab;
    const cr_special_token *specials;
    size_t n_specials;
    int32_t cls_id, sep_id, unk_id;
    bool clean_text;
    bool split_cjk;
    bool strip_accents;
    bool lowercase;
    uint32_t max_word_chars;   /* longer words are unk; 100 for BERT */
    cr_text continuing_prefix; /* "##" */
    bool one_type;             /* every token has type 0, the passage's too */
} cr_tokenizer_spec;

/* CR_ERR_MODEL where the vocabulary contradicts itself, CR_ERR_UNSUPPORTED for
 * max_word_chars or added tokens beyond what is supported. */
cr_status cr_tokenizer_new(const cr_tokenizer_spec *spec,
                           cr_tokenizer **tokenizer, cr_error *error);
/* A tokenizer that `tokenizers` makes of the text of a tokenizer.json, all of
 * whose tokens have type 0. CR_ERR_UNAVAILABLE where that library is not
 * there, CR_ERR_MODEL where it refuses the text, CR_ERR_UNSUPPORTED where
 * pairs are framed in another way. */
cr_status cr_tokenizer_new_hf(cr_text json, cr_tokenizer **tokenizer,
                              cr_error *error);
void cr_tokenizer_free(cr_tokenizer *tokenizer);

/* Ids are below it: of the vocabulary and of added tokens. */
size_t cr_tokenizer_vocab_size(const cr_tokenizer *tokenizer);
/* Empty where the id is outside the vocabulary. */
cr_text cr_tokenizer_token_text(const cr_tokenizer *tokenizer, int32_t id);
/* The id of a token or added token of a cr_tokenizer_new_hf, or -1. */
int32_t cr_tokenizer_find(const cr_tokenizer *tokenizer, cr_text token);

/* The tokens around texts: [CLS] and [SEP], or <s> and </s>. */
int32_t cr_tokenizer_cls_id(const cr_tokenizer *tokenizer);
int32_t cr_tokenizer_sep_id(const cr_tokenizer *tokenizer);
/* Tokens that a pair has besides its texts', and so the least max_length: 3,
 * or 4 where two of them stand between the texts. */
uint32_t cr_tokenizer_pair_specials(const cr_tokenizer *tokenizer);
/* The least and the most that this can be. */
enum { CR_MIN_PAIR_TOKENS = 3, CR_MAX_PAIR_SPECIALS = 4 };
/* The least that a text alone has: [CLS] and [SEP]. No sequence has fewer. */
enum { CR_MIN_TEXT_TOKENS = 2 };

/* Working memory of one encoding thread, sized for one max_length. */
typedef struct cr_token_scratch cr_token_scratch;
cr_status cr_token_scratch_new(uint32_t max_length, cr_token_scratch **scratch,
                               cr_error *error);
void cr_token_scratch_free(cr_token_scratch *scratch);
/* Whether all that was encoded with this scratch since the last call was
 * encoded; otherwise why not, and what was written is of no use. Ask before
 * tokens leave your hands. */
cr_status cr_token_scratch_check(cr_token_scratch *scratch, cr_error *error);

/* Tokens of one text without specials; arrays are the scratch's or the
 * caller's and hold at most `capacity` tokens. */
typedef struct cr_tokens {
    int32_t *ids;           /* [capacity] */
    uint32_t (*offsets)[2]; /* [capacity] code points, or NULL: not wanted */
    size_t n;
    size_t capacity;
    size_t n_beyond;     /* tokens after the first `capacity`: all of them with
                            count_all, else those that were seen before stopping */
    bool cut;            /* there are tokens beyond capacity */
    size_t n_bytes_read; /* of the text */
} cr_tokens;

/* Tokens of `text`, at most tokens->capacity of them. With count_all the whole
 * text is read to fill n_beyond; otherwise reading ends as soon as one token
 * too many is seen, so the cost is that of the capacity and not of the text. */
void cr_tokenizer_encode(const cr_tokenizer *tokenizer,
                         cr_token_scratch *scratch, cr_text text,
                         bool count_all, cr_tokens *tokens);

/* How many tokens of each side a pair keeps when both are cut to `budget`, as
 * `tokenizers` decides. Either number may be capped above the budget, as long
 * as which of the two is greater stays true: where both sides are cut, the
 * longer one gets the odd token. only_second takes all of the passage, then of
 * the query, where `tokenizers` refuses a query that leaves no room. */
typedef struct cr_pair_cut {
    size_t n_query;
    size_t n_passage;
} cr_pair_cut;
cr_pair_cut cr_pair_truncate(size_t n_query, size_t n_passage, size_t budget,
                             cr_truncation truncation);

/* Writes the tokens around the texts of a pair, and type ids, into
 * ids[cut.n_query + cut.n_passage + specials] and type_ids (may be NULL);
 * where each text goes is left to the caller. */
typedef struct cr_pair_frame {
    size_t query;   /* index of the query's first token */
    size_t passage; /* of the passage's */
    size_t n;       /* tokens of the whole pair */
} cr_pair_frame;
cr_pair_frame cr_tokenizer_frame_pair(const cr_tokenizer *tokenizer,
                                      cr_pair_cut cut, int32_t *ids,
                                      uint8_t *type_ids);

/* One whole pair into ids[max_length] and type_ids[max_length]; returns the
 * number of tokens written, at least the specials. *truncated (may be NULL)
 * says whether anything was cut. The query may be encoded once, with
 * count_all and capacity >= max_length - specials, and given again as
 * `query_tokens` instead of pair->query, which is then not read. The passage
 * is read only as far as it is kept, except where the query alone is longer
 * than max_length. */
size_t cr_tokenizer_encode_pair(const cr_tokenizer *tokenizer,
                                cr_token_scratch *scratch, const cr_pair *pair,
                                const cr_tokens *query_tokens,
                                uint32_t max_length, cr_truncation truncation,
                                int32_t *ids, uint8_t *type_ids,
                                bool *truncated);

/* The same with offsets and the exact number of cut tokens, on the heap, for
 * people who look at tokens. Freed by cr_encoding_free (crossrank.h), which
 * this module implements. */
cr_status cr_tokenizer_explain_pair(const cr_tokenizer *tokenizer,
                                    const cr_pair *pair, uint32_t max_length,
                                    cr_truncation truncation,
                                    cr_encoding **encoding, cr_error *error);

/* The text of ids as `tokenizers` decodes them, appended to *text; ids that
 * are not in use are passed over. CR_ERR_MEMORY, CR_ERR_INTERNAL. */
cr_status cr_tokenizer_decode(const cr_tokenizer *tokenizer, const int32_t *ids,
                              size_t n, bool skip_specials, cr_buf *text,
                              cr_error *error);

#endif
