/* The tokenizer that a model folder describes, as a checked cr_tokenizer_spec.
 *
 * tokenizer.json decides where it is present, else vocab.txt; beside them
 * tokenizer_config.json, special_tokens_map.json and added_tokens.json are
 * read as transformers reads them. Everything that our BERT tokenizer would do
 * differently is refused, naming the field; so is a folder whose files
 * contradict each other, because then libraries disagree about the ids too.
 * It does not tokenize.
 *
 * Threads: no state. Ownership: a source points into its files; both must
 * live until cr_tokenizer_new has copied the spec. */
#ifndef CR_MODEL_TOKENIZER_FILES_H
#define CR_MODEL_TOKENIZER_FILES_H

#include "base/buf.h"
#include "model/json.h"
#include "model/model.h"

typedef struct cr_tokenizer_files {
    cr_json tokenizer;   /* tokenizer.json */
    cr_json config;      /* tokenizer_config.json, integers as doubles */
    cr_json special_map; /* special_tokens_map.json */
    cr_json added;       /* added_tokens.json */
    char *vocab_path;    /* of vocab.txt, for messages */
    cr_buf vocab_text;   /* vocab.txt */
    bool has_vocab_text; /* only read where tokenizer.json is missing */
} cr_tokenizer_files;

/* cr_tokenizer_files_fini must be called whatever the status. */
cr_status cr_tokenizer_files_load(cr_tokenizer_files *files, const char *folder,
                                  cr_error *error);
void cr_tokenizer_files_fini(cr_tokenizer_files *files);

/* The limit on tokenizer.json: a vocabulary of 2 million tokens. */
enum { CR_MAX_TOKENIZER_BYTES = 128 << 20 };

/* What tokenizer_config.json says to every tokenizer: *max_length is its
 * model_max_length, UINT32_MAX: no limit, and at least `least`; other switches
 * that change ids must be off. */
cr_status cr_tokenizer_settings_read(const cr_tokenizer_files *files,
                                     uint32_t least, uint32_t *max_length,
                                     cr_error *error);

/* A token of vocab.txt, to find ids by text. */
typedef struct cr_vocab_entry {
    cr_text text;
    uint32_t id;
} cr_vocab_entry;

typedef struct cr_tokenizer_source {
    cr_tokenizer_spec spec;
    uint32_t max_length; /* model_max_length, UINT32_MAX: no limit */
    /* What spec points to, and how ids are found: */
    cr_text *vocab;
    cr_special_token *specials;
    cr_vocab_entry *by_text; /* [n_by_text] sorted, of vocab.txt */
    size_t n_by_text;
    const json_t *vocab_object; /* of tokenizer.json */
    size_t n_model_vocab;       /* tokens of the model, as HF counts them */
    uint32_t vocab_limit;       /* rows of the embedding */
} cr_tokenizer_source;

/* config_json is config.json, of which "tokenizer_class" is asked; lowercases
 * as cr_config_read found it. cr_tokenizer_source_fini must be called whatever
 * the status. */
cr_status cr_tokenizer_source_read(const cr_tokenizer_files *files,
                                   const cr_json *config_json,
                                   const cr_model_config *config,
                                   bool lowercases, cr_tokenizer_source *source,
                                   cr_error *error);
void cr_tokenizer_source_fini(cr_tokenizer_source *source);

#endif
