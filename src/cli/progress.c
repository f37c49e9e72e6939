/* Progress: formatted apart from the terminal, so that it can be tested. */
#include "cli/progress.h"

#include "cli/clock.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { BAR_COLUMNS = 24, LINE_BYTES = 160 };

void cr_progress_init(cr_progress *progress, bool wanted, const char *unit,
                      uint64_t total) {
    *progress = (cr_progress){.on = wanted && isatty(STDERR_FILENO),
                              .unit = unit,
                              .total = total,
                              .began = cr_seconds()};
}

static void format_duration(double seconds, char text[32]) {
    uint64_t s = seconds < 359999 ? (uint64_t)(seconds + 0.5) : 359999;
    unsigned hours = (unsigned)(s / 3600), minutes = (unsigned)(s / 60 % 60);
    if (hours)
        snprintf(text, 32, "%u:%02u:%02u", hours, minutes, (unsigned)(s % 60));
    else
        snprintf(text, 32, "%u:%02u", minutes, (unsigned)(s % 60));
}

void cr_progress_format(const cr_progress *progress, uint64_t done,
                        double share, double seconds, char *line,
                        size_t line_bytes) {
    char total[32] = "", left[32], bar[BAR_COLUMNS + 1];
    double rate = seconds > 0 ? (double)done / seconds : 0;
    if (progress->total) {
        share = (double)done / (double)progress->total;
        snprintf(total, sizeof total, "/%llu",
                 (unsigned long long)progress->total);
    }
    if (share < 0) {
        snprintf(line, line_bytes, "%llu %s  %.1f %s/s",
                 (unsigned long long)done, progress->unit, rate,
                 progress->unit);
        return;
    }
    share = share < 1 ? share : 1;
    size_t filled = (size_t)(share * BAR_COLUMNS);
    memset(bar, '-', BAR_COLUMNS);
    memset(bar, '#', filled);
    bar[BAR_COLUMNS] = '\0';
    format_duration(share > 0 ? seconds * (1 - share) / share : 0, left);
    snprintf(line, line_bytes, "[%s] %3.0f %%  %llu%s %s  %.1f %s/s  ETA %s",
             bar, share * 100, (unsigned long long)done, total, progress->unit,
             rate, progress->unit, share > 0 ? left : "?");
}

void cr_progress_show(cr_progress *progress, uint64_t done, double share) {
    char line[LINE_BYTES];
    if (!progress->on)
        return;
    cr_progress_format(progress, done, share, cr_seconds() - progress->began,
                       line, sizeof line);
    size_t width = strlen(line);
    size_t rest = progress->width > width ? progress->width - width : 0;
    fprintf(stderr, "\r%s%*s", line, (int)rest, "");
    progress->width = width;
}

void cr_progress_clear(cr_progress *progress) {
    if (!progress->on || !progress->width)
        return;
    fprintf(stderr, "\r%*s\r", (int)progress->width, "");
    progress->width = 0;
}
