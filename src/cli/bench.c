/* crossrank bench: an experiment carried out, and its report. */
#include "lab/bench.h"

#include "base/mem.h"
#include "cli/command.h"
#include "cli/common.h"
#include "cli/interrupt.h"
#include "lab/wire.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    PATH_BYTES = 4096 /* as realpath() wants */,
    MAX_EXPERIMENTS = 256,
    NAME_BYTES = 128
};

typedef struct bench_options {
    cr_common common; /* for the default model and --quiet */
    const char *out, *url, *grpc_url, *dialect_name;
    uint32_t dialect; /* cr_wire_dialect + 1; 0: as the file says */
    bool in_process, all;
    bool on_terminal;
    int argc;
    char **argv;
} bench_options;

/* ---- What is said meanwhile -------------------------------------------------
 */

static void say(void *context, bool passing, const char *line) {
    const bench_options *o = context;
    if (o->common.quiet || (passing && !o->on_terminal))
        return;
    fprintf(stderr, "%s%s%s", o->on_terminal ? "\r\033[K" : "", line,
            passing ? "" : "\n");
    fflush(stderr);
}

/* ---- One experiment ---------------------------------------------------------
 */

/* Options that every command has win over the file. */
static cr_status apply_common(const cr_common *c, cr_experiment *e,
                              cr_error *error) {
    char threads[16], length[16];
    snprintf(threads, sizeof threads, "%u", c->threads);
    snprintf(length, sizeof length, "%u", c->max_length);
    const struct {
        const char *key, *value;
    } settings[] = {
        {"model", c->model},
        {"backend", c->backend},
        {"device", c->device},
        {"isa", c->isa},
        {"dtype", c->dtype ? cr_common_dtype(c) : NULL},
        {"threads", c->threads ? threads : NULL},
        {"max_length", c->max_length ? length : NULL},
        {"truncation",
         c->truncation ? CR_TRUNCATION_CHOICES[c->truncation] : NULL},
    };
    cr_status status = CR_OK;
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        if (status == CR_OK && settings[i].value)
            status =
                cr_experiment_set(e, settings[i].key, settings[i].value, error);
    return status;
}

static void apply_flags(const bench_options *o, cr_experiment *e) {
    if (o->in_process)
        e->load.protocol = CR_PROTOCOL_IN_PROCESS;
    if (o->dialect && e->load.dialect != o->dialect - 1) {
        e->load.dialect = o->dialect - 1;
        e->load.request = cr_wire_default_request(e->load.dialect);
    }
}

static cr_status run_file(bench_options *o, const char *file, const char *dir,
                          cr_bench_outcome *outcome, cr_error *error) {
    static char program[PATH_BYTES], data[CR_COMMON_PATH_BYTES];
    char path[CR_COMMON_PATH_BYTES];
    const cr_common bare = {0};
    cr_experiment e;
    cr_options options;
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    if (n > 0)
        program[n] = 0;
    cr_status status = cr_common_options(&bare, path, &options, error);
    if (status != CR_OK)
        return status;
    cr_common_dataset(options.model, data);
    status = cr_experiment_read(file, &e, error);
    if (status != CR_OK)
        return status;
    apply_flags(o, &e);
    status = apply_common(&o->common, &e, error);
    if (status == CR_OK)
        status = cr_experiment_leave_out(&e, o->url != NULL, error);
    cr_bench_options bench = {.experiment = &e,
                              .dir = dir,
                              .program = n > 0 ? program : o->argv[0],
                              .default_model = options.model,
                              .default_dataset = data,
                              .url = o->url,
                              .grpc_url = o->grpc_url,
                              .command = o->argv,
                              .n_command = (size_t)o->argc,
                              .stop = cr_interrupt_asked,
                              .say = say,
                              .context = o};
    say(o, false, e.name);
    if (status == CR_OK)
        status = cr_bench_run(&bench, outcome, error);
    cr_experiment_fini(&e);
    return status;
}

