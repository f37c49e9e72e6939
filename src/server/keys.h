/* API keys: who may ask, known only by their hashes.
 *
 * A file has a line "NAME SHA256" for each key (sha256sum of the key without a
 * newline); # begins a comment. Every key is compared, in constant time. The
 * name's number is the client that work counts against.
 *
 * Threads: checking and reading anew from any. */
#ifndef CR_SERVER_KEYS_H
#define CR_SERVER_KEYS_H

#include "base/error.h"

typedef struct cr_keys cr_keys;

/* path NULL: no keys are needed. */
cr_status cr_keys_new(const char *path, cr_keys **keys, cr_error *error);
void cr_keys_free(cr_keys *keys);
/* Reads the file again; on failure the old keys stay. */
cr_status cr_keys_reload(cr_keys *keys, cr_error *error);
/* `authorization` and `x_api_key` are header values or NULL. *client is set
 * where a key was right. */
bool cr_keys_check(cr_keys *keys, const char *authorization,
                   const char *x_api_key, uint64_t *client);

#endif
