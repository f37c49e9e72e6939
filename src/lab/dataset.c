/* Dataset: reading, and dealing out. */
#include "lab/dataset.h"

#include "base/mem.h"
#include "lab/lines.h"
#include "lab/records.h"
#include "lab/results.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum {
    MAX_TEXT_BYTES = 256 << 20,
    DEPTH = 100,
    QUERY_WORDS = 6,
    SPECIALS = 3,
    PER_QUERY = 32
};

static const char SYNTHETIC[] = "synthetic:";

static cr_status keep(cr_dataset *d, const char *text, size_t len,
                      cr_text *kept, cr_error *error) {
    if ((d->n_texts & (d->n_texts - 1)) == 0) {
        size_t room = d->n_texts ? 2 * d->n_texts : 64;
        char **texts = cr_realloc(d->texts, room * sizeof *texts);
        if (!texts)
            return cr_fail_memory(error, room * sizeof *texts, "a dataset");
        d->texts = texts;
    }
    char *copy = cr_strndup(text, len);
    if (!copy)
        return cr_fail_memory(error, len + 1, "a dataset");
    d->texts[d->n_texts++] = copy;
    *kept = (cr_text){copy, len};
    return CR_OK;
}

static cr_status add_pair(cr_dataset *d, cr_pair pair, cr_error *error) {
    if (d->n == CR_DATASET_PAIRS)
        return cr_fail(error, CR_ERR_INPUT, "more than %d pairs",
                       CR_DATASET_PAIRS);
    if ((d->n & (d->n - 1)) == 0) {
        size_t room = d->n ? 2 * d->n : 64;
        cr_pair *pairs = cr_realloc(d->pairs, room * sizeof *pairs);
        if (!pairs)
            return cr_fail_memory(error, room * sizeof *pairs, "a dataset");
        d->pairs = pairs;
    }
    d->pairs[d->n++] = pair;
    return CR_OK;
}

/* ---- Sources --------------------------------------------------------------
 */

static cr_status read_folder(cr_dataset *d, const char *path, cr_error *error) {
    cr_collection *c = &d->collection;
    cr_status status = cr_collection_open(path, NULL, DEPTH, c, error);
    for (size_t q = 0; status == CR_OK && q < c->n_queries; q++)
        for (size_t i = 0; status == CR_OK && i < c->queries[q].n; i++)
            status = add_pair(
                d,
                (cr_pair){c->queries[q].text,
                          c->doc_texts[c->queries[q].candidates[i].doc]},
                error);
    return status;
}

typedef struct pair_file {
    cr_dataset *dataset;
    cr_record_format format; /* found by the first line */
} pair_file;

static cr_status take_record(const cr_lines *lines, cr_text line, void *context,
                             cr_error *error) {
    pair_file *file = context;
    cr_dataset *d = file->dataset;
    cr_record record = {0};
    cr_pair pair;
    cr_error why;
    if (file->format == CR_FORMAT_AUTO)
        file->format = cr_record_detect(lines->name, line);
    cr_status status =
        cr_record_parse(line, CR_RECORD_PAIR, file->format, &record, &why);
    if (status != CR_OK) {
        cr_record_fini(&record);
        return cr_lines_fail(lines, error, "%s", why.message);
    }
    cr_text last = d->n ? d->pairs[d->n - 1].query : (cr_text){"", 0};
    bool same = d->n && last.len == record.query.len &&
                memcmp(last.data, record.query.data, last.len) == 0;
    pair.query = last;
    if (!same)
        status =
            keep(d, record.query.data, record.query.len, &pair.query, error);
    if (status == CR_OK)
        status = keep(d, record.passage.data, record.passage.len, &pair.passage,
                      error);
    if (status == CR_OK)
        status = add_pair(d, pair, error);
    cr_record_fini(&record);
    return status;
}

