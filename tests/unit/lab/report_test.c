/* Reports: the numbers by hand; and the seed's report, read into figures and
 * written again to the same bytes. */
#include "lab/report_text.h"
#include "lab/spread.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "skip.h"

enum { MAX_CELLS = 16, MAX_SEED_ROWS = 32 };

static void expect_near(double value, double expected, double tolerance) {
    if (!(fabs(value - expected) <= tolerance))
        fail_msg("%.15g is not %.15g", value, expected);
}

static void test_spread(void **state) {
    (void)state;
    const double values[] = {4, (double)NAN, 1, 3, 2};
    cr_spread s;
    assert_int_equal(cr_spread_of(values, 5, &s, NULL), CR_OK);
    expect_near(s.n, 4, 0);
    expect_near(s.mean, 2.5, 1e-12);
    expect_near(s.std, sqrt(1.25), 1e-12);
    expect_near(s.p50, 2.5, 1e-12);
    expect_near(s.p75, 3.25, 1e-12);
    expect_near(s.p90, 3.7, 1e-12);
    expect_near(s.max, 4, 0);
    assert_int_equal(cr_spread_of(values + 1, 1, &s, NULL), CR_OK);
    assert_true(isnan(s.mean) && isnan(s.p99));
}

static void test_correlation(void **state) {
    (void)state;
    const double a[] = {1, 2, 3, 4}, b[] = {8, 6, 4, 2}, c[] = {1, 1, 1, 1};
    const double d[] = {1, 3, 2, 4};
    expect_near(cr_correlation(a, b, 4), -1, 1e-12);
    expect_near(cr_correlation(a, d, 4), 0.8, 1e-12);
    assert_true(isnan(cr_correlation(a, c, 4)));
    assert_true(isnan(cr_correlation(a, b, 1)));
}

static void test_not_measured_is_not_zero(void **state) {
    (void)state;
    cr_buf buf;
    cr_buf_init(&buf, 100);
    cr_report_out out = {&buf, CR_OK, NULL};
    cr_report_put_cell(&out, (double)NAN, 1, "ms");
    cr_report_put_cell(&out, 0, 1, "ms");
    assert_string_equal(buf.data, " n/a | 0.0ms |");
    cr_buf_fini(&buf);
}

/* ---- The seed ----------------------------------------------------------- */

typedef struct seed {
    cr_report report;
    cr_report_config config;
    cr_report_row rows[MAX_SEED_ROWS];
    char section[64];
    size_t n_buckets, n_columns;
} seed;

/* The number at the head of each cell of a table's row. */
static size_t read_cells(const char *line, double cells[MAX_CELLS]) {
    size_t n = 0;
    while (n < MAX_CELLS && (line = strchr(line, '|')) && line[1])
        cells[n++] = strtod(++line, NULL);
    return n;
}

/* What stands between `before` and `after`. */
static void read_text(const char *line, const char *before, const char *after,
                      char *text, size_t bytes) {
    const char *from = strstr(line, before);
    if (!from)
        return;
    from += strlen(before);
    const char *end = *after ? strstr(from, after) : from + strlen(from);
    snprintf(text, bytes, "%.*s", (int)(end - from), from);
}

static void read_head(seed *s, const char *line) {
    cr_report *r = &s->report;
    if (line[0] == '#' && line[1] == ' ')
        read_text(line, "# ", "", r->name, sizeof r->name);
    if (line[0] == '_')
        read_text(line, "_", "_", r->description, sizeof r->description);
    read_text(line, "**Timestamp:** ", "", r->timestamp, sizeof r->timestamp);
    read_text(line, "**Model:** `", "`", r->model, sizeof r->model);
    read_text(line, "**Backend:** `", "`", r->backend, sizeof r->backend);
    read_text(line, "**Device:** `", "`", r->device, sizeof r->device);
    read_text(line, "**Dynamic Batching:** ", "", r->batching,
              sizeof r->batching);
}

