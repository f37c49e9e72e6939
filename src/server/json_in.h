/* JSON bodies: strict, and never more memory than a body is worth.
 *
 * jansson turns ten megabytes of "0," into two hundred, so its allocations are
 * counted on the thread that parses, against a budget of the body's size.
 *
 * Threads: parsing on any number of them. The count is installed once, for
 * the whole process. */
#ifndef CR_SERVER_JSON_IN_H
#define CR_SERVER_JSON_IN_H

#include "server/refusal.h"

#include <jansson.h>

/* Of one body, in memory: so many bytes, and as many as so many times its
 * own. Documents of a few letters cost about ten times their text; the first
 * megabyte is free, so that small bodies never meet the limit. */
enum { CR_JSON_FREE_BYTES = 1 << 20, CR_JSON_BYTES_PER_BYTE = 10 };

/* Before any other thread uses jansson. */
void cr_json_in_install(void);
/* Parses an object; NULL and a refusal where it is none. Texts may hold NUL
 * (U+0000); what is not UTF-8, double keys and numbers out of range are
 * refused. */
json_t *cr_json_in_parse(const char *bytes, size_t len, cr_refusal *refusal);

#endif
