/* JSON bodies: jansson with a budget. */
#include "server/json_in.h"

#include "base/mem.h"

#include <stdint.h>

/* What this thread may still take; SIZE_MAX: it is not parsing. */
static _Thread_local size_t budget = SIZE_MAX;
/* What was the matter: jansson does not always say so. */
static _Thread_local bool refused, no_memory;

static void *take(size_t bytes) {
    bool counted = budget != SIZE_MAX, enough = bytes <= budget;
    void *block = enough ? cr_alloc(bytes) : NULL;
    refused = refused || !enough;
    no_memory = no_memory || (enough && !block);
    if (counted && block)
        budget -= bytes;
    return block;
}

void cr_json_in_install(void) { json_set_alloc_funcs(take, cr_free); }

json_t *cr_json_in_parse(const char *bytes, size_t len, cr_refusal *refusal) {
    json_error_t error;
    refused = no_memory = false;
    budget = CR_JSON_FREE_BYTES + CR_JSON_BYTES_PER_BYTE * len;
    json_t *root = json_loadb(bytes ? bytes : "", len,
                              JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    budget = SIZE_MAX;
    if (!root && no_memory)
        cr_refuse(refusal, CR_REFUSAL_UNREADY,
                  "no memory for a body of %zu bytes; try again later", len);
    else if (!root && refused)
        cr_refuse(refusal, CR_REFUSAL_SIZE,
                  "the body has too many values for its size: they take over "
                  "%d MiB and %d times its bytes in memory: send texts, not "
                  "numbers or empty strings",
                  CR_JSON_FREE_BYTES >> 20, CR_JSON_BYTES_PER_BYTE);
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
