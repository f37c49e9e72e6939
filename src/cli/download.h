/* Download: files of the Hub into its cache, whole and checked or not at all.
 *
 * The one user of libcurl. A file comes under the name of its hash with
 * ".incomplete" behind it, goes on where an earlier try broke off, is compared
 * with the hash that the server named, and only then gets its name.
 *
 * Threads: one. */
#ifndef CR_CLI_DOWNLOAD_H
#define CR_CLI_DOWNLOAD_H

#include "base/buf.h"
#include "model/hub.h"

enum { CR_DOWNLOAD_TRIES = 5, CR_DOWNLOAD_WAIT_S = 300 };

typedef struct cr_download cr_download;

/* How far a file is; `done` and `total` in bytes, total 0 where unknown. */
typedef void (*cr_download_progress)(void *context, const char *file,
                                     uint64_t done, uint64_t total);

/* `endpoint` is the Hub's address, `token` may be NULL: it is sent to that
 * address only. CR_ERR_MEMORY, CR_ERR_UNAVAILABLE. */
cr_status cr_download_open(const char *endpoint, const char *token,
                           const cr_hub_name *name,
                           cr_download_progress progress, void *context,
                           cr_download **download, cr_error *error);
void cr_download_close(cr_download *download);
/* Called between tries and during transfers; true ends with CR_ERR_CANCELLED.
 */
void cr_download_set_stop(cr_download *download, bool (*stop)(void));

/* What the Hub says of the repository at that revision, JSON. CR_ERR_INPUT for
 * 401, 403 and 404, CR_ERR_IO where it cannot be reached, both with the way
 * out. */
cr_status cr_download_describe(cr_download *download, cr_buf *json,
                               cr_error *error);
/* Brings `file` of `commit` into the cache under `folder`: blobs/ETAG, and the
 * link snapshots/COMMIT/FILE to it. What is there already is kept. *fetched:
 * bytes that were transferred. */
cr_status cr_download_file(cr_download *download, const char *folder,
                           const char *commit, const char *file,
                           uint64_t *fetched, cr_error *error);

#endif
