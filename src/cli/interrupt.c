/* Interruption: a flag for loops and a pipe for those who wait. */
#include "cli/interrupt.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

static volatile sig_atomic_t asked;
static int wake[2] = {-1, -1};

static void on_interrupt(int signal_number) {
    (void)signal_number;
    asked = 1;
    /* One byte is enough: nobody reads it, so that all waiters see it. */
    ssize_t ignored = write(wake[1], "", 1);
    (void)ignored;
}

void cr_interrupt_install(void) {
    struct sigaction interrupt = {.sa_handler = on_interrupt,
                                  .sa_flags = (int)SA_RESETHAND};
    struct sigaction ignore = {.sa_handler = SIG_IGN}, before;
    sigemptyset(&interrupt.sa_mask);
    sigemptyset(&ignore.sa_mask);
    if (pipe(wake) == 0) {
        fcntl(wake[0], F_SETFD, FD_CLOEXEC);
        fcntl(wake[1], F_SETFD, FD_CLOEXEC);
    }
    sigaction(SIGINT, &interrupt, NULL);
    sigaction(SIGTERM, &interrupt, NULL);
    /* A terminal that is gone; nohup has it ignored, and so it stays. */
    if (sigaction(SIGHUP, NULL, &before) == 0 && before.sa_handler != SIG_IGN)
        sigaction(SIGHUP, &interrupt, NULL);
    sigaction(SIGPIPE, &ignore, NULL);
}

bool cr_interrupt_asked(void) { return asked != 0; }

int cr_interrupt_fd(void) { return wake[0]; }
