/* Files within the program: pages, their scripts, openapi.json. web/embed.py
 * writes the other half.
 *
 * Threads and ownership: constants. */
#ifndef CR_WEB_FILES_H
#define CR_WEB_FILES_H

#include <stddef.h>

typedef struct cr_web_file {
    const char *name, *type, *etag;
    const unsigned char *data;
    size_t len;
} cr_web_file;

/* NULL where the program was built without a file of that name. */
const cr_web_file *cr_web_find(const char *name);

#endif
