/* Files: written whole beside the old one, then renamed over it.
 *
 * Threads: one a folder. */
#ifndef CR_LAB_FILES_H
#define CR_LAB_FILES_H

#include "base/error.h"

typedef struct cr_file {
    const char *name;
    cr_text bytes;
} cr_file;

/* All of them or none, as far as a full disk is concerned: every file is
 * written before the first takes its place. CR_ERR_IO with the path. */
cr_status cr_files_replace(const char *dir, size_t n, const cr_file *files,
                           cr_error *error);
/* CR_ERR_IO with the path; the old file is then still there. */
cr_status cr_file_replace(const char *dir, const char *name, cr_text bytes,
                          cr_error *error);
/* The folder and those above it, where they are missing. CR_ERR_IO. */
cr_status cr_folder_make(const char *path, cr_error *error);

#endif
