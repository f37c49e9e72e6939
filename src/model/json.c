/* JSON files of a model folder: strict reading, checked fields. */
#include "model/json.h"

#include "base/buf.h"
#include "base/mem.h"
#include "model/folder.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Where memory runs out jansson says nothing, or blames the text it was at. */
static cr_status parse_failure(const cr_json *json, const json_error_t *why,
                               cr_error *error) {
    if (json_error_code(why) == json_error_out_of_memory || !why->text[0])
        return cr_fail(error, CR_ERR_MEMORY, "%s: no memory to read it",
                       json->path);
    return cr_fail_at(error, CR_ERR_MODEL,
                      why->line > 0 ? (uint64_t)why->line : 0,
                      why->column > 0 ? (uint64_t)why->column : 0,
                      "%s: not valid JSON: %s (line %d, column %d)", json->path,
                      why->text, why->line, why->column);
}

static cr_status parse_into(cr_json *json, cr_text text, unsigned how,
                            cr_error *error) {
    size_t flags = JSON_REJECT_DUPLICATES | JSON_DECODE_ANY;
    if (how & CR_JSON_WIDE_INTEGERS)
        flags |= JSON_DECODE_INT_AS_REAL;
    json_error_t why;
    json->root = json_loadb(text.len ? text.data : "", text.len, flags, &why);
    static const char LFS[] = "version https://git-lfs";
    if (!json->root && text.len > sizeof LFS &&
        memcmp(text.data, LFS, sizeof LFS - 1) == 0)
        return cr_fail(error, CR_ERR_MODEL,
                       "%s: is a Git LFS pointer of %zu bytes, not the file: "
                       "fetch it with git lfs pull or crossrank pull",
                       json->path, text.len);
    if (!json->root)
        return parse_failure(json, &why, error);
    bool list = how & CR_JSON_LIST;
    if (list ? json_is_array(json->root) : json_is_object(json->root))
        return CR_OK;
    char picture[CR_JSON_PICTURE_BYTES];
    return cr_fail(error, CR_ERR_MODEL, "%s: holds %s; expected: a JSON %s",
                   json->path, cr_json_picture(json->root, picture),
                   list ? "list" : "object");
}

cr_status cr_json_parse(cr_json *json, const char *path, cr_text text,
                        unsigned flags, cr_error *error) {
    *json = (cr_json){.path = cr_strndup(path, strlen(path))};
    if (!json->path)
        return cr_fail_memory(error, strlen(path), "a path");
    return parse_into(json, text, flags, error);
}

cr_status cr_json_load(cr_json *json, const char *folder, const char *name,
                       size_t max_bytes, unsigned flags, cr_error *error) {
    *json = (cr_json){0};
    cr_buf buf;
    cr_buf_init(&buf, max_bytes);
    bool found = false;
    cr_status status = cr_folder_path(folder, name, &json->path, error);
    if (status != CR_OK)
        goto done;
    status = cr_folder_read(json->path, &buf, &found, error);
    if (status != CR_OK || !found)
        goto done;
    status = parse_into(json, (cr_text){buf.data, buf.len}, flags, error);
done:
    cr_buf_fini(&buf);
    return status;
}

void cr_json_fini(cr_json *json) {
    json_decref(json->root);
    cr_free(json->path);
    *json = (cr_json){0};
}

const json_t *cr_json_get(const cr_json *json, const char *key) {
    const json_t *value = json->root ? json_object_get(json->root, key) : NULL;
    return json_is_null(value) ? NULL : value;
}

const char *cr_json_picture(const json_t *value,
                            char picture[CR_JSON_PICTURE_BYTES]) {
    const size_t size = CR_JSON_PICTURE_BYTES;
    char inner[CR_JSON_PICTURE_BYTES];
    if (!value)
        snprintf(picture, size, "missing");
    else if (json_is_string(value))
        snprintf(picture, size, "\"%.80s\"", json_string_value(value));
    else if (json_is_integer(value))
        snprintf(picture, size, "%" JSON_INTEGER_FORMAT,
                 json_integer_value(value));
    else if (json_is_real(value))
        snprintf(picture, size, "%.9g", json_real_value(value));
    else if (json_is_boolean(value))
        snprintf(picture, size, "%s", json_is_true(value) ? "true" : "false");
    else if (json_is_object(value))
        snprintf(picture, size, "an object of %zu fields",
                 json_object_size(value));
    else if (json_array_size(value) == 1 &&
             !json_is_array(json_array_get(value, 0)))
        snprintf(picture, size, "[%.90s]",
                 cr_json_picture(json_array_get(value, 0), inner));
    else if (json_is_array(value))
        snprintf(picture, size, "a list of %zu values", json_array_size(value));
    else
        snprintf(picture, size, "null");
    return picture;
}

cr_status cr_json_refuse(const cr_json *json, const char *key,
                         const json_t *value, const char *supported,
                         cr_error *error) {
    char picture[CR_JSON_PICTURE_BYTES];
    return cr_fail(error, CR_ERR_UNSUPPORTED, "%s: \"%s\" is %s; supported: %s",
                   json->path, key, cr_json_picture(value, picture), supported);
}

cr_status cr_json_get_u32(const cr_json *json, const char *key, uint32_t min,
                          uint32_t max, uint32_t fallback, uint32_t *value,
                          cr_error *error) {
    const json_t *field = cr_json_get(json, key);
    *value = fallback;
    if (!field)
        return CR_OK;
    double number = json_is_number(field) ? json_number_value(field) : -1;
    /* A real is refused too, as transformers refuses 12.0 for a count. */
    if (json_is_integer(field) && number >= min && number <= max) {
        *value = (uint32_t)number;
        return CR_OK;
    }
    char supported[64];
    snprintf(supported, sizeof supported, "a whole number in %u..%u", min, max);
    return cr_json_refuse(json, key, field, supported, error);
}

cr_status cr_json_get_bool(const cr_json *json, const char *key, bool fallback,
                           bool *value, cr_error *error) {
    const json_t *field = cr_json_get(json, key);
    *value = field ? json_is_true(field) : fallback;
    if (field && !json_is_boolean(field))
        return cr_json_refuse(json, key, field, "true or false", error);
    return CR_OK;
}
