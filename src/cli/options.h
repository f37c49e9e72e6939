/* Options: a table of what a command accepts, and one parser for all.
 *
 * --name VALUE and --name=VALUE, one-letter forms where a row has one, flags
 * without a value, operands anywhere, "--" ends the options, "-" is an
 * operand. The last of several wins. A text may not be empty unless its row
 * says so: it is a shell's unset variable more often than a wish. Every
 * complaint names the option, the value and what is accepted. It prints
 * nothing.
 *
 * Threads: pure. Ownership: texts point into argv. */
#ifndef CR_CLI_OPTIONS_H
#define CR_CLI_OPTIONS_H

#include "base/error.h"

typedef enum cr_option_kind {
    CR_OPTION_FLAG,   /* target: bool */
    CR_OPTION_TEXT,   /* target: const char * */
    CR_OPTION_NUMBER, /* target: uint32_t, min..max */
    CR_OPTION_REAL,   /* target: double, min..max */
    CR_OPTION_CHOICE  /* target: uint32_t, an index of choices */
} cr_option_kind;

typedef struct cr_option {
    const char *name;  /* without dashes */
    char letter;       /* 0: no short form */
    const char *value; /* what --help calls the value, NULL for a flag */
    const char *help;
    cr_option_kind kind;
    void *target;
    double min, max;
    const char *const *choices; /* ending with NULL */
    bool may_be_empty;          /* of a text: "" is a value like any other */
} cr_option;

/* One row of the table. */
#define CR_FLAG(name_, target_, help_)                                         \
    { .name = name_, .help = help_, .kind = CR_OPTION_FLAG, .target = target_ }
#define CR_TEXT_OPTION(name_, value_, target_, help_)                          \
    {                                                                          \
        .name = name_, .value = value_, .help = help_, .kind = CR_OPTION_TEXT, \
        .target = target_                                                      \
    }
/* A text of which "" is a value too. */
#define CR_ANY_TEXT_OPTION(name_, value_, target_, help_)                      \
    {                                                                          \
        .name = name_, .value = value_, .help = help_, .kind = CR_OPTION_TEXT, \
        .target = target_, .may_be_empty = true                                \
    }
#define CR_NUMBER_OPTION(name_, value_, target_, min_, max_, help_)            \
    {                                                                          \
        .name = name_, .value = value_, .help = help_,                         \
        .kind = CR_OPTION_NUMBER, .target = target_, .min = min_, .max = max_  \
    }
#define CR_CHOICE_OPTION(name_, value_, target_, choices_, help_)              \
    {                                                                          \
        .name = name_, .value = value_, .help = help_,                         \
        .kind = CR_OPTION_CHOICE, .target = target_, .choices = choices_       \
    }

typedef struct cr_operands {
    const char **list; /* [max], the caller's */
    size_t n;
    size_t max;
} cr_operands;

/* Reads argv[1..argc). Targets that are not named keep their value. *help is
 * set by --help or -h, after which nothing else is looked at.
 * CR_ERR_ARGUMENT. */
cr_status cr_options_parse(const cr_option *options, size_t n_options, int argc,
                           char *const *argv, cr_operands *operands, bool *help,
                           cr_error *error);

#endif
