/* crossrank plan: how many lanes and replicas a load needs. */
#include "lab/plan.h"

#include "base/cpus.h"
#include "base/mem.h"
#include "cli/clock.h"
#include "cli/command.h"
#include "cli/common.h"
#include "cli/interrupt.h"
#include "cli/out.h"
#include "lab/calibrate.h"
#include "lab/lengths.h"
#include "lab/results.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    MAX_PAIRS = 10000, /* of a request, as the server takes them */
    MAX_DATA = 20000,  /* pairs of the data that are looked at */
    JSON_BYTES = 16 << 20
};

/* Of the CPUs, by lanes that are measured; less is worth a warning. */
static const double LEAST_CPU_SHARE = 0.9;

typedef struct plan_options {
    cr_common common;
    double rate, p99_ms, price;
    uint32_t pairs, replicas, lanes, window_ms, max_batch, seed, requests;
    const char *results, *dataset;
    bool json;
} plan_options;

/* Everything from the options to the answer. */
typedef struct planner {
    plan_options o;
    char program[CR_COMMON_PATH_BYTES], model_path[CR_COMMON_PATH_BYTES];
    char data_path[CR_COMMON_PATH_BYTES];
    cr_options options;
    uint32_t lanes; /* of a replica */
    cr_generation *generation;
    cr_dataset dataset;
    cr_job encoded;
    bool as_pairs;
    cr_lengths lengths;
    cr_service service;
    /* NAN where times were read from a file. */
    double calibration_s, lone_ms, cpu_share;
    cr_plan plan;
} planner;

/* ---- Data and service times -----------------------------------------------
 */

/* On a terminal one line, again and again. */
static void say(const planner *p, const char *what, uint32_t n) {
    if (p->o.common.quiet || isatty(STDERR_FILENO) != 1)
        return;
    fprintf(stderr, "\r\033[K");
    if (what)
        fprintf(stderr, "%s (%u)", what, n);
    fflush(stderr);
}

static cr_status open_model(planner *p, cr_error *error) {
    const cr_common *c = &p->o.common;
    uint32_t cpus = cr_cpus_count().cpus;
    cr_status status = cr_common_options(c, p->model_path, &p->options, error);
    p->lanes = p->o.lanes ? p->o.lanes : c->threads ? c->threads : cpus;
    /* More lanes than CPUs would be measured in each other's way. */
    p->options.threads = c->threads ? c->threads : p->lanes;
    if (p->options.threads > cpus)
        p->options.threads = cpus;
    if (status == CR_OK)
        status = cr_generation_open(&p->options, p->options.threads, 1,
                                    &p->generation, error);
    if (status == CR_OK && p->generation->n_labels != 1)
        status = cr_fail(error, CR_ERR_UNSUPPORTED,
                         "%s has %u labels, and what is planned are requests "
                         "that rank by one score a pair: give --model one with "
                         "one label",
                         cr_model_name(p->generation->model),
                         p->generation->n_labels);
    return status;
}

static cr_status open_data(planner *p, cr_error *error) {
    const cr_common bare = {0};
    const cr_encode_options how = {.truncation = p->options.truncation};
    char path[CR_COMMON_PATH_BYTES];
    cr_options shipped;
    cr_status status = CR_OK;
    if (!p->o.dataset) {
        status = cr_common_options(&bare, path, &shipped, error);
        if (status == CR_OK)
            cr_common_dataset(shipped.model, p->data_path);
    } else
        snprintf(p->data_path, sizeof p->data_path, "%s", p->o.dataset);
    if (status == CR_OK)
        status = cr_dataset_open(p->data_path, &p->dataset, error);
    if (status != CR_OK)
        return status;
    cr_dataset_shorten(&p->dataset, MAX_DATA);
    /* Data whose queries have hardly more than one passage make no requests of
     * one query. */
    p->as_pairs = p->dataset.n < 4 * p->dataset.n_groups;
    status = cr_job_encode(&p->encoded, p->generation, p->dataset.pairs,
                           (uint32_t)p->dataset.n, &how, error);
    if (status == CR_OK)
        status = cr_lengths_make(&p->encoded, &p->dataset, p->as_pairs,
                                 p->o.pairs, &p->lengths, error);
    return status;
}

