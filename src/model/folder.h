/* Files in a model folder, found and read without surprises.
 *
 * Only regular files count: a FIFO or a device that stands where a file is
 * expected is refused instead of waited for. Reading is by read(2) within a
 * limit. Threads: no state. Ownership: paths are the caller's to cr_free. */
#ifndef CR_MODEL_FOLDER_H
#define CR_MODEL_FOLDER_H

#include "base/buf.h"

/* folder/name on the heap. CR_ERR_MEMORY. */
cr_status cr_folder_path(const char *folder, const char *name, char **path,
                         cr_error *error);

/* The whole file into buf, whose maximum is the limit. Where the file does not
 * exist, *found is false and the status CR_OK. */
cr_status cr_folder_read(const char *path, cr_buf *buf, bool *found,
                         cr_error *error);

/* CR_OK where `path` is a folder with config.json and model.safetensors that
 * is no adapter; otherwise an error that says what was expected and, for
 * weights in another format, how to convert them. */
cr_status cr_folder_check(const char *path, cr_error *error);

#endif
