/* Commands: parsing and explaining, the same for all. */
#include "cli/command.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { HELP_COLUMN = 26, HELP_WIDTH = 79 };

/* Words of `text` in lines that begin at `indent`; the cursor stands at
 * `column`. */
static void print_wrapped(const char *text, int column, int indent) {
    while (*text) {
        int len = (int)strcspn(text, " ");
        if (column > indent && column + 1 + len > HELP_WIDTH) {
            printf("\n");
            column = 0;
        }
        if (column < indent)
            column += printf("%*s", indent - column, "");
        else if (column > indent)
            column += printf(" ");
        column += printf("%.*s", len, text);
        text += len;
        text += strspn(text, " ");
    }
    printf("\n");
}

static void print_choices(const cr_option *option, char *text, size_t bytes) {
    size_t used = (size_t)snprintf(text, bytes, "%s:", option->help);
    for (size_t i = 0; option->choices[i] && used < bytes; i++)
        used += (size_t)snprintf(text + used, bytes - used, "%s %s",
                                 i ? "," : "", option->choices[i]);
}

static void print_option(const cr_option *option) {
    char text[512];
    int column =
        option->letter ? printf("  -%c, ", option->letter) : printf("  ");
    column += printf("--%s", option->name);
    if (option->value)
        column += printf(" %s", option->value);
    if (option->choices)
        print_choices(option, text, sizeof text);
    else
        snprintf(text, sizeof text, "%s", option->help);
    if (column >= HELP_COLUMN) {
        printf("\n");
        column = 0;
    }
    print_wrapped(text, column, HELP_COLUMN);
}

static void print_help(const cr_command *command, const cr_option *options,
                       size_t n_options) {
    printf("usage: crossrank %s [OPTIONS]%s%s\n\n%s\noptions:\n", command->name,
           *command->operands ? " " : "", command->operands, command->about);
    for (size_t i = 0; i < n_options; i++)
        print_option(&options[i]);
    printf("  -h, --help              this text\n\nexamples:\n%s",
           command->examples);
}

int cr_command_fail(const cr_error *error) {
    fprintf(stderr, "%s%s\n", error->line ? "" : "crossrank: ", error->message);
    return cr_status_exit_code(error->status);
}

int cr_command_flush(void) {
    if (fflush(stdout) == 0 && !ferror(stdout))
        return CR_EXIT_DONE;
    fprintf(stderr, "crossrank: cannot write to standard output: %s\n",
            strerror(errno));
    return CR_EXIT_INPUT;
}

int cr_command_parse(const cr_command *command, const cr_option *options,
                     size_t n_options, int argc, char **argv,
                     cr_operands *operands, size_t n_needed) {
    cr_error error;
    bool help;
    cr_status status = cr_options_parse(options, n_options, argc, argv,
                                        operands, &help, &error);
    if (status == CR_OK && help) {
        print_help(command, options, n_options);
        return cr_command_flush();
    }
    if (status == CR_OK && operands->n < n_needed)
        status =
            cr_fail(&error, CR_ERR_ARGUMENT, "%s needs %s after the options",
                    command->name, command->operands);
    if (status == CR_OK)
        return CR_GO_ON;
    fprintf(stderr, "crossrank: %s (crossrank %s --help explains)\n",
            error.message, command->name);
    return CR_EXIT_USAGE;
}
