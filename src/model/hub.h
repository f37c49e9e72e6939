/* Hub: models by the names that the Hugging Face Hub gives them.
 *
 * "ORGANISATION/NAME" or "NAME", and "@REVISION" behind it where another than
 * main is meant, are looked up in the local cache that the Hub's own tools
 * share, and in nothing else: no connection is ever opened here. The cache is
 * HF_HUB_CACHE, else HF_HOME/hub, else XDG_CACHE_HOME/huggingface/hub, else
 * ~/.cache/huggingface/hub, laid out as
 *
 *   models--ORGANISATION--NAME/refs/REVISION        a commit
 *                             /snapshots/COMMIT/FILE -> ../../blobs/ETAG
 *
 * Threads: pure, but for the environment. */
#ifndef CR_MODEL_HUB_H
#define CR_MODEL_HUB_H

#include "base/error.h"

enum { CR_HUB_PATH_BYTES = 4096, CR_HUB_NAME_BYTES = 97 };

typedef struct cr_hub_name {
    char repo[2 * CR_HUB_NAME_BYTES]; /* "org/name" */
    char revision[CR_HUB_NAME_BYTES]; /* "main" where none was given */
} cr_hub_name;

/* Whether `text` has the form of such a name; *name then holds its parts. */
bool cr_hub_parse(const char *text, cr_hub_name *name);

/* The cache's folder. CR_ERR_ARGUMENT where the environment names none. */
cr_status cr_hub_cache(char path[CR_HUB_PATH_BYTES], cr_error *error);
/* The folder of that repository in the cache, which need not be there. */
cr_status cr_hub_folder(const cr_hub_name *name, char path[CR_HUB_PATH_BYTES],
                        cr_error *error);
/* The snapshot of that revision. CR_ERR_MODEL, with the command that gets it,
 * where the cache has none. */
cr_status cr_hub_find(const cr_hub_name *name, char path[CR_HUB_PATH_BYTES],
                      cr_error *error);

#endif
