/* Terminal: its width, and text that fits it and does it no harm.
 *
 * Threads: one. */
#ifndef CR_CLI_TERMINAL_H
#define CR_CLI_TERMINAL_H

#include "cli/out.h"

/* Columns of the terminal at fd; else $COLUMNS, else 80. */
size_t cr_terminal_width(int fd);

/* At most `columns` columns of the text on one line, with an ellipsis where
 * it is cut and control characters as blanks; `pad` fills up with blanks. */
void cr_terminal_text(cr_out *out, cr_text text, size_t columns, bool pad);

#endif
