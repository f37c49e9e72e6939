/* Report data: the figures of a report, before they are text.
 *
 * Filled from a results folder; a test fills it from a report. NAN is what was
 * not measured. Not a copy of results.json, which stays at hand as it is for
 * what is printed as it came.
 *
 * Threads: one. Ownership: cr_report_fini frees what is in it. */
#ifndef CR_LAB_REPORT_DATA_H
#define CR_LAB_REPORT_DATA_H

#include "lab/spread.h"

#include <jansson.h>

enum { CR_REPORT_BUCKETS = 4, CR_REPORT_TEXT = 256 };

/* One answered request; seconds since its configuration began. */
typedef struct cr_report_request {
    double start_s, end_s, latency_ms, pairs;
} cr_report_request;

/* Requests whose latency is in a range: throughput, pairs/s. */
typedef struct cr_report_bucket {
    double mean, min, max;
    size_t n;
} cr_report_bucket;

/* A column of the time series, in the order of its table. */
typedef enum cr_report_column {
    CR_COLUMN_GPU_MEMORY,
    CR_COLUMN_GPU_UTILIZATION,
    CR_COLUMN_CPU,
    CR_COLUMN_LATENCY,
    CR_COLUMN_THROUGHPUT,
    CR_COLUMN_TOKENIZE,
    CR_COLUMN_INFERENCE,
    CR_COLUMN_QUEUE,
    CR_COLUMN_PADDING,
    CR_N_COLUMNS
} cr_report_column;

typedef struct cr_report_row {
    double values[CR_N_COLUMNS];
    double at_s;   /* end of its half second, since the configuration began */
    size_t config; /* its index in configs[] */
} cr_report_row;

typedef struct cr_report_config {
    double batch_size, concurrency, pairs, seconds;
    double rate; /* pairs/s: pairs by seconds */
    cr_spread latency, throughput;
    cr_report_bucket buckets[CR_REPORT_BUCKETS];
    double correlation;
    char settings[CR_REPORT_TEXT]; /* "dtype=int8", an open loop's rate; empty
                                      without both */
    const json_t *json;            /* in results.json; NULL in a test */
    const json_t *accuracy;        /* of its server; NULL: not compared */
    cr_report_request *requests;   /* [n_requests], by end */
    size_t n_requests, n_failed;
} cr_report_config;

typedef struct cr_report {
    char name[CR_REPORT_TEXT], description[4 * CR_REPORT_TEXT];
    char timestamp[CR_REPORT_TEXT], model[CR_REPORT_TEXT];
    char backend[CR_REPORT_TEXT], device[CR_REPORT_TEXT];
    char batching[CR_REPORT_TEXT];
    bool swept;
    cr_report_config *configs;
    size_t n_configs;
    cr_report_row *rows;
    size_t n_rows;
    cr_spread columns[CR_N_COLUMNS]; /* over the rows */
    json_t *json;                    /* results.json */
} cr_report;

cr_status cr_report_read(cr_report *report, const char *dir, cr_error *error);
void cr_report_fini(cr_report *report);

/* What a reader must know before the figures, a sentence each; how many. */
enum { CR_REPORT_WARNINGS = 4 };
size_t cr_report_warnings(const cr_report *report,
                          char texts[CR_REPORT_WARNINGS][CR_REPORT_TEXT]);

/* json[key] as a number; NAN where it is missing or null. */
double cr_report_number(const json_t *json, const char *key);
/* json[key] as a text; "n/a" where it is missing or null. */
const char *cr_report_string(const json_t *json, const char *key);

#endif