static int exit_code(const cr_bench_outcome *outcome, cr_status status,
                     const cr_error *error) {
    if (status != CR_OK)
        return cr_command_fail(error);
    if (outcome->stopped)
        return CR_EXIT_INTERRUPTED;
    return outcome->n_failed ? CR_EXIT_SOME_FAILED : CR_EXIT_DONE;
}

/* The part of a path between the last slash and the last dot. */
static void stem(const char *path, char name[NAME_BYTES]) {
    const char *slash = strrchr(path, '/');
    snprintf(name, NAME_BYTES, "%s", slash ? slash + 1 : path);
    char *dot = strrchr(name, '.');
    if (dot && dot != name)
        *dot = 0;
}

static int run_one(bench_options *o, const char *file) {
    char name[NAME_BYTES], dir[PATH_BYTES];
    cr_bench_outcome outcome = {0};
    cr_error error;
    stem(file, name);
    snprintf(dir, sizeof dir, "%s", name);
    cr_status status =
        run_file(o, file, o->out ? o->out : dir, &outcome, &error);
    return exit_code(&outcome, status, &error);
}

/* ---- All experiments of a folder --------------------------------------------
 */

static int by_name(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Each has a folder of its own, called after its file without .yaml or .yml. */
static cr_status check_stems(const char *folder, char *const *names, size_t n,
                             cr_error *error) {
    char a[NAME_BYTES], b[NAME_BYTES];
    for (size_t i = 1; i < n; i++)
        for (size_t k = 0; k < i; k++) {
            stem(names[i], a);
            stem(names[k], b);
            if (strcmp(a, b) == 0)
                return cr_fail(error, CR_ERR_INPUT,
                               "%s: %s and %s would leave their results in one "
                               "folder: rename one",
                               folder, names[k], names[i]);
        }
    return CR_OK;
}

static cr_status list_experiments(const char *folder, char **names, size_t *n,
                                  cr_error *error) {
    DIR *dir = opendir(folder);
    *n = 0;
    if (!dir)
        return cr_fail(error, CR_ERR_IO, "%s: no folder of experiments",
                       folder);
    for (struct dirent *one; (one = readdir(dir)) && *n < MAX_EXPERIMENTS;) {
        const char *dot = strrchr(one->d_name, '.');
        if (dot && (!strcmp(dot, ".yaml") || !strcmp(dot, ".yml")))
            names[(*n)++] = cr_strndup(one->d_name, strlen(one->d_name));
    }
    closedir(dir);
    qsort(names, *n, sizeof *names, by_name);
    if (!*n)
        return cr_fail(error, CR_ERR_INPUT, "%s: no .yaml file in it", folder);
    return check_stems(folder, names, *n, error);
}

static void write_row(const char *name, const cr_bench_outcome *outcome,
                      cr_status status, const cr_error *error) {
    if (status != CR_OK)
        printf("%-28s failed: %s\n", name, error->message);
    else if (isnan(outcome->best_pairs_per_s))
        printf("%-28s no figures: %zu requests, %zu failed\n", name,
               outcome->n_requests, outcome->n_failed);
    else
        printf("%-28s %4zu configurations, %6zu requests, %zu failed, best "
               "%.1f pairs/s, %.2f ms, max |difference| %.3g\n",
               name, outcome->n_configurations, outcome->n_requests,
               outcome->n_failed, outcome->best_pairs_per_s,
               outcome->best_latency_ms, outcome->max_abs_diff);
    fflush(stdout);
}

/* One that fails does not keep the others from being run. */
static int run_folder(bench_options *o, const char *folder) {
    char *names[MAX_EXPERIMENTS], file[PATH_BYTES], dir[PATH_BYTES];
    char name[NAME_BYTES];
    size_t n;
    cr_error error;
    int code = CR_EXIT_DONE;
    if (list_experiments(folder, names, &n, &error) != CR_OK) {
        while (n)
            cr_free(names[--n]);
        return cr_command_fail(&error);
    }
    for (size_t i = 0; i < n; i++) {
        cr_bench_outcome outcome = {0};
        stem(names[i], name);
        snprintf(file, sizeof file, "%s/%s", folder, names[i]);
        snprintf(dir, sizeof dir, "%s/%s", o->out ? o->out : "results", name);
        if (!cr_interrupt_asked()) {
            cr_status status = run_file(o, file, dir, &outcome, &error);
            write_row(name, &outcome, status, &error);
            if (status != CR_OK || outcome.n_failed)
                code = CR_EXIT_SOME_FAILED;
        }
        cr_free(names[i]);
    }
    return cr_interrupt_asked() ? CR_EXIT_INTERRUPTED : code;
}

/* ---- The command ------------------------------------------------------------
 */

static cr_status find_dialect(bench_options *o, cr_error *error) {
    if (!o->dialect_name)
        return CR_OK;
    for (uint32_t i = 0; CR_WIRE_DIALECTS[i]; i++)
        if (strcmp(CR_WIRE_DIALECTS[i], o->dialect_name) == 0) {
            o->dialect = i + 1;
            return CR_OK;
        }
    return cr_fail(error, CR_ERR_ARGUMENT,
                   "--dialect is \"%.40s\", it must be one of tei, cohere, "
                   "jina, vllm, infinity",
                   o->dialect_name);
}

static int run(int argc, char **argv) {
    bench_options o = {
        .on_terminal = isatty(STDERR_FILENO) == 1, .argc = argc, .argv = argv};
    const char *file;
    cr_operands operands = {&file, 0, 1};
    cr_error error;
    const cr_option options[] = {
        {.name = "output",
         .letter = 'o',
         .value = "DIR",
         .help = "folder of the results (default: the file's name; with --all "
                 "results/NAME)",
         .kind = CR_OPTION_TEXT,
         .target = &o.out},
        CR_TEXT_OPTION("url", "URL", &o.url,
                       "measure the server that runs there, not one of our "
                       "own"),
        CR_TEXT_OPTION("grpc-url", "URL", &o.grpc_url,
                       "where that server speaks gRPC, as http://HOST:PORT; "
                       "for load.protocol: grpc"),
        CR_TEXT_OPTION("dialect", "NAME", &o.dialect_name,
                       "what that server speaks: tei, cohere, jina, vllm or "
                       "infinity (default: as the file says, else tei)"),
        CR_FLAG("in-process", &o.in_process,
                "score in this process, without a server"),
        CR_FLAG("all", &o.all,
                "FILE.yaml is a folder: run every experiment in it and print "
                "a summary"),
        CR_COMMON_OPTIONS(&o.common),
    };
    int code = cr_command_parse(&cr_command_bench, options,
                                sizeof options / sizeof *options, argc, argv,
                                &operands, 1);
    if (code != CR_GO_ON)
        return code;
    if (find_dialect(&o, &error) != CR_OK)
        return cr_command_fail(&error);
    return o.all ? run_folder(&o, file) : run_one(&o, file);
}

const cr_command cr_command_bench = {
    .name = "bench",
    .operands = "FILE.yaml",
    .summary = "measure a server under load, and write the report",
    .about =
        "Starts a server for every combination of settings that the file "
        "asks for, puts\n"
        "every load on it and writes report.md, report.html, results.json "
        "and\n"
        "requests.csv. docs/LAB.md explains the file, docs/REPORT.md every "
        "figure.\n"
        "\n"
        "Ctrl-C ends it early: what was measured is written, exit code 130. "
        "Failed\n"
        "requests are counted and shown, exit code 1.\n",
    .examples = "  crossrank bench experiments/08b_dynamic_batch_cpu.yaml\n"
                "  crossrank bench load.yaml --url http://10.0.0.7:8080 "
                "--dialect jina\n"
                "  crossrank bench --all experiments -o results\n",
    .run = run,
};