/* The server that is measured runs with what was asked for here. */
static size_t list_arguments(const planner *p, char threads[16],
                             char length[16], const char *list[16]) {
    const cr_options *o = &p->options;
    snprintf(threads, 16, "%u", o->threads);
    snprintf(length, 16, "%u", o->max_length);
    const char *all[] = {"--model",      o->model,
                         "--backend",    o->backend,
                         "--device",     o->device,
                         "--dtype",      o->dtype,
                         "--isa",        o->isa,
                         "--threads",    threads,
                         "--max-length", length,
                         "--truncation", CR_TRUNCATION_CHOICES[o->truncation]};
    size_t n = 0;
    for (size_t i = 0; i < sizeof all / sizeof *all; i += 2)
        if (all[i + 1]) {
            list[n++] = all[i];
            list[n++] = all[i + 1];
        }
    return n;
}

static cr_status calibrate(planner *p, cr_error *error) {
    char threads[16], length[16];
    const char *arguments[16];
    ssize_t n = readlink("/proc/self/exe", p->program, sizeof p->program - 1);
    if (n < 0)
        return cr_fail(error, CR_ERR_IO,
                       "cannot find this program's file to start a server: "
                       "give --results");
    cr_calibration c = {.generation = p->generation,
                        .encoded = &p->encoded,
                        .dataset = &p->dataset,
                        .as_pairs = p->as_pairs,
                        .pairs = p->o.pairs,
                        .program = p->program,
                        .arguments = arguments,
                        .stop = cr_interrupt_asked};
    c.n_arguments = list_arguments(p, threads, length, arguments);
    double began = cr_seconds();
    say(p, "measuring service times, lanes", p->options.threads);
    cr_status status =
        cr_calibrate_groups(&c, &p->service, &p->cpu_share, error);
    say(p, "measuring requests to a server, pairs", p->o.pairs);
    if (status == CR_OK)
        status = cr_calibrate_door(&c, &p->service, &p->lone_ms, error);
    p->calibration_s = cr_seconds() - began;
    return status;
}

static cr_status find_service(planner *p, cr_error *error) {
    const cr_backend_description *d = &p->generation->backend->description;
    const cr_geometry geometry = {d->group_tokens, d->max_group_tokens,
                                  d->team_tokens};
    p->calibration_s = p->lone_ms = p->cpu_share = CR_UNKNOWN;
    return p->o.results
               ? cr_calibrate_read(p->o.results, &geometry, &p->service, error)
               : calibrate(p, error);
}

static void show_search(void *context, uint32_t replicas) {
    say(context, "simulating, replicas", replicas);
}

static cr_status make(planner *p, cr_error *error) {
    const plan_options *o = &p->o;
    cr_plan_options options = {
        .service = &p->service,
        .batching = {.enabled = true,
                     .max_batch = o->max_batch,
                     .timeout_ns = (int64_t)o->window_ms * 1000000},
        .lanes = p->lanes,
        .rate = o->rate,
        .p99_ms = o->p99_ms,
        .replicas = o->replicas,
        .starts = p->lengths.starts,
        .n_kinds = p->lengths.n_kinds,
        .pairs = o->pairs,
        .requests = o->requests,
        .seed = o->seed,
        .stop = cr_interrupt_asked,
        .progress = show_search,
        .context = p};
    cr_status status = open_model(p, error);
    if (status == CR_OK)
        status = open_data(p, error);
    if (status == CR_OK)
        status = find_service(p, error);
    options.lanes = p->lanes;
    options.starts = p->lengths.starts;
    options.n_kinds = p->lengths.n_kinds;
    if (status == CR_OK)
        status = cr_plan_make(&options, &p->plan, error);
    say(p, NULL, 0);
    return status;
}

/* ---- What it comes to ------------------------------------------------------
 */

static const cr_plan_row *answer_of(const planner *p) {
    const cr_plan *plan = &p->plan;
    return plan->answer < plan->n_rows ? &plan->rows[plan->answer] : NULL;
}

