/* Yaml: a file's tree, and faults with their place in it.
 *
 * For the program alone; the library reads no YAML.
 *
 * Threads: one. Ownership: nodes are the document's until cr_yaml_fini. */
#ifndef CR_BASE_YAML_H
#define CR_BASE_YAML_H

#include "base/error.h"

#include <yaml.h>

enum { CR_YAML_FILE_BYTES = 1 << 20 };

typedef struct cr_yaml {
    const char *path;
    yaml_document_t document;
} cr_yaml;

/* *root is NULL where the file says nothing. CR_ERR_ARGUMENT with
 * FILE:LINE:COLUMN where it is not YAML, CR_ERR_IO, CR_ERR_INPUT over
 * CR_YAML_FILE_BYTES, CR_ERR_MEMORY; after failure there is nothing to
 * free. */
cr_status cr_yaml_read(const char *path, cr_yaml *yaml, yaml_node_t **root,
                       cr_error *error);
void cr_yaml_fini(cr_yaml *yaml);

/* CR_ERR_ARGUMENT, "FILE:LINE:COLUMN: " and what is wrong with the node. */
cr_status cr_yaml_fail(const cr_yaml *yaml, const yaml_node_t *node,
                       cr_error *error, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#endif
