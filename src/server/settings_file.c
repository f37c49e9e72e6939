/* Settings from a YAML file: scalars, and one level of groups. */
#include "server/settings.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/nearest.h"

#include <stdio.h>
#include <string.h>
#include <yaml.h>

enum { MAX_FILE_BYTES = 1 << 20, MAX_SETTINGS = 64 };

typedef struct reader {
    const char *path;
    yaml_document_t document;
    cr_settings *settings;
    cr_setting_texts *texts;
    bool seen[MAX_SETTINGS];
    cr_error *error;
} reader;

static cr_status fail_at(const reader *r, const yaml_node_t *node,
                         const char *what, const char *name) {
    return cr_fail_at(r->error, CR_ERR_ARGUMENT, node->start_mark.line + 1,
                      node->start_mark.column + 1, "%s:%zu:%zu: %s%.160s",
                      r->path, node->start_mark.line + 1,
                      node->start_mark.column + 1, what, name);
}

static cr_status fail_unknown(const reader *r, const yaml_node_t *key,
                              const char *name) {
    char what[2 * CR_SETTING_NAME_BYTES + 32];
    const char *names[MAX_SETTINGS];
    for (size_t i = 0; i < CR_N_SETTINGS; i++)
        names[i] = CR_SETTINGS[i].name;
    const char *near = cr_nearest(name, names, CR_N_SETTINGS);
    snprintf(what, sizeof what, "%s%s%s%s", name, near ? ": did you mean " : "",
             near ? near : "", near ? "?" : "");
    return fail_at(r, key, "unknown setting ", what);
}

static const char *scalar(const yaml_node_t *node) {
    return (const char *)node->data.scalar.value;
}

static cr_status set_scalar(reader *r, const cr_setting *setting,
                            const yaml_node_t *value) {
    char source[256];
    size_t i = (size_t)(setting - CR_SETTINGS);
    bool null = value->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
                (!strcmp(scalar(value), "null") || !strcmp(scalar(value), "~"));
    if (r->seen[i])
        return fail_at(r, value, "there twice: ", setting->name);
    r->seen[i] = true;
    char *text =
        cr_strndup(null ? "" : scalar(value), null ? 0 : strlen(scalar(value)));
    if (!text)
        return cr_fail_memory(r->error, 1, "a setting");
    r->texts->list[r->texts->n++] = text;
    snprintf(source, sizeof source, "%.200s:%zu:%zu", r->path,
             value->start_mark.line + 1, value->start_mark.column + 1);
    return cr_setting_set(r->settings, setting, text, source, r->error);
}

/* `group` is empty at the top. */
static cr_status set_pair(reader *r, const char *group,
                          const yaml_node_pair_t *pair,
                          const yaml_node_t **inner, char name[]) {
    const yaml_node_t *key = yaml_document_get_node(&r->document, pair->key);
    const yaml_node_t *value =
        yaml_document_get_node(&r->document, pair->value);
    *inner = NULL;
    if (key->type != YAML_SCALAR_NODE)
        return fail_at(r, key, "a setting's name must be a word", "");
    snprintf(name, CR_SETTING_NAME_BYTES, "%s%s%.40s", group, *group ? "." : "",
             scalar(key));
    if (value->type == YAML_MAPPING_NODE && !*group) {
        *inner = value;
        return CR_OK;
    }
    const cr_setting *setting = cr_setting_find(name);
    if (!setting)
        return fail_unknown(r, key, name);
    if (value->type != YAML_SCALAR_NODE)
        return fail_at(r, value, "one value is expected for ", name);
    return set_scalar(r, setting, value);
}

static cr_status read_group(reader *r, const char *group,
                            const yaml_node_t *node) {
    cr_status status = CR_OK;
    const yaml_node_pair_t *pair = node->data.mapping.pairs.start;
    const yaml_node_t *inner;
    char name[CR_SETTING_NAME_BYTES];
    for (; status == CR_OK && pair < node->data.mapping.pairs.top; pair++)
        status = set_pair(r, group, pair, &inner, name);
    return status;
}

static cr_status read_top(reader *r, const yaml_node_t *node) {
    cr_status status = CR_OK;
    if (!node)
        return CR_OK; /* an empty file says nothing */
    if (node->type != YAML_MAPPING_NODE)
        return fail_at(r, node, "a mapping of settings is expected", "");
    const yaml_node_pair_t *pair = node->data.mapping.pairs.start;
    for (; status == CR_OK && pair < node->data.mapping.pairs.top; pair++) {
        const yaml_node_t *inner;
        char name[CR_SETTING_NAME_BYTES];
        status = set_pair(r, "", pair, &inner, name);
        if (status == CR_OK && inner)
            status = read_group(r, name, inner);
    }
    return status;
}

static cr_status parse(reader *r, const cr_buf *text) {
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser))
        return cr_fail_memory(r->error, 1, "a YAML parser");
    yaml_parser_set_input_string(&parser, (const unsigned char *)text->data,
                                 text->len);
    cr_status status = CR_OK;
    if (yaml_parser_load(&parser, &r->document)) {
        status = read_top(r, yaml_document_get_root_node(&r->document));
        yaml_document_delete(&r->document);
    } else {
        status = cr_fail_at(
            r->error, CR_ERR_ARGUMENT, parser.problem_mark.line + 1,
            parser.problem_mark.column + 1, "%s:%zu:%zu: not YAML: %s", r->path,
            parser.problem_mark.line + 1, parser.problem_mark.column + 1,
            parser.problem ? parser.problem : "no reason");
    }
    yaml_parser_delete(&parser);
    return status;
}

cr_status cr_settings_from_file(cr_settings *settings, const char *path,
                                cr_setting_texts *texts, cr_error *error) {
    cr_buf text;
    reader r = {
        .path = path, .settings = settings, .texts = texts, .error = error};
    cr_buf_init(&text, MAX_FILE_BYTES);
    cr_status status = cr_buf_read_file(&text, path, error);
    if (status == CR_OK && text.len)
        status = parse(&r, &text);
    cr_buf_fini(&text);
    return status;
}

void cr_setting_texts_fini(cr_setting_texts *texts) {
    for (size_t i = 0; i < texts->n; i++)
        cr_free(texts->list[i]);
    texts->n = 0;
}
