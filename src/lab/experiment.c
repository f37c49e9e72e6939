/* Experiment: the YAML tree is walked once, each path is a row of a table. */
#include "lab/experiment.h"

#include "base/mem.h"
#include "base/nearest.h"
#include "base/yaml.h"
#include "lab/wire.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PATH_CHARS = 128, MAX_DEPTH = 4, MAX_TEXTS = 4096 };

const char *const CR_LOAD_PROTOCOLS[] = {"rest", "grpc", "in-process", NULL};
const char *const CR_LOAD_REQUESTS[] = {"pairs", "rerank", NULL};
const char *const CR_LOAD_MODES[] = {"full", "tokenization_only",
                                     "inference_only", NULL};
const char *const CR_LOAD_ARRIVALS[] = {"poisson", "fixed", NULL};

/* ---- What each path means ------------------------------------------------ */

typedef enum path_kind {
    PATH_TEXT,    /* a text of the experiment or its load */
    PATH_SETTING, /* a setting of the server, maybe a sweep */
    PATH_LIST,    /* numbers of the load, one or several */
    PATH_NUMBER,  /* a number of the load */
    PATH_CHOICE,  /* a word of the load */
    PATH_IGNORED, /* of the predecessor, left out with a note */
    PATH_REFUSED  /* of the predecessor, an error */
} path_kind;

typedef struct path_row {
    const char *path;
    path_kind kind;
    const char *to; /* setting: its key; ignored, refused: why */
    size_t offset;  /* in cr_experiment */
    double min, max;
    const char *const *choices;
} path_row;

#define AT(member) offsetof(cr_experiment, member)
#define SETTING(path_, key_)                                                   \
    { .path = path_, .kind = PATH_SETTING, .to = key_ }
#define LIST(path_, member_, min_, max_)                                       \
    {                                                                          \
        .path = path_, .kind = PATH_LIST, .offset = AT(load.member_),          \
        .min = min_, .max = max_                                               \
    }
#define NUMBER(path_, member_, min_, max_)                                     \
    {                                                                          \
        .path = path_, .kind = PATH_NUMBER, .offset = AT(load.member_),        \
        .min = min_, .max = max_                                               \
    }
#define CHOICE(path_, member_, choices_)                                       \
    {                                                                          \
        .path = path_, .kind = PATH_CHOICE, .offset = AT(load.member_),        \
        .choices = choices_                                                    \
    }
#define IGNORED(path_, why_)                                                   \
    { .path = path_, .kind = PATH_IGNORED, .to = why_ }
#define REFUSED(path_, why_)                                                   \
    { .path = path_, .kind = PATH_REFUSED, .to = why_ }

static const char *const NO_POOL =
    "tokenizing is done by the threads that receive requests (http_threads)";
static const char *const NO_COMPILER =
    "there is nothing to compile: kernels are chosen by the CPU";
static const char *const OWN_PORTS = "the server gets free ports of its own";