static double lanes_of(const planner *p, const cr_plan_row *row) {
    return (double)row->replicas * p->lanes;
}

/* Of a million passages, a lane being a core; NAN without a price. */
static double cost_of(const planner *p, const cr_plan_row *row) {
    double per_hour = p->o.rate * p->o.pairs * 3600;
    return p->o.price > 0 ? lanes_of(p, row) * p->o.price / per_hour * 1e6
                          : CR_UNKNOWN;
}

static double ms_of(const cr_plan_row *row, double ms) {
    return row->simulation.overloaded ? CR_UNKNOWN : ms;
}

static const char *source_of(const planner *p) {
    return p->o.results ? p->o.results : "measured here";
}

/* ---- JSON ------------------------------------------------------------------
 */

static json_t *row_json(const planner *p, const cr_plan_row *row) {
    const cr_simulation *s = &row->simulation;
    return json_pack(
        "{s:i,s:i,s:b,s:b,s:o,s:o,s:o,s:o,s:o,s:o,s:I,s:I}", "replicas",
        (int)row->replicas, "lanes", (int)lanes_of(p, row), "holds",
        (int)row->holds, "overloaded", (int)s->overloaded, "utilization",
        cr_results_number(s->utilization), "mean_ms",
        cr_results_number(ms_of(row, s->latency_ms.mean)), "p50_ms",
        cr_results_number(ms_of(row, s->latency_ms.p50)), "p95_ms",
        cr_results_number(ms_of(row, s->latency_ms.p95)), "p99_ms",
        cr_results_number(ms_of(row, s->latency_ms.p99)), "cost_per_million",
        cr_results_number(cost_of(p, row)), "requests", (json_int_t)s->counted,
        "events", (json_int_t)s->n_events);
}

static json_t *load_json(const planner *p) {
    const plan_options *o = &p->o;
    return json_pack("{s:f,s:i,s:o,s:s,s:f,s:i,s:i,s:i}", "rate_per_s", o->rate,
                     "pairs", (int)o->pairs, "p99_ms",
                     cr_results_number(o->p99_ms > 0 ? o->p99_ms : CR_UNKNOWN),
                     "dataset", p->dataset.source, "tokens_per_pair",
                     p->lengths.mean_tokens, "window_ms", (int)o->window_ms,
                     "max_batch", (int)o->max_batch, "seed", (int)o->seed);
}

static json_t *service_json(const planner *p) {
    const cr_backend_description *d = &p->generation->backend->description;
    json_t *service = cr_service_write(&p->service);
    json_object_set_new(service, "source", json_string(source_of(p)));
    json_object_set_new(service, "seconds",
                        cr_results_number(p->calibration_s));
    json_object_set_new(service, "lone_ms", cr_results_number(p->lone_ms));
    json_object_set_new(service, "cpu_share", cr_results_number(p->cpu_share));
    json_object_set_new(service, "backend", json_string(d->name));
    json_object_set_new(service, "dtype", json_string(d->dtype));
    json_object_set_new(service, "lanes", json_integer(d->lanes));
    return service;
}

static json_t *more_lanes_json(const cr_plan *plan) {
    return plan->more_lanes
               ? json_pack("{s:i,s:f}", "lanes", (int)plan->more_lanes,
                           "floor_ms", plan->more_lanes_floor_ms)
               : json_null();
}

static json_t *plan_json(const planner *p) {
    const cr_plan *plan = &p->plan;
    const cr_plan_row *row = answer_of(p);
    json_t *table = json_array();
    for (size_t i = 0; i < plan->n_rows; i++)
        json_array_append_new(table, row_json(p, &plan->rows[i]));
    return json_pack(
        "{s:s,s:o,s:o,s:{s:i,s:f,s:f},s:{s:f,s:f,s:f,s:f},s:f,s:b,s:o,s:o,"
        "s:o,s:{s:I,s:I}}",
        "schema", "crossrank-plan/1", "load", load_json(p), "service",
        service_json(p), "replica", "lanes", (int)p->lanes, "requests_per_s",
        plan->capacity, "passages_per_s", plan->capacity * p->o.pairs,
        "alone_ms", "mean", plan->alone_ms.mean, "p50", plan->alone_ms.p50,
        "p95", plan->alone_ms.p95, "p99", plan->alone_ms.p99, "floor_ms",
        plan->alone_ms.p99, "possible", (int)plan->possible, "more_lanes",
        more_lanes_json(plan), "answer", row ? row_json(p, row) : json_null(),
        "table", table, "simulated", "runs", (json_int_t)plan->n_simulations,
        "events", (json_int_t)plan->n_events);
}

