/* The files of web/, within the program; written by web/embed.py.
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

extern const cr_web_file CR_WEB_FILES[];
extern const size_t CR_N_WEB_FILES;

#endif