/* Ours first: only these are proposed to those who mistype. */
static const path_row ROWS[] = {
    {.path = "name", .kind = PATH_TEXT, .offset = AT(name)},
    {.path = "description", .kind = PATH_TEXT, .offset = AT(description)},
    SETTING("model", "model"),
    SETTING("backend", "backend"),
    SETTING("device", "device"),
    SETTING("dtype", "dtype"),
    SETTING("isa", "isa"),
    SETTING("max_length", "max_length"),
    SETTING("truncation", "truncation"),
    SETTING("instances", "threads"),
    SETTING("threads", "threads"),
    SETTING("http_threads", "http_threads"),
    SETTING("max_documents", "max_documents"),
    SETTING("max_queue_tokens", "max_queue_tokens"),
    SETTING("batching.enabled", "batching.enabled"),
    SETTING("batching.max_batch", "batching.max_batch"),
    SETTING("batching.max_tokens", "batching.max_tokens"),
    SETTING("batching.timeout_ms", "batching.timeout_ms"),
    CHOICE("load.protocol", protocol, CR_LOAD_PROTOCOLS),
    CHOICE("load.dialect", dialect, CR_WIRE_DIALECTS),
    CHOICE("load.request", request, CR_LOAD_REQUESTS),
    CHOICE("load.mode", mode, CR_LOAD_MODES),
    CHOICE("load.arrival", arrival, CR_LOAD_ARRIVALS),
    LIST("load.batch_sizes", batch_sizes, 1, 10000),
    LIST("load.concurrency_levels", concurrency, 1, 1024),
    LIST("load.rate", rates, 0.001, 1e6),
    NUMBER("load.requests", requests, 1, 1e7),
    NUMBER("load.duration_s", duration_s, 0.1, 86400),
    NUMBER("load.warmup", warmup, 0, 1e6),
    {.path = "load.dataset", .kind = PATH_TEXT, .offset = AT(load.dataset)},
#define N_OURS 30
    SETTING("model.name", "model"),
    SETTING("model.backend", "backend"),
    SETTING("model.device", "device"),
    SETTING("model.quantization", "dtype"),
    SETTING("model.quantization_mode", "dtype"),
    SETTING("model.max_length", "max_length"),
    SETTING("model_pool.instances.name", "model"),
    SETTING("model_pool.instances.backend", "backend"),
    SETTING("model_pool.instances.device", "device"),
    SETTING("model_pool.instances.quantization", "dtype"),
    SETTING("model_pool.instances.max_length", "max_length"),
    SETTING("batching.max_batch_size", "batching.max_batch"),
    LIST("experiment.batch_sizes", batch_sizes, 1, 10000),
    LIST("experiment.concurrency_levels", concurrency, 1, 1024),
    NUMBER("experiment.benchmark_requests", requests, 1, 1e7),
    NUMBER("experiment.benchmark_duration_s", duration_s, 0.1, 86400),
    NUMBER("experiment.prefill_requests", warmup, 0, 1e6),
    CHOICE("pipeline.mode", mode, CR_LOAD_MODES),
    {.path = "experiment.name", .kind = PATH_TEXT, .offset = AT(name)},
    {.path = "experiment.description",
     .kind = PATH_TEXT,
     .offset = AT(description)},
    IGNORED("batching.length_aware", "tokens are packed: there is no padding "
                                     "that sorting by length could save"),
    IGNORED("batching.length_aware_batching",
            "tokens are packed: there is no padding that sorting by length "
            "could save"),
    IGNORED("experiment.dataset_size",
            "load.dataset names the data, all of it is used"),
    IGNORED("experiment.warmup_iterations",
            "nothing ever read it; load.warmup is in requests"),
    IGNORED("warmup_iterations",
            "nothing ever read it; load.warmup is in requests"),
    IGNORED("pipeline.enabled", "stages always overlap"),
    IGNORED("model_pool.enabled", "lanes always share what waits"),
    IGNORED("model_pool.routing_strategy",
            "idle lanes take what waits; there is nothing to route"),
    IGNORED("routing_strategy",
            "idle lanes take what waits; there is nothing to route"),
    IGNORED("tokenizer_pool.enabled", NO_POOL),
    IGNORED("tokenizer_pool.num_workers", NO_POOL),
    IGNORED("tokenizer_pool.model_name", NO_POOL),
    IGNORED("tokenizer_pool.tokenizers_parallelism", NO_POOL),
    IGNORED("model.compiled.mode", NO_COMPILER),
    IGNORED("model.compile_model", NO_COMPILER),
    IGNORED("model_pool.instances.compile_model", NO_COMPILER),
    IGNORED("model_pool.instances.compile_mode", NO_COMPILER),
    IGNORED("model_pool.instances.onnx_optimize", NO_COMPILER),
    IGNORED("server.host", OWN_PORTS),
    IGNORED("server.grpc_port", OWN_PORTS),
    IGNORED("server.http_port", OWN_PORTS),
    IGNORED("server.prometheus_port", OWN_PORTS),
    IGNORED("server.grpc_workers", NO_POOL),
    REFUSED("model.mps.fp16", "say dtype: fp16"),
    REFUSED("model.quantized", "say dtype: int8"),
    REFUSED("sequence_packing", "tokens are always packed"),
};
enum { N_ROWS = sizeof ROWS / sizeof *ROWS };
_Static_assert(N_OURS <= N_ROWS, "the predecessor's rows come behind ours");

/* ---- Reading --------------------------------------------------------------
 */

typedef struct reader {
    cr_yaml yaml;
    cr_experiment *e;
    bool seen[N_ROWS];
    cr_error *error;
} reader;

