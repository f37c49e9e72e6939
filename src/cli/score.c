/* crossrank score: one score a line for every pair of a file. */
#include "cli/bulk.h"
#include "cli/command.h"
#include "cli/out.h"

#include <unistd.h>

static cr_status write_score(void *context, const cr_bulk_result *result,
                             cr_error *error) {
    (void)error;
    if (result->score)
        cr_out_printf(context, "%.9g\n", (double)*result->score);
    else
        cr_out_text(context, "null\n");
    return CR_OK;
}

static cr_status flush(void *context, cr_error *error) {
    return cr_out_flush(context, error);
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
    cr_out out;
    cr_out_init(&out, STDOUT_FILENO, "standard output");
    cr_bulk bulk = {.path = path[0],
                    .kind = CR_RECORD_PAIR,
                    .format = (cr_record_format)format,
                    .skip_errors = skip_errors,
                    .quiet = common.quiet,
                    /* On a terminal the scores themselves are progress. */
                    .show_progress = !isatty(STDOUT_FILENO),
                    .context = &out,
                    .result = write_score,
                    .slice_done = flush};
    cr_error error;
    cr_ranker *ranker;
    cr_bulk_outcome outcome;
    cr_status status = cr_common_open(&common, &ranker, &error);
    if (status != CR_OK)
        return cr_command_fail(&error);
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
        "Standard error says how many pairs were longer than the model reads, "
        "if any, and\n"
        "in its last line pairs_per_second=N, without start-up.\n",
    .examples = "  crossrank score pairs.tsv >scores.txt\n"
                "  cut -f 4,5 run.tsv | crossrank score --activation none -\n"
                "  crossrank score --skip-errors --threads 8 pairs.jsonl\n",
    .run = run,
};
