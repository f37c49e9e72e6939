/* crossrank tokenize: what the model sees of every pair of a file. */
#include "cli/bulk.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/out.h"

#include <stdio.h>
#include <unistd.h>

static void write_encoding(cr_out *out, const cr_ranker *ranker,
                           const cr_encoding *encoding) {
    size_t n = encoding->n_tokens;
    cr_out_text(out, "{\"ids\":[");
    for (size_t i = 0; i < n; i++)
        cr_out_printf(out, "%s%d", i ? "," : "", (int)encoding->ids[i]);
    cr_out_text(out, "],\"type_ids\":[");
    for (size_t i = 0; i < n; i++)
        cr_out_printf(out, "%s%d", i ? "," : "", encoding->type_ids[i]);
    cr_out_text(out, "],\"tokens\":[");
    for (size_t i = 0; i < n; i++) {
        cr_out_text(out, i ? "," : "");
        cr_out_json(out, cr_token_text(ranker, encoding->ids[i]));
    }
    cr_out_text(out, "],\"offsets\":[");
    for (size_t i = 0; i < n; i++)
        cr_out_printf(out, "%s[%u,%u]", i ? "," : "", encoding->offsets[i][0],
                      encoding->offsets[i][1]);
    cr_out_printf(out, "],\"truncated\":%zu}\n", encoding->n_truncated);
}

/* One item of a window; a bad one is null where errors are skipped. */
static cr_status write_item(cr_out *out, const cr_ranker *ranker,
                            const cr_window *window, size_t i,
                            cr_bad_records *bad, bool skip_errors,
                            cr_error *error) {
    cr_pair pair = cr_window_pair(window, i);
    cr_encoding *encoding;
    if (window->items[i].bad && !skip_errors)
        return cr_fail_at(error, CR_ERR_INPUT, window->items[i].line, 0, "%.*s",
                          (int)pair.passage.len, pair.passage.data);
    if (window->items[i].bad) {
        cr_bad_records_note(bad, pair.passage);
        cr_out_text(out, "null\n");
        return CR_OK;
    }
    cr_status status = cr_tokenize(ranker, &pair, &encoding, error);
    if (status != CR_OK)
        return status;
    write_encoding(out, ranker, encoding);
    cr_encoding_free(encoding);
    return CR_OK;
}

static cr_status tokenize_all(cr_feed *feed, const cr_ranker *ranker,
                              bool skip_errors, cr_bad_records *bad,
                              cr_error *error) {
    cr_out out;
    cr_error write_error;
    cr_status status = CR_OK;
    const cr_window *window;
    cr_out_init(&out, STDOUT_FILENO, "standard output");
    while (status == CR_OK && !cr_interrupt_asked()) {
        status = cr_feed_next(feed, &window, error);
        if (status != CR_OK || window->n == 0)
            break;
        for (size_t i = 0; status == CR_OK && i < window->n &&
                           !cr_interrupt_asked() && !out.failure;
             i++)
            status =
                write_item(&out, ranker, window, i, bad, skip_errors, error);
        cr_status written = cr_out_flush(&out, &write_error);
        if (status == CR_OK && written != CR_OK) {
            *error = write_error;
            status = written;
        }
    }
    return status;
}

static int run(int argc, char **argv) {
    cr_common common = {0};
    uint32_t format = CR_FORMAT_AUTO;
    bool skip_errors = false;
    const char *path[1];
    cr_operands operands = {path, 0, 1};
    const cr_option options[] = {
        CR_FLAG("skip-errors", &skip_errors,
                "write null for a line that cannot be read, and exit 1 at "
                "the end, instead of stopping there"),
        CR_CHOICE_OPTION("format", "F", &format, CR_PAIR_FORMAT_CHOICES,
                         "what the lines are (default: auto), one of"),
        CR_COMMON_OPTIONS(&common),
    };
    int code = cr_command_parse(&cr_command_tokenize, options,
                                sizeof options / sizeof options[0], argc, argv,
                                &operands, 1);
    if (code != CR_GO_ON)
        return code;
    cr_error error;
    cr_ranker *ranker = NULL;
    cr_feed *feed = NULL;
    cr_bad_records bad = {.quiet = common.quiet};
    cr_status status = cr_common_open(&common, &ranker, &error);
    if (status == CR_OK)
        status = cr_feed_open(path[0], CR_RECORD_PAIR, (cr_record_format)format,
                              &feed, &error);
    if (status == CR_OK)
        status = tokenize_all(feed, ranker, skip_errors, &bad, &error);
    cr_feed_close(feed);
    cr_ranker_close(ranker);
    cr_bad_records_end(&bad);
    if (status != CR_OK)
        return cr_command_fail(&error);
    if (cr_interrupt_asked())
        return CR_EXIT_INTERRUPTED;
    return bad.n ? CR_EXIT_SOME_FAILED : CR_EXIT_DONE;
}

const cr_command cr_command_tokenize = {
    .name = "tokenize",
    .operands = "FILE|-",
    .summary = "what the model sees of every pair: ids, tokens, what was cut",
    .about =
        "Writes one JSON object a line for every pair of FILE (- is standard "
        "input),\n"
        "which is read as crossrank score reads it:\n"
        "\n"
        "  "
        "{\"ids\":[...],\"type_ids\":[...],\"tokens\":[...],\"offsets\":[[b"
        ",e],...],\"truncated\":N}\n"
        "\n"
        "Offsets are code points of the text that the token is from, 0,0 for "
        "[CLS] and\n"
        "[SEP]. truncated counts the tokens that were cut off to keep "
        "max_length.\n",
    .examples = "  printf 'capital of Italy\\tRome\\n' | crossrank tokenize "
                "-\n"
                "  crossrank tokenize --max-length 128 --truncation "
                "only_second pairs.tsv\n",
    .run = run,
};
