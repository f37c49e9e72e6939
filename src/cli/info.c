/* crossrank info: what runs here, and why. */
#include "base/cpus.h"
#include "cli/command.h"
#include "cli/common.h"
#include "cli/feed.h"
#include "cli/interrupt.h"
#include "cli/out.h"
#include "engine/backend.h"
#include "kernels/kernels.h"
#include "lab/lines.h"
#include "lab/peak.h"
#include "model/model.h"
#include "text/hf.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Everything that is told, gathered first. */
typedef struct info_facts {
    const cr_ranker *open;
    cr_ranker_info ranker;
    char sha256[CR_SHA256_HEX_BYTES];
    cr_cpu_count cpus;
    const char *threads_from;
    const char *dtype_from;
    bool with_peak;
    cr_peak peaks[CR_N_PEAKS];
} info_facts;

static const char *threads_from(const cr_common *common,
                                const cr_cpu_count *cpus) {
    if (common->threads)
        return "--threads";
    bool quota = cpus->quota_cpus > 0 && cpus->cpus < cpus->affinity_cpus;
    return quota ? "cgroup quota" : "affinity";
}

/* Why auto took the dtype that it took, which src/engine/cpu/cpu.c decides. */
static const char *dtype_reason(const info_facts *f) {
    if (strcmp(f->dtype_from, "auto") != 0)
        return "asked for";
    if (strcmp(f->ranker.backend, "cpu") != 0)
        return "what this backend takes by itself";
    if (strcmp(f->ranker.dtype, "bf16") == 0)
        return "this CPU has instructions for bf16; fp32 is exact";
    if (strcmp(f->ranker.isa, cr_isa_names()[0]) == 0 && cr_kernels_slow_bf16())
        return "this CPU's instructions for bf16 are slower than those for "
               "fp32";
    return "its isa has no instructions for bf16, which would be slower";
}

static cr_status read_sha256(const char *path, char hex[CR_SHA256_HEX_BYTES],
                             cr_error *error) {
    cr_model *model;
    cr_status status = cr_model_open(path, &model, error);
    if (status == CR_OK)
        status = cr_model_sha256(model, hex, error);
    cr_model_close(model);
    return status;
}

static cr_status gather(const cr_common *common, const cr_ranker *ranker,
                        info_facts *facts, cr_error *error) {
    facts->open = ranker;
    cr_ranker_get_info(ranker, &facts->ranker);
    facts->cpus = cr_cpus_count();
    facts->threads_from = threads_from(common, &facts->cpus);
    facts->dtype_from =
        strcmp(cr_common_dtype(common), "auto") == 0 ? "auto" : "--dtype";
    for (int kind = 0; facts->with_peak && kind < CR_N_PEAKS; kind++) {
        facts->peaks[kind] =
            cr_peak_measure((cr_peak_kind)kind, facts->ranker.threads);
        if (cr_interrupt_asked())
            return cr_fail(error, CR_ERR_CANCELLED,
                           "interrupted while the peak was measured");
    }
    return read_sha256(facts->ranker.model_path, facts->sha256, error);
}

/* ---- JSON --------------------------------------------------------------- */

static void put_string(cr_out *out, const char *key, const char *value) {
    cr_out_printf(out, "\"%s\":", key);
    cr_out_json(out, (cr_text){value, strlen(value)});
}

static void put_list(cr_out *out, const char *key, const char *const *list) {
    cr_out_printf(out, "\"%s\":[", key);
    for (size_t i = 0; list[i]; i++) {
        cr_out_text(out, i ? "," : "");
        cr_out_json(out, (cr_text){list[i], strlen(list[i])});
    }
    cr_out_text(out, "]");
}

/* "missing_backends": {NAME: why, and how to get it}. */
static void put_backends(cr_out *out) {
    const cr_backend_ops *ops;
    cr_error why;
    const char *const *names = cr_backend_all_names();
    put_list(out, "backends", cr_backend_names());
    cr_out_text(out, ",\"devices\":{");
    for (size_t i = 0, n = 0; names[i]; i++) {
        if (cr_backend_find(names[i], &ops, NULL) != CR_OK)
            continue;
        cr_out_text(out, n++ ? "," : "");
        put_list(out, names[i], ops->list_devices());
    }
    cr_out_text(out, "},\"missing_backends\":{");
    for (size_t i = 0, n = 0; names[i]; i++) {
        if (cr_backend_find(names[i], &ops, &why) == CR_OK)
            continue;
        cr_out_text(out, n++ ? "," : "");
        put_string(out, names[i], why.message);
    }
    cr_out_text(out, "}");
}

/* "components": {NAME: version}, "missing_components": {NAME: why, and how to
 * get it}. */
static void put_components(cr_out *out) {
    const cr_hf_ops *hf;
    cr_error why;
    cr_status status = cr_hf_find(&hf, &why);
    cr_out_text(out, "\"components\":{");
    if (status == CR_OK)
        put_string(out, "tokenizers", hf->version);
    cr_out_text(out, "},\"missing_components\":{");
    if (status != CR_OK)
        put_string(out, "tokenizers", why.message);
    cr_out_text(out, "}");
}

