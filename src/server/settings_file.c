/* Settings from a YAML file: scalars, and one level of groups. */
#include "server/settings.h"

#include "base/mem.h"
#include "base/nearest.h"
#include "base/yaml.h"

#include <stdio.h>
#include <string.h>

enum { MAX_SETTINGS = 64 };

typedef struct reader {
    cr_yaml yaml;
    cr_settings *settings;
    cr_setting_texts *texts;
    bool seen[MAX_SETTINGS];
    cr_error *error;
} reader;

static cr_status fail_at(const reader *r, const yaml_node_t *node,
                         const char *what, const char *name) {
    return cr_yaml_fail(&r->yaml, node, r->error, "%s%.160s", what, name);
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
    snprintf(source, sizeof source, "%.200s:%zu:%zu", r->yaml.path,
             value->start_mark.line + 1, value->start_mark.column + 1);
    return cr_setting_set(r->settings, setting, text, source, r->error);
}

/* `group` is empty at the top. */
static cr_status set_pair(reader *r, const char *group,
                          const yaml_node_pair_t *pair,
                          const yaml_node_t **inner, char name[]) {
    const yaml_node_t *key =
        yaml_document_get_node(&r->yaml.document, pair->key);
    const yaml_node_t *value =
        yaml_document_get_node(&r->yaml.document, pair->value);
    *inner = NULL;
    if (key->type != YAML_SCALAR_NODE)
        return fail_at(r, key, "a setting's name must be a word", "");
    snprintf(name, CR_SETTING_NAME_BYTES, "%.20s%s%.40s", group,
             *group ? "." : "", scalar(key));
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

cr_status cr_settings_from_file(cr_settings *settings, const char *path,
                                cr_setting_texts *texts, cr_error *error) {
    reader r = {.settings = settings, .texts = texts, .error = error};
    yaml_node_t *root;
    cr_status status = cr_yaml_read(path, &r.yaml, &root, error);
    if (status != CR_OK)
        return status;
    status = read_top(&r, root);
    cr_yaml_fini(&r.yaml);
    return status;
}

void cr_setting_texts_fini(cr_setting_texts *texts) {
    for (size_t i = 0; i < texts->n; i++)
        cr_free(texts->list[i]);
    texts->n = 0;
}
