/* Report text: what the seed's report lacks to be believed. What is not a
 * matter of requests is printed as results.json has it. */
#include "lab/report_text.h"

#include <math.h>
#include <string.h>

static const json_t *at(const json_t *json, const char *a, const char *b) {
    return json_object_get(json_object_get(json, a), b);
}

static void put_line(cr_report_out *out, const char *name, const char *text) {
    cr_report_put(out, "| %s | %s |\n", name, text);
}

static void put_count(cr_report_out *out, const char *name, double value,
                      int decimals, const char *unit) {
    cr_report_put(out, "| %s |", name);
    cr_report_put_cell(out, value, decimals, unit);
    cr_report_put(out, "\n");
}

static const json_t *first_info(const cr_report *r) {
    return json_object_get(
        json_array_get(json_object_get(r->json, "servers"), 0), "info");
}

static void put_machine(cr_report_out *out, const cr_report *r) {
    const json_t *m = json_object_get(r->json, "machine");
    json_t *libraries =
        json_object_get(json_object_get(r->json, "software"), "libraries");
    const char *name;
    json_t *version;
    cr_report_put(out, "\n## Machine and Software\n\n| What | Value |\n"
                       "|------|-------|\n");
    put_line(out, "CPU", cr_report_string(m, "cpu"));
    put_count(out, "Cores", cr_report_number(m, "cores"), 0, "");
    put_count(out, "Memory", cr_report_number(m, "memory_bytes") / 1048576.0, 0,
              " MB");
    put_line(out, "System", cr_report_string(m, "os"));
    put_line(out, "Kernel", cr_report_string(m, "kernel"));
    put_line(out, "Instruction set", cr_report_string(m, "isa"));
    put_count(out, "Lanes", cr_report_number(m, "lanes"), 0, "");
    put_line(
        out, "crossrank",
        cr_report_string(json_object_get(r->json, "software"), "crossrank"));
    json_object_foreach(libraries, name, version) put_line(
        out, name,
        json_string_value(version) ? json_string_value(version) : "n/a");
    put_line(out, "Model", cr_report_string(first_info(r), "model_id"));
    put_line(out, "Model hash",
             cr_report_string(json_object_get(first_info(r), "crossrank"),
                              "model_sha256"));
    put_line(out, "dtype", cr_report_string(first_info(r), "model_dtype"));
}

static void put_accuracy(cr_report_out *out, const json_t *a) {
    if (!json_is_object(a)) {
        cr_report_put(out, "n/a (no scores were compared)\n");
        return;
    }
    cr_report_put(out,
                  "max |difference| %.3g, mean %.3g over %.0f pairs "
                  "against %s\n",
                  cr_report_number(a, "max_abs_diff"),
                  cr_report_number(a, "mean_abs_diff"),
                  cr_report_number(a, "checked_pairs"),
                  cr_report_string(a, "reference"));
    if (json_is_true(json_object_get(a, "other_scores")))
        cr_report_put(out,
                      "\n**Other scores:** the difference is above %.2g. What "
                      "was measured is another model, or a number format "
                      "that costs accuracy.\n",
                      cr_report_number(a, "limit"));
}

/* Of the server that has configuration `c`, before its first one. */
static void put_server_accuracy(cr_report_out *out, const cr_report *r,
                                size_t c) {
    const json_t *list = json_object_get(r->json, "servers");
    size_t first = 0;
    for (size_t s = 0; s < json_array_size(list); s++) {
        const json_t *server = json_array_get(list, s);
        size_t n = json_array_size(json_object_get(server, "configurations"));
        if (n && first == c) {
            cr_report_put(
                out, "\nServer %.0f (%s): ", cr_report_number(server, "id"),
                r->configs[c].settings);
            put_accuracy(out, json_object_get(server, "accuracy"));
        }
        first += n;
    }
}

static void put_data(cr_report_out *out, const cr_report *r) {
    const json_t *d = json_object_get(r->json, "dataset");
    const json_t *t = json_object_get(d, "tokens");
    cr_report_put(out, "\n## Data and Accuracy\n\n**Data:** %s%s, ",
                  cr_report_string(d, "source"),
                  json_is_true(json_object_get(d, "synthetic")) ? " (synthetic)"
                                                                : "");
    cr_report_put_number(out, cr_report_number(d, "pairs"), 0, "");
    cr_report_put(out, " pairs; tokens a pair: min ");
    cr_report_put_number(out, cr_report_number(t, "min"), 0, "");
    cr_report_put(out, ", mean ");
    cr_report_put_number(out, cr_report_number(t, "mean"), 1, "");
    cr_report_put(out, ", P50 ");
    cr_report_put_number(out, cr_report_number(t, "p50"), 0, "");
    cr_report_put(out, ", P95 ");
    cr_report_put_number(out, cr_report_number(t, "p95"), 0, "");
    cr_report_put(out, ", max ");
    cr_report_put_number(out, cr_report_number(t, "max"), 0, "");
    cr_report_put(out, "; cut: ");
    cr_report_put_number(out, cr_report_number(d, "truncated_pairs"), 0, "");
    cr_report_put(out, "\n\n**Accuracy:** ");
    put_accuracy(out, json_object_get(r->json, "accuracy"));
    const json_t *servers = json_object_get(r->json, "servers");
    for (size_t i = 0; json_array_size(servers) > 1 && i < r->n_configs; i++)
        put_server_accuracy(out, r, i);
}

