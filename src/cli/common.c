/* Common: from options and environment to an open ranker. */
#include "cli/common.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *const CR_DTYPE_CHOICES[] = {"auto", "fp32", "fp16",
                                        "bf16", "int8", NULL};
const char *const CR_TRUNCATION_CHOICES[] = {"longest_first", "only_second",
                                             NULL};
const char *const CR_ACTIVATION_CHOICES[] = {"model", "none", "sigmoid", NULL};
const char *const CR_PAIR_FORMAT_CHOICES[] = {"auto", "tsv", "jsonl", NULL};
const char *const CR_PASSAGE_FORMAT_CHOICES[] = {"auto", "text", "jsonl", NULL};

static bool is_model(const char *folder) {
    char path[CR_COMMON_PATH_BYTES];
    int len = snprintf(path, sizeof path, "%s/config.json", folder);
    return len > 0 && (size_t)len < sizeof path && access(path, R_OK) == 0;
}

/* The shipped model beside bin/, wherever that was moved to. */
static bool beside_program(char path[CR_COMMON_PATH_BYTES]) {
    static const char REST[] = "/../share/crossrank/models/crossrank-minilm-l6";
    ssize_t len =
        readlink("/proc/self/exe", path, CR_COMMON_PATH_BYTES - sizeof REST);
    if (len <= 0)
        return false;
    path[len] = '\0';
    char *slash = strrchr(path, '/');
    if (!slash)
        return false;
    memcpy(slash, REST, sizeof REST);
    return is_model(path);
}

/* What an option says, else the environment, where empty is not set. */
static const char *or_variable(const char *option, const char *variable) {
    const char *value = getenv(variable);
    return option ? option : value && *value ? value : NULL;
}

static const char *find_model(const cr_common *common,
                              char path[CR_COMMON_PATH_BYTES]) {
    const char *named = or_variable(common->model, "CROSSRANK_MODEL");
    if (named && *named)
        return named;
    /* What was installed together stays together, also where the source is
     * still there; in the build tree nothing is beside the program. */
    if (beside_program(path))
        return path;
    if (is_model(CR_DEFAULT_MODEL_SOURCE))
        return CR_DEFAULT_MODEL_SOURCE;
    return is_model(CR_DEFAULT_MODEL_INSTALLED) ? CR_DEFAULT_MODEL_INSTALLED
                                                : NULL;
}

const char *cr_common_dtype(const cr_common *common) {
    return CR_DTYPE_CHOICES[common->dtype];
}

static cr_status add_revision(const cr_common *common,
                              char path[CR_COMMON_PATH_BYTES],
                              cr_options *options, cr_error *error) {
    if (access(options->model, F_OK) == 0)
        return cr_fail(error, CR_ERR_ARGUMENT,
                       "revision is \"%.60s\", but the model is a folder, "
                       "which has none: %.200s",
                       common->revision, options->model);
    int len = snprintf(path, CR_COMMON_PATH_BYTES, "%s@%s", options->model,
                       common->revision);
    if (len < 0 || len >= CR_COMMON_PATH_BYTES)
        return cr_fail(error, CR_ERR_ARGUMENT,
                       "model and revision are longer "
                       "than %d bytes",
                       CR_COMMON_PATH_BYTES - 1);
    options->model = path;
    return CR_OK;
}

cr_status cr_common_options(const cr_common *common,
                            char path[CR_COMMON_PATH_BYTES],
                            cr_options *options, cr_error *error) {
    cr_options_init(options);
    options->model = find_model(common, path);
    if (!options->model)
        return cr_fail(error, CR_ERR_MODEL,
                       "no model: the shipped one is not in %s: name a folder "
                       "with --model DIR or $CROSSRANK_MODEL",
                       CR_DEFAULT_MODEL_INSTALLED);
    if (common->revision && *common->revision) {
        cr_status status = add_revision(common, path, options, error);
        if (status != CR_OK)
            return status;
    }
    options->backend = or_variable(common->backend, "CROSSRANK_BACKEND");
    options->device = or_variable(common->device, "CROSSRANK_DEVICE");
    options->dtype = cr_common_dtype(common);
    options->isa = common->isa; /* NULL: the engine asks $CROSSRANK_ISA */
    options->threads = common->threads;
    options->max_length = common->max_length;
    options->truncation = (cr_truncation)common->truncation;
    options->activation = (cr_activation)common->activation;
    return CR_OK;
}

void cr_common_dataset(const char *shipped_model,
                       char path[CR_COMMON_PATH_BYTES]) {
    snprintf(path, CR_COMMON_PATH_BYTES, "%.*s/../../data/novel",
             CR_COMMON_PATH_BYTES - 32, shipped_model);
    if (access(path, R_OK) != 0)
        snprintf(path, CR_COMMON_PATH_BYTES, "data/novel");
    char real[PATH_MAX];
    if (realpath(path, real))
        snprintf(path, CR_COMMON_PATH_BYTES, "%s", real);
}

cr_status cr_common_open(const cr_common *common, cr_ranker **ranker,
                         cr_error *error) {
    char path[CR_COMMON_PATH_BYTES];
    cr_options options;
    cr_status status = cr_common_options(common, path, &options, error);
    return status == CR_OK ? cr_ranker_open(&options, ranker, error) : status;
}

cr_status cr_common_open_single(const cr_common *common, cr_ranker **ranker,
                                cr_error *error) {
    cr_status status = cr_common_open(common, ranker, error);
    if (status != CR_OK)
        return status;
    status = cr_score(*ranker, NULL, 0, NULL, error); /* whether it could */
    if (status != CR_OK) {
        cr_ranker_close(*ranker);
        *ranker = NULL;
    }
    return status;
}

void cr_common_note_cut(const cr_common *common, const cr_ranker *ranker) {
    cr_ranker_info info;
    cr_ranker_get_info(ranker, &info);
    if (info.n_pairs_cut && !common->quiet)
        fprintf(stderr,
                "crossrank: %llu of %llu pairs have more than %u tokens: the "
                "rest was not read\n",
                (unsigned long long)info.n_pairs_cut,
                (unsigned long long)info.n_pairs_scored, info.max_length);
}
