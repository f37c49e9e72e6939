/* Common: the options that every command with a model takes, and its opening.
 *
 * The model is --model, else $CROSSRANK_MODEL, else the one that is shipped:
 * beside the installed program, in the source tree that it was built from, or
 * where it was to be installed. Backend and device are taken from the
 * environment in the same way, as the server takes all of its settings. */
#ifndef CR_CLI_COMMON_H
#define CR_CLI_COMMON_H

#include "cli/options.h"

typedef struct cr_common {
    const char *model;
    const char *revision; /* of a model of the Hub */
    const char *backend;
    const char *device;
    const char *isa;
    uint32_t dtype; /* an index of CR_DTYPE_CHOICES */
    uint32_t threads;
    uint32_t max_length;
    uint32_t truncation; /* cr_truncation */
    uint32_t activation; /* cr_activation */
    bool quiet;
} cr_common;

extern const char *const CR_DTYPE_CHOICES[];      /* "auto" ... */
extern const char *const CR_TRUNCATION_CHOICES[]; /* as cr_truncation */
extern const char *const CR_ACTIVATION_CHOICES[]; /* as cr_activation */
/* Both as cr_record_format. */
extern const char *const CR_PAIR_FORMAT_CHOICES[];
extern const char *const CR_PASSAGE_FORMAT_CHOICES[];

/* Rows of an option table for a cr_common *c. */
#define CR_COMMON_OPTIONS(c)                                                   \
    CR_TEXT_OPTION("model", "DIR", &(c)->model,                                \
                   "model folder in Hugging Face layout, or a name of the "    \
                   "Hub that crossrank pull fetched (default: "                \
                   "$CROSSRANK_MODEL, else the model that is shipped)"),       \
        CR_TEXT_OPTION("revision", "R", &(c)->revision,                        \
                       "branch, tag or commit of a model of the Hub "          \
                       "(default: main)"),                                     \
        CR_TEXT_OPTION("backend", "NAME", &(c)->backend,                       \
                       "what computes: cpu or mlx (default: "                  \
                       "$CROSSRANK_BACKEND, else cpu)"),                       \
        CR_TEXT_OPTION("device", "NAME", &(c)->device,                         \
                       "device of the backend (default: $CROSSRANK_DEVICE, "   \
                       "else its best): cpu, and gpu with mlx"),               \
        CR_CHOICE_OPTION("dtype", "T", &(c)->dtype, CR_DTYPE_CHOICES,          \
                         "number format of the weights (default: auto), "      \
                         "one of"),                                            \
        CR_TEXT_OPTION("isa", "NAME", &(c)->isa,                               \
                       "instruction set (default: $CROSSRANK_ISA, else the "   \
                       "fastest there is; crossrank info lists them)"),        \
        CR_NUMBER_OPTION("threads", "N", &(c)->threads, 0, 1024,               \
                         "lanes that score (default 0: as many as CPU quota "  \
                         "and affinity give)"),                                \
        CR_NUMBER_OPTION("max-length", "N", &(c)->max_length, 0, 65536,        \
                         "tokens of a pair, the rest is cut (default 0: the "  \
                         "model's own limit)"),                                \
        CR_CHOICE_OPTION("truncation", "HOW", &(c)->truncation,                \
                         CR_TRUNCATION_CHOICES,                                \
                         "what is cut from longer pairs (default: "            \
                         "longest_first), one of"),                            \
        CR_FLAG("quiet", &(c)->quiet,                                          \
                "print errors only: no progress, no notes")

#define CR_ACTIVATION_OPTION(c)                                                \
    CR_CHOICE_OPTION("activation", "A", &(c)->activation,                      \
                     CR_ACTIVATION_CHOICES,                                    \
                     "what makes a logit a score (default: model, as its "     \
                     "configuration asks), one of")

enum { CR_COMMON_PATH_BYTES = 4096 };

/* Options for the library; a model that is found is named in `path`. */
cr_status cr_common_options(const cr_common *common,
                            char path[CR_COMMON_PATH_BYTES],
                            cr_options *options, cr_error *error);
/* The shipped collection, which lies beside the shipped model's folder. */
void cr_common_dataset(const char *shipped_model,
                       char path[CR_COMMON_PATH_BYTES]);
/* Opens the model; a failure's message names the way out. */
cr_status cr_common_open(const cr_common *common, cr_ranker **ranker,
                         cr_error *error);

/* The same for what needs one score a pair: CR_ERR_UNSUPPORTED where the model
 * has several labels. */
cr_status cr_common_open_single(const cr_common *common, cr_ranker **ranker,
                                cr_error *error);

/* Says on standard error how many of the scored pairs were cut, if any: what
 * a model does not see should not go unnoticed. */
void cr_common_note_cut(const cr_common *common, const cr_ranker *ranker);

/* The dtype that was asked for. */
const char *cr_common_dtype(const cr_common *common);

#endif