static void put_load(cr_report_out *out, const cr_report *r) {
    cr_report_put(out, "\n## Load\n\n| Config | Mode | Requests | Failed | "
                       "Offered/s | Achieved/s | Tokens/s | Lat P99.9 | Client "
                       "CPU |\n|-----|-----|-----|-----|-----|-----|-----|-----"
                       "|-----|\n");
    for (size_t i = 0; i < r->n_configs; i++) {
        const cr_report_config *c = &r->configs[i];
        const json_t *t = json_object_get(c->json, "throughput");
        double share = cr_report_number(c->json, "client_cpu_share");
        cr_report_put(out, "| %zu | %s |", i + 1,
                      cr_report_string(c->json, "mode"));
        cr_report_put_cell(out, (double)(c->n_requests + c->n_failed), 0, "");
        cr_report_put_cell(out, (double)c->n_failed, 0, "");
        cr_report_put_cell(out, cr_report_number(c->json, "rate_per_s"), 1, "");
        cr_report_put_cell(out, (double)c->n_requests / c->seconds, 1, "");
        cr_report_put_cell(out, cr_report_number(t, "tokens_per_s"), 0, "");
        cr_report_put_cell(out, c->latency.p999, 1, "ms");
        cr_report_put_cell(out, 100.0 * share, 1, "%");
        cr_report_put(out, "\n");
    }
}

/* Means, whose parts add up to the latency: what no stage accounts for
 * (network, the client) is "other". */
static void put_stages(cr_report_out *out, const cr_report *r) {
    static const char *const STAGES[] = {"parse", "tokenize", "queue_wait",
                                         "inference", "respond"};
    cr_report_put(out, "\n## Stages (mean ms of a request)\n\n| Config | Parse "
                       "| Tokenize | Queue wait | Inference | Respond | Other "
                       "| Latency |\n|-----|-----|-----|-----|-----|-----|-----"
                       "|-----|\n");
    for (size_t i = 0; i < r->n_configs; i++) {
        const cr_report_config *c = &r->configs[i];
        const json_t *stages = at(c->json, "server", "stages_ms");
        double other = c->latency.mean;
        cr_report_put(out, "| %zu |", i + 1);
        for (size_t s = 0; s < sizeof STAGES / sizeof STAGES[0]; s++) {
            double mean =
                cr_report_number(json_object_get(stages, STAGES[s]), "mean");
            cr_report_put_cell(out, mean, 2, "");
            other -= isnan(mean) ? 0.0 : mean;
        }
        cr_report_put_cell(out, stages ? other : CR_UNKNOWN, 2, "");
        cr_report_put_cell(out, c->latency.mean, 2, "");
        cr_report_put(out, "\n");
    }
}

static void put_tokens(cr_report_out *out, const cr_report *r) {
    cr_report_put(out, "\n## Tokens and Batches\n\n| Config | Real tokens | "
                       "Padded tokens | Batches | Pairs/batch | Fill | CPU | "
                       "Memory |\n|-----|-----|-----|-----|-----|-----|-----|"
                       "-----|\n");
    for (size_t i = 0; i < r->n_configs; i++) {
        const json_t *s = json_object_get(r->configs[i].json, "server");
        const json_t *t = json_object_get(s, "tokens");
        cr_report_put(out, "| %zu |", i + 1);
        cr_report_put_cell(out, cr_report_number(t, "real"), 0, "");
        cr_report_put_cell(out, cr_report_number(t, "padded"), 0, "");
        cr_report_put_cell(out, cr_report_number(s, "batches"), 0, "");
        cr_report_put_cell(out, cr_report_number(s, "pairs_per_batch"), 1, "");
        cr_report_put_cell(out, 100.0 * cr_report_number(s, "batch_fill"), 1,
                           "%");
        cr_report_put_cell(out, cr_report_number(s, "cpu_percent"), 1, "%");
        cr_report_put_cell(out, cr_report_number(s, "memory_bytes") / 1048576.0,
                           1, " MB");
        cr_report_put(out, "\n");
    }
}

static void put_errors(cr_report_out *out, const cr_report *r) {
    bool any = false;
    cr_report_put(out, "\n## Errors\n\n");
    for (size_t i = 0; i < r->n_configs; i++) {
        const char *reason;
        json_t *count;
        json_object_foreach(json_object_get(r->configs[i].json, "errors"),
                            reason, count) {
            cr_report_put(out, "- Config %zu: %.0f x %s\n", i + 1,
                          json_number_value(count), reason);
            any = true;
        }
    }
    if (!any)
        cr_report_put(out, "none\n");
    char warnings[CR_REPORT_WARNINGS][CR_REPORT_TEXT];
    size_t n = cr_report_warnings(r, warnings);
    for (size_t i = 0; i < n; i++)
        cr_report_put(out, "\n**Warning:** %s\n", warnings[i]);
}

void cr_report_put_rest(cr_report_out *out, const cr_report *report) {
    put_machine(out, report);
    put_data(out, report);
    put_load(out, report);
    put_stages(out, report);
    put_tokens(out, report);
    put_errors(out, report);
}
