/* crossrank pull: a model of the Hub into the local cache. */
#include "cli/command.h"
#include "cli/download.h"
#include "cli/interrupt.h"
#include "cli/progress.h"
#include "lab/files.h"
#include "model/model.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_DESCRIPTION_BYTES = 8 << 20, PATH_BYTES = 4096 };

/* What a model folder is read from, small files first. */
static const char *const FILES[] = {"config.json",
                                    "tokenizer_config.json",
                                    "special_tokens_map.json",
                                    "added_tokens.json",
                                    "modules.json",
                                    "config_sentence_transformers.json",
                                    "sentence_bert_config.json",
                                    "known_scores.json",
                                    "vocab.txt",
                                    "tokenizer.json",
                                    "model.safetensors"};
enum { N_FILES = sizeof FILES / sizeof *FILES };

typedef struct pull {
    const char *endpoint;
    cr_hub_name name;
    cr_download *download;
    cr_progress progress;
    const char *shown; /* the file of the progress line */
    bool quiet;
    uint64_t fetched;
} pull;

/* ---- Progress
 * ----------------------------------------------------------------- */

static void show(void *context, const char *file, uint64_t done,
                 uint64_t total) {
    pull *p = context;
    if (file != p->shown) {
        p->shown = file;
        cr_progress_init(&p->progress, !p->quiet, "bytes", total);
    }
    p->progress.total = total;
    cr_progress_show(&p->progress, done, -1);
}

static void say(const pull *p, const char *text, const char *more) {
    if (!p->quiet)
        fprintf(stderr, "crossrank: %s%s\n", text, more);
}

/* ---- What there is
 * ------------------------------------------------------------ */

static bool has_file(const json_t *siblings, const char *file) {
    for (size_t i = 0; i < json_array_size(siblings); i++) {
        const char *name = json_string_value(
            json_object_get(json_array_get(siblings, i), "rfilename"));
        if (name && strcmp(name, file) == 0)
            return true;
    }
    return false;
}

static cr_status read_description(const pull *p, const cr_buf *text,
                                  char commit[CR_HUB_NAME_BYTES],
                                  bool wanted[N_FILES], cr_error *error) {
    json_t *root = json_loadb(text->data ? text->data : "", text->len, 0, NULL);
    const char *sha = json_string_value(json_object_get(root, "sha"));
    const json_t *siblings = json_object_get(root, "siblings");
    size_t digits = sha ? strspn(sha, "0123456789abcdef") : 0;
    cr_status status = CR_OK;
    if (!json_is_array(siblings) || digits < 7 || sha[digits] ||
        digits >= CR_HUB_NAME_BYTES)
        status = cr_fail(error, CR_ERR_INPUT,
                         "%s does not answer as a Hub does: no commit and list "
                         "of files",
                         p->endpoint);
    for (size_t i = 0; status == CR_OK && i < N_FILES; i++)
        wanted[i] = has_file(siblings, FILES[i]);
    if (status == CR_OK && (!wanted[0] || !wanted[N_FILES - 1]))
        status =
            cr_fail(error, CR_ERR_UNSUPPORTED,
                    "%s has no %s: a model needs config.json and "
                    "model.safetensors (pytorch_model.bin is not read)",
                    p->name.repo, wanted[0] ? FILES[N_FILES - 1] : FILES[0]);
    if (status == CR_OK)
        snprintf(commit, CR_HUB_NAME_BYTES, "%s", sha);
    json_decref(root);
    return status;
}

/* ---- The whole
 * ------------------------------------------------------------------ */

/* refs/REVISION, once all of the commit is there. */
static cr_status write_ref(const pull *p, const char *folder,
                           const char *commit, cr_error *error) {
    char dir[PATH_BYTES];
    if (strcmp(p->name.revision, commit) == 0)
        return CR_OK;
    snprintf(dir, sizeof dir, "%.3900s/refs/%s", folder, p->name.revision);
    char *slash = strrchr(dir, '/');
    *slash = 0;
    cr_status status = cr_folder_make(dir, error);
    return status == CR_OK
               ? cr_file_replace(dir, slash + 1,
                                 (cr_text){commit, strlen(commit)}, error)
               : status;
}

static cr_status fetch_all(pull *p, const char *folder, const char *commit,
                           const bool wanted[N_FILES], cr_error *error) {
    char blobs[PATH_BYTES];
    snprintf(blobs, sizeof blobs, "%.4000s/blobs", folder);
    cr_status status = cr_folder_make(blobs, error);
    for (size_t i = 0; i < N_FILES && status == CR_OK; i++) {
        uint64_t before = p->fetched;
        if (!wanted[i])
            continue;
        status = cr_download_file(p->download, folder, commit, FILES[i],
                                  &p->fetched, error);
        cr_progress_clear(&p->progress);
        if (status == CR_OK)
            say(p,
                p->fetched > before ? "fetched " : "there already: ", FILES[i]);
    }
    return status == CR_OK ? write_ref(p, folder, commit, error) : status;
}