#define FAIL_AT(r, node, ...)                                                  \
    cr_yaml_fail(&(r)->yaml, node, (r)->error, __VA_ARGS__)

static cr_status keep(cr_experiment *e, const char *text, const char **kept,
                      cr_error *error) {
    if (e->n_texts == MAX_TEXTS)
        return cr_fail(error, CR_ERR_ARGUMENT,
                       "an experiment has at most %d values", MAX_TEXTS);
    char *copy = cr_strndup(text, strlen(text));
    if (!copy)
        return cr_fail_memory(error, strlen(text) + 1, "an experiment");
    e->texts[e->n_texts++] = copy;
    *kept = copy;
    return CR_OK;
}

static cr_status keep_note(reader *r, const path_row *row) {
    char note[300];
    if (r->e->n_notes == CR_MAX_NOTES)
        return CR_OK;
    snprintf(note, sizeof note, "%s is left out: %s", row->path, row->to);
    return keep(r->e, note, &r->e->notes[r->e->n_notes++], r->error);
}

/* Values of a key: of a list, or the one that there is. */
static size_t count_values(const yaml_node_t *node) {
    return node->type == YAML_SEQUENCE_NODE
               ? (size_t)(node->data.sequence.items.top -
                          node->data.sequence.items.start)
               : 1;
}

static cr_status value_at(reader *r, yaml_node_t *node, size_t i,
                          const char *path, const char **value,
                          const yaml_node_t **place) {
    if (node->type == YAML_SEQUENCE_NODE)
        node = yaml_document_get_node(&r->yaml.document,
                                      node->data.sequence.items.start[i]);
    *place = node;
    if (node->type != YAML_SCALAR_NODE)
        return FAIL_AT(r, node, "%s: a value is expected", path);
    *value = (const char *)node->data.scalar.value;
    return CR_OK;
}

static cr_status check_count(reader *r, const yaml_node_t *node,
                             const char *path, size_t max) {
    size_t n = count_values(node);
    if (n == 0)
        return FAIL_AT(r, node, "%s is an empty list", path);
    if (n > max)
        return FAIL_AT(r, node, "%s has %zu values, the limit is %zu", path, n,
                       max);
    return CR_OK;
}

static cr_sweep_key *setting_of(cr_experiment *e, const char *key) {
    for (size_t i = 0; i < e->n_keys; i++)
        if (strcmp(e->keys[i].key, key) == 0)
            return &e->keys[i];
    return e->n_keys < CR_MAX_SWEEP_KEYS ? &e->keys[e->n_keys] : NULL;
}

static cr_status name_flag(reader *r, cr_sweep_key *key, const char *name) {
    char flag[MAX_PATH_CHARS];
    snprintf(flag, sizeof flag, "--%s", name);
    for (char *c = flag; *c; c++)
        if (*c == '_' || *c == '.')
            *c = '-';
    cr_status status = keep(r->e, name, &key->key, r->error);
    return status == CR_OK ? keep(r->e, flag, &key->flag, r->error) : status;
}

static cr_status set_setting(reader *r, const path_row *row,
                             yaml_node_t *node) {
    cr_status status = check_count(r, node, row->path, CR_MAX_SWEEP_VALUES);
    cr_sweep_key *key = setting_of(r->e, row->to);
    if (status != CR_OK)
        return status;
    if (!key)
        return FAIL_AT(r, node, "more than %d settings", CR_MAX_SWEEP_KEYS);
    if (key->n)
        return FAIL_AT(r, node, "%s is there twice: %s means it too", row->to,
                       row->path);
    status = name_flag(r, key, row->to);
    for (size_t i = 0; status == CR_OK && i < count_values(node); i++) {
        const char *value = NULL;
        const yaml_node_t *place;
        status = value_at(r, node, i, row->path, &value, &place);
        if (status == CR_OK && !*value)
            status = FAIL_AT(r, place, "%s is empty", row->path);
        if (status == CR_OK)
            status = keep(r->e, value, &key->values[key->n++], r->error);
    }
    if (status == CR_OK)
        r->e->n_keys++;
    return status;
}

