/* What the files of the Text Embeddings Inference dialect share. */
#ifndef CR_SERVER_DIALECTS_TEI_H
#define CR_SERVER_DIALECTS_TEI_H

#include "server/ask.h"

int cr_tei_write_refusal(const cr_refusal *refusal, const char **type,
                         cr_json_out *out);
/* The model's one label. */
const char *cr_tei_label(const cr_facts *facts);
/* The answer of /info. */
void cr_tei_write_info(const cr_facts *facts, cr_json_out *out);

#endif
