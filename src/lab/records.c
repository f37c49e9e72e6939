/* Records: splits columns by hand, leaves JSON to jansson in its strictest
 * mode (no duplicate keys, no trailing text, valid UTF-8). */
#include "lab/records.h"

#include <string.h>

static bool ends_with(const char *s, const char *end) {
    size_t len = strlen(s), end_len = strlen(end);
    return len >= end_len && strcmp(s + len - end_len, end) == 0;
}

bool cr_record_is_named(const char *name) {
    return ends_with(name, ".jsonl") || ends_with(name, ".ndjson") ||
           ends_with(name, ".tsv");
}

cr_record_format cr_record_detect(const char *name, cr_text first_line) {
    if (ends_with(name, ".jsonl") || ends_with(name, ".ndjson"))
        return CR_FORMAT_JSON;
    if (ends_with(name, ".tsv"))
        return CR_FORMAT_COLUMNS;
    size_t at = 0;
    while (at < first_line.len &&
           (first_line.data[at] == ' ' || first_line.data[at] == '\t'))
        at++;
    return at < first_line.len && first_line.data[at] == '{'
               ? CR_FORMAT_JSON
               : CR_FORMAT_COLUMNS;
}

static const char *last_tab(const char *begin, size_t len) {
    while (len > 0)
        if (begin[--len] == '\t')
            return begin + len;
    return NULL;
}

static cr_status split_columns(cr_text line, cr_record *record,
                               cr_error *error) {
    if (line.len == 0)
        return cr_fail(error, CR_ERR_INPUT,
                       "the line is empty, a query and a passage are needed: "
                       "remove it or use --skip-errors");
    const char *tab = last_tab(line.data, line.len);
    if (!tab)
        return cr_fail(error, CR_ERR_INPUT,
                       "1 column, at least 2 are needed (query TAB passage): "
                       "separate them by a tab");
    const char *before = last_tab(line.data, (size_t)(tab - line.data));
    const char *query = before ? before + 1 : line.data;
    record->query = (cr_text){query, (size_t)(tab - query)};
    record->passage =
        (cr_text){tab + 1, (size_t)(line.data + line.len - (tab + 1))};
    return CR_OK;
}

/* A type's name as people say it. */
static const char *type_name(const json_t *value) {
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
    case JSON_REAL:
        return "a number";
    case JSON_TRUE:
    case JSON_FALSE:
        return "a boolean";
    default:
        return "null";
    }
}

cr_status cr_json_line(cr_text line, json_t **object, cr_error *error) {
    json_error_t why;
    *object = NULL;
    if (line.len == 0)
        return cr_fail(error, CR_ERR_INPUT,
                       "the line is empty, a JSON object is needed: remove "
                       "it or use --skip-errors");
    json_t *root =
        json_loadb(line.data, line.len,
                   JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_ANY |
                       JSON_DECODE_INT_AS_REAL, /* ids may be of any size */
                   &why);
    if (!root)
        return cr_fail(error, CR_ERR_INPUT,
                       "not valid JSON at byte %d: %.200s: one whole object "
                       "a line is needed",
                       why.position, why.text);
    if (!json_is_object(root)) {
        cr_fail(error, CR_ERR_INPUT, "%s, a JSON object is needed",
                type_name(root));
        json_decref(root);
        return CR_ERR_INPUT;
    }
    *object = root;
    return CR_OK;
}

cr_status cr_json_member(const json_t *object, const char *key, bool optional,
                         cr_text *text, cr_error *error) {
    const json_t *value = json_object_get(object, key);
    *text = (cr_text){"", 0};
    if (!value && optional)
        return CR_OK;
    if (!value)
        return cr_fail(error, CR_ERR_INPUT, "no \"%s\": add it as a string",
                       key);
    if (!json_is_string(value))
        return cr_fail(error, CR_ERR_INPUT, "\"%s\" is %s, a string is needed",
                       key, type_name(value));
    *text = (cr_text){json_string_value(value), json_string_length(value)};
    return CR_OK;
}

static cr_status find_passage(const json_t *object, cr_text *passage,
                              cr_error *error) {
    static const char *const KEYS[] = {"passage", "text", "document"};
    for (size_t i = 0; i < sizeof KEYS / sizeof KEYS[0]; i++)
        if (json_object_get(object, KEYS[i]))
            return cr_json_member(object, KEYS[i], false, passage, error);
    return cr_fail(error, CR_ERR_INPUT,
                   "no \"passage\" (or \"text\" or \"document\"): add one as "
                   "a string");
}

cr_status cr_record_parse(cr_text line, cr_record_kind kind,
                          cr_record_format format, cr_record *record,
                          cr_error *error) {
    *record = (cr_record){.query = {"", 0}, .passage = {"", 0}};
    if (format != CR_FORMAT_JSON && kind == CR_RECORD_PASSAGE) {
        record->passage = line;
        return CR_OK;
    }
    if (format != CR_FORMAT_JSON)
        return split_columns(line, record, error);
    cr_status status = cr_json_line(line, &record->json, error);
    if (status == CR_OK && kind == CR_RECORD_PAIR)
        status =
            cr_json_member(record->json, "query", false, &record->query, error);
    if (status == CR_OK)
        status = find_passage(record->json, &record->passage, error);
    if (status != CR_OK)
        cr_record_fini(record);
    return status;
}

void cr_record_fini(cr_record *record) {
    json_decref(record->json);
    record->json = NULL;
}