static cr_status read_number(reader *r, const path_row *row, yaml_node_t *node,
                             size_t i, double *number) {
    const char *value = NULL;
    const yaml_node_t *place;
    char *end = NULL;
    cr_status status = value_at(r, node, i, row->path, &value, &place);
    if (status != CR_OK)
        return status;
    *number = strtod(value, &end);
    if (end == value || *end || !isfinite(*number) || *number < row->min ||
        *number > row->max)
        return FAIL_AT(r, place, "%s is \"%.40s\", it must be from %g to %g",
                       row->path, value, row->min, row->max);
    /* All but times and rates are counts. */
    if (row->min >= 0 && row->min == floor(row->min) &&
        *number != floor(*number))
        return FAIL_AT(r, place, "%s is %.40s, it must be a whole number",
                       row->path, value);
    return CR_OK;
}

static cr_status set_list(reader *r, const path_row *row, yaml_node_t *node) {
    cr_load_list *list = (cr_load_list *)(void *)((char *)r->e + row->offset);
    cr_status status = check_count(r, node, row->path, CR_MAX_SWEEP_VALUES);
    list->n = 0;
    for (size_t i = 0; status == CR_OK && i < count_values(node); i++)
        status = read_number(r, row, node, i, &list->values[list->n++]);
    return status;
}

static cr_status set_choice(reader *r, const path_row *row, yaml_node_t *node) {
    const char *value = NULL;
    const yaml_node_t *place;
    char list[200] = "";
    size_t used = 0;
    cr_status status = check_count(r, node, row->path, 1);
    if (status == CR_OK)
        status = value_at(r, node, 0, row->path, &value, &place);
    if (status != CR_OK)
        return status;
    for (uint32_t i = 0; row->choices[i]; i++) {
        if (strcmp(row->choices[i], value) == 0) {
            memcpy((char *)r->e + row->offset, &i, sizeof i);
            return CR_OK;
        }
        if (used < sizeof list)
            used += (size_t)snprintf(list + used, sizeof list - used, "%s%s",
                                     i ? ", " : "", row->choices[i]);
    }
    return FAIL_AT(r, place, "%s is \"%.40s\", it must be one of %s", row->path,
                   value, list);
}

static cr_status set_text(reader *r, const path_row *row, yaml_node_t *node) {
    const char *value = NULL;
    const yaml_node_t *place;
    cr_status status = check_count(r, node, row->path, 1);
    if (status == CR_OK)
        status = value_at(r, node, 0, row->path, &value, &place);
    return status == CR_OK
               ? keep(r->e, value,
                      (const char **)(void *)((char *)r->e + row->offset),
                      r->error)
               : status;
}

static cr_status set_row(reader *r, const path_row *row, yaml_node_t *key,
                         yaml_node_t *node) {
    switch (row->kind) {
    case PATH_SETTING:
        return set_setting(r, row, node);
    case PATH_LIST:
        return set_list(r, row, node);
    case PATH_NUMBER: {
        cr_status status = check_count(r, node, row->path, 1);
        return status == CR_OK
                   ? read_number(r, row, node, 0,
                                 (double *)(void *)((char *)r->e + row->offset))
                   : status;
    }
    case PATH_CHOICE:
        return set_choice(r, row, node);
    case PATH_TEXT:
        return set_text(r, row, node);
    case PATH_IGNORED:
        return keep_note(r, row);
    case PATH_REFUSED:
        break;
    }
    return FAIL_AT(r, key, "%s is refused: %s", row->path, row->to);
}

static cr_status fail_unknown(reader *r, const yaml_node_t *key,
                              const char *path) {
    const char *names[N_OURS];
    for (size_t i = 0; i < N_OURS; i++)
        names[i] = ROWS[i].path;
    const char *near = cr_nearest(path, names, N_OURS);
    return FAIL_AT(r, key, "unknown key %.80s%s%s%s", path,
                   near ? ": did you mean " : "", near ? near : "",
                   near ? "?" : "; docs/LAB.md lists all");
}

static cr_status walk(reader *r, const char *path, size_t depth,
                      yaml_node_t *node);

static bool is_same_scalar(const yaml_node_t *a, const yaml_node_t *b) {
    return a->type == YAML_SCALAR_NODE && b->type == YAML_SCALAR_NODE &&
           a->data.scalar.length == b->data.scalar.length &&
           memcmp(a->data.scalar.value, b->data.scalar.value,
                  a->data.scalar.length) == 0;
}

