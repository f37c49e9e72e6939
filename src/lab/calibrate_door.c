/* Calibrate, the door: a server of our own and one request after the other. */
#include "lab/calibrate.h"

#include "base/mem.h"
#include "lab/child.h"
#include "lab/client.h"
#include "lab/load.h"
#include "lab/spread.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <jansson.h>

static const double WARMUP_SECONDS = 0.3, SECONDS = 1.5;

/* What /stats says of the server so far. */
typedef struct reading {
    double cpu_s, lane_s, requests, inside_ms; /* queue and groups, its mean */
} reading;

static double number(const json_t *json, const char *key) {
    return json_number_value(json_object_get(json, key));
}

static cr_status look(cr_client *client, const char *method, const char *path,
                      reading *r, cr_error *error) {
    cr_answer answer;
    cr_status status =
        cr_client_ask(client, method, path, (cr_text){"", 0}, &answer, error);
    if (status != CR_OK)
        return status;
    json_t *json = json_loadb(answer.body.data, answer.body.len, 0, NULL);
    const json_t *compute = json_object_get(json, "compute_ms");
    *r = (reading){.cpu_s = number(json, "cpu_s"),
                   .lane_s = number(json, "lane_busy_s"),
                   .requests = number(compute, "count"),
                   .inside_ms =
                       number(compute, "mean") +
                       number(json_object_get(json, "queue_wait_ms"), "mean")};
    if (!json || answer.status / 100 != 2)
        status = cr_fail(error, CR_ERR_IO, "%s %s: HTTP %d instead of figures",
                         method, path, answer.status);
    json_decref(json);
    return status;
}

static cr_status ask_for(const cr_load_options *o, double seconds,
                         double *mean_ms, cr_error *error) {
    cr_load_options some = *o;
    cr_load_result result;
    some.duration_s = seconds;
    cr_status status = cr_load_run(&some, &result, error);
    if (status != CR_OK)
        return status;
    double sum = 0;
    for (size_t i = 0; i < result.n; i++)
        sum += result.samples[i].end_s - result.samples[i].start_s;
    *mean_ms = 1e3 * sum / (double)result.n;
    if (result.stopped)
        status = cr_fail(error, CR_ERR_CANCELLED, "interrupted");
    else if (result.n_failed)
        status = cr_fail(error, CR_ERR_IO,
                         "%zu of %zu requests to our own server failed: %s",
                         result.n_failed, result.n, result.reasons[0]);
    cr_load_fini(&result);
    return status;
}

static cr_status measure(const cr_load_options *load, cr_client *client,
                         cr_service *s, double *lone_ms, cr_error *error) {
    reading before, after;
    cr_status status = ask_for(load, WARMUP_SECONDS, lone_ms, error);
    if (status == CR_OK)
        status = look(client, "POST", "/stats/reset", &before, error);
    if (status == CR_OK)
        status = look(client, "GET", "/stats?rows=1", &before, error);
    if (status == CR_OK)
        status = ask_for(load, SECONDS, lone_ms, error);
    if (status == CR_OK)
        status = look(client, "GET", "/stats?rows=1", &after, error);
    if (status != CR_OK)
        return status;
    double n = after.requests - before.requests;
    double cpu_s = after.cpu_s - before.cpu_s;
    double lane_s = after.lane_s - before.lane_s;
    if (!(n > 0))
        return cr_fail(error, CR_ERR_IO,
                       "our own server counted none of its requests");
    s->door_ns = cpu_s > lane_s ? round((cpu_s - lane_s) / n * 1e9) : 0;
    s->wire_ns = round((*lone_ms - after.inside_ms) * 1e6) - s->door_ns;
    if (s->wire_ns < 0)
        s->wire_ns = 0;
    return CR_OK;
}

static void make_load(const cr_calibration *o, const cr_load_target *t,
                      uint32_t *tokens, cr_load_options *load) {
    for (uint32_t i = 0; i < o->encoded->n_pairs; i++)
        tokens[i] = cr_job_pair_tokens(o->encoded, i);
    *load = (cr_load_options){.target = t,
                              .dataset = o->dataset,
                              .tokens = tokens,
                              .as_pairs = o->as_pairs,
                              .batch_size = o->pairs,
                              .concurrency = 1,
                              .stop = o->stop};
}

cr_status cr_calibrate_door(const cr_calibration *o, cr_service *s,
                            double *lone_ms, cr_error *error) {
    char log[] = "/tmp/crossrank-plan-XXXXXX";
    cr_child child = {.pid = 0};
    cr_client client = {.fd = -1};
    cr_load_target target = {.model = "\"default\""};
    cr_load_options load;
    uint32_t *tokens = cr_calloc(o->dataset->n, sizeof *tokens);
    int fd = mkstemp(log);
    cr_status status = CR_OK;
    *lone_ms = CR_UNKNOWN;
    if (!tokens)
        status = cr_fail_memory(error, o->dataset->n * sizeof *tokens, "pairs");
    else if (fd < 0)
        status = cr_fail(error, CR_ERR_IO, "%s: cannot write", log);
    if (status == CR_OK)
        status = cr_child_start(&child, o->program, o->arguments,
                                o->n_arguments, log, error);
    target.url = child.url;
    if (status == CR_OK)
        status = cr_client_init(&client, child.url, error);
    if (status == CR_OK) {
        make_load(o, &target, tokens, &load);
        status = measure(&load, &client, s, lone_ms, error);
    }
    cr_client_fini(&client);
    cr_status ended = CR_OK;
    if (child.pid)
        ended = cr_child_stop(&child, status == CR_OK ? error : NULL);
    if (fd >= 0) {
        close(fd);
        unlink(log);
    }
    cr_free(tokens);
    return status == CR_OK ? ended : status;
}
