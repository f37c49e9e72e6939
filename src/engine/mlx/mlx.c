/* The mlx backend: Apple's MLX through its C interface, as a module.
 *
 * MLX binds streams to threads, so one thread of ours loads the weights, builds
 * the graphs and waits for them; callers hand it a group and wait. */
#include "base/mem.h"
#include "base/build_id.h"
#include "engine/mlx/encoder.h"

#include <assert.h>
#include <math.h>
#include <pthread.h>
#include <string.h>

/* Tokens of a group: on a GPU a small one is all overhead, on a CPU a large
 * one only keeps others waiting. */
enum { CPU_GROUP_TOKENS = 512, GPU_GROUP_TOKENS = 8192 };
/* A group has at most so many batches: lengths, and what is over max_tokens. */
enum { MAX_BATCHES = 64 };
/* Freed memory that MLX keeps. On a GPU its own limit is most of the machine,
 * and every new shape would add to it. */
static const size_t CPU_CACHE_BYTES = (size_t)64 << 20;
static const size_t GPU_CACHE_BYTES = (size_t)512 << 20;

/* OpenBLAS, where this module is linked with it. */
extern void openblas_set_num_threads(int n) __attribute__((weak));

typedef struct job {
    const cr_group *group;
    float *logits;
    cr_error *error;
    cr_status status;
} job;

typedef struct mlx {
    cr_backend head;
    const cr_model *model;
    cr_backend_options options;
    mlx_device_type device;
    mlx_dtype dtype;
    uint32_t n_labels;
    pthread_t thread;
    bool started;
    uint32_t *rows;       /* [max_sequences] of the batch at hand */
    pthread_mutex_t lock; /* of everything below */
    pthread_cond_t changed;
    bool opened, stop;
    cr_status open_status;
    cr_error open_error;
    job *job;
} mlx;

/* ---- Devices and number formats ----------------------------------------- */

static bool has_device(mlx_device_type type) {
    mlx_device device = mlx_device_new_type(type, 0);
    bool there = false;
    if (device.ctx && mlx_device_is_available(&there, device) != 0)
        there = false;
    mlx_device_free(device);
    cr_mlx_fail(NULL, CR_OK, ""); /* what was said about it is forgotten */
    return there;
}

static pthread_once_t prepared = PTHREAD_ONCE_INIT;

static void prepare(void) {
    cr_mlx_catch_errors();
    /* On a CPU, compiling runs a compiler and loads what is in /tmp. */
    mlx_disable_compile();
}

static const char *const *list_devices(void) {
    static const char *const both[] = {"cpu", "gpu", NULL};
    static const char *const one[] = {"cpu", NULL};
    pthread_once(&prepared, prepare);
    return has_device(MLX_GPU) ? both : one;
}

static cr_status choose_device(mlx *m, cr_error *error) {
    static const char *const gpu[] = {"gpu", "mps", "metal", "cuda"};
    const char *name = m->options.device;
    bool there = has_device(MLX_GPU);
    m->device = MLX_CPU;
    if (m->options.isa && strcmp(m->options.isa, "auto") != 0)
        return cr_fail(error, CR_ERR_UNAVAILABLE,
                       "isa '%s' means nothing to backend mlx: leave it out",
                       m->options.isa);
    if (!name || !strcmp(name, "auto"))
        m->device = there ? MLX_GPU : MLX_CPU;
    else if (strcmp(name, "cpu") != 0) {
        m->device = MLX_GPU;
        bool known = false;
        for (size_t i = 0; i < sizeof gpu / sizeof *gpu; i++)
            known |= !strcmp(name, gpu[i]);
        if (!known)
            return cr_fail(error, CR_ERR_UNAVAILABLE,
                           "device '%s' is not known to backend mlx; use cpu "
                           "or gpu (mps, metal, cuda)",
                           name);
        if (!there)
            return cr_fail(
                error, CR_ERR_UNAVAILABLE,
                "device '%s' is not available: this MLX has no GPU; "
                "use --device cpu, or an MLX built for Metal (macOS: "
                "brew install mlx-c) or CUDA",
                name);
    }
    return CR_OK;
}

static const char *const DTYPES[] = {"fp32", "fp16", "bf16", NULL};

/* `auto` is fp32: nobody has measured what the others cost in accuracy on a
 * GPU, and on a CPU they are slower. */
