/* Hugging Face `tokenizers`, for byte-level BPE and Unigram vocabularies.
 *
 * The library is Rust's and an optional part: components/tokenizers puts the C
 * interface below around it, and libcrossrank-tokenizers.so is what
 * base/module.h loads. tokenizer.c uses it, and whoever tells whether it is
 * there; for all others a cr_tokenizer is a cr_tokenizer. It encodes single
 * texts: how a pair is cut and framed is decided in pair.c.
 *
 * Threads: an opened tokenizer never changes; any number may encode with it.
 * Memory: it allocates for itself, outside base/mem.h, and ends the process
 * where there is none left; what it hands out goes back to it. */
#ifndef CR_TEXT_HF_H
#define CR_TEXT_HF_H

#include "base/module.h"

typedef struct cr_hf_opened cr_hf_opened;

/* What a tokenizer.json says of pairs and ids. */
typedef struct cr_hf_facts {
    uint32_t n_specials; /* of a pair: 3 or 4 */
    int32_t cls_id, sep_id;
    uint32_t n_ids; /* all ids are below it */
} cr_hf_facts;

typedef struct cr_hf_tokens {
    const uint32_t *ids;          /* [n] */
    const uint32_t (*offsets)[2]; /* [n] code points */
    size_t n;
    void *owner; /* Rust's */
} cr_hf_tokens;

typedef struct cr_hf_text {
    const char *data;
    size_t len;
    void *owner; /* Rust's */
} cr_hf_text;

/* Room for why something failed, NUL-terminated. */
typedef struct cr_hf_message {
    char *data;
    size_t size;
} cr_hf_message;

/* The functions of components/tokenizers/src/lib.rs, which says more. */
typedef struct cr_hf_ops {
    const char *version; /* of `tokenizers` */
    cr_hf_opened *(*open)(const char *json, size_t len, cr_hf_facts *facts,
                          const cr_hf_message *message);
    void (*close)(cr_hf_opened *opened);
    bool (*encode)(const cr_hf_opened *opened, const char *text, size_t len,
                   cr_hf_tokens *tokens, const cr_hf_message *message);
    void (*free_tokens)(const cr_hf_tokens *tokens);
    cr_hf_text (*token)(const cr_hf_opened *opened, int32_t id);
    int32_t (*find)(const cr_hf_opened *opened, const char *text, size_t len);
    bool (*decode)(const cr_hf_opened *opened, const uint32_t *ids, size_t n,
                   bool skip_specials, cr_hf_text *text,
                   const cr_hf_message *message);
    void (*free_text)(const cr_hf_text *text);
} cr_hf_ops;

/* What the module exports as CR_HF_SYMBOL. */
typedef struct cr_hf_module {
    cr_module_head head;
    const cr_hf_ops *ops;
} cr_hf_module;

#define CR_HF_SYMBOL "crossrank_hf_module"

/* Loads the module, once. CR_ERR_UNAVAILABLE, with how to get it. From any
 * thread. */
cr_status cr_hf_find(const cr_hf_ops **ops, cr_error *error);

#endif
