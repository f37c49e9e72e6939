/* Infer: what a load generator sends and reads over gRPC, the messages of
 * inference.InferenceService/Infer (proto/inference.proto).
 *
 * Threads: pure. */
#ifndef CR_LAB_INFER_H
#define CR_LAB_INFER_H

#include "base/buf.h"

#define CR_INFER_PATH "/inference.InferenceService/Infer"

/* Appends the request for pairs[n]. CR_ERR_MEMORY, CR_ERR_INPUT over the
 * buffer's limit. */
cr_status cr_infer_write(const cr_pair *pairs, size_t n, cr_buf *message,
                         cr_error *error);
/* Reads n finite scores. CR_ERR_INPUT says what is wrong with the answer. */
cr_status cr_infer_read(cr_text message, float *scores, size_t n,
                        cr_error *error);

#endif