static cr_status read_file(cr_dataset *d, const char *path, cr_error *error) {
    pair_file file = {.dataset = d, .format = CR_FORMAT_AUTO};
    return cr_lines_each(path, take_record, &file, error);
}

/* ---- Synthetic ------------------------------------------------------------
 */

typedef struct shape {
    char kind; /* f, u, l */
    double a, b;
} shape;

static bool read_shape(const char *text, shape *s) {
    static const char *const NAMES[] = {"fixed:", "uniform:", "lognormal:"};
    for (size_t i = 0; i < 3; i++) {
        size_t n = strlen(NAMES[i]);
        char *end;
        if (strncmp(text, NAMES[i], n) != 0)
            continue;
        s->kind = NAMES[i][0];
        s->a = s->b = strtod(text + n, &end);
        if (s->kind == 'u' && *end == '-')
            s->b = strtod(end + 1, &end);
        return *end == 0 && s->a >= QUERY_WORDS + SPECIALS + 1 &&
               s->b >= s->a && s->b <= 65536;
    }
    return false;
}

static double next_unit(uint64_t *seed) {
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return ((double)(*seed >> 11) + 0.5) / 9007199254740992.0;
}

static size_t next_length(const shape *s, uint64_t *seed) {
    const double sigma = 0.6;
    double u = next_unit(seed), v = next_unit(seed), tokens = s->a;
    if (s->kind == 'u')
        tokens = s->a + floor(u * (s->b - s->a + 1));
    if (s->kind == 'l') /* Box and Muller's normal number */
        tokens = s->a * exp(sigma * sqrt(-2 * log(u)) * cos(2 * M_PI * v) -
                            sigma * sigma / 2);
    double least = QUERY_WORDS + SPECIALS + 1;
    return (size_t)fmin(fmax(round(tokens), least), 65536);
}

static cr_status write_words(cr_dataset *d, size_t n, uint64_t *seed,
                             cr_text *text, cr_error *error) {
    static const char *const WORDS[] = {
        "time",   "year",    "people",   "way",   "day",        "man",
        "thing",  "woman",   "life",     "child", "world",      "school",
        "state",  "family",  "student",  "group", "country",    "problem",
        "hand",   "part",    "place",    "case",  "week",       "company",
        "system", "program", "question", "work",  "government", "number",
        "night",  "point",   "home",     "water", "room"};
    cr_buf words;
    cr_buf_init(&words, 1 << 20);
    cr_status status = CR_OK;
    for (size_t i = 0; i < n && status == CR_OK; i++) {
        size_t w = (size_t)(next_unit(seed) * (sizeof WORDS / sizeof *WORDS));
        status = cr_buf_printf(&words, error, "%s%s", i ? " " : "", WORDS[w]);
    }
    if (status == CR_OK)
        status = keep(d, words.data, words.len, text, error);
    cr_buf_fini(&words);
    return status;
}

static cr_status make_synthetic(cr_dataset *d, const char *distribution,
                                cr_error *error) {
    shape s;
    uint64_t seed = 1;
    cr_pair pair = {{0}, {0}};
    cr_status status = CR_OK;
    if (!read_shape(distribution, &s))
        return cr_fail(error, CR_ERR_ARGUMENT,
                       "synthetic data is \"%.60s\", it must be fixed:N, "
                       "uniform:A-B or lognormal:MEAN, of %d to 65536 tokens",
                       distribution, QUERY_WORDS + SPECIALS + 1);
    d->synthetic = true;
    for (size_t i = 0; i < CR_SYNTHETIC_PAIRS && status == CR_OK; i++) {
        if (i % PER_QUERY == 0)
            status = write_words(d, QUERY_WORDS, &seed, &pair.query, error);
        if (status == CR_OK)
            status =
                write_words(d, next_length(&s, &seed) - QUERY_WORDS - SPECIALS,
                            &seed, &pair.passage, error);
        if (status == CR_OK)
            status = add_pair(d, pair, error);
    }
    return status;
}