static cr_status write_json(const planner *p, cr_out *out, cr_error *error) {
    cr_buf text;
    cr_buf_init(&text, JSON_BYTES);
    json_t *json = plan_json(p);
    cr_status status = cr_results_put_json(&text, json, JSON_INDENT(1), error);
    json_decref(json);
    if (status == CR_OK) {
        cr_out_write(out, text.data, text.len);
        cr_out_text(out, "\n");
    }
    cr_buf_fini(&text);
    return status;
}

/* ---- Text ------------------------------------------------------------------
 */

static void write_head(const planner *p, cr_out *out) {
    const cr_backend_description *d = &p->generation->backend->description;
    const cr_service *s = &p->service;
    const cr_plan *plan = &p->plan;
    cr_out_printf(out,
                  "load       %g requests/s of %u pairs, %.1f tokens a pair "
                  "(%.200s)\n",
                  p->o.rate, p->o.pairs, p->lengths.mean_tokens,
                  p->dataset.source);
    cr_out_printf(out, "times      %.200s", source_of(p));
    if (!isnan(p->calibration_s))
        cr_out_printf(out, " in %.1f s on %u lanes, %s %s", p->calibration_s,
                      d->lanes, d->name, d->dtype);
    cr_out_printf(out,
                  ": %u tokens in %.2f ms, %.2f ms a request beside that\n",
                  s->geometry.group_tokens,
                  cr_service_ns(s, s->geometry.group_tokens) * 1e-6,
                  (s->door_ns + s->wire_ns) * 1e-6);
    if (p->lanes > d->lanes && !p->o.results)
        cr_out_printf(out,
                      "           %u lanes are taken to be as fast each as %u "
                      "were\n",
                      p->lanes, d->lanes);
    cr_out_printf(out,
                  "alone      a request takes %.2f ms, p99 %.2f ms: the "
                  "floor\n",
                  plan->alone_ms.mean, plan->alone_ms.p99);
    cr_out_printf(out,
                  "replica    %u lanes, at most %.2f requests/s (%.0f "
                  "passages/s)\n",
                  p->lanes, plan->capacity, plan->capacity * p->o.pairs);
}

static void write_row(const planner *p, cr_out *out, const cr_plan_row *row) {
    const cr_simulation *s = &row->simulation;
    cr_out_printf(out, "%c %8u %7.0f", row == answer_of(p) ? '*' : ' ',
                  row->replicas, lanes_of(p, row));
    if (s->overloaded)
        cr_out_text(out, "  overloaded");
    else
        cr_out_printf(out, " %10.1f%% %9.2f %9.2f %9.2f", 100 * s->utilization,
                      s->latency_ms.p50, s->latency_ms.p95, s->latency_ms.p99);
    if (p->o.price > 0 && !s->overloaded)
        cr_out_printf(out, " %15.6g", cost_of(p, row));
    cr_out_text(out, "\n");
}

static void write_text(const planner *p, cr_out *out) {
    const cr_plan *plan = &p->plan;
    const cr_plan_row *row = answer_of(p);
    write_head(p, out);
    if (plan->n_rows)
        cr_out_printf(out, "\n  %8s %7s %11s %9s %9s %9s%s\n", "replicas",
                      "lanes", "utilization", "p50 ms", "p95 ms", "p99 ms",
                      p->o.price > 0 ? "    cost/million" : "");
    for (size_t i = 0; i < plan->n_rows; i++)
        write_row(p, out, &plan->rows[i]);
    if (row && row->holds && !p->o.replicas)
        cr_out_printf(out, "\nneeded     %u replicas, %.0f lanes in all\n",
                      row->replicas, lanes_of(p, row));
}

