/* Options: the parser walks argv once; what a value must be is in its row. */
#include "cli/options.h"

#include "base/nearest.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_NAME_CHARS = 100, MAX_OPTIONS = 64 };

static const cr_option *find_long(const cr_option *options, size_t n,
                                  const char *name, size_t len) {
    for (size_t i = 0; i < n; i++)
        if (strlen(options[i].name) == len &&
            memcmp(options[i].name, name, len) == 0)
            return &options[i];
    return NULL;
}

static const cr_option *find_letter(const cr_option *options, size_t n,
                                    char letter) {
    for (size_t i = 0; i < n; i++)
        if (options[i].letter == letter)
            return &options[i];
    return NULL;
}

static cr_status fail_unknown(const cr_option *options, size_t n,
                              const char *arg, size_t name_len,
                              cr_error *error) {
    char name[MAX_NAME_CHARS];
    const char *names[MAX_OPTIONS], *near;
    for (size_t i = 0; i < n && i < MAX_OPTIONS; i++)
        names[i] = options[i].name;
    snprintf(name, sizeof name, "%.*s", (int)name_len, arg + 2);
    near = cr_nearest(name, names, n < MAX_OPTIONS ? n : MAX_OPTIONS);
    if (near)
        return cr_fail(error, CR_ERR_ARGUMENT,
                       "unknown option %.100s: did you mean --%s?", arg, near);
    return cr_fail(error, CR_ERR_ARGUMENT, "unknown option %.100s", arg);
}

static cr_status set_number(const cr_option *option, const char *value,
                            cr_error *error) {
    char *end;
    errno = 0;
    double number = option->kind == CR_OPTION_REAL
                        ? strtod(value, &end)
                        : (double)strtoull(value, &end, 10);
    bool starts_well = *value >= '0' && *value <= '9';
    if (option->kind == CR_OPTION_REAL && *value == '.')
        starts_well = true;
    if (!starts_well || *end || errno || !isfinite(number) ||
        number < option->min || number > option->max)
        return cr_fail(error, CR_ERR_ARGUMENT,
                       "--%s is \"%.60s\", it must be a%s number from %.10g to "
                       "%.10g",
                       option->name, value,
                       option->kind == CR_OPTION_REAL ? "" : " whole",
                       option->min, option->max);
    if (option->kind == CR_OPTION_REAL)
        *(double *)option->target = number;
    else
        *(uint32_t *)option->target = (uint32_t)number;
    return CR_OK;
}

static cr_status set_choice(const cr_option *option, const char *value,
                            cr_error *error) {
    char list[256] = "";
    size_t n = 0, used = 0;
    for (; option->choices[n]; n++) {
        if (strcmp(option->choices[n], value) == 0) {
            *(uint32_t *)option->target = (uint32_t)n;
            return CR_OK;
        }
        int len = snprintf(list + used, sizeof list - used, "%s%s",
                           n ? ", " : "", option->choices[n]);
        if (len > 0 && used + (size_t)len < sizeof list)
            used += (size_t)len;
    }
    const char *near = cr_nearest(value, option->choices, n);
    return cr_fail(error, CR_ERR_ARGUMENT,
                   "--%s is \"%.60s\", it must be one of %s%s%s%s",
                   option->name, value, list, near ? ": did you mean " : "",
                   near ? near : "", near ? "?" : "");
}

static cr_status set_value(const cr_option *option, const char *value,
                           cr_error *error) {
    switch (option->kind) {
    case CR_OPTION_TEXT:
        if (!*value && !option->may_be_empty)
            return cr_fail(error, CR_ERR_ARGUMENT,
                           "--%s is \"\", it must not be empty: give %s, or "
                           "leave it out",
                           option->name, option->value);
        *(const char **)option->target = value;
        return CR_OK;
    case CR_OPTION_NUMBER:
    case CR_OPTION_REAL:
        return set_number(option, value, error);
    case CR_OPTION_CHOICE:
        return set_choice(option, value, error);
    case CR_OPTION_FLAG:
        break;
    }
    *(bool *)option->target = true;
    return CR_OK;
}

/* The option at argv[*at], of which *at is moved to its last word. */
static cr_status take_option(const cr_option *options, size_t n, int argc,
                             char *const *argv, int *at, cr_error *error) {
    const char *arg = argv[*at];
    const cr_option *option;
    const char *value = NULL;
    if (arg[1] == '-') {
        size_t len = strcspn(arg + 2, "=");
        option = find_long(options, n, arg + 2, len);
        if (!option)
            return fail_unknown(options, n, arg, len, error);
        if (arg[2 + len] == '=')
            value = arg + 2 + len + 1;
    } else {
        option = find_letter(options, n, arg[1]);
        if (!option)
            return cr_fail(error, CR_ERR_ARGUMENT,
                           "unknown option %.100s: long options begin with "
                           "two dashes",
                           arg);
        if (arg[2])
            value = arg + 2;
    }
    if (option->kind == CR_OPTION_FLAG && value)
        return cr_fail(error, CR_ERR_ARGUMENT,
                       "--%s takes no value, got "
                       "\"%.60s\"",
                       option->name, value);
    if (option->kind != CR_OPTION_FLAG && !value) {
        if (*at + 1 == argc)
            return cr_fail(error, CR_ERR_ARGUMENT,
                           "--%s needs a value: --%s %s", option->name,
                           option->name, option->value);
        value = argv[++*at];
    }
    return set_value(option, value, error);
}

static cr_status take_operand(cr_operands *operands, const char *arg,
                              cr_error *error) {
    if (operands->n == operands->max)
        return cr_fail(error, CR_ERR_ARGUMENT,
                       "\"%.100s\" is one argument too many, at most %zu %s "
                       "taken",
                       arg, operands->max, operands->max == 1 ? "is" : "are");
    operands->list[operands->n++] = arg;
    return CR_OK;
}

cr_status cr_options_parse(const cr_option *options, size_t n_options, int argc,
                           char *const *argv, cr_operands *operands, bool *help,
                           cr_error *error) {
    bool only_operands = false;
    operands->n = 0;
    *help = false;
    for (int i = 1; i < argc; i++) {
        cr_status status;
        if (!only_operands && strcmp(argv[i], "--") == 0) {
            only_operands = true;
            continue;
        }
        if (only_operands || argv[i][0] != '-' || !argv[i][1]) {
            status = take_operand(operands, argv[i], error);
        } else if (strcmp(argv[i], "--help") == 0 ||
                   strcmp(argv[i], "-h") == 0) {
            *help = true;
            return CR_OK;
        } else {
            status = take_option(options, n_options, argc, argv, &i, error);
        }
        if (status != CR_OK)
            return status;
    }
    return CR_OK;
}
