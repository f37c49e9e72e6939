/* What tests of scoring run under: the shipped model on the cpu backend, or
 * what the environment names, so that the same tests run elsewhere too.
 *
 * CROSSRANK_BACKEND, CROSSRANK_DEVICE: as for the program.
 * CROSSRANK_TEST_MODEL: a folder of six layers with the shipped vocabulary,
 * where emulation makes the shipped one too slow. */
#ifndef CR_TESTS_UNDER_H
#define CR_TESTS_UNDER_H

#include "crossrank.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static inline const char *under_model(void) {
    const char *named = getenv("CROSSRANK_TEST_MODEL");
    return named ? named : CR_SOURCE_ROOT "/models/crossrank-minilm-l6";
}

static inline void under_options(cr_options *options) {
    cr_options_init(options);
    options->model = under_model();
    options->backend = getenv("CROSSRANK_BACKEND");
    options->device = getenv("CROSSRANK_DEVICE");
}

/* Whether a score depends on its pair alone, to the bit. */
static inline bool under_exact(void) {
    const char *backend = getenv("CROSSRANK_BACKEND");
    return !backend || strcmp(backend, "cpu") == 0;
}

/* Whether two scores of a pair are what the backend promises: the same bits, or
 * within 1e-3 of each other. */
static inline bool under_alike(float a, float b) {
    return under_exact() ? memcmp(&a, &b, sizeof a) == 0
                         : fabsf(a - b) <= 1e-3f;
}

#endif
