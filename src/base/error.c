/* Errors: one table of statuses, and messages that stay on one line. */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>

static const struct {
    const char *name;
    const char *text;
    int exit_code;
} STATUSES[] = {
#define ROW(name, text, exit_code) [name] = {#name, text, exit_code},
    CR_STATUS_LIST(ROW)
#undef ROW
};

enum { N_STATUSES = sizeof STATUSES / sizeof STATUSES[0] };

/* Statuses from outside (a caller's cast) read as internal errors. */
static size_t row_of(cr_status status) {
    return (size_t)status < N_STATUSES ? (size_t)status : CR_ERR_INTERNAL;
}

const char *cr_status_name(cr_status status) {
    return STATUSES[row_of(status)].name;
}

const char *cr_status_text(cr_status status) {
    return STATUSES[row_of(status)].text;
}

int cr_status_exit_code(cr_status status) {
    return STATUSES[row_of(status)].exit_code;
}

/* Drops a multi-byte character that the buffer's end has cut in two. */
static void drop_cut_character(char *s, size_t len) {
    size_t back = 0;
    while (back < len && back < 3 &&
           ((uint8_t)s[len - 1 - back] & 0xc0) == 0x80)
        back++;
    if (back < len && (uint8_t)s[len - 1 - back] >= 0xc0) {
        uint8_t lead = (uint8_t)s[len - 1 - back];
        size_t need = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : 1;
        if (back < need)
            s[len - 1 - back] = '\0';
    }
}

__attribute__((format(printf, 5, 0))) static cr_status
fail_with(cr_error *error, cr_status status, uint64_t line, uint64_t column,
          const char *format, va_list args) {
    if (!error)
        return status;
    error->status = status;
    error->line = line;
    error->column = column;
    int len = vsnprintf(error->message, sizeof error->message, format, args);
    if (len < 0)
        error->message[0] = '\0';
    for (char *p = error->message; *p; p++)
        if ((uint8_t)*p < 0x20 || *p == 0x7f)
            *p = '?';
    if (len >= (int)sizeof error->message)
        drop_cut_character(error->message, sizeof error->message - 1);
    return status;
}

cr_status cr_fail(cr_error *error, cr_status status, const char *format, ...) {
    va_list args;
    va_start(args, format);
    fail_with(error, status, 0, 0, format, args);
    va_end(args);
    return status;
}

cr_status cr_fail_at(cr_error *error, cr_status status, uint64_t line,
                     uint64_t column, const char *format, ...) {
    va_list args;
    va_start(args, format);
    fail_with(error, status, line, column, format, args);
    va_end(args);
    return status;
}

cr_status cr_fail_as_input(cr_status status, cr_error *error) {
    if (status != CR_ERR_ARGUMENT)
        return status;
    if (error)
        error->status = CR_ERR_INPUT;
    return CR_ERR_INPUT;
}

cr_status cr_fail_thread(cr_error *error) {
    return cr_fail(error, CR_ERR_MEMORY,
                   "cannot start a thread: allow more of them (ulimit -u, "
                   "TasksMax)");
}

cr_status cr_fail_memory(cr_error *error, size_t bytes, const char *what) {
    return cr_fail(error, CR_ERR_MEMORY,
                   "no memory for %s (%zu bytes): free memory or use smaller "
                   "limits",
                   what, bytes);
}

const char *cr_version(void) { return CR_VERSION; }