/* A model that came well but cannot be used is told now, not at first use. */
static cr_status try_model(const char *path, cr_error *error) {
    cr_model *model;
    cr_status status = cr_model_open(path, &model, error);
    cr_model_close(model);
    return status;
}

static cr_status pull_model(pull *p, char path[PATH_BYTES], cr_error *error) {
    char folder[CR_HUB_PATH_BYTES], commit[CR_HUB_NAME_BYTES];
    bool wanted[N_FILES] = {false};
    cr_buf text;
    cr_buf_init(&text, MAX_DESCRIPTION_BYTES);
    cr_status status = cr_hub_folder(&p->name, folder, error);
    if (status == CR_OK)
        status = cr_download_describe(p->download, &text, error);
    if (status == CR_OK)
        status = read_description(p, &text, commit, wanted, error);
    cr_buf_fini(&text);
    if (status == CR_OK)
        status = fetch_all(p, folder, commit, wanted, error);
    cr_progress_clear(&p->progress);
    snprintf(path, PATH_BYTES, "%.3900s/snapshots/%s", folder, commit);
    return status == CR_OK ? try_model(path, error) : status;
}

static cr_status parse_name(const char *text, const char *revision,
                            cr_hub_name *name, cr_error *error) {
    char whole[4 * CR_HUB_NAME_BYTES];
    snprintf(whole, sizeof whole, "%s%s%s", text, revision ? "@" : "",
             revision ? revision : "");
    if (strlen(text) + (revision ? strlen(revision) : 0) < sizeof whole - 2 &&
        cr_hub_parse(whole, name))
        return CR_OK;
    return cr_fail(error, CR_ERR_ARGUMENT,
                   "\"%.100s\" is no name of a model: ORGANISATION/NAME is "
                   "expected, of letters, digits, \".\", \"_\" and \"-\"",
                   whole);
}

static int run(int argc, char **argv) {
    const char *text, *revision = NULL, *endpoint = getenv("HF_ENDPOINT");
    char path[PATH_BYTES];
    pull p = {.endpoint =
                  endpoint && *endpoint ? endpoint : "https://huggingface.co"};
    cr_operands operands = {&text, 0, 1};
    cr_error error = {.message = ""};
    const cr_option options[] = {
        CR_TEXT_OPTION("revision", "R", &revision,
                       "branch, tag or commit (default: main)"),
        CR_FLAG("quiet", &p.quiet, "print errors only: no progress, no notes")};
    int code = cr_command_parse(&cr_command_pull, options,
                                sizeof options / sizeof *options, argc, argv,
                                &operands, 1);
    if (code != CR_GO_ON)
        return code;
    cr_status status = parse_name(text, revision, &p.name, &error);
    if (status == CR_OK)
        status = cr_download_open(p.endpoint, getenv("HF_TOKEN"), &p.name, show,
                                  &p, &p.download, &error);
    if (status == CR_OK) {
        cr_download_set_stop(p.download, cr_interrupt_asked);
        status = pull_model(&p, path, &error);
    }
    cr_download_close(p.download);
    if (status == CR_ERR_CANCELLED && cr_interrupt_asked()) {
        cr_command_fail(&error);
        return CR_EXIT_INTERRUPTED;
    }
    if (status != CR_OK)
        return cr_command_fail(&error);
    return printf("%s\n", path) > 0 && fflush(stdout) == 0 ? CR_EXIT_DONE
                                                           : CR_EXIT_INPUT;
}

const cr_command cr_command_pull = {
    .name = "pull",
    .operands = "NAME",
    .summary = "fetch a model of the Hugging Face Hub into the local cache",
    .about =
        "Brings what a model is read from into the cache that the Hub's own "
        "tools use\n"
        "(HF_HUB_CACHE, HF_HOME), so that every command takes --model NAME, "
        "and prints\n"
        "its folder. Each file is checked against the hash that the Hub "
        "names; a\n"
        "download that broke off goes on. It is the only command that opens "
        "a\n"
        "connection.\n"
        "\n"
        "environment:\n"
        "  HF_ENDPOINT  another Hub (default: https://huggingface.co)\n"
        "  HF_TOKEN     for private and gated models\n",
    .examples = "  crossrank pull cross-encoder/ms-marco-MiniLM-L-6-v2\n"
                "  crossrank rank --model cross-encoder/ms-marco-MiniLM-L-6-v2 "
                "--query q -\n",
    .run = run,
};
