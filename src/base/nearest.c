/* Nearest: the least edit distance that is still a typing error. */
#include "base/nearest.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>

/* Longer words are not guessed at. */
enum { MAX_GUESS_CHARS = 40 };

/* Upper and lower case are the same here. */
static bool differ(char a, char b) {
    return tolower((unsigned char)a) != tolower((unsigned char)b);
}

/* Levenshtein's distance: insertions, removals, replacements. */
static size_t distance(const char *a, const char *b) {
    size_t n = strlen(b), row[MAX_GUESS_CHARS + 1];
    for (size_t j = 0; j <= n; j++)
        row[j] = j;
    for (size_t i = 1; a[i - 1]; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            size_t best = diagonal + differ(a[i - 1], b[j - 1]);
            diagonal = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[n];
}

const char *cr_nearest(const char *word, const char *const *names, size_t n) {
    const char *best = NULL;
    size_t len = strlen(word), least = 1 + len / 3;
    if (len > MAX_GUESS_CHARS)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        if (strlen(names[i]) > MAX_GUESS_CHARS)
            continue;
        size_t far = distance(word, names[i]);
        /* A beginning of at least two letters is a fair guess too. */
        if (len >= 2 && strncasecmp(names[i], word, len) == 0)
            far = 1;
        if (far <= least && (!best || far < least)) {
            best = names[i];
            least = far;
        }
    }
    return best;
}