static cr_status choose_dtype(mlx *m, cr_error *error) {
    static const mlx_dtype types[] = {MLX_FLOAT32, MLX_FLOAT16, MLX_BFLOAT16};
    const char *name = m->options.dtype;
    if (!name || !strcmp(name, "auto"))
        name = "fp32";
    for (size_t i = 0; DTYPES[i]; i++)
        if (!strcmp(name, DTYPES[i])) {
            m->dtype = types[i];
            m->head.description.dtype = DTYPES[i];
            return CR_OK;
        }
    return cr_fail(error, CR_ERR_UNAVAILABLE,
                   "dtype '%s' is not available on backend mlx; use auto, "
                   "fp32, fp16 or bf16",
                   name);
}

/* ---- Scoring, on the thread of the backend ------------------------------ */

typedef struct pending {
    cr_padded_batch batches[MAX_BATCHES];
    mlx_array logits[MAX_BATCHES];
    size_t n;
} pending;

static cr_status build_all(mlx *m, cr_mlx_encoder *e, const job *j,
                           pending *p) {
    const cr_backend_description *d = &m->head.description;
    uint64_t state = 0;
    uint32_t used = 0;
    cr_status status = CR_OK;
    cr_padded_batch b = {.rows = m->rows};
    while (status == CR_OK &&
           cr_padding_next(j->group, m->options.max_length, d->max_group_tokens,
                           &state, &b)) {
        assert(p->n < MAX_BATCHES);
        status = cr_mlx_encode(e, j->group, &b, &p->logits[p->n], j->error);
        p->batches[p->n] = b;
        used += b.n_rows;
        b.rows = m->rows + used;
        p->n += status == CR_OK;
    }
    return status;
}

static cr_status evaluate(pending *p, cr_error *error) {
    mlx_vector_array all = mlx_vector_array_new_data(p->logits, p->n);
    int code = mlx_eval(all);
    mlx_vector_array_free(all);
    return code ? cr_mlx_fail(error, CR_ERR_INTERNAL, "to compute") : CR_OK;
}

static cr_status copy_out(const mlx *m, const pending *p, size_t i,
                          const job *j) {
    const float *from = mlx_array_data_float32(p->logits[i]);
    size_t n = m->n_labels;
    if (!from)
        return cr_mlx_fail(j->error, CR_ERR_INTERNAL, "to give its result");
    for (size_t row = 0; row < p->batches[i].n_rows; row++)
        for (size_t label = 0; label < n; label++) {
            float x = from[row * n + label];
            if (!isfinite(x))
                return cr_fail(j->error, CR_ERR_MODEL,
                               "the model's weights overflow %s: a logit is "
                               "not finite; use fp32 or a sound checkpoint",
                               m->head.description.dtype);
            j->logits[p->batches[i].rows[row] * n + label] = x;
        }
    return CR_OK;
}

static cr_status run_job(mlx *m, cr_mlx_encoder *e, const job *j) {
    pending p = {.n = 0};
    cr_status status = build_all(m, e, j, &p);
    if (status == CR_OK)
        status = evaluate(&p, j->error);
    for (size_t i = 0; status == CR_OK && i < p.n; i++)
        status = copy_out(m, &p, i, j);
    for (size_t i = 0; i < p.n; i++)
        mlx_array_free(p.logits[i]);
    return status;
}

static void serve_jobs(mlx *m, cr_mlx_encoder *e) {
    pthread_mutex_lock(&m->lock);
    for (;;) {
        while (!m->job && !m->stop)
            pthread_cond_wait(&m->changed, &m->lock);
        job *j = m->job;
        if (!j)
            break;
        pthread_mutex_unlock(&m->lock);
        cr_status status = run_job(m, e, j);
        pthread_mutex_lock(&m->lock);
        j->status = status;
        m->job = NULL;
        pthread_cond_broadcast(&m->changed);
    }
    pthread_mutex_unlock(&m->lock);
}

static void *run(void *argument) {
    mlx *m = argument;
    cr_mlx_encoder *e = NULL;
    cr_error error;
    cr_status status =
        cr_mlx_encoder_new(m->model, m->device, m->dtype, &e, &error);
    pthread_mutex_lock(&m->lock);
    m->open_status = status;
    if (status == CR_OK)
        m->head.description.weight_bytes = cr_mlx_encoder_weight_bytes(e);
    else
        m->open_error = error;
    m->opened = true;
    pthread_cond_broadcast(&m->changed);
    pthread_mutex_unlock(&m->lock);
    if (status == CR_OK)
        serve_jobs(m, e);
    cr_mlx_encoder_free(e);
    mlx_clear_cache();
    return NULL;
}

