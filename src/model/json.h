/* JSON files of a model folder: strict reading, checked fields.
 *
 * A thin layer over jansson that reads one object from one file within a
 * byte limit and hands out fields whose type and range are checked, so that
 * every refusal names the file, the field, its value and what is supported.
 * It knows no field by name. jansson's own heap is the caller's to choose
 * (json_set_alloc_funcs); nothing here changes that global setting.
 *
 * Threads: a cr_json may be read by many threads, as jansson objects may.
 * Ownership: strings handed out live as long as the cr_json. */
#ifndef CR_MODEL_JSON_H
#define CR_MODEL_JSON_H

#include "base/error.h"

#include <jansson.h>

/* One file's object (or list). root is NULL where the file does not exist:
 * every getter then answers as for an object without fields. */
typedef struct cr_json {
    char *path; /* for messages and as it was opened */
    json_t *root;
} cr_json;

/* How to read a file; 0: an object whose integers fit 64 bits. */
typedef enum cr_json_flags {
    CR_JSON_WIDE_INTEGERS = 1, /* every integer is read as a double */
    CR_JSON_LIST = 2           /* the file holds a list, not an object */
} cr_json_flags;

/* Reads folder/name, at most max_bytes. A file that does not exist gives
 * CR_OK and root NULL. cr_json_fini must be called whatever the status. */
cr_status cr_json_load(cr_json *json, const char *folder, const char *name,
                       size_t max_bytes, unsigned flags, cr_error *error);
/* The same from memory; `path` is for messages only. */
cr_status cr_json_parse(cr_json *json, const char *path, cr_text text,
                        unsigned flags, cr_error *error);
void cr_json_fini(cr_json *json);

/* NULL where the field is missing or null: transformers treats both alike for
 * everything that is read here. */
const json_t *cr_json_get(const cr_json *json, const char *key);

/* A number without fraction in min..max; `fallback` where missing. */
cr_status cr_json_get_u32(const cr_json *json, const char *key, uint32_t min,
                          uint32_t max, uint32_t fallback, uint32_t *value,
                          cr_error *error);
cr_status cr_json_get_bool(const cr_json *json, const char *key, bool fallback,
                           bool *value, cr_error *error);

/* Fails with `FILE: "KEY" is VALUE; supported: SUPPORTED`. `value` may be
 * NULL: the field is missing. */
cr_status cr_json_refuse(const cr_json *json, const char *key,
                         const json_t *value, const char *supported,
                         cr_error *error);

/* A short picture of a value for messages, always NUL-terminated. */
enum { CR_JSON_PICTURE_BYTES = 96 };
const char *cr_json_picture(const json_t *value,
                            char picture[CR_JSON_PICTURE_BYTES]);

#endif