/* A word, or a list of them. What is deeper is no value of any key, and by its
 * aliases may have no end. */
static bool is_same_value(reader *r, const yaml_node_t *a,
                          const yaml_node_t *b) {
    if (a->type != YAML_SEQUENCE_NODE || b->type != YAML_SEQUENCE_NODE)
        return is_same_scalar(a, b);
    size_t n = count_values(a);
    bool same = n == count_values(b);
    for (size_t i = 0; i < n && same; i++)
        same = is_same_scalar(
            yaml_document_get_node(&r->yaml.document,
                                   a->data.sequence.items.start[i]),
            yaml_document_get_node(&r->yaml.document,
                                   b->data.sequence.items.start[i]));
    return same;
}

/* Whether two mappings say the same, in any order. */
static bool is_same(reader *r, const yaml_node_t *a, const yaml_node_t *b) {
    if (a->type != YAML_MAPPING_NODE || b->type != YAML_MAPPING_NODE)
        return false;
    const yaml_node_pair_t *of_a = a->data.mapping.pairs.start;
    const yaml_node_pair_t *of_b = b->data.mapping.pairs.start;
    ptrdiff_t n = a->data.mapping.pairs.top - of_a;
    bool same = n == b->data.mapping.pairs.top - of_b;
    yaml_document_t *d = &r->yaml.document;
    for (ptrdiff_t i = 0; i < n && same; i++) {
        same = false;
        for (ptrdiff_t k = 0; k < n && !same; k++)
            same = is_same_scalar(yaml_document_get_node(d, of_a[i].key),
                                  yaml_document_get_node(d, of_b[k].key)) &&
                   is_same_value(r, yaml_document_get_node(d, of_a[i].value),
                                 yaml_document_get_node(d, of_b[k].value));
    }
    return same;
}

/* A pool of several instances is that many lanes of one kind. */
static cr_status walk_instances(reader *r, const char *path, size_t depth,
                                yaml_node_t *node) {
    char count[16];
    cr_sweep_key *key = setting_of(r->e, "threads");
    cr_status status = check_count(r, node, path, 64);
    if (status != CR_OK)
        return status;
    if (!key || key->n)
        return FAIL_AT(r, node, "%s: instances are given twice", path);
    snprintf(count, sizeof count, "%zu", count_values(node));
    status = name_flag(r, key, "threads");
    if (status == CR_OK)
        status = keep(r->e, count, &key->values[0], r->error);
    if (status != CR_OK)
        return status;
    key->n = 1;
    r->e->n_keys++;
    yaml_node_t *first = yaml_document_get_node(
        &r->yaml.document, node->data.sequence.items.start[0]);
    for (size_t i = 1; i < count_values(node); i++) {
        const yaml_node_t *other = yaml_document_get_node(
            &r->yaml.document, node->data.sequence.items.start[i]);
        if (!is_same(r, first, other))
            return FAIL_AT(r, other,
                           "%s: instance %zu is another than the first: lanes "
                           "are all alike, measure each kind by itself",
                           path, i + 1);
    }
    return walk(r, path, depth + 1, first);
}

static bool is_of_load(const path_row *row) {
    return row->kind == PATH_TEXT || row->kind == PATH_LIST ||
           row->kind == PATH_NUMBER || row->kind == PATH_CHOICE;
}

/* A key of the load that was there before under another of its names. */
static const path_row *find_synonym(const reader *r, size_t i) {
    const path_row *row = &ROWS[i];
    for (size_t k = 0; k < N_ROWS; k++)
        if (k != i && r->seen[k] && is_of_load(row) && is_of_load(&ROWS[k]) &&
            ROWS[k].offset == row->offset)
            return &ROWS[k];
    return NULL;
}

