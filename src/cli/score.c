/* crossrank score: one score a line for every pair of a file, or one for each
 * label of a model that has several. */
#include "cli/bulk.h"
#include "cli/command.h"
#include "cli/out.h"

#include <string.h>
#include <unistd.h>

typedef struct score_lines {
    cr_out out;
    const cr_ranker *ranker;
    uint32_t n_labels;
} score_lines;

/* {"LABEL":SCORE,...} */
static void write_object(score_lines *lines, const float *scores) {
    for (uint32_t i = 0; i < lines->n_labels; i++) {
        const char *name = cr_label_name(lines->ranker, i);
        cr_out_text(&lines->out, i ? "," : "{");
        cr_out_json(&lines->out, (cr_text){name, strlen(name)});
        cr_out_printf(&lines->out, ":%.9g", (double)scores[i]);
    }
    cr_out_text(&lines->out, "}\n");
}

static void write_columns(score_lines *lines, const float *scores) {
    for (uint32_t i = 0; i < lines->n_labels; i++)
        cr_out_printf(&lines->out, "%s%.9g", i ? "\t" : "", (double)scores[i]);
    cr_out_text(&lines->out, "\n");
}

static cr_status write_result(void *context, const cr_bulk_result *result,
                              cr_error *error) {
    score_lines *lines = context;
    (void)error;
    if (!result->scores)
        cr_out_text(&lines->out, "null\n");
    else if (lines->n_labels > 1 && result->format == CR_FORMAT_JSON)
        write_object(lines, result->scores);
    else
        write_columns(lines, result->scores);
    return CR_OK;
}

static cr_status flush(void *context, cr_error *error) {
    score_lines *lines = context;
    return cr_out_flush(&lines->out, error);
}

static int run(int argc, char **argv) {
    cr_common common = {0};
    uint32_t format = CR_FORMAT_AUTO;
    bool skip_errors = false;
    const char *path[1];
    cr_operands operands = {path, 0, 1};
    const cr_option options[] = {
        CR_ACTIVATION_OPTION(&common),
        CR_FLAG("skip-errors", &skip_errors,
                "write null for a line that cannot be read, and exit 1 at "
                "the end, instead of stopping there"),
        CR_CHOICE_OPTION("format", "F", &format, CR_PAIR_FORMAT_CHOICES,
                         "what the lines are (default: auto), one of"),
        CR_COMMON_OPTIONS(&common),
    };
    int code = cr_command_parse(&cr_command_score, options,
                                sizeof options / sizeof options[0], argc, argv,
                                &operands, 1);
    if (code != CR_GO_ON)
        return code;
    score_lines lines = {.n_labels = 1};
    cr_out_init(&lines.out, STDOUT_FILENO, "standard output");
    cr_bulk bulk = {.path = path[0],
                    .kind = CR_RECORD_PAIR,
                    .format = (cr_record_format)format,
                    .skip_errors = skip_errors,
                    .quiet = common.quiet,
                    /* On a terminal the scores themselves are progress. */
                    .show_progress = !isatty(STDOUT_FILENO),
                    .context = &lines,
                    .result = write_result,
                    .slice_done = flush};
    cr_error error;
    cr_ranker *ranker;
    cr_ranker_info info;
    cr_bulk_outcome outcome;
    cr_status status = cr_common_open(&common, &ranker, &error);
    if (status != CR_OK)
        return cr_command_fail(&error);
    cr_ranker_get_info(ranker, &info);
    lines.ranker = ranker;
    lines.n_labels = info.n_labels;
    status = cr_bulk_run(&bulk, ranker, &outcome, &error);
    cr_common_note_cut(&common, ranker);
    cr_ranker_close(ranker);
    return cr_bulk_finish(&bulk, &outcome, status, &error);
}

const cr_command cr_command_score = {
    .name = "score",
    .operands = "FILE|-",
    .summary = "one score a line for every (query, passage) pair of a file",
    .about =
        "Scores the pairs of FILE (- is standard input) in order, one score "
        "a line with\n"
        "9 significant digits, any number of pairs in bounded memory.\n"
        "\n"
        "FILE is lines of columns separated by tabs, without quoting, of "
        "which the last\n"
        "two are query and passage; or JSON lines: objects with \"query\" "
        "and \"passage\"\n"
        "(or \"text\" or \"document\"). A name in .jsonl or .ndjson is JSON, "
        ".tsv is\n"
        "columns; with other names the first line that is not blank decides: "
        "JSON where\n"
        "it begins with {. Bytes that are not UTF-8 are read as U+FFFD in "
        "columns and\n"
        "are an error in JSON. An empty column is an empty text; an empty "
        "line is an\n"
        "error, as is a line over 32 MiB. The first error stops the run with "
        "exit code\n"
        "3, after the scores of all lines before it.\n"
        "\n"
        "A model of several labels (num_labels > 1) gives a line with a score "
        "for each:\n"
        "columns between tabs, in the order of label_names of crossrank info "
        "--json; for\n"
        "JSON lines an object {\"LABEL\":SCORE,...}. Scores are logits where "
        "neither the\n"
        "model nor --activation says otherwise.\n"
        "\n"
        "Standard error says how many pairs were longer than the model reads, "
        "if any, and\n"
        "in its last line pairs_per_second=N, without start-up.\n",
    .examples = "  crossrank score pairs.tsv >scores.txt\n"
                "  cut -f 4,5 run.tsv | crossrank score --activation none -\n"
                "  crossrank score --skip-errors --threads 8 pairs.jsonl\n",
    .run = run,
};
