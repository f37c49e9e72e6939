/* The program: finds the command and runs it. */
#include "base/nearest.h"
#include "cli/command.h"
#include "cli/interrupt.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const cr_command *const COMMANDS[] = {
    &cr_command_rank,     &cr_command_score,  &cr_command_eval,
    &cr_command_tokenize, &cr_command_info,   &cr_command_serve,
    &cr_command_bench,    &cr_command_report, &cr_command_plan,
    &cr_command_pull,
};

enum { N_COMMANDS = sizeof COMMANDS / sizeof COMMANDS[0] };

static const cr_command *find(const char *name) {
    for (size_t i = 0; i < N_COMMANDS; i++)
        if (strcmp(COMMANDS[i]->name, name) == 0)
            return COMMANDS[i];
    return NULL;
}

static int help(void) {
    printf("crossrank %s: exact scores of (query, passage) pairs by a "
           "cross-encoder.\n\n"
           "usage: crossrank COMMAND [OPTIONS] ...\n\ncommands:\n",
           cr_version());
    for (size_t i = 0; i < N_COMMANDS; i++)
        printf("  %-10s %s\n", COMMANDS[i]->name, COMMANDS[i]->summary);
    printf("\n"
           "crossrank COMMAND --help explains a command and its options.\n"
           "\n"
           "examples:\n"
           "  printf 'Paris is in France\\nRome is in Italy\\n' |\n"
           "      crossrank rank --query 'capital of Italy' -\n"
           "  crossrank score pairs.tsv >scores.txt\n"
           "  crossrank eval data/novel\n"
           "\n"
           "environment:\n"
           "  CROSSRANK_MODEL  model folder where --model is not given\n"
           "  CROSSRANK_BACKEND, CROSSRANK_DEVICE, CROSSRANK_ISA\n"
           "                   what computes, where no option says it\n"
           "\n"
           "Data goes to standard output, messages to standard error. Exit "
           "codes: 0 done;\n"
           "1 finished, but some items failed; 2 wrong usage; 3 bad input or "
           "model;\n"
           "4 backend, device, dtype or instruction set not available; 130 "
           "interrupted.\n");
    return cr_command_flush();
}

static int fail_unknown(const char *word) {
    const char *names[N_COMMANDS];
    for (size_t i = 0; i < N_COMMANDS; i++)
        names[i] = COMMANDS[i]->name;
    const char *near = cr_nearest(word, names, N_COMMANDS);
    fprintf(stderr,
            "crossrank: unknown command \"%.100s\"%s%s%s "
            "(crossrank --help lists them)\n",
            word, near ? ": did you mean " : "", near ? near : "",
            near ? "?" : "");
    return CR_EXIT_USAGE;
}

static bool is(const char *word, const char *a, const char *b) {
    return strcmp(word, a) == 0 || strcmp(word, b) == 0;
}

/* Where a standard descriptor is closed the next file or socket would get its
 * number, and be read as input or written into. So it is taken by something
 * that fails as a closed one does: it is opened for the other direction. */
static void take_closed_descriptors(void) {
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF &&
            open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) < 0)
            return; /* no /dev/null: as it was */
}

int main(int argc, char **argv) {
    take_closed_descriptors();
    cr_interrupt_install();
    if (argc < 2) {
        fprintf(stderr, "crossrank: a command is needed (crossrank --help "
                        "lists them)\n");
        return CR_EXIT_USAGE;
    }
    if (is(argv[1], "--version", "-V")) {
        printf("crossrank %s\n", cr_version());
        return cr_command_flush();
    }
    if (is(argv[1], "--help", "-h") ||
        (is(argv[1], "help", "help") && argc == 2))
        return help();
    bool explain = is(argv[1], "help", "help");
    const cr_command *command = find(argv[explain ? 2 : 1]);
    if (!command)
        return fail_unknown(argv[explain ? 2 : 1]);
    char flag[] = "--help";
    char *help_argv[] = {argv[explain ? 2 : 1], flag, NULL};
    return explain ? command->run(2, help_argv)
                   : command->run(argc - 1, argv + 1);
}