/* ---- The command -----------------------------------------------------------
 */

static cr_status check(const plan_options *o, cr_error *error) {
    if (!(o->rate > 0))
        return cr_fail(error, CR_ERR_ARGUMENT,
                       "plan needs --rate N, the requests a second");
    if (!o->pairs)
        return cr_fail(error, CR_ERR_ARGUMENT,
                       "plan needs --pairs M, the passages of a request");
    return CR_OK;
}

/* A plan that measured somebody else's work is not one. */
static void warn_of_noise(const planner *p) {
    if (!p->o.common.quiet && p->cpu_share < LEAST_CPU_SHARE)
        fprintf(stderr,
                "crossrank: other work had the CPUs %.0f %% of the time while "
                "lanes were measured: the plan is too large; measure on a "
                "quiet machine, or with fewer --threads\n",
                100 * (1 - p->cpu_share));
}

/* What cannot be held is said where it is seen, whatever standard output is;
 * true: it can. */
static bool judge(const planner *p) {
    const cr_plan *plan = &p->plan;
    const cr_plan_row *row = answer_of(p);
    if (!plan->possible && p->o.p99_ms < plan->alone_ms.p99) {
        fprintf(stderr,
                "crossrank: a p99 of %g ms is impossible with %u lanes a "
                "replica: a request alone has a p99 of %.2f ms, the floor "
                "whatever the number of replicas",
                p->o.p99_ms, p->lanes, plan->alone_ms.p99);
        if (plan->more_lanes)
            fprintf(stderr, "; --lanes %u would have %.2f ms\n",
                    plan->more_lanes, plan->more_lanes_floor_ms);
        else
            fprintf(stderr, "; no number of lanes would do: ask for fewer "
                            "or shorter passages\n");
        return false;
    }
    if (!plan->possible) {
        fprintf(stderr,
                "crossrank: no number of replicas that was tried holds a p99 "
                "of %g ms: the floor is %.2f ms, too near\n",
                p->o.p99_ms, plan->alone_ms.p99);
        return false;
    }
    if (row && row->simulation.overloaded)
        fprintf(stderr,
                "crossrank: %u replica%s overloaded: %.2f requests/s are what "
                "can be done, --rate is %g\n",
                row->replicas, row->replicas == 1 ? " is" : "s are",
                row->replicas * plan->capacity, p->o.rate);
    else if (row && !row->holds && p->o.p99_ms > 0)
        fprintf(stderr,
                "crossrank: %u replica%s not hold a p99 of %g ms: %.2f ms "
                "are to be expected\n",
                row->replicas, row->replicas == 1 ? " does" : "s do",
                p->o.p99_ms, row->simulation.latency_ms.p99);
    return row && !row->simulation.overloaded &&
           (row->holds || !(p->o.p99_ms > 0));
}

static int carry_out(planner *p) {
    cr_error error;
    bool good = false;
    cr_status status = make(p, &error);
    if (status == CR_OK) {
        cr_out out;
        cr_out_init(&out, STDOUT_FILENO, "standard output");
        if (p->o.json)
            status = write_json(p, &out, &error);
        else
            write_text(p, &out);
        if (status == CR_OK)
            status = cr_out_flush(&out, &error);
        warn_of_noise(p);
        if (status == CR_OK)
            good = judge(p);
    }
    cr_lengths_fini(&p->lengths);
    cr_job_fini(&p->encoded);
    cr_dataset_close(&p->dataset);
    cr_generation_unref(p->generation);
    if (status == CR_OK)
        return good ? CR_EXIT_DONE : CR_EXIT_SOME_FAILED;
    int code = cr_command_fail(&error);
    return status == CR_ERR_CANCELLED ? CR_EXIT_INTERRUPTED : code;
}

