/* Scores from many threads at once: one ranker is shared by all of them, and
 * no caller's scores depend on the others.
 *
 *     cc score_many_threads.c $(pkg-config --cflags --libs crossrank) \
 *         -pthread -o score_many_threads
 *     ./score_many_threads MODEL
 */
#include <crossrank.h>

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { N_CALLERS = 8, N_CALLS = 5, N_PAIRS = 6 };

static const char *const PASSAGES[N_PAIRS] = {
    "Paris is the capital of France.",
    "Rome, on the Tiber, has been the capital of Italy since 1871.",
    "The capital of Italy was Turin, then Florence, then Rome.",
    "Gelato is made with less air than other ice cream.",
    "Milan is the seat of the Italian stock exchange.",
    "",
};

/* What one thread does, and whether it saw the scores it was told to. */
typedef struct caller {
    pthread_t thread;
    cr_ranker *ranker;
    const cr_pair *pairs;
    const float *expected;
    bool agrees;
} caller;

static void *call(void *argument) {
    caller *c = argument;
    c->agrees = true;
    for (int i = 0; i < N_CALLS; i++) {
        float scores[N_PAIRS];
        cr_status status = cr_score(c->ranker, c->pairs, N_PAIRS, scores, NULL);
        /* Equal to the bit, whatever the other callers do meanwhile. */
        if (status != CR_OK || memcmp(scores, c->expected, sizeof scores) != 0)
            c->agrees = false;
    }
    return NULL;
}

static bool call_from_all(cr_ranker *ranker, const cr_pair *pairs,
                          const float *expected) {
    static caller callers[N_CALLERS];
    bool agree = true;
    int n = 0;
    for (; n < N_CALLERS; n++) {
        caller *c = &callers[n];
        *c = (caller){.ranker = ranker, .pairs = pairs, .expected = expected};
        if (pthread_create(&c->thread, NULL, call, c) != 0) {
            agree = false;
            break;
        }
    }
    while (n-- > 0) {
        pthread_join(callers[n].thread, NULL);
        agree = agree && callers[n].agrees;
    }
    return agree;
}

int main(int argc, char **argv) {
    static const char query[] = "what is the capital of Italy";
    cr_options options;
    cr_ranker *ranker;
    cr_error error;
    cr_pair pairs[N_PAIRS];
    float scores[N_PAIRS];
    if (argc != 2) {
        fprintf(stderr, "usage: score_many_threads MODEL\n");
        return 2;
    }
    cr_options_init(&options);
    options.model = argv[1];
    if (cr_ranker_open(&options, &ranker, &error) != CR_OK) {
        fprintf(stderr, "score_many_threads: %s\n", error.message);
        return 1;
    }
    for (int i = 0; i < N_PAIRS; i++)
        pairs[i] = (cr_pair){{query, strlen(query)},
                             {PASSAGES[i], strlen(PASSAGES[i])}};
    bool agree = cr_score(ranker, pairs, N_PAIRS, scores, &error) == CR_OK &&
                 call_from_all(ranker, pairs, scores);
    cr_ranker_close(ranker);
    for (int i = 0; i < N_PAIRS; i++)
        printf("%8.4f  %s\n", (double)scores[i], PASSAGES[i]);
    printf("%d threads: %s\n", N_CALLERS,
           agree ? "equal to the bit" : "they differ");
    return agree ? 0 : 1;
}
