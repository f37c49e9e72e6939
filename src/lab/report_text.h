/* Report text: figures as Markdown and HTML.
 *
 * The seed's sections, tables, columns and rounding, to the letter, then what
 * it lacked. NAN prints as n/a. Reads and computes nothing but sums.
 *
 * Threads: one. */
#ifndef CR_LAB_REPORT_TEXT_H
#define CR_LAB_REPORT_TEXT_H

#include "base/buf.h"
#include "lab/report_data.h"

/* Writing that needs one look at its end: after a failure nothing is added. */
typedef struct cr_report_out {
    cr_buf *buf;
    cr_status status;
    cr_error *error;
} cr_report_out;

/* At most 2047 bytes a call. */
void cr_report_put(cr_report_out *out, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* A number of so many decimals with `unit` behind it, or n/a. */
void cr_report_put_number(cr_report_out *out, double value, int decimals,
                          const char *unit);
/* " 12.3 |": the same as a cell. */
void cr_report_put_cell(cr_report_out *out, double value, int decimals,
                        const char *unit);

/* From the title to the time series: the seed's report. */
void cr_report_put_seed(cr_report_out *out, const cr_report *report);
/* What follows: machine, data, load, stages, tokens, errors. */
void cr_report_put_rest(cr_report_out *out, const cr_report *report);
/* One self-contained page. */
void cr_report_put_html(cr_report_out *out, const cr_report *report);

#endif
