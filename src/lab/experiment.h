/* Experiment: what a benchmark shall measure, from a YAML file.
 *
 * A file names settings of the server (each may be a list: a sweep, every
 * combination with a server of its own) and the load to put on it.
 * docs/LAB.md has every key, also those of the predecessor that are mapped,
 * left out with a note, or refused. An unknown key is an error with its place
 * and the nearest name.
 *
 * Threads: one. Ownership: texts are the experiment's until its fini. */
#ifndef CR_LAB_EXPERIMENT_H
#define CR_LAB_EXPERIMENT_H

#include "base/error.h"

enum {
    CR_MAX_SWEEP_VALUES = 64, /* of one key */
    CR_MAX_SWEEP_KEYS = 32,
    CR_MAX_COMBINATIONS = 1024,
    CR_MAX_NOTES = 32
};

typedef enum cr_load_protocol {
    CR_PROTOCOL_REST,
    CR_PROTOCOL_GRPC,
    CR_PROTOCOL_IN_PROCESS
} cr_load_protocol;

/* What a request asks for: scores of pairs of any queries, or the order of
 * passages of one query. */
typedef enum cr_load_request {
    CR_REQUEST_PAIRS,
    CR_REQUEST_RERANK
} cr_load_request;

typedef enum cr_load_mode {
    CR_LOAD_FULL,
    CR_LOAD_TOKENIZATION_ONLY,
    CR_LOAD_INFERENCE_ONLY
} cr_load_mode;

typedef enum cr_load_arrival {
    CR_ARRIVAL_POISSON,
    CR_ARRIVAL_FIXED
} cr_load_arrival;

/* Numbers of one key, in the file's order. */
typedef struct cr_load_list {
    double values[CR_MAX_SWEEP_VALUES];
    size_t n;
} cr_load_list;

typedef struct cr_load_plan {
    uint32_t protocol;        /* cr_load_protocol */
    uint32_t dialect;         /* cr_wire_dialect */
    uint32_t request;         /* cr_load_request */
    uint32_t mode;            /* cr_load_mode */
    uint32_t arrival;         /* cr_load_arrival, where there are rates */
    cr_load_list batch_sizes; /* pairs of a request */
    cr_load_list concurrency;
    cr_load_list rates;  /* requests/s offered; empty: a closed loop */
    double requests;     /* of a configuration; 0 where duration_s is given */
    double duration_s;   /* 0: by count */
    double warmup;       /* requests before the first configuration */
    const char *dataset; /* NULL: the collection that is shipped */
} cr_load_plan;

/* A setting of the server and its values, one or more. */
typedef struct cr_sweep_key {
    const char *key;  /* as in our files: "batching.timeout_ms" */
    const char *flag; /* of crossrank serve: "--batching-timeout-ms" */
    const char *values[CR_MAX_SWEEP_VALUES];
    size_t n;
} cr_sweep_key;

typedef struct cr_experiment {
    const char *name, *description;
    cr_sweep_key keys[CR_MAX_SWEEP_KEYS]; /* [n_keys], in the file's order */
    size_t n_keys;
    cr_load_plan load;
    const char *notes[CR_MAX_NOTES]; /* about keys that were left out */
    size_t n_notes;
    char **texts; /* [n_texts], all of the above */
    size_t n_texts;
} cr_experiment;

extern const char *const CR_LOAD_PROTOCOLS[];
extern const char *const CR_LOAD_REQUESTS[];
extern const char *const CR_LOAD_MODES[];
extern const char *const CR_LOAD_ARRIVALS[];

/* CR_ERR_ARGUMENT with FILE:LINE:COL, CR_ERR_IO, CR_ERR_MEMORY. After failure
 * the experiment is empty. */
cr_status cr_experiment_read(const char *path, cr_experiment *experiment,
                             cr_error *error);
void cr_experiment_fini(cr_experiment *experiment);

/* One value for a setting, whatever the file says. CR_ERR_MEMORY,
 * CR_ERR_ARGUMENT where there is no room. */
cr_status cr_experiment_set(cr_experiment *experiment, const char *key,
                            const char *value, cr_error *error);

/* Drops the settings that cannot apply, with a note each: what is the server's
 * own where `stranger` runs it, what only a server has in process. A sweep of
 * a stranger is CR_ERR_ARGUMENT. */
cr_status cr_experiment_leave_out(cr_experiment *experiment, bool stranger,
                                  cr_error *error);
/* Servers that a sweep has: the product of the values; 1 without a sweep. */
size_t cr_experiment_combinations(const cr_experiment *experiment);
/* Which value of keys[key] combination `number` has; the last key runs
 * fastest. */
const char *cr_experiment_value(const cr_experiment *experiment, size_t number,
                                size_t key);
/* The single value of `key`, or NULL where it is absent or swept. */
const char *cr_experiment_single(const cr_experiment *experiment,
                                 const char *key);

#endif
