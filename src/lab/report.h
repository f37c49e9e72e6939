/* Report: what a benchmark measured, for people to read.
 *
 * Reads results.json and requests.csv of a folder (docs/RESULTS.md), computes
 * every figure from them (docs/REPORT.md defines each) and writes report.md
 * and report.html beside them. Measures nothing.
 *
 * Threads: one a folder. */
#ifndef CR_LAB_REPORT_H
#define CR_LAB_REPORT_H

#include "base/buf.h"

/* Limits on what is read, in bytes. */
enum { CR_RESULTS_BYTES = 256 << 20, CR_REQUESTS_BYTES = 1 << 30 };

/* Writes dir/report.md and dir/report.html. CR_ERR_IO, CR_ERR_INPUT. */
cr_status cr_report_write(const char *dir, cr_error *error);

/* Compares the runs of dirs[n], n >= 2, with the first, in Markdown appended
 * to *text. A difference is said to exceed the noise where its interval, made
 * of the bootstrap intervals of both, does not hold 0. */
cr_status cr_report_compare(const char *const *dirs, size_t n, cr_buf *text,
                            cr_error *error);

#endif
