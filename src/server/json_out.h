/* JSON text, written piece by piece into a bounded buffer.
 *
 * The first failure stays and everything after it does nothing, so writers
 * look at `failed` once, at the end. Numbers are as short as they can be
 * without losing the value; NaN and infinity cannot be written.
 *
 * Threads: not shared. Ownership: text goes with cr_json_out_fini. */
#ifndef CR_SERVER_JSON_OUT_H
#define CR_SERVER_JSON_OUT_H

#include "base/buf.h"

typedef struct cr_json_out {
    cr_buf text;
    bool failed; /* no memory */
} cr_json_out;

void cr_json_out_init(cr_json_out *out);
void cr_json_out_fini(cr_json_out *out);
/* As printf does; for syntax and numbers, not for texts of others. */
void cr_json_put(cr_json_out *out, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Quoted and escaped; what is not UTF-8 becomes U+FFFD. */
void cr_json_put_text(cr_json_out *out, cr_text text);
void cr_json_put_string(cr_json_out *out, const char *string);
void cr_json_put_number(cr_json_out *out, double value);

#endif
