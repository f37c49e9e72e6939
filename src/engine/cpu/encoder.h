/* The forward pass: a group of packed tokens through all layers, on one lane
 * or on a team of lanes that split its rows.
 *
 * Nothing here allocates or fails. The result of a sequence depends on its own
 * tokens only: rows meet each other in attention alone, inside their sequence,
 * and every row's sums run in one fixed order (kernels/kernels.h). */
#ifndef CR_ENGINE_CPU_ENCODER_H
#define CR_ENGINE_CPU_ENCODER_H

#include "engine/backend.h"
#include "engine/cpu/weights.h"

/* One lane's memory. Rows of a group are in the leader's `shared` part. */
typedef struct cr_workspace {
    size_t max_tokens;
    size_t max_sequences;
    /* Read by all members of the team. */
    float *x;           /* [max_tokens][width] hidden state */
    void *qkv;          /* [max_tokens][3 * head_row], float or bfloat16 */
    float *heads;       /* [max_tokens][head_row] attention's result */
    float *first_x;     /* [max_sequences][width] rows of [CLS], gathered */
    float *first_heads; /* [max_sequences][head_row] */
    float *logits;      /* [max_sequences][classifier.matrix.n] */
    /* This lane's alone. */
    float *sum;           /* [block][width] before a norm */
    void *inner;          /* [block][inner] between the two linears */
    float *scratch;       /* of attention */
    void *packed;         /* [block] rows of activations, converted */
    cr_row_scale *scales; /* [block] of packed rows */
    uint64_t bytes;
} cr_workspace;

cr_status cr_workspace_init(cr_workspace *ws, const cr_weights *w,
                            size_t max_tokens, size_t max_length,
                            cr_error *error);
void cr_workspace_fini(cr_workspace *ws);

/* What every member of a team is given. */
typedef struct cr_encoding_job {
    const cr_weights *w;
    const cr_kernels *kernels;
    const cr_group *group;
    cr_workspace *shared; /* the leader's */
    cr_workspace *own;    /* the member's; the leader's is both */
    cr_team *team;
    uint32_t member;
} cr_encoding_job;

/* What rows of a team's members are multiples of, but the last one's. */
size_t cr_encode_team_tokens(const cr_weights *w);

/* Called once by each member; when all have returned, the leader's workspace
 * holds logits[n_sequences][classifier.matrix.n]. */
void cr_encode(const cr_encoding_job *job);

#endif
