/* Interruption: Ctrl-C or SIGTERM asks for an orderly end, a second one ends at
 * once.
 *
 * After the first of either finished work is still written; the default action
 * is back for the second. crossrank serve takes both for itself. SIGPIPE is
 * ignored: a closed reader is a write error like any other. Process-wide, as
 * signals are. */
#ifndef CR_CLI_INTERRUPT_H
#define CR_CLI_INTERRUPT_H

#include <stdbool.h>

/* Called once, before other threads are started. */
void cr_interrupt_install(void);
bool cr_interrupt_asked(void);
/* Readable from the first signal on, for poll(2); -1 where there is none. */
int cr_interrupt_fd(void);

#endif
