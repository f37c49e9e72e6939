/* The cpu backend: our kernels behind the backend interface. */
#include "engine/backend.h"

#include "base/mem.h"
#include "engine/cpu/encoder.h"

#include <string.h>

/* Tokens that a lane likes to take at least; see bench/ for the plateau. Where
 * products take more rows at once, it is two blocks of them. */
enum { GROUP_TOKENS = 256 };

typedef struct cpu {
    cr_backend head;
    cr_weights weights;
    const cr_kernels *kernels;
    cr_workspace *workspaces; /* [lanes] */
} cpu;

static void cpu_close(cr_backend *backend) {
    cpu *c = (cpu *)backend;
    for (uint32_t i = 0; c->workspaces && i < backend->description.lanes; i++)
        cr_workspace_fini(&c->workspaces[i]);
    cr_free(c->workspaces);
    cr_weights_fini(&c->weights);
    cr_free(c);
}

static cr_status check_device(const cr_backend_options *o, cr_error *error) {
    if (o->device && strcmp(o->device, "cpu") && strcmp(o->device, "auto"))
        return cr_fail(error, CR_ERR_UNAVAILABLE,
                       "device '%s' is not available on backend cpu; use cpu",
                       o->device);
    return CR_OK;
}

/* `auto` is bf16 where the kernels have instructions for it (choose.c says when
 * those are worth it), else fp32: int8 costs accuracy, so it is only ever asked
 * for. */
static cr_status choose_dtype(const cr_backend_options *o,
                              const cr_kernels *kernels, cr_dtype *dtype,
                              cr_error *error) {
    if (!o->dtype || !strcmp(o->dtype, "auto")) {
        *dtype = kernels->gemm[CR_BF16]->fast ? CR_BF16 : CR_FP32;
        return CR_OK;
    }
    for (*dtype = CR_FP32; *dtype < CR_N_DTYPES; (*dtype)++)
        if (!strcmp(o->dtype, cr_dtype_name(*dtype)))
            return CR_OK;
    return cr_fail(error, CR_ERR_UNAVAILABLE,
                   "dtype '%s' is not available on backend cpu; use auto, "
                   "fp32, bf16 or int8",
                   o->dtype);
}

static cr_status cpu_open(const cr_model *model, const cr_backend_options *o,
                          cr_backend **backend, cr_error *error) {
    *backend = NULL;
    cpu *c = cr_calloc(1, sizeof *c);
    if (!c)
        return cr_fail_memory(error, sizeof *c, "the cpu backend");
    cr_backend_description *d = &c->head.description;
    c->head.ops = &cr_cpu_backend;
    cr_status status = check_device(o, error);
    if (status == CR_OK)
        status = cr_kernels_choose(o->isa, &c->kernels, error);
    cr_dtype dtype = CR_FP32;
    if (status == CR_OK)
        status = choose_dtype(o, c->kernels, &dtype, error);
    if (status == CR_OK)
        status = cr_weights_load(model, c->kernels, dtype, &c->weights, error);
    if (status != CR_OK)
        goto done;
    d->name = "cpu";
    d->device = "cpu";
    d->isa = c->kernels->name;
    d->dtype = cr_dtype_name(dtype);
    uint32_t two_blocks = 2 * (uint32_t)c->kernels->gemm[dtype]->block;
    d->group_tokens = two_blocks > GROUP_TOKENS ? two_blocks : GROUP_TOKENS;
    d->max_group_tokens = d->group_tokens + o->max_length;
    d->team_tokens = (uint32_t)cr_encode_team_tokens(&c->weights);
    d->exact = true;
    d->weight_bytes = c->weights.bytes;
    c->workspaces = cr_calloc(o->lanes, sizeof *c->workspaces);
    if (!c->workspaces)
        status = cr_fail_memory(error, o->lanes * sizeof *c->workspaces,
                                "workspaces");
    d->lanes = c->workspaces ? o->lanes : 0;
    for (uint32_t i = 0; status == CR_OK && i < o->lanes; i++) {
        status = cr_workspace_init(&c->workspaces[i], &c->weights,
                                   d->max_group_tokens, o->max_length, error);
        d->workspace_bytes += c->workspaces[i].bytes;
    }
done:
    if (status != CR_OK)
        cpu_close(&c->head);
    else
        *backend = &c->head;
    return status;
}

/* Neither NaN nor infinite, told by the exponent: this is a loop over all
 * hidden states, and as integers it is cheap. */
static bool all_finite(const float *values, size_t n) {
    const uint32_t exponent = 0x7f800000;
    uint32_t n_bad = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, values + i, sizeof bits);
        n_bad += (bits & exponent) == exponent;
    }
    return n_bad == 0;
}

/* Copies the logits out. Weights that overflow float32 must not become scores:
 * NaN would be seen, but tanh of the pooler and the integers of int8 make
 * ordinary numbers of it, so the hidden states are what is looked at. */
static cr_status take_logits(const cpu *c, const cr_workspace *ws,
                             const cr_group *group, float *logits,
                             cr_error *error) {
    const uint32_t n_labels = c->weights.config.n_labels;
    const size_t width = c->weights.width, ld = c->weights.classifier.matrix.n;
    if (!all_finite(ws->x, group->n_tokens * width) ||
        !all_finite(ws->first_x, group->n_sequences * width) ||
        !all_finite(ws->logits, group->n_sequences * ld))
        return cr_fail(error, CR_ERR_MODEL,
                       "the model's weights overflow float32: a hidden state "
                       "or a logit is not finite; use a sound checkpoint");
    for (size_t i = 0; i < group->n_sequences; i++)
        memcpy(logits + i * n_labels, ws->logits + i * ld,
               n_labels * sizeof *logits);
    return CR_OK;
}

static cr_status cpu_score(cr_backend *backend, uint32_t lane, cr_team *team,
                           uint32_t member, const cr_group *group,
                           float *logits, cr_error *error) {
    cpu *c = (cpu *)backend;
    cr_encoding_job job = {.w = &c->weights,
                           .kernels = c->kernels,
                           .group = group,
                           .shared = &c->workspaces[team->lanes[0]],
                           .own = &c->workspaces[lane],
                           .team = team,
                           .member = member};
    cr_encode(&job);
    return member == 0 ? take_logits(c, job.shared, group, logits, error)
                       : CR_OK;
}

static const char *const *cpu_list_devices(void) {
    static const char *const devices[] = {"cpu", NULL};
    return devices;
}

static const char *const DTYPES[] = {"fp32", "bf16", "int8", NULL};

const cr_backend_ops cr_cpu_backend = {
    .name = "cpu",
    .dtypes = DTYPES,
    .list_devices = cpu_list_devices,
    .open = cpu_open,
    .close = cpu_close,
    .score = cpu_score,
};
