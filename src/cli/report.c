/* crossrank report: what was measured, as files for people; or several runs
 * side by side. */
#include "lab/report.h"

#include "cli/command.h"
#include "cli/common.h"
#include "cli/out.h"

#include <stdio.h>
#include <unistd.h>

enum { MAX_RUNS = 26, COMPARISON_BYTES = 16 << 20 };

static cr_status compare(const cr_operands *runs, cr_error *error) {
    cr_buf text;
    cr_out out;
    cr_buf_init(&text, COMPARISON_BYTES);
    cr_status status = cr_report_compare(runs->list, runs->n, &text, error);
    if (status == CR_OK) {
        cr_out_init(&out, STDOUT_FILENO, "standard output");
        cr_out_write(&out, text.data, text.len);
        status = cr_out_flush(&out, error);
    }
    cr_buf_fini(&text);
    return status;
}

static cr_status rewrite(const char *dir, cr_error *error) {
    cr_out out;
    cr_status status = cr_report_write(dir, error);
    if (status != CR_OK)
        return status;
    cr_out_init(&out, STDOUT_FILENO, "standard output");
    cr_out_text(&out, dir);
    cr_out_text(&out, "/report.md\n");
    cr_out_text(&out, dir);
    cr_out_text(&out, "/report.html\n");
    return cr_out_flush(&out, error);
}

static int run(int argc, char **argv) {
    const char *dirs[MAX_RUNS];
    cr_operands runs = {dirs, 0, MAX_RUNS};
    cr_error error;
    /* Every command takes these; nothing is computed here that asks for one. */
    cr_common unused = {0};
    const cr_option options[] = {CR_COMMON_OPTIONS(&unused)};
    int code = cr_command_parse(&cr_command_report, options,
                                sizeof options / sizeof options[0], argc, argv,
                                &runs, 1);
    if (code != CR_GO_ON)
        return code;
    cr_status status =
        runs.n == 1 ? rewrite(dirs[0], &error) : compare(&runs, &error);
    return status == CR_OK ? CR_EXIT_DONE : cr_command_fail(&error);
}

const cr_command cr_command_report = {
    .name = "report",
    .operands = "DIR...",
    .summary = "what a benchmark measured, as report.md and report.html",
    .about =
        "Reads results.json and requests.csv of DIR, as crossrank bench "
        "leaves them,\n"
        "writes DIR/report.md and DIR/report.html and says so. With several "
        "folders it\n"
        "compares each with the first on standard output, in Markdown, and "
        "says which\n"
        "differences exceed the noise: those greater than the root of the "
        "summed squares\n"
        "of the half widths of both 95 % bootstrap intervals. Configurations "
        "are\n"
        "compared where batch, concurrency, mode, rate and swept settings are "
        "the same.\n"
        "\n"
        "The options are those of every command, so that a script may pass one "
        "set to\n"
        "all. They are checked and change nothing: a report computes no "
        "scores.\n",
    .examples = "  crossrank report results/08b\n"
                "  crossrank report results/before results/after\n",
    .run = run,
};