static void read_spread(cr_spread *s, double *average, const char *line,
                        double value) {
    const struct {
        const char *name;
        double *to;
    } rows[] = {
        {"| Average ", average}, {"| Min ", &s->min}, {"| Max ", &s->max},
        {"| Std Dev ", &s->std}, {"| P50 ", &s->p50}, {"| P90 ", &s->p90},
        {"| P95 ", &s->p95},     {"| P99 ", &s->p99},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (strncmp(line, rows[i].name, strlen(rows[i].name)) == 0)
            *rows[i].to = value;
}

static void read_bucket(seed *s, const char *line, const double *cells) {
    cr_report_bucket *b = &s->config.buckets[s->n_buckets++];
    const char *dash = strchr(line, '-');
    if (s->n_buckets == 2 && dash)
        s->config.latency.p75 = strtod(dash + 1, NULL);
    *b = (cr_report_bucket){cells[1], cells[2], cells[3], (size_t)cells[4]};
}

static void read_column(seed *s, const double *cells) {
    static const cr_report_column COLUMNS[] = {
        CR_COLUMN_GPU_MEMORY, CR_COLUMN_GPU_UTILIZATION, CR_COLUMN_CPU,
        CR_COLUMN_TOKENIZE,   CR_COLUMN_INFERENCE,       CR_COLUMN_QUEUE,
        CR_COLUMN_PADDING};
    assert_true(s->n_columns < sizeof COLUMNS / sizeof COLUMNS[0]);
    s->report.columns[COLUMNS[s->n_columns++]] = (cr_spread){.mean = cells[1],
                                                             .min = cells[2],
                                                             .max = cells[3],
                                                             .p50 = cells[4],
                                                             .p95 = cells[5]};
}

static void read_table(seed *s, const char *line) {
    double cells[MAX_CELLS];
    size_t n = read_cells(line, cells);
    cr_report_config *c = &s->config;
    if (strncmp(s->section, "Results", 7) == 0 && cells[0] > 0) {
        c->batch_size = cells[0];
        c->concurrency = cells[1];
        c->pairs = cells[2];
        c->seconds = cells[3];
    } else if (strncmp(s->section, "Latency (ms)", 12) == 0)
        read_spread(&c->latency, &c->latency.mean, line, cells[1]);
    else if (strncmp(s->section, "Throughput", 10) == 0)
        read_spread(&c->throughput, &c->rate, line, cells[1]);
    else if (strncmp(s->section, "Latency vs", 10) == 0 && cells[1] > 0)
        read_bucket(s, line, cells);
    else if (strcmp(s->section, "Dashboard Metrics Summary") == 0 &&
             strchr(line, '('))
        read_column(s, cells);
    else if (strncmp(s->section, "Dashboard Time", 14) == 0 && line[2] >= '0' &&
             line[2] <= '9') {
        assert_true(s->report.n_rows < MAX_SEED_ROWS);
        assert_int_equal(n, CR_N_COLUMNS + 1);
        memcpy(s->rows[s->report.n_rows++].values, cells + 1,
               sizeof s->rows[0].values);
    }
}

static void read_line(seed *s, const char *line) {
    const char *heading = line + strspn(line, "#");
    read_head(s, line);
    if (heading - line >= 2)
        snprintf(s->section, sizeof s->section, "%s", heading + 1);
    else if (*line == '|')
        read_table(s, line);
    else if (strncmp(line, "**Correlation:** ", 17) == 0)
        s->config.correlation = strtod(line + 17, NULL);
}

static void read_seed(seed *s, const char *text) {
    char line[512];
    while (*text) {
        size_t len = strcspn(text, "\n");
        snprintf(line, sizeof line, "%.*s", (int)len, text);
        read_line(s, line);
        text += len + (text[len] == '\n');
    }
    s->report.configs = &s->config;
    s->report.n_configs = 1;
    s->report.rows = s->rows;
}

static void test_seed_to_the_same_text(void **state) {
    (void)state;
    char path[1024];
    const char *shared = getenv("CROSSRANK_SHARED");
    cr_buf want, got;
    static seed s;
    snprintf(path, sizeof path, "%s/reference/seed-report.txt",
             shared ? shared : CR_SOURCE_ROOT "/../shared");
    cr_buf_init(&want, 1 << 20);
    cr_buf_init(&got, 1 << 20);
    if (cr_buf_read_file(&want, path, NULL) != CR_OK)
        CR_SKIP("the seed's report is not here: set CROSSRANK_SHARED");
    read_seed(&s, want.data);
    const cr_report_config *c = &s.config;
    expect_near(c->pairs / c->seconds, 131.8, 0.05);
    expect_near(c->pairs / c->seconds, c->rate, 0.11); /* 6.07 is rounded */
    expect_near(8 / (c->latency.max / 1e3), c->throughput.min, 0.005);
    expect_near(8 / (c->latency.min / 1e3), c->throughput.max, 0.05);
    cr_report_out out = {&got, CR_OK, NULL};
    cr_report_put_seed(&out, &s.report);
    assert_int_equal(out.status, CR_OK);
    /* An editor may have taken or given the last line's end. */
    while (want.len && want.data[want.len - 1] == '\n')
        want.data[--want.len] = 0;
    while (got.len && got.data[got.len - 1] == '\n')
        got.data[--got.len] = 0;
    assert_string_equal(got.data, want.data);
    cr_buf_fini(&want);
    cr_buf_fini(&got);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spread),
        cmocka_unit_test(test_correlation),
        cmocka_unit_test(test_not_measured_is_not_zero),
        cmocka_unit_test(test_seed_to_the_same_text),
    };
    return cmocka_run_group_tests_name("lab_report", tests, NULL, NULL);
}
