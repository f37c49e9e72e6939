/* What the files of the Text Embeddings Inference dialect share. */
#ifndef CR_SERVER_DIALECTS_TEI_H
#define CR_SERVER_DIALECTS_TEI_H

#include "server/ask.h"

/* Of all texts that /tokenize takes at once: its answer is some 70 times as
 * long. */
enum { CR_MAX_TOKENIZE_BYTES = 1 << 20 };

int cr_tei_write_refusal(const cr_refusal *refusal, const char **type,
                         cr_json_out *out);
/* What /predict and /rerank make of logits, where they are not asked for raw:
 * sigmoids of one label, a softmax of several. */
void cr_tei_choose_scale(cr_ask *ask, bool raw, const cr_facts *facts);
/* One token of a text, as /tokenize shows it. */
typedef struct cr_tei_token {
    int32_t id;
    cr_text text;
    bool special;
    size_t start, stop; /* bytes; of no meaning where it is special */
} cr_tei_token;
/* Refuses more bytes than CR_MAX_TOKENIZE_BYTES. */
bool cr_tei_check_tokenize(cr_ask *ask, size_t bytes);
/* Calls `each` for every token, until it returns false. False then, and where
 * there is no memory. */
bool cr_tei_each_token(const cr_facts *facts, cr_token_scratch *scratch,
                       cr_text text, bool specials,
                       bool (*each)(void *context, const cr_tei_token *token),
                       void *context);
/* What /info says of them. */
const char *cr_tei_dtype(const cr_facts *facts);
uint32_t cr_tei_max_batch_tokens(const cr_facts *facts);
/* The answer of /info. */
void cr_tei_write_info(const cr_facts *facts, cr_json_out *out);

#endif
