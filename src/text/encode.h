/* What tokenizer.c offers to pair.c and to nobody else. */
#ifndef CR_TEXT_ENCODE_H
#define CR_TEXT_ENCODE_H

#include "text/tokenizer.h"

/* cr_tokenizer_encode that reads until more than stop_after tokens were seen,
 * of which the first tokens->capacity are kept. */
void cr_encode_until(const cr_tokenizer *tokenizer, cr_token_scratch *scratch,
                     cr_text text, size_t stop_after, cr_tokens *tokens);

/* Whether every text is read to its end, so that all counts are true. */
bool cr_tokenizer_reads_all(const cr_tokenizer *tokenizer);

/* 1, or 0 where the model knows one type only. */
uint8_t cr_tokenizer_passage_type(const cr_tokenizer *tokenizer);

uint32_t cr_token_scratch_max_length(const cr_token_scratch *scratch);
/* Room for the tokens of one text: [max_length]. */
int32_t *cr_token_scratch_ids(cr_token_scratch *scratch);

#endif
