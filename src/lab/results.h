/* Results: what was measured, as results.json and requests.csv.
 *
 * docs/RESULTS.md is the form. JSON values are built by jansson; NULL where
 * memory ran out, which the writing then says.
 *
 * Threads: one. Ownership: each returned value is the caller's. */
#ifndef CR_LAB_RESULTS_H
#define CR_LAB_RESULTS_H

#include "lab/experiment.h"
#include "lab/load.h"

#include <jansson.h>

/* A number, or null where it is NAN. */
json_t *cr_results_number(double value);
/* Appends the value as text; flags are json_dumps's. CR_ERR_MEMORY,
 * CR_ERR_INPUT over the buffer's limit. */
cr_status cr_results_put_json(cr_buf *text, const json_t *value, size_t flags,
                              cr_error *error);
/* The time now, RFC 3339. */
json_t *cr_results_now(void);
/* A path, or another text of the command line, as what JSON can carry. */
json_t *cr_results_path(const char *path);
json_t *cr_results_machine(const json_t *info);
json_t *cr_results_software(void);
/* The experiment as it ran; names of model, backend and device are of
 * `servers`' /info. Of a stranger's server the batching is not known: null. */
json_t *cr_results_experiment(const cr_experiment *experiment, bool stranger,
                              const json_t *servers);
json_t *cr_results_dataset(const cr_dataset *dataset, const uint32_t *tokens,
                           size_t n_truncated);
/* Of one configuration all that the load generator knows. */
json_t *cr_results_configuration(const cr_load_options *options,
                                 const cr_load_result *result, size_t id,
                                 double started_s, double cores);
/* The server's own figures and its history, from two readings of /stats. */
json_t *cr_results_server(const json_t *before, const json_t *after,
                          double max_batch, double duration_s);
json_t *cr_results_history(const json_t *before, const json_t *after,
                           double duration_s);

/* Appends lines of requests.csv. */
cr_status cr_results_put_header(cr_buf *csv, cr_error *error);
cr_status cr_results_put_samples(cr_buf *csv, size_t server,
                                 size_t configuration,
                                 const cr_load_result *result, cr_error *error);

#endif