static const char *activation_name(cr_activation activation) {
    static const char *const NAMES[] = {"model", "none", "sigmoid", "tanh"};
    return NAMES[activation];
}

static void put_labels(cr_out *out, const info_facts *f) {
    cr_out_text(out, "\"label_names\":[");
    for (uint32_t i = 0; i < f->ranker.n_labels; i++) {
        const char *name = cr_label_name(f->open, i);
        cr_out_text(out, i ? "," : "");
        cr_out_json(out, (cr_text){name, strlen(name)});
    }
    cr_out_text(out, "],");
}

static void put_model(cr_out *out, const info_facts *f) {
    const cr_ranker_info *r = &f->ranker;
    cr_out_text(out, "\"model\":{");
    put_string(out, "name", r->model_name);
    cr_out_text(out, ",");
    put_string(out, "path", r->model_path);
    cr_out_text(out, ",");
    put_string(out, "sha256", f->sha256);
    cr_out_printf(out,
                  ",\"layers\":%u,\"hidden\":%u,\"heads\":%u,"
                  "\"intermediate\":%u,\"vocabulary\":%u,\"labels\":%u,"
                  "\"max_length\":%u,",
                  r->n_layers, r->hidden_size, r->n_heads, r->intermediate_size,
                  r->vocab_size, r->n_labels, r->max_length);
    put_labels(out, f);
    put_string(out, "truncation", CR_TRUNCATION_CHOICES[r->truncation]);
    cr_out_text(out, ",");
    put_string(out, "activation", activation_name(r->activation));
    cr_out_text(out, "}");
}

static void put_peaks(cr_out *out, const info_facts *f) {
    cr_out_text(out, ",\"peak_gflops\":{");
    for (int kind = 0; kind < CR_N_PEAKS; kind++) {
        const cr_peak *peak = &f->peaks[kind];
        cr_out_printf(out, "%s\"%s\":", kind ? "," : "",
                      cr_peak_name((cr_peak_kind)kind));
        if (!peak->instruction) {
            cr_out_text(out, "null");
            continue;
        }
        cr_out_printf(out, "{\"one_thread\":%.1f,\"all_threads\":%.1f,",
                      peak->one_thread, peak->all_threads);
        put_string(out, "isa", peak->instruction);
        cr_out_text(out, "}");
    }
    cr_out_text(out, "}");
}

static void write_json(cr_out *out, const info_facts *f) {
    const cr_ranker_info *r = &f->ranker;
    cr_out_text(out, "{");
    put_string(out, "version", cr_version());
    cr_out_text(out, ",");
    put_string(out, "isa", r->isa);
    cr_out_text(out, ",");
    put_list(out, "isa_available", cr_isa_names());
    cr_out_printf(out, ",\"threads\":%u,", r->threads);
    put_string(out, "threads_from", f->threads_from);
    cr_out_printf(
        out, ",\"cpus\":{\"affinity\":%u,\"quota\":", f->cpus.affinity_cpus);
    if (f->cpus.quota_cpus > 0)
        cr_out_printf(out, "%.6g},", f->cpus.quota_cpus);
    else
        cr_out_text(out, "null},");
    put_string(out, "dtype", r->dtype);
    cr_out_text(out, ",");
    put_string(out, "dtype_from", f->dtype_from);
    cr_out_text(out, ",");
    put_string(out, "dtype_reason", dtype_reason(f));
    cr_out_text(out, ",");
    put_backends(out);
    cr_out_text(out, ",");
    put_components(out);
    cr_out_text(out, ",");
    put_string(out, "backend", r->backend);
    cr_out_text(out, ",");
    put_string(out, "device", r->device);
    cr_out_text(out, ",");
    put_model(out, f);
    cr_out_printf(out,
                  ",\"memory_bytes\":{\"weights\":%llu,\"workspace\":%llu}"
                  ",\"limits\":{\"line_bytes\":%d,\"window_pairs\":%d,"
                  "\"window_bytes\":%d}",
                  (unsigned long long)r->weight_bytes,
                  (unsigned long long)r->workspace_bytes, CR_MAX_LINE_BYTES,
                  CR_WINDOW_ITEMS, CR_WINDOW_BYTES);
    if (f->with_peak)
        put_peaks(out, f);
    cr_out_text(out, "}\n");
}

/* ---- Text --------------------------------------------------------------- */

static void write_backends(cr_out *out) {
    const char *const *names = cr_backend_all_names();
    for (size_t i = 0; names[i]; i++) {
        const cr_backend_ops *ops;
        cr_error why;
        if (cr_backend_find(names[i], &ops, &why) != CR_OK) {
            cr_out_printf(out, "missing    %.400s\n", why.message);
            continue;
        }
        cr_out_printf(out, "there is   %s on", names[i]);
        for (const char *const *d = ops->list_devices(); *d; d++)
            cr_out_printf(out, " %s", *d);
        cr_out_text(out, " in");
        for (const char *const *d = ops->dtypes; *d; d++)
            cr_out_printf(out, " %s", *d);
        cr_out_text(out, "\n");
    }
}