static cr_status walk_pair(reader *r, const char *path, size_t depth,
                           const yaml_node_pair_t *pair) {
    char name[MAX_PATH_CHARS];
    yaml_node_t *key = yaml_document_get_node(&r->yaml.document, pair->key);
    yaml_node_t *node = yaml_document_get_node(&r->yaml.document, pair->value);
    if (key->type != YAML_SCALAR_NODE)
        return FAIL_AT(r, key, "a key must be a word");
    snprintf(name, sizeof name, "%s%s%.60s", path, *path ? "." : "",
             (const char *)key->data.scalar.value);
    if (node->type == YAML_SEQUENCE_NODE &&
        strcmp(name, "model_pool.instances") == 0)
        return walk_instances(r, name, depth, node);
    if (node->type == YAML_MAPPING_NODE)
        return walk(r, name, depth + 1, node);
    for (size_t i = 0; i < N_ROWS; i++) {
        if (strcmp(ROWS[i].path, name) != 0)
            continue;
        if (r->seen[i])
            return FAIL_AT(r, key, "%s is there twice", name);
        r->seen[i] = true;
        const path_row *other = find_synonym(r, i);
        if (other)
            return FAIL_AT(r, key, "%s and %s say the same: leave one out",
                           other->path, name);
        return set_row(r, &ROWS[i], key, node);
    }
    return fail_unknown(r, key, name);
}

static cr_status walk(reader *r, const char *path, size_t depth,
                      yaml_node_t *node) {
    cr_status status = CR_OK;
    if (node->type != YAML_MAPPING_NODE)
        return FAIL_AT(r, node, "%s: a mapping is expected",
                       *path ? path : "an experiment");
    if (depth > MAX_DEPTH)
        return FAIL_AT(r, node, "%s is too deep", path);
    for (const yaml_node_pair_t *pair = node->data.mapping.pairs.start;
         status == CR_OK && pair < node->data.mapping.pairs.top; pair++)
        status = walk_pair(r, path, depth, pair);
    return status;
}

/* ---- Defaults and rules of several keys -----------------------------------
 */

static void set_defaults(cr_experiment *e, const char *path) {
    const char *slash = strrchr(path, '/');
    cr_load_plan *l = &e->load;
    if (!e->name) {
        const char *base = slash ? slash + 1 : path;
        const char *dot = strrchr(base, '.');
        char name[200];
        snprintf(name, sizeof name, "%.*s",
                 (int)(dot ? (size_t)(dot - base) : strlen(base)), base);
        if (keep(e, name, &e->name, NULL) != CR_OK)
            e->name = "experiment";
    }
    if (!e->description)
        e->description = "";
    if (!l->batch_sizes.n)
        l->batch_sizes = (cr_load_list){{32}, 1};
    if (!l->concurrency.n)
        l->concurrency = (cr_load_list){{1}, 1};
    if (l->requests == 0 && l->duration_s == 0)
        l->requests = 100;
}

static cr_status check(const cr_experiment *e, bool asked_count,
                       const char *path, cr_error *error) {
    const cr_load_plan *l = &e->load;
    if (asked_count && l->duration_s > 0)
        return cr_fail(error, CR_ERR_ARGUMENT,
                       "%s: load.requests and load.duration_s exclude each "
                       "other",
                       path);
    if (cr_experiment_combinations(e) > CR_MAX_COMBINATIONS)
        return cr_fail(error, CR_ERR_ARGUMENT,
                       "%s: the sweep has more than %d combinations", path,
                       CR_MAX_COMBINATIONS);
    if (l->mode != CR_LOAD_FULL && l->protocol != CR_PROTOCOL_IN_PROCESS)
        return cr_fail(error, CR_ERR_ARGUMENT,
                       "%s: load.mode %s is measured without a server: say "
                       "load.protocol: in-process",
                       path, CR_LOAD_MODES[l->mode]);
    if (l->protocol == CR_PROTOCOL_GRPC)
        return CR_OK; /* Infer has pairs, whatever they are */
    return cr_wire_check(l->dialect, l->request == CR_REQUEST_PAIRS, path,
                         error);
}

