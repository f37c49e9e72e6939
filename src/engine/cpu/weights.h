/* A model's weights as the CPU kernels want them.
 *
 * Every matrix is packed once into panels of 16 columns, in the precision that
 * was asked for (the head, which is read once a pair, stays in float32); widths
 * that are no multiple of 16 (hidden size, a head's width) are padded with
 * zeros, which add nothing. Read-only after loading, shared by all lanes. */
#ifndef CR_ENGINE_CPU_WEIGHTS_H
#define CR_ENGINE_CPU_WEIGHTS_H

#include "kernels/kernels.h"
#include "model/model.h"

/* A linear layer: y = x W + b. */
typedef struct cr_linear {
    cr_matrix matrix; /* sizes padded */
    cr_dtype dtype;
} cr_linear;

typedef struct cr_norm {
    float *gain; /* [hidden padded] */
    float *bias;
} cr_norm;

typedef struct cr_layer {
    cr_linear qkv; /* columns: q, k, v, each [n_heads][head_width] */
    cr_linear attention_out;
    cr_norm attention_norm;
    cr_linear up; /* hidden to intermediate */
    cr_linear down;
    cr_norm output_norm;
} cr_layer;

typedef struct cr_weights {
    cr_model_config config;
    size_t width;              /* hidden size, padded */
    size_t head_width;         /* padded */
    size_t head_row;           /* n_heads * head_width */
    size_t inner;              /* intermediate size, padded */
    cr_dtype dtype;            /* of the layers' matrices */
    const cr_kernels *kernels; /* whose packing it is */
    float *words;              /* [vocab][width] */
    float *types;              /* [n_types][width] */
    float *places;             /* [position rows][width] */
    cr_norm embedding_norm;
    cr_layer *layers; /* [n_layers] */
    cr_linear pooler;
    cr_linear classifier; /* n: n_labels, padded */
    char *arena;          /* everything above but layers, in one block */
    uint64_t bytes;       /* of the arena */
} cr_weights;

/* CR_ERR_MODEL, CR_ERR_IO, CR_ERR_MEMORY; *weights is then empty. */
cr_status cr_weights_load(const cr_model *model, const cr_kernels *kernels,
                          cr_dtype dtype, cr_weights *weights, cr_error *error);
void cr_weights_fini(cr_weights *weights);

#endif
