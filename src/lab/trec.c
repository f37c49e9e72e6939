/* Judgements and runs: one splitter, two rows of column positions. */
#include "lab/trec.h"

#include "base/mem.h"
#include "lab/lines.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_COLUMNS = 6, MAX_NUMBER_CHARS = 63 };

typedef struct columns {
    cr_text text[MAX_COLUMNS];
    size_t n; /* may be more than MAX_COLUMNS */
} columns;

/* Which columns hold what in a table of so many columns; number 0: that count
 * is not known. */
typedef struct layout {
    size_t doc;
    size_t number;
} layout;

static const layout LAYOUTS[][MAX_COLUMNS + 1] = {
    [CR_TREC_QRELS] = {[3] = {1, 2}, [4] = {2, 3}},
    [CR_TREC_RUN] = {[3] = {1, 2}, [4] = {1, 3}, [6] = {2, 4}},
};

static const char *const LAYOUT_TEXT[] = {
    [CR_TREC_QRELS] = "3 (query, document, grade) or 4 (query, 0, document, "
                      "grade)",
    [CR_TREC_RUN] = "3 (query, document, score), 4 (query, document, rank, "
                    "score) or 6 (query, Q0, document, rank, score, tag)",
};

static bool is_blank(char c) { return c == ' ' || c == '\t'; }

static void split_tabs(cr_text line, columns *out) {
    const char *at = line.data, *end = line.data + line.len;
    for (;;) {
        const char *tab = memchr(at, '\t', (size_t)(end - at));
        const char *stop = tab ? tab : end;
        if (out->n < MAX_COLUMNS)
            out->text[out->n] = (cr_text){at, (size_t)(stop - at)};
        out->n++;
        if (!tab)
            return;
        at = tab + 1;
    }
}

static void split_blanks(cr_text line, columns *out) {
    size_t at = 0;
    for (;;) {
        while (at < line.len && is_blank(line.data[at]))
            at++;
        if (at == line.len)
            return;
        size_t begin = at;
        while (at < line.len && !is_blank(line.data[at]))
            at++;
        if (out->n < MAX_COLUMNS)
            out->text[out->n] = (cr_text){line.data + begin, at - begin};
        out->n++;
    }
}

/* A number that fills the whole column, blanks aside; it may be infinite. */
static bool to_number(cr_text text, double *value) {
    char copy[MAX_NUMBER_CHARS + 1];
    char *end;
    while (text.len && is_blank(text.data[0]))
        text.data++, text.len--;
    while (text.len && is_blank(text.data[text.len - 1]))
        text.len--;
    if (text.len == 0 || text.len > MAX_NUMBER_CHARS)
        return false;
    memcpy(copy, text.data, text.len);
    copy[text.len] = '\0';
    *value = strtod(copy, &end);
    return end == copy + text.len;
}

static bool is_grade(double value) {
    return value == floor(value) && value >= INT32_MIN && value <= INT32_MAX;
}

static cr_status append(cr_trec_table *table, cr_trec_row row,
                        cr_error *error) {
    if (table->n == table->capacity) {
        size_t capacity = table->capacity ? table->capacity * 2 : 1024;
        cr_trec_row *rows =
            cr_realloc(table->rows, capacity * sizeof *table->rows);
        if (!rows)
            return cr_fail_memory(error, capacity * sizeof *table->rows,
                                  "rows of a run or qrels");
        table->rows = rows;
        table->capacity = capacity;
    }
    table->rows[table->n++] = row;
    return CR_OK;
}

/* Where rows go, and their names. */
typedef struct target {
    cr_trec_kind kind;
    cr_names *queries;
    cr_names *docs;
    cr_trec_table *table;
} target;

static cr_status read_row(const cr_lines *lines, cr_text line, void *context,
                          cr_error *error) {
    const target *to = context;
    columns split = {.n = 0};
    cr_trec_row row = {.line = lines->line};
    if (line.len == 0)
        return CR_OK;
    if (memchr(line.data, '\t', line.len))
        split_tabs(line, &split);
    else
        split_blanks(line, &split);
    layout at =
        split.n <= MAX_COLUMNS ? LAYOUTS[to->kind][split.n] : (layout){0};
    if (!at.number)
        return cr_lines_fail(lines, error, "%zu columns, needed are %s",
                             split.n, LAYOUT_TEXT[to->kind]);
    bool is_number = to_number(split.text[at.number], &row.value);
    if (!is_number && lines->line == 1)
        return CR_OK; /* the header */
    if (!is_number || !isfinite(row.value)) {
        return cr_lines_fail(lines, error, "\"%.*s\" is not a finite number",
                             (int)(split.text[at.number].len > 60
                                       ? 60
                                       : split.text[at.number].len),
                             split.text[at.number].data);
    }
    if (to->kind == CR_TREC_QRELS && !is_grade(row.value))
        return cr_lines_fail(lines, error,
                             "grade %g is not a whole number of 32 bits",
                             row.value);
    cr_status status =
        cr_names_add(to->queries, split.text[0], &row.query, error);
    if (status == CR_OK)
        status = cr_names_add(to->docs, split.text[at.doc], &row.doc, error);
    return status == CR_OK ? append(to->table, row, error) : status;
}

cr_status cr_trec_read(const char *path, cr_trec_kind kind, cr_names *queries,
                       cr_names *docs, cr_trec_table *table, cr_error *error) {
    *table = (cr_trec_table){0};
    target t = {kind, queries, docs, table};
    return cr_lines_each(path, read_row, &t, error);
}

void cr_trec_fini(cr_trec_table *table) {
    cr_free(table->rows);
    *table = (cr_trec_table){0};
}

static int compare_rows(const void *a, const void *b) {
    const cr_trec_row *x = a, *y = b;
    if (x->query != y->query)
        return x->query < y->query ? -1 : 1;
    if (x->doc != y->doc)
        return x->doc < y->doc ? -1 : 1;
    return x->line < y->line ? -1 : x->line > y->line;
}

cr_status cr_trec_sort(const char *path, cr_trec_kind kind,
                       const cr_names *docs, cr_trec_table *table,
                       cr_error *error) {
    size_t n = 0;
    if (table->n)
        qsort(table->rows, table->n, sizeof *table->rows, compare_rows);
    for (size_t i = 0; i < table->n; i++) {
        const cr_trec_row *row = &table->rows[i];
        const cr_trec_row *last = n ? &table->rows[n - 1] : NULL;
        bool again = last && last->query == row->query && last->doc == row->doc;
        if (again && kind == CR_TREC_QRELS && last->value == row->value)
            continue;
        if (again)
            return cr_fail_at(
                error, CR_ERR_INPUT, row->line, 0,
                "%s:%llu: document \"%.100s\" stands in line %llu already "
                "for this query: remove one of the two",
                path, (unsigned long long)row->line, docs->list[row->doc].data,
                (unsigned long long)last->line);
        table->rows[n++] = *row;
    }
    table->n = n;
    return CR_OK;
}
