/* Calibrate, from a file: what an earlier measurement left. */
#include "lab/calibrate.h"

#include "base/buf.h"
#include "lab/report.h"
#include "lab/report_data.h"
#include "model/json.h"

#include <string.h>

/* The figures of results.json that service times follow from. */
typedef struct found {
    double lane_tokens_per_s; /* of the fastest configuration, one lane's */
    double concurrency;       /* the least with stages */
    double beside_ms;         /* a request's, beside queue and groups */
} found;

static double stage_ms(const json_t *configuration, const char *stage) {
    const json_t *server = json_object_get(configuration, "server");
    return cr_report_number(
        json_object_get(json_object_get(server, "stages_ms"), stage), "mean");
}

/* An open loop has the rate that was offered and, behind a server that is late,
 * the client's own queue in its latencies; without stages nobody knows what was
 * computed. Neither says how fast a lane is. */
static bool tells_speed(const json_t *configuration) {
    const char *mode = cr_report_string(configuration, "mode");
    return strcmp(mode, "closed") == 0 &&
           stage_ms(configuration, "inference") > 0;
}

static void look_at(const json_t *configuration, double lanes, found *f) {
    if (!tells_speed(configuration))
        return;
    double rate = cr_report_number(json_object_get(configuration, "throughput"),
                                   "tokens_per_s");
    double ms =
        cr_report_number(json_object_get(configuration, "latency_ms"), "mean");
    double concurrency = cr_report_number(configuration, "concurrency");
    double beside = ms - stage_ms(configuration, "queue_wait") -
                    stage_ms(configuration, "inference");
    if (rate / lanes > f->lane_tokens_per_s)
        f->lane_tokens_per_s = rate / lanes;
    if (isfinite(beside) && concurrency < f->concurrency) {
        f->concurrency = concurrency;
        f->beside_ms = fmax(beside, 0);
    }
}

static cr_status read_results(const json_t *root, const char *path,
                              const cr_geometry *geometry, cr_service *s,
                              cr_error *error) {
    found f = {.concurrency = HUGE_VAL};
    double lanes = cr_report_number(json_object_get(root, "machine"), "lanes");
    const json_t *servers = json_object_get(root, "servers");
    for (size_t i = 0; i < json_array_size(servers); i++) {
        const json_t *server = json_array_get(servers, i);
        const json_t *info = json_object_get(server, "info");
        const json_t *list = json_object_get(server, "configurations");
        double own =
            cr_report_number(json_object_get(info, "crossrank"), "lanes");
        for (size_t k = 0; k < json_array_size(list); k++)
            look_at(json_array_get(list, k), isnan(own) ? lanes : own, &f);
    }
    if (!(f.lane_tokens_per_s > 0))
        return cr_fail(error, CR_ERR_INPUT,
                       "%s: no closed loop on a server of crossrank in it "
                       "(tokens_per_s, stages_ms and lanes), so there are no "
                       "service times: measure one with crossrank bench, or "
                       "leave --results out",
                       path);
    *s = (cr_service){.geometry = *geometry,
                      .n_points = 2,
                      .tokens = {1, geometry->group_tokens}};
    for (size_t i = 0; i < s->n_points; i++)
        s->ns[i] = s->tokens[i] * 1e9 / f.lane_tokens_per_s;
    s->wire_ns = f.beside_ms * 1e6;
    return CR_OK;
}

cr_status cr_calibrate_read(const char *path, const cr_geometry *geometry,
                            cr_service *s, cr_error *error) {
    cr_buf buf;
    cr_json json = {0};
    cr_buf_init(&buf, CR_RESULTS_BYTES);
    cr_status status = cr_buf_read_file(&buf, path, error);
    if (status == CR_OK)
        status =
            cr_json_parse(&json, path, (cr_text){buf.data, buf.len}, 0, error);
    cr_buf_fini(&buf);
    if (status != CR_OK)
        goto done;
    const char *schema = cr_report_string(json.root, "schema");
    if (strcmp(schema, "crossrank-results/1") == 0)
        status = read_results(json.root, path, geometry, s, error);
    else if (strcmp(schema, "crossrank-plan/1") == 0)
        status = cr_service_read(json_object_get(json.root, "service"), path, s,
                                 error);
    else
        status = cr_fail(error, CR_ERR_INPUT,
                         "%s: \"schema\" is \"%.60s\"; supported: "
                         "\"crossrank-results/1\" of crossrank bench, "
                         "\"crossrank-plan/1\" of crossrank plan --json",
                         path, schema);
done:
    cr_json_fini(&json);
    return status;
}
