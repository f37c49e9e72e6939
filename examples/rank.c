/* Ranks passages against a query: the shortest program that uses crossrank.
 *
 *     cc rank.c $(pkg-config --cflags --libs crossrank) -o rank
 *     ./rank MODEL QUERY PASSAGE...
 */
#include <crossrank.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static cr_text text(const char *s) { return (cr_text){s, strlen(s)}; }

/* Opens, ranks and prints; *error says why where the status is not CR_OK. */
static cr_status rank(const char *model, const char *query,
                      const cr_text *passages, size_t n, cr_ranked *ranked,
                      cr_error *error) {
    cr_options options;
    cr_ranker *ranker;
    size_t n_ranked;
    cr_options_init(&options);
    options.model = model;
    cr_status status = cr_ranker_open(&options, &ranker, error);
    if (status != CR_OK)
        return status;
    status =
        cr_rank(ranker, text(query), passages, n, 0, ranked, &n_ranked, error);
    for (size_t i = 0; status == CR_OK && i < n_ranked; i++)
        printf("%8.4f  %s\n", (double)ranked[i].score,
               passages[ranked[i].index].data);
    cr_ranker_close(ranker);
    return status;
}

int main(int argc, char **argv) {
    if (argc < 4) {
        fprintf(stderr, "usage: rank MODEL QUERY PASSAGE...\n");
        return 2;
    }
    size_t n = (size_t)argc - 3;
    cr_text *passages = malloc(n * sizeof *passages);
    cr_ranked *ranked = malloc(n * sizeof *ranked);
    cr_error error = {.message = "out of memory"};
    cr_status status = CR_ERR_MEMORY;
    if (passages && ranked) {
        for (size_t i = 0; i < n; i++)
            passages[i] = text(argv[i + 3]);
        status = rank(argv[1], argv[2], passages, n, ranked, &error);
    }
    if (status != CR_OK)
        fprintf(stderr, "rank: %s\n", error.message);
    free(ranked);
    free(passages);
    return status == CR_OK ? 0 : 1;
}