/* ---- Opening --------------------------------------------------------------
 */

static cr_status to_json(cr_dataset *d, cr_text text, cr_text *json,
                         cr_error *error) {
    cr_buf shown;
    json_t *value = json_stringn(text.data, text.len);
    if (!value)
        return cr_fail(error, CR_ERR_INPUT,
                       "a text of the data is not UTF-8: JSON cannot carry "
                       "it");
    cr_buf_init(&shown, MAX_TEXT_BYTES);
    cr_status status =
        cr_results_put_json(&shown, value, JSON_ENCODE_ANY, error);
    json_decref(value);
    if (status == CR_OK)
        status = keep(d, shown.data, shown.len, json, error);
    cr_buf_fini(&shown);
    return status;
}

static cr_status prepare(cr_dataset *d, cr_error *error) {
    cr_status status = CR_OK;
    d->wire = cr_calloc(d->n, sizeof *d->wire);
    d->groups = cr_calloc(d->n + 1, sizeof *d->groups);
    if (!d->wire || !d->groups)
        return cr_fail_memory(error, d->n * sizeof *d->wire, "a dataset");
    for (size_t i = 0; i < d->n && status == CR_OK; i++) {
        bool same = i && d->pairs[i].query.data == d->pairs[i - 1].query.data;
        if (same)
            d->wire[i].query = d->wire[i - 1].query;
        else {
            d->groups[d->n_groups++] = (uint32_t)i;
            status = to_json(d, d->pairs[i].query, &d->wire[i].query, error);
        }
        if (status == CR_OK)
            status =
                to_json(d, d->pairs[i].passage, &d->wire[i].passage, error);
    }
    d->groups[d->n_groups] = (uint32_t)d->n;
    return status;
}

cr_status cr_dataset_open(const char *source, cr_dataset *d, cr_error *error) {
    struct stat about;
    memset(d, 0, sizeof *d);
    snprintf(d->source, sizeof d->source, "%s", source);
    cr_status status;
    if (strncmp(source, SYNTHETIC, sizeof SYNTHETIC - 1) == 0)
        status = make_synthetic(d, source + sizeof SYNTHETIC - 1, error);
    else if (stat(source, &about) == 0 && S_ISDIR(about.st_mode))
        status = read_folder(d, source, error);
    else
        status = read_file(d, source, error);
    if (status == CR_OK && d->n == 0)
        status = cr_fail(error, CR_ERR_INPUT, "%s: no pairs in it", source);
    if (status == CR_OK)
        status = prepare(d, error);
    if (status != CR_OK)
        cr_dataset_close(d);
    return status;
}

void cr_dataset_close(cr_dataset *d) {
    for (size_t i = 0; i < d->n_texts; i++)
        cr_free(d->texts[i]);
    cr_free(d->texts);
    cr_free(d->pairs);
    cr_free(d->wire);
    cr_free(d->groups);
    cr_collection_close(&d->collection);
    memset(d, 0, sizeof *d);
}

void cr_dataset_shorten(cr_dataset *d, size_t most) {
    if (d->n <= most)
        return;
    while (d->n_groups > 1 && d->groups[d->n_groups] > most)
        d->n_groups--;
    if (d->groups[d->n_groups] > most)
        d->groups[d->n_groups] = (uint32_t)most;
    d->n = d->groups[d->n_groups];
}

void cr_dataset_take(const cr_dataset *d, bool as_pairs, uint64_t number,
                     size_t n, uint32_t *indexes) {
    if (as_pairs) {
        for (size_t i = 0; i < n; i++)
            indexes[i] = (uint32_t)((number * n + i) % d->n);
        return;
    }
    const uint32_t *group = d->groups + number % d->n_groups;
    uint32_t size = group[1] - group[0];
    uint64_t first = number / d->n_groups * n;
    for (size_t i = 0; i < n; i++)
        indexes[i] = group[0] + (uint32_t)((first + i) % size);
}
