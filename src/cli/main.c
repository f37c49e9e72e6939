/* The program: finds the subcommand and runs it. */
#include "crossrank.h"

#include <stdio.h>

int main(void) {
    printf("crossrank %s\n", cr_version());
    return 0;
}