static void write_components(cr_out *out) {
    const cr_hf_ops *hf;
    cr_error why;
    if (cr_hf_find(&hf, &why) == CR_OK)
        cr_out_printf(out,
                      "there is   tokenizers %s, for byte-level BPE and "
                      "Unigram\n",
                      hf->version);
    else
        cr_out_printf(out, "missing    %.400s\n", why.message);
}

static void write_text(cr_out *out, const info_facts *f) {
    const cr_ranker_info *r = &f->ranker;
    const char *const *isas = cr_isa_names();
    cr_out_printf(out,
                  "crossrank  %s\nmodel      %.200s, %u layers of %u, "
                  "%u tokens at most\n",
                  cr_version(), r->model_name, r->n_layers, r->hidden_size,
                  r->max_length);
    cr_out_printf(out, "folder     %.400s\n", r->model_path);
    cr_out_printf(out, "sha256     %s\n", f->sha256);
    cr_out_printf(out, "backend    %s on %s\n", r->backend, r->device);
    cr_out_printf(out, "dtype      %s, from %s: %s\n", r->dtype, f->dtype_from,
                  dtype_reason(f));
    if (r->n_labels > 1) {
        cr_out_text(out, "labels    ");
        for (uint32_t i = 0; i < r->n_labels; i++)
            cr_out_printf(out, "%s %.40s", i ? "," : "",
                          cr_label_name(f->open, i));
        cr_out_text(out, "\n");
    }
    write_backends(out);
    write_components(out);
    cr_out_printf(out, "isa        %s, of", r->isa[0] ? r->isa : "none");
    for (size_t i = 0; isas[i]; i++)
        cr_out_printf(out, " %s", isas[i]);
    cr_out_printf(out, "\nthreads    %u, from %s\n", r->threads,
                  f->threads_from);
    cr_out_printf(out, "memory     %.1f MB weights, %.1f MB workspace\n",
                  (double)r->weight_bytes / 1e6,
                  (double)r->workspace_bytes / 1e6);
    for (int kind = 0; f->with_peak && kind < CR_N_PEAKS; kind++) {
        const cr_peak *peak = &f->peaks[kind];
        cr_out_printf(out, "peak %s  ", cr_peak_name((cr_peak_kind)kind));
        if (peak->instruction)
            cr_out_printf(out, "%.1f GFLOPS on one thread, %.1f on %u (%s)\n",
                          peak->one_thread, peak->all_threads, r->threads,
                          peak->instruction);
        else
            cr_out_text(out, "no instruction for it\n");
    }
}

/* ---- The command -------------------------------------------------------- */

static int run(int argc, char **argv) {
    cr_common common = {0};
    bool json = false;
    info_facts facts = {.with_peak = false};
    cr_operands operands = {NULL, 0, 0};
    const cr_option options[] = {
        CR_FLAG("json", &json, "JSON instead of text"),
        CR_FLAG("peak", &facts.with_peak,
                "measure the arithmetic peak of one thread and of all, which "
                "takes some seconds"),
        CR_COMMON_OPTIONS(&common),
    };
    int code = cr_command_parse(&cr_command_info, options,
                                sizeof options / sizeof options[0], argc, argv,
                                &operands, 0);
    if (code != CR_GO_ON)
        return code;
    cr_error error;
    cr_ranker *ranker;
    cr_status status = cr_common_open(&common, &ranker, &error);
    if (status == CR_OK)
        status = gather(&common, ranker, &facts, &error);
    if (status == CR_OK) {
        cr_out out;
        cr_out_init(&out, STDOUT_FILENO, "standard output");
        if (json)
            write_json(&out, &facts);
        else
            write_text(&out, &facts);
        status = cr_out_flush(&out, &error);
    }
    cr_ranker_close(ranker);
    if (status == CR_OK)
        return CR_EXIT_DONE;
    code = cr_command_fail(&error);
    return status == CR_ERR_CANCELLED ? CR_EXIT_INTERRUPTED : code;
}

const cr_command cr_command_info = {
    .name = "info",
    .operands = "",
    .summary = "model, instruction set, threads, number format: what runs here",
    .about =
        "Opens the model as the other commands would with the same options "
        "and says\n"
        "what runs. --json has version, isa, isa_available, threads, "
        "threads_from,\n"
        "dtype, dtype_from, dtype_reason, backends, devices, "
        "missing_backends (with how\n"
        "to get them), components, missing_components, model (name, path, "
        "sha256 of the\n"
        "weights, layers, hidden, heads, ..., labels, label_names, "
        "activation: what a\n"
        "score is), memory_bytes and limits.\n"
        "\n"
        "--peak adds peak_gflops: for fp32, bf16 and int8 the billions of "
        "operations a\n"
        "second of one thread and of all, with the instruction set that gave "
        "them; null\n"
        "where the processor has no instruction for it.\n",
    .examples = "  crossrank info\n"
                "  crossrank info --json --peak --threads 4\n",
    .run = run,
};
