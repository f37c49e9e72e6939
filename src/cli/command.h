/* Commands: what each is called, how it explains itself, what runs it.
 *
 * A command is one file that defines one cr_command; main.c lists them. */
#ifndef CR_CLI_COMMAND_H
#define CR_CLI_COMMAND_H

#include "cli/options.h"

/* Exit codes that are not a status's (base/error.h has those). */
enum {
    CR_EXIT_DONE = 0,
    CR_EXIT_SOME_FAILED = 1,
    CR_EXIT_USAGE = 2,
    CR_EXIT_INPUT = 3,
    CR_EXIT_INTERRUPTED = 130
};

typedef struct cr_command {
    const char *name;
    const char *operands; /* for the usage line */
    const char *summary;  /* one line, no full stop */
    const char *about;    /* what --help says between usage and options */
    const char *examples; /* and after them */
    /* argv[0] is the command's name; returns an exit code. */
    int (*run)(int argc, char **argv);
} cr_command;

extern const cr_command cr_command_bench;
extern const cr_command cr_command_eval;
extern const cr_command cr_command_info;
extern const cr_command cr_command_plan;
extern const cr_command cr_command_pull;
extern const cr_command cr_command_rank;
extern const cr_command cr_command_report;
extern const cr_command cr_command_score;
extern const cr_command cr_command_serve;
extern const cr_command cr_command_tokenize;

/* What cr_command_parse returns where the command shall go on. */
enum { CR_GO_ON = -1 };

/* Parses argv for a command. --help prints it all and gives 0; a wrong option
 * or fewer than `n_needed` operands print what is wrong and give 2. */
int cr_command_parse(const cr_command *command, const cr_option *options,
                     size_t n_options, int argc, char **argv,
                     cr_operands *operands, size_t n_needed);

/* Flushes what was printed with printf: 0, or what is wrong said and 3. */
int cr_command_flush(void);

/* Prints a message to standard error, behind "crossrank: " unless it begins
 * with a place in a file, and returns the exit code of its status. */
int cr_command_fail(const cr_error *error);

#endif
