/* The tokenizer of a model folder that `tokenizers` makes: byte-level BPE and
 * Unigram, which RoBERTa and XLM-RoBERTa have.
 *
 * tokenizer.json decides; what the files beside it say otherwise is refused,
 * naming the field. The library reads tokenizer.json itself (text/hf.h).
 *
 * Threads: no state. Ownership: the tokenizer is the caller's to free. */
#ifndef CR_MODEL_HF_FILES_H
#define CR_MODEL_HF_FILES_H

#include "model/tokenizer_files.h"

/* Whether that is the folder's tokenizer. */
bool cr_hf_files_need(const cr_tokenizer_files *files,
                      const cr_model_config *config);

/* config_json is config.json, of which "tokenizer_class" is asked; lowercases
 * as cr_config_read found it. *max_length: model_max_length, UINT32_MAX: no
 * limit. CR_ERR_UNAVAILABLE where the library is not there. */
cr_status cr_hf_files_open(const cr_tokenizer_files *files,
                           const cr_json *config_json,
                           const cr_model_config *config, bool lowercases,
                           cr_tokenizer **tokenizer, uint32_t *max_length,
                           cr_error *error);

#endif
