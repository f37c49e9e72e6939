/* The configuration of a model: config.json and sentence-transformers' files.
 *
 * Turns what the folder's JSON files say into a cr_model_config that this
 * program computes exactly, or refuses, naming field, value and what is
 * supported. Defaults are those of transformers' classes; the activation of
 * the score is the one sentence-transformers 6 would apply. It does not look
 * at weights or vocabulary.
 *
 * Threads: no state. Ownership: nothing is kept. */
#ifndef CR_MODEL_CONFIG_H
#define CR_MODEL_CONFIG_H

#include "model/json.h"
#include "model/model.h"

/* The files that decide, as objects; those that do not exist are empty. */
typedef struct cr_config_files {
    cr_json config;       /* config.json */
    cr_json modules;      /* modules.json, a list and not an object */
    cr_json st_config;    /* config_sentence_transformers.json */
    cr_json sbert_config; /* sentence_bert_config.json */
} cr_config_files;

/* cr_config_files_fini must be called whatever the status. */
cr_status cr_config_files_load(cr_config_files *files, const char *folder,
                               cr_error *error);
void cr_config_files_fini(cr_config_files *files);

/* All of *config but max_length, which is set to the limit that these files
 * state (positions or max_seq_length). *lowercases: the files ask for
 * lower-casing, so the tokenizer must do it. */
cr_status cr_config_read(const cr_config_files *files, cr_model_config *config,
                         bool *lowercases, cr_error *error);

/* The name of label 0..n_labels-1: id2label's, else transformers' own, such as
 * LABEL_0, in `room`. Lives as long as both. */
enum { CR_LABEL_BYTES = 32 };
const char *cr_config_label(const cr_config_files *files, uint32_t label,
                            char room[CR_LABEL_BYTES]);

#endif
