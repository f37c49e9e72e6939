/* JSON bodies: jansson with a budget. */
#include "server/json_in.h"

#include "base/mem.h"

#include <stdint.h>

/* Documents of a few letters cost about ten times their text; the first
 * megabyte is free, so that small bodies never meet the limit. */
enum { FREE_BYTES = 1 << 20, BYTES_PER_BYTE = 10 };

/* What this thread may still take; SIZE_MAX: it is not parsing. */
static _Thread_local size_t budget = SIZE_MAX;
/* Something was refused: jansson does not always say so. */
static _Thread_local bool refused;

static void *take(size_t bytes) {
    bool counted = budget != SIZE_MAX, enough = bytes <= budget;
    void *block = enough ? cr_alloc(bytes) : NULL;
    refused = refused || !block;
    if (counted && block)
        budget -= bytes;
    return block;
}

void cr_json_in_install(void) { json_set_alloc_funcs(take, cr_free); }

json_t *cr_json_in_parse(const char *bytes, size_t len, cr_refusal *refusal) {
    json_error_t error;
    refused = false;
    budget = FREE_BYTES + BYTES_PER_BYTE * len;
    json_t *root = json_loadb(bytes ? bytes : "", len,
                              JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    bool spent = !root && refused;
    budget = SIZE_MAX;
    if (spent)
        cr_refuse(refusal, CR_REFUSAL_SIZE,
                  "the body has too many values for its size: send texts, not "
                  "numbers or empty strings");
    else if (!root)
        cr_refuse(refusal, CR_REFUSAL_MALFORMED,
                  "Failed to parse the request body as JSON: %s at line %d "
                  "column %d",
                  error.text, error.line, error.column);
    else if (!json_is_object(root)) {
        cr_refuse(refusal, CR_REFUSAL_SHAPE, "the body must be a JSON object");
        json_decref(root);
        root = NULL;
    }
    return root;
}
