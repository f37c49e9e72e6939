/* crossrank rank: the passages of a file, best first for one query.
 *
 * Logits are sorted and activated afterwards, because distinct logits may
 * have equal sigmoids. */
#include "base/mem.h"
#include "cli/bulk.h"
#include "cli/command.h"
#include "cli/out.h"
#include "cli/terminal.h"
#include "engine/activation.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Text that is kept for the output; without --top all of it is. */
static const uint64_t MAX_KEPT_BYTES = (uint64_t)4 << 30;

typedef struct entry {
    float score; /* a logit until the ranking is settled */
    uint64_t index;
    cr_text text; /* on the heap */
} entry;

typedef struct ranking {
    entry *entries; /* [n] */
    size_t n;
    size_t capacity;
    uint64_t kept_bytes;
    size_t top; /* 0: all */
} ranking;

typedef enum rank_form { FORM_COLUMNS, FORM_TABLE, FORM_JSON } rank_form;

/* ---- Keeping ------------------------------------------------------------ */

static int best_first(const void *a, const void *b) {
    const entry *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

static void drop_entry(ranking *kept, const entry *dropped) {
    kept->kept_bytes -= dropped->text.len;
    cr_free((void *)(uintptr_t)dropped->text.data);
}

/* Sorts, and drops what is not among the best `top`. */
static void settle(ranking *kept) {
    if (kept->n)
        qsort(kept->entries, kept->n, sizeof *kept->entries, best_first);
    while (kept->top && kept->n > kept->top)
        drop_entry(kept, &kept->entries[--kept->n]);
}

static cr_status make_room(ranking *kept, cr_error *error) {
    /* Twice the wanted number is kept before the worse half is dropped. */
    if (kept->top && kept->n >= 1024 && kept->n / 2 >= kept->top)
        settle(kept);
    if (kept->n < kept->capacity)
        return CR_OK;
    size_t capacity = kept->capacity ? kept->capacity * 2 : 256;
    entry *entries = cr_realloc(kept->entries, capacity * sizeof *entries);
    if (!entries)
        return cr_fail_memory(error, capacity * sizeof *entries, "a ranking");
    kept->entries = entries;
    kept->capacity = capacity;
    return CR_OK;
}

static cr_status keep(void *context, const cr_bulk_result *result,
                      cr_error *error) {
    ranking *kept = context;
    cr_text text = result->pair.passage;
    if (!result->scores)
        return CR_OK;
    cr_status status = make_room(kept, error);
    if (status != CR_OK)
        return status;
    if (text.len > MAX_KEPT_BYTES - kept->kept_bytes)
        return cr_fail(error, CR_ERR_INPUT,
                       "the passages are over the limit of %llu bytes that "
                       "can be sorted at once: use --top N",
                       (unsigned long long)MAX_KEPT_BYTES);
    char *copy = cr_strndup(text.data, text.len);
    if (!copy)
        return cr_fail_memory(error, text.len, "a passage; --top N needs less");
    kept->entries[kept->n++] =
        (entry){*result->scores, result->index, {copy, text.len}};
    kept->kept_bytes += text.len;
    return CR_OK;
}

static void activate(ranking *kept, cr_activation activation) {
    for (size_t i = 0; i < kept->n; i++)
        kept->entries[i].score =
            cr_activate(activation, kept->entries[i].score);
}

static void free_ranking(ranking *kept) {
    while (kept->n)
        drop_entry(kept, &kept->entries[--kept->n]);
    cr_free(kept->entries);
}

/* ---- Writing ------------------------------------------------------------ */

static void write_columns(cr_out *out, const ranking *kept) {
    for (size_t i = 0; i < kept->n; i++) {
        const entry *e = &kept->entries[i];
        cr_out_printf(out, "%zu\t%llu\t%.9g\t", i + 1,
                      (unsigned long long)e->index, (double)e->score);
        cr_out_column(out, e->text);
        cr_out_text(out, "\n");
    }
}

static void write_table(cr_out *out, const ranking *kept) {
    enum { COLUMNS_BEFORE_TEXT = 26, MIN_TEXT_COLUMNS = 20 };
    size_t width = cr_terminal_width(STDOUT_FILENO);
    size_t columns = width > COLUMNS_BEFORE_TEXT + MIN_TEXT_COLUMNS
                         ? width - COLUMNS_BEFORE_TEXT
                         : MIN_TEXT_COLUMNS;
    cr_out_printf(out, "%5s  %9s  %6s  %s\n", "rank", "score", "index", "text");
    for (size_t i = 0; i < kept->n; i++) {
        const entry *e = &kept->entries[i];
        cr_out_printf(out, "%5zu  %9.4f  %6llu  ", i + 1, (double)e->score,
                      (unsigned long long)e->index);
        cr_terminal_text(out, e->text, columns, false);
        cr_out_text(out, "\n");
    }
}

static cr_status write_json(cr_out *out, const ranking *kept, cr_text query,
                            const cr_ranker *ranker, cr_error *error) {
    cr_out_text(out, "{\"query\":");
    cr_out_json(out, query);
    cr_out_text(out, ",\"results\":[");
    for (size_t i = 0; i < kept->n; i++) {
        const entry *e = &kept->entries[i];
        cr_pair pair = {query, e->text};
        cr_encoding *encoding;
        cr_status status = cr_tokenize(ranker, &pair, &encoding, error);
        if (status != CR_OK)
            return status;
        cr_out_printf(out,
                      "%s{\"rank\":%zu,\"index\":%llu,\"score\":%.9g,"
                      "\"tokens\":%zu,\"truncated\":%zu,\"text\":",
                      i ? ",\n" : "\n", i + 1, (unsigned long long)e->index,
                      (double)e->score, encoding->n_tokens,
                      encoding->n_truncated);
        cr_encoding_free(encoding);
        cr_out_json(out, e->text);
        cr_out_text(out, "}");
    }
    cr_out_text(out, "\n]}\n");
    return CR_OK;
}

static cr_status write_ranking(const ranking *kept, rank_form form,
                               cr_text query, const cr_ranker *ranker,
                               cr_error *error) {
    cr_out out;
    cr_status status = CR_OK;
    cr_out_init(&out, STDOUT_FILENO, "standard output");
    if (form == FORM_JSON)
        status = write_json(&out, kept, query, ranker, error);
    else if (form == FORM_TABLE)
        write_table(&out, kept);
    else
        write_columns(&out, kept);
    return status == CR_OK ? cr_out_flush(&out, error) : status;
}

/* ---- The command -------------------------------------------------------- */

typedef struct rank_options {
    cr_common common;
    const char *query;
    uint32_t top;
    uint32_t format;
    bool json;
    bool table;
    bool skip_errors;
} rank_options;

/* What makes a logit the score that is wanted. */
static cr_activation wanted_activation(const rank_options *o,
                                       const cr_ranker *ranker) {
    cr_ranker_info info;
    cr_ranker_get_info(ranker, &info);
    cr_activation wanted = (cr_activation)o->common.activation;
    return wanted == CR_ACTIVATION_MODEL ? info.model_activation : wanted;
}

static rank_form wanted_form(const rank_options *o) {
    if (o->json)
        return FORM_JSON;
    return o->table || isatty(STDOUT_FILENO) ? FORM_TABLE : FORM_COLUMNS;
}

static int rank_file(const rank_options *o, const char *path) {
    cr_error error;
    cr_ranker *ranker;
    cr_bulk_outcome outcome;
    ranking kept = {.top = o->top};
    cr_common common = o->common;
    cr_bulk bulk = {.path = path,
                    .kind = CR_RECORD_PASSAGE,
                    .format = (cr_record_format)o->format,
                    .query = {o->query, strlen(o->query)},
                    .skip_errors = o->skip_errors,
                    .quiet = o->common.quiet,
                    .show_progress = true,
                    .context = &kept,
                    .result = keep};
    common.activation = CR_ACTIVATION_NONE;
    cr_status status = cr_common_open_single(&common, &ranker, &error);
    if (status != CR_OK)
        return cr_command_fail(&error);
    status = cr_bulk_run(&bulk, ranker, &outcome, &error);
    if (status == CR_OK) {
        settle(&kept);
        activate(&kept, wanted_activation(o, ranker));
        status =
            write_ranking(&kept, wanted_form(o), bulk.query, ranker, &error);
    }
    free_ranking(&kept);
    cr_common_note_cut(&o->common, ranker);
    cr_ranker_close(ranker);
    return cr_bulk_finish(&bulk, &outcome, status, &error);
}

static int run(int argc, char **argv) {
    rank_options o = {.query = NULL};
    const char *path[1];
    cr_operands operands = {path, 0, 1};
    const cr_option options[] = {
        CR_ANY_TEXT_OPTION("query", "Q", &o.query, "what is asked (needed)"),
        CR_NUMBER_OPTION("top", "N", &o.top, 1, UINT32_MAX,
                         "the best N passages only (default: all)"),
        CR_FLAG("json", &o.json, "one JSON object with all results"),
        CR_FLAG("table", &o.table,
                "the table, also where output is no "
                "terminal"),
        CR_ACTIVATION_OPTION(&o.common),
        CR_FLAG("skip-errors", &o.skip_errors,
                "leave out lines that cannot be read, and exit 1 at the end, "
                "instead of stopping there"),
        CR_CHOICE_OPTION("format", "F", &o.format, CR_PASSAGE_FORMAT_CHOICES,
                         "what the lines are (default: auto), one of"),
        CR_COMMON_OPTIONS(&o.common),
    };
    int code = cr_command_parse(&cr_command_rank, options,
                                sizeof options / sizeof options[0], argc, argv,
                                &operands, 1);
    if (code != CR_GO_ON)
        return code;
    if (!o.query) {
        cr_error error;
        cr_fail(&error, CR_ERR_ARGUMENT,
                "rank needs --query Q (crossrank rank --help explains)");
        return cr_command_fail(&error);
    }
    return rank_file(&o, path[0]);
}

const cr_command cr_command_rank = {
    .name = "rank",
    .operands = "--query Q FILE|-",
    .summary = "the passages of a file, best first for one query",
    .about =
        "Scores every passage of FILE (- is standard input) against the "
        "query Q and\n"
        "writes them best first, equal scores by the earlier line.\n"
        "\n"
        "FILE is a passage a line; or JSON lines, objects with \"text\" (or "
        "\"passage\" or\n"
        "\"document\"): a name in .jsonl or .ndjson, or a first line that "
        "begins with {.\n"
        "--format says it outright. An empty line of text is an empty "
        "passage.\n"
        "\n"
        "A terminal gets a table that is cut to its width. Elsewhere a line "
        "is rank,\n"
        "index, score and text with tabs between: the rank from 1, the index "
        "of the\n"
        "passage in FILE from 0, tabs and other control characters of the "
        "text as\n"
        "blanks. --json keeps the text as it is and adds how many tokens "
        "each pair has\n"
        "and how many were cut:\n"
        "\n"
        "  "
        "{\"query\":\"...\",\"results\":[{\"rank\":1,\"index\":7,\"score\":"
        "4.5,\"tokens\":52,\n"
        "  \"truncated\":0,\"text\":\"...\"},...]}\n"
        "\n"
        "With --top N memory is bounded, however long FILE is.\n",
    .examples = "  printf 'Paris is in France\\nRome is in Italy\\n' |\n"
                "      crossrank rank --query 'capital of Italy' -\n"
                "  crossrank rank --query 'solar panels' --top 5 --json "
                "corpus.jsonl\n",
    .run = run,
};