static cr_status score(cr_backend *backend, uint32_t lane, cr_team *team,
                       uint32_t member, const cr_group *group, float *logits,
                       cr_error *error) {
    mlx *m = (mlx *)backend;
    job j = {.group = group, .logits = logits, .error = error};
    assert(lane == 0 && member == 0 && team->n_members == 1);
    pthread_mutex_lock(&m->lock);
    m->job = &j;
    pthread_cond_broadcast(&m->changed);
    while (m->job == &j)
        pthread_cond_wait(&m->changed, &m->lock);
    pthread_mutex_unlock(&m->lock);
    return j.status;
}

/* ---- Life --------------------------------------------------------------- */

static void close_backend(cr_backend *backend) {
    mlx *m = (mlx *)backend;
    if (m->started) {
        pthread_mutex_lock(&m->lock);
        m->stop = true;
        pthread_cond_broadcast(&m->changed);
        pthread_mutex_unlock(&m->lock);
        pthread_join(m->thread, NULL);
    }
    pthread_cond_destroy(&m->changed);
    pthread_mutex_destroy(&m->lock);
    cr_free(m->rows);
    cr_free(m);
}

static void describe(mlx *m) {
    cr_backend_description *d = &m->head.description;
    bool gpu = m->device == MLX_GPU;
    size_t before;
    d->name = "mlx";
    d->device = gpu ? "gpu" : "cpu";
    d->isa = "";
    d->lanes = 1;
    d->group_tokens = gpu ? GPU_GROUP_TOKENS : CPU_GROUP_TOKENS;
    d->max_group_tokens = d->group_tokens + m->options.max_length;
    d->pads = true;
    m->n_labels = cr_model_get_config(m->model)->n_labels;
    mlx_set_cache_limit(&before, gpu ? GPU_CACHE_BYTES : CPU_CACHE_BYTES);
    if (openblas_set_num_threads)
        openblas_set_num_threads((int)m->options.lanes);
}

static cr_status start(mlx *m, cr_error *error) {
    if (pthread_create(&m->thread, NULL, run, m) != 0)
        return cr_fail(error, CR_ERR_MEMORY,
                       "cannot start the thread of backend mlx: allow more "
                       "threads");
    m->started = true;
    pthread_mutex_lock(&m->lock);
    while (!m->opened)
        pthread_cond_wait(&m->changed, &m->lock);
    pthread_mutex_unlock(&m->lock);
    if (m->open_status != CR_OK && error)
        *error = m->open_error;
    return m->open_status;
}

static const cr_backend_ops OPS;

static cr_status open_backend(const cr_model *model,
                              const cr_backend_options *options,
                              cr_backend **backend, cr_error *error) {
    mlx *m = cr_calloc(1, sizeof *m);
    *backend = NULL;
    if (!m)
        return cr_fail_memory(error, sizeof *m, "the mlx backend");
    pthread_once(&prepared, prepare);
    m->head.ops = &OPS;
    m->model = model;
    m->options = *options;
    pthread_mutex_init(&m->lock, NULL);
    pthread_cond_init(&m->changed, NULL);
    cr_status status = choose_device(m, error);
    if (status == CR_OK)
        status = choose_dtype(m, error);
    if (status == CR_OK) {
        describe(m);
        size_t sequences =
            m->head.description.max_group_tokens / CR_MIN_TEXT_TOKENS + 1;
        m->rows = cr_calloc(sequences, sizeof *m->rows);
        if (!m->rows)
            status = cr_fail_memory(error, sequences * sizeof *m->rows, "rows");
    }
    if (status == CR_OK)
        status = start(m, error);
    if (status != CR_OK)
        close_backend(&m->head);
    else
        *backend = &m->head;
    return status;
}

static uint64_t count_padding(const cr_backend *backend,
                              const cr_group *group) {
    return cr_padding_of(group, ((const mlx *)backend)->options.max_length);
}

static void read_memory(const cr_backend *backend, cr_backend_memory *memory) {
    size_t active = 0, peak = 0, cache = 0;
    mlx_get_active_memory(&active);
    mlx_get_peak_memory(&peak);
    mlx_get_cache_memory(&cache);
    *memory = (cr_backend_memory){.active_bytes = active,
                                  .peak_bytes = peak,
                                  .cache_bytes = cache,
                                  .cache_limit_bytes =
                                      ((const mlx *)backend)->device == MLX_GPU
                                          ? GPU_CACHE_BYTES
                                          : CPU_CACHE_BYTES};
}

static const cr_backend_ops OPS = {
    .name = "mlx",
    .dtypes = DTYPES,
    .list_devices = list_devices,
    .open = open_backend,
    .close = close_backend,
    .score = score,
    .count_padding = count_padding,
    .read_memory = read_memory,
};

__attribute__((visibility(
    "default"))) extern const cr_backend_module crossrank_backend_module;
const cr_backend_module crossrank_backend_module = {{CR_BUILD_ID}, &OPS};
