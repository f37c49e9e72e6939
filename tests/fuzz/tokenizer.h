/* What the two fuzz targets on tokenizer files share: a source that was read
 * must make a tokenizer, or be refused with a message, and its ids must fit
 * the embedding. */
#ifndef CR_TESTS_FUZZ_TOKENIZER_H
#define CR_TESTS_FUZZ_TOKENIZER_H

#include "fuzz.h"

#include "model/tokenizer_files.h"

enum { FUZZ_VOCAB_SIZE = 64 };

static inline void fuzz_encode(const cr_tokenizer *tokenizer) {
    static const char query[] = "The cat [SEP] \xc3\xa9t\xc3\xa9 a##b";
    static const char passage[] = "\xe4\xb8\xad b\xff [MASK] [Q] unaffable.";
    const cr_pair pair = {{query, sizeof query - 1},
                          {passage, sizeof passage - 1}};
    cr_encoding *encoding;
    cr_status status = cr_tokenizer_explain_pair(
        tokenizer, &pair, 16, CR_TRUNCATE_LONGEST_FIRST, &encoding, NULL);
    assert(status == CR_OK);
    assert(encoding->n_tokens >= 3 && encoding->n_tokens <= 16);
    for (size_t i = 0; i < encoding->n_tokens; i++)
        assert(encoding->ids[i] >= 0 && encoding->ids[i] < FUZZ_VOCAB_SIZE);
    cr_encoding_free(encoding);
}

/* Reads what `files` hold, makes the tokenizer and uses it. */
static inline void fuzz_tokenizer_files(const cr_tokenizer_files *files) {
    char path[] = "config.json";
    const cr_json no_config = {.path = path};
    const cr_model_config config = {.vocab_size = FUZZ_VOCAB_SIZE,
                                    .n_types = 2};
    cr_tokenizer_source source;
    cr_tokenizer *tokenizer = NULL;
    cr_error error = {.message = ""};
    cr_status status = cr_tokenizer_source_read(files, &no_config, &config,
                                                false, &source, &error);
    if (status == CR_OK) {
        assert(source.spec.n_vocab <= FUZZ_VOCAB_SIZE);
        assert(source.max_length >= CR_MIN_PAIR_TOKENS);
        status = cr_tokenizer_new(&source.spec, &tokenizer, &error);
    }
    assert(status == CR_OK || error.message[0] != '\0');
    cr_tokenizer_source_fini(&source);
    if (status == CR_OK)
        fuzz_encode(tokenizer);
    cr_tokenizer_free(tokenizer);
}

/* The next of the input's texts as a JSON file; false where it is none. */
static inline bool fuzz_next_json(cr_json *json, const uint8_t **data,
                                  size_t *size, unsigned flags) {
    cr_text text = fuzz_next_text(data, size);
    return !text.data ||
           cr_json_parse(json, "file", text, flags, NULL) == CR_OK;
}

#endif