cr_status cr_experiment_read(const char *path, cr_experiment *experiment,
                             cr_error *error) {
    memset(experiment, 0, sizeof *experiment);
    experiment->load.warmup = 10;
    experiment->load.request = UINT32_MAX;
    reader r = {.e = experiment, .error = error};
    yaml_node_t *root = NULL;
    experiment->texts = cr_calloc(MAX_TEXTS, sizeof *experiment->texts);
    if (!experiment->texts)
        return cr_fail_memory(error, MAX_TEXTS * sizeof(char *),
                              "an experiment");
    cr_status status = cr_yaml_read(path, &r.yaml, &root, error);
    if (status == CR_OK) {
        status = root ? walk(&r, "", 0, root)
                      : cr_fail(error, CR_ERR_ARGUMENT,
                                "%s: an experiment is expected, the file is "
                                "empty",
                                path);
        cr_yaml_fini(&r.yaml);
    }
    if (status == CR_OK) {
        bool asked_count = experiment->load.requests > 0;
        if (experiment->load.request == UINT32_MAX)
            experiment->load.request =
                cr_wire_default_request(experiment->load.dialect);
        set_defaults(experiment, path);
        status = check(experiment, asked_count, path, error);
    }
    if (status != CR_OK)
        cr_experiment_fini(experiment);
    return cr_fail_as_input(status, error);
}

void cr_experiment_fini(cr_experiment *e) {
    for (size_t i = 0; i < e->n_texts; i++)
        cr_free(e->texts[i]);
    cr_free(e->texts);
    memset(e, 0, sizeof *e);
}

cr_status cr_experiment_set(cr_experiment *e, const char *key,
                            const char *value, cr_error *error) {
    reader r = {.e = e, .error = error};
    cr_sweep_key *own = setting_of(e, key);
    if (!own)
        return cr_fail(error, CR_ERR_ARGUMENT, "more than %d settings",
                       CR_MAX_SWEEP_KEYS);
    bool fresh = own->n == 0;
    own->n = 0;
    cr_status status = name_flag(&r, own, key);
    if (status == CR_OK)
        status = keep(e, value, &own->values[own->n++], error);
    if (status == CR_OK && fresh)
        e->n_keys++;
    return status;
}

/* Where the load goes to somebody else's server, to no server, or to its queue
 * and lanes alone. */
static bool applies(const cr_experiment *e, bool stranger, const char *key) {
    static const char *const OF_SCORES[] = {"model", "max_length", "truncation",
                                            NULL};
    static const char *const OF_RANKER[] = {"backend", "device",  "dtype",
                                            "isa",     "threads", NULL};
    for (size_t i = 0; OF_SCORES[i]; i++)
        if (strcmp(key, OF_SCORES[i]) == 0)
            return true; /* of what scores are compared with, too */
    if (stranger)
        return false;
    for (size_t i = 0; OF_RANKER[i]; i++)
        if (strcmp(key, OF_RANKER[i]) == 0)
            return true;
    return e->load.protocol != CR_PROTOCOL_IN_PROCESS ||
           (e->load.mode == CR_LOAD_INFERENCE_ONLY &&
            strncmp(key, "batching.", 9) == 0);
}

cr_status cr_experiment_leave_out(cr_experiment *e, bool stranger,
                                  cr_error *error) {
    size_t n = 0;
    for (size_t i = 0; i < e->n_keys; i++) {
        const cr_sweep_key *key = &e->keys[i];
        if (applies(e, stranger, key->key)) {
            e->keys[n++] = *key;
            continue;
        }
        if (stranger && key->n > 1)
            return cr_fail(error, CR_ERR_ARGUMENT,
                           "a server that runs cannot be swept: its %s is its "
                           "own",
                           key->key);
        char note[200];
        snprintf(note, sizeof note, "%s is left out: %s", key->key,
                 stranger ? "the server that runs has its own"
                          : "there is no server in process");
        if (e->n_notes < CR_MAX_NOTES &&
            keep(e, note, &e->notes[e->n_notes++], error) != CR_OK)
            return CR_ERR_MEMORY;
    }
    e->n_keys = n;
    return CR_OK;
}

size_t cr_experiment_combinations(const cr_experiment *e) {
    size_t n = 1;
    for (size_t i = 0; i < e->n_keys && n <= CR_MAX_COMBINATIONS; i++)
        n *= e->keys[i].n;
    return n;
}

const char *cr_experiment_value(const cr_experiment *e, size_t number,
                                size_t key) {
    for (size_t i = e->n_keys; i-- > key + 1;)
        number /= e->keys[i].n;
    return e->keys[key].values[number % e->keys[key].n];
}

const char *cr_experiment_single(const cr_experiment *e, const char *key) {
    for (size_t i = 0; i < e->n_keys; i++)
        if (strcmp(e->keys[i].key, key) == 0 && e->keys[i].n == 1)
            return e->keys[i].values[0];
    return NULL;
}
