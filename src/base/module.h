/* Modules: shared objects of our own that are loaded when they are needed, so
 * that the plain program needs none of what they are linked with.
 *
 * libcrossrank-NAME.so is looked for beside the program or library, and exports
 * one structure (docs/BACKENDS.md says where, and what in it). It knows nothing
 * of what a module does.
 *
 * Threads: any; the caller keeps what it found. Ownership: a module stays
 * loaded for good, because what it is linked with does not survive unloading.
 */
#ifndef CR_BASE_MODULE_H
#define CR_BASE_MODULE_H

#include "base/error.h"

/* What every module's structure begins with. The build id says whether the
 * rest may be looked at: modules share structures with the program, so both
 * must be of one build. */
typedef struct cr_module_head {
    const char *build_id;
} cr_module_head;

typedef struct cr_module_request {
    const char *name;   /* of the file, behind "libcrossrank-" */
    const char *symbol; /* of the structure */
    const char *what;   /* for messages: "backend 'mlx'" */
    const char *advice; /* how a user gets it */
} cr_module_request;

/* The module's structure. CR_ERR_UNAVAILABLE, with how to get it, where it is
 * missing, does not load or is of another build. */
cr_status cr_module_load(const cr_module_request *request,
                         const cr_module_head **found, cr_error *error);

#endif