#define REAL_OPTION(name_, value_, target_, min_, max_, help_)                 \
    {                                                                          \
        .name = name_, .value = value_, .help = help_, .kind = CR_OPTION_REAL, \
        .target = target_, .min = min_, .max = max_                            \
    }

static int run(int argc, char **argv) {
    static planner p; /* large; there is one */
    p.o.seed = 1;
    plan_options *o = &p.o;
    cr_operands operands = {NULL, 0, 0};
    cr_error error;
    const cr_option options[] = {
        REAL_OPTION("rate", "N", &o->rate, 0.001, 1e6,
                    "requests a second, of all replicas together"),
        CR_NUMBER_OPTION("pairs", "M", &o->pairs, 1, MAX_PAIRS,
                         "passages of a request"),
        REAL_OPTION("p99", "MS", &o->p99_ms, 0.001, 1e7,
                    "latency that 99 of 100 requests must not exceed (default: "
                    "none; lanes at work 80 % of the time)"),
        CR_NUMBER_OPTION("replicas", "N", &o->replicas, 0, CR_MAX_REPLICAS,
                         "predict for as many (default 0: find how many are "
                         "needed)"),
        CR_NUMBER_OPTION(
            "lanes", "N", &o->lanes, 0, 1024,
            "lanes of a replica (default 0: --threads, which is how "
            "many are measured at once)"),
        CR_NUMBER_OPTION("window", "MS", &o->window_ms, 0, 60000,
                         "how long a batch waits for others, as "
                         "--batching-timeout-ms of serve (default 0)"),
        CR_NUMBER_OPTION("max-batch", "N", &o->max_batch, 0, 1000000,
                         "pairs of a batch, 0 for no limit (default 0)"),
        REAL_OPTION("price", "P", &o->price, 0, 1e6,
                    "of a core for an hour, in any currency: adds the cost of "
                    "a million passages (default: none)"),
        CR_TEXT_OPTION("results", "FILE", &o->results,
                       "take service times from results.json of bench or from "
                       "an earlier plan --json (default: measure them)"),
        CR_TEXT_OPTION("dataset", "DATA", &o->dataset,
                       "whose lengths requests have: a folder, a file or "
                       "synthetic:..., as load.dataset of bench (default: the "
                       "collection that is shipped)"),
        CR_NUMBER_OPTION("requests", "N", &o->requests, 0, 10000000,
                         "requests that a simulation counts (default 0: 20000 "
                         "and 50 more a replica)"),
        CR_NUMBER_OPTION("seed", "N", &o->seed, 0, 2147483647,
                         "of arrivals (default 1)"),
        CR_FLAG("json", &o->json, "JSON instead of text"),
        CR_COMMON_OPTIONS(&o->common),
    };
    int code = cr_command_parse(&cr_command_plan, options,
                                sizeof options / sizeof options[0], argc, argv,
                                &operands, 0);
    if (code != CR_GO_ON)
        return code;
    if (check(o, &error) != CR_OK)
        return cr_command_fail(&error);
    return carry_out(&p);
}

const cr_command cr_command_plan = {
    .name = "plan",
    .operands = "",
    .summary = "how many lanes and replicas a load needs",
    .about =
        "Measures on this machine how long groups of tokens and the rest of a "
        "request\n"
        "take, about seven seconds, and simulates replicas behind a balancer "
        "that gives\n"
        "each request to the one with the fewest outstanding. Requests arrive "
        "at random\n"
        "times (Poisson). Every replica batches with the code of crossrank "
        "serve.\n"
        "Prints what to expect around the fewest replicas that hold the p99. "
        "Equal\n"
        "options, service times (--results) and seeds give equal answers. "
        "docs/SCALE.md\n"
        "says how far it may be trusted.\n"
        "\n"
        "Exit code 1: no number of replicas, or not that of --replicas, can "
        "hold it.\n",
    .examples =
        "  crossrank plan --rate 50 --pairs 20 --p99 200 --price 0.04\n"
        "  crossrank plan --rate 50 --pairs 20 --replicas 4 --json >plan.json\n"
        "  crossrank plan --rate 400 --pairs 20 --p99 150 --results "
        "plan.json\n",
    .run = run,
};
