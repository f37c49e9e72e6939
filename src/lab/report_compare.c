/* Report: comparisons. Neighbouring requests resemble each other, so that
 * blocks of them are resampled; a block is a row of mean latency and of time
 * a pair, whose means over equal blocks are those of the run. */
#include "lab/report.h"

#include "base/mem.h"
#include "lab/bootstrap.h"
#include "lab/report_text.h"

#include <math.h>
#include <string.h>

enum { MAX_BLOCKS = 50, MIN_BLOCKS = 5, N_RESAMPLES = 2000 };

/* Mean latency in ms and pairs a second, with what the blocks say of them. */
typedef struct measured {
    double latency, rate;
    cr_interval latency_ci, rate_ci;
    bool known; /* false: too few requests for an interval */
} measured;

/* rows[n_blocks][2] */
static void fill_blocks(const cr_report_config *c, size_t n_blocks,
                        double *rows) {
    double before = 0.0;
    for (size_t b = 0; b < n_blocks; b++) {
        size_t from = b * c->n_requests / n_blocks;
        size_t to = (b + 1) * c->n_requests / n_blocks;
        double latency = 0.0, pairs = 0.0;
        for (size_t i = from; i < to; i++) {
            latency += c->requests[i].latency_ms;
            pairs += c->requests[i].pairs;
        }
        rows[2 * b] = latency / (double)(to - from);
        double end = c->requests[to - 1].end_s;
        rows[2 * b + 1] = pairs > 0 ? (end - before) / pairs : 0.0;
        before = end;
    }
}

static cr_status measure(const cr_report_config *c, measured *m,
                         cr_error *error) {
    cr_interval intervals[2];
    size_t n_blocks = c->n_requests / 2;
    *m = (measured){.latency = c->latency.mean, .rate = c->rate};
    if (n_blocks > MAX_BLOCKS)
        n_blocks = MAX_BLOCKS;
    if (n_blocks < MIN_BLOCKS)
        return CR_OK;
    double *rows = cr_calloc(2 * n_blocks, sizeof *rows);
    if (!rows)
        return cr_fail_memory(error, 2 * n_blocks * sizeof *rows, "blocks");
    fill_blocks(c, n_blocks, rows);
    cr_status status =
        cr_bootstrap_means(rows, n_blocks, 2, N_RESAMPLES, intervals, error);
    cr_free(rows);
    m->known = status == CR_OK && intervals[1].low > 0;
    m->latency_ci = intervals[0];
    if (m->known)
        m->rate_ci =
            (cr_interval){1.0 / intervals[1].high, 1.0 / intervals[1].low};
    return status;
}

/* The same load and settings in another run. */
static const cr_report_config *find_same(const cr_report *r,
                                         const cr_report_config *like) {
    for (size_t i = 0; i < r->n_configs; i++) {
        const cr_report_config *c = &r->configs[i];
        if (c->batch_size == like->batch_size &&
            c->concurrency == like->concurrency &&
            strcmp(c->settings, like->settings) == 0 &&
            strcmp(cr_report_string(c->json, "mode"),
                   cr_report_string(like->json, "mode")) == 0)
            return c;
    }
    return NULL;
}

/* "12.3 (11.9..12.8)" */
static void put_measured(cr_report_out *out, double value,
                         const cr_interval *interval, bool known) {
    cr_report_put(out, " ");
    cr_report_put_number(out, value, 2, "");
    if (known)
        cr_report_put(out, " (%.2f..%.2f)", interval->low, interval->high);
    cr_report_put(out, " |");
}

/* How far b is from a in percent, and whether that exceeds the noise: the
 * half widths of both intervals add up as independent ones do. */
static void put_difference(cr_report_out *out, double a, double b,
                           const cr_interval *of_a, const cr_interval *of_b,
                           bool known) {
    double width_a = (of_a->high - of_a->low) / 2;
    double width_b = (of_b->high - of_b->low) / 2;
    double noise = sqrt(width_a * width_a + width_b * width_b);
    if (!known || isnan(a) || isnan(b) || a == 0) {
        cr_report_put(out, " n/a | too few requests |");
        return;
    }
    cr_report_put(out, " %+.1f%% (±%.1f%%) | %s |", 100.0 * (b - a) / a,
                  100.0 * noise / a, fabs(b - a) > noise ? "yes" : "no");
}

