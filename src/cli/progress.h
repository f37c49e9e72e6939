/* Progress: one line on a terminal that says how far, how fast, how long.
 *
 * Nothing at all where standard error is not a terminal. Threads: one. */
#ifndef CR_CLI_PROGRESS_H
#define CR_CLI_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct cr_progress {
    bool on;
    const char *unit; /* "pairs" */
    uint64_t total;   /* of the unit, 0 where unknown */
    double began;     /* seconds */
    size_t width;     /* columns that the last line took */
} cr_progress;

void cr_progress_init(cr_progress *progress, bool wanted, const char *unit,
                      uint64_t total);
/* `done` of the unit; `share` of all work, below 0 where unknown. */
void cr_progress_show(cr_progress *progress, uint64_t done, double share);
/* Takes the line away, before anything else is written there. */
void cr_progress_clear(cr_progress *progress);

/* The line itself, without its control characters; for tests. */
void cr_progress_format(const cr_progress *progress, uint64_t done,
                        double share, double seconds, char *line,
                        size_t line_bytes);

#endif
