/* The BERT cross-encoder as a graph of MLX operations.
 *
 * MLX is lazy: building a graph computes nothing, so handles of what lies
 * between are given back as soon as they are used, and evaluation may reuse
 * their memory. Nothing here is checked by MLX: ids and lengths must be valid.
 *
 * Threads: an encoder belongs to the thread that made it, as MLX's streams
 * do. Ownership: it holds its weights. */
#ifndef CR_ENGINE_MLX_ENCODER_H
#define CR_ENGINE_MLX_ENCODER_H

#include "engine/padding.h"

/* mlx.h declares functions that it does not use. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpragmas"
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wstrict-prototypes"
#include <mlx/c/mlx.h>
#pragma GCC diagnostic pop

typedef struct cr_mlx_encoder cr_mlx_encoder;

/* Reads the weights through the checked loader; a file is never named to MLX.
 * CR_ERR_UNAVAILABLE where MLX refuses the device. */
cr_status cr_mlx_encoder_new(const cr_model *model, mlx_device_type device,
                             mlx_dtype dtype, cr_mlx_encoder **encoder,
                             cr_error *error);
void cr_mlx_encoder_free(cr_mlx_encoder *encoder);
uint64_t cr_mlx_encoder_weight_bytes(const cr_mlx_encoder *encoder);

/* Logits [batch->n_rows][n_labels] of the batch's sequences, in *logits when
 * it is evaluated; the caller frees it. CR_ERR_INTERNAL. */
cr_status cr_mlx_encode(cr_mlx_encoder *encoder, const cr_group *group,
                        const cr_padded_batch *batch, mlx_array *logits,
                        cr_error *error);

/* What MLX said last in this thread, and forgets it. */
cr_status cr_mlx_fail(cr_error *error, cr_status status, const char *doing);
/* Before anything else: MLX's own handler ends the process. */
void cr_mlx_catch_errors(void);

#endif