static cr_status put_pair(cr_report_out *out, size_t index,
                          const cr_report_config *a,
                          const cr_report_config *b) {
    measured of_a, of_b;
    cr_status status = measure(a, &of_a, out->error);
    if (status == CR_OK)
        status = measure(b, &of_b, out->error);
    if (status != CR_OK)
        return status;
    bool known = of_a.known && of_b.known;
    cr_report_put(out, "| %zu: batch=%.0f, conc=%.0f%s%s | latency (ms) |",
                  index, a->batch_size, a->concurrency,
                  *a->settings ? ", " : "", a->settings);
    put_measured(out, of_a.latency, &of_a.latency_ci, of_a.known);
    put_measured(out, of_b.latency, &of_b.latency_ci, of_b.known);
    put_difference(out, of_a.latency, of_b.latency, &of_a.latency_ci,
                   &of_b.latency_ci, known);
    cr_report_put(out, "\n| | pairs/s |");
    put_measured(out, of_a.rate, &of_a.rate_ci, of_a.known);
    put_measured(out, of_b.rate, &of_b.rate_ci, of_b.known);
    put_difference(out, of_a.rate, of_b.rate, &of_a.rate_ci, &of_b.rate_ci,
                   known);
    cr_report_put(out, "\n");
    return out->status;
}

static const char *text_at(const cr_report *r, const char *group,
                           const char *inner, const char *key) {
    const json_t *json = json_object_get(r->json, group);
    return cr_report_string(inner ? json_object_get(json, inner) : json, key);
}

/* Where more differs than what is compared, a difference has several reasons.
 */
static void put_circumstances(cr_report_out *out, const cr_report *a,
                              const cr_report *b) {
    static const struct {
        const char *group, *inner, *key, *name;
    } ROWS[] = {
        {"machine", NULL, "cpu", "machine"},
        {"dataset", NULL, "source", "data"},
        {"experiment", "load", "protocol", "protocol"},
        {"experiment", "load", "mode", "load.mode"},
        {"experiment", "load", "request", "load.request"},
        {"experiment", NULL, "model", "model"},
        {"experiment", NULL, "backend", "backend"},
        {"experiment", NULL, "dtype", "dtype"},
        {"software", NULL, "crossrank", "version of crossrank"},
    };
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        const char *of_a =
            text_at(a, ROWS[i].group, ROWS[i].inner, ROWS[i].key);
        const char *of_b =
            text_at(b, ROWS[i].group, ROWS[i].inner, ROWS[i].key);
        if (strcmp(of_a, of_b) != 0)
            cr_report_put(out, "Not the same %s: %s, then %s.\n\n",
                          ROWS[i].name, of_a, of_b);
    }
}

static void put_other(cr_report_out *out, const char *dir, size_t number,
                      const cr_report *first, const cr_report *other) {
    size_t n = 0;
    cr_report_put(out, "## A and %c: %s (%s)\n\n", (int)('A' + number),
                  other->name, dir);
    put_circumstances(out, first, other);
    cr_report_put(out,
                  "| Config | Figure | A | %c | Difference | Exceeds the "
                  "noise |\n|-----|-----|-----|-----|-----|-----|\n",
                  (int)('A' + number));
    for (size_t i = 0; out->status == CR_OK && i < first->n_configs; i++) {
        const cr_report_config *a = &first->configs[i];
        const cr_report_config *b = find_same(other, a);
        if (b) {
            out->status = put_pair(out, i + 1, a, b);
            n++;
        }
    }
    cr_report_put(out, "\n%zu of %zu configurations are in both.\n\n", n,
                  first->n_configs);
}

cr_status cr_report_compare(const char *const *dirs, size_t n, cr_buf *text,
                            cr_error *error) {
    cr_report first, other;
    cr_status status = cr_report_read(&first, dirs[0], error);
    cr_report_out out = {text, status, error};
    cr_report_put(&out,
                  "# Comparison\n\nA: %s (%s). In brackets 95 %% "
                  "bootstrap intervals of the means.\n\n",
                  first.name, dirs[0]);
    for (size_t i = 1; out.status == CR_OK && i < n; i++) {
        out.status = cr_report_read(&other, dirs[i], error);
        if (out.status == CR_OK)
            put_other(&out, dirs[i], i, &first, &other);
        cr_report_fini(&other);
    }
    cr_report_fini(&first);
    return out.status;
}
