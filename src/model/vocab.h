/* The vocabulary of a tokenizer source: tokens, ids and special tokens.
 *
 * The part of model/tokenizer_files.h that fills arrays and finds ids; it
 * knows the two formats of a vocabulary and how Hugging Face numbers tokens
 * that are added to one. */
#ifndef CR_MODEL_VOCAB_H
#define CR_MODEL_VOCAB_H

#include "model/tokenizer_files.h"

/* Special tokens that a folder may name. */
enum { CR_MAX_SPECIALS = 4096 };

/* "model.vocab" of tokenizer.json. */
cr_status cr_vocab_from_json(cr_tokenizer_source *source, const cr_json *json,
                             const json_t *vocab, cr_error *error);
/* The lines of vocab.txt; a token that stands twice has its last id. */
cr_status cr_vocab_from_text(cr_tokenizer_source *source, const char *path,
                             cr_text text, cr_error *error);

/* The id of a token of the model, or -1. */
int32_t cr_vocab_find(const cr_tokenizer_source *source, const char *token);
/* The id of a special or model token, or -1. */
int32_t cr_vocab_find_any(const cr_tokenizer_source *source, const char *token);

/* Adds a special token unless it is there; token->text ends with a NUL, and
 * token->id is what the file states, -1 for nothing. It must be the id that
 * Hugging Face would give it. `where` names file and field for messages. */
cr_status cr_vocab_add_special(cr_tokenizer_source *source, const char *where,
                               const cr_special_token *token, cr_error *error);

#endif
