/* Yaml: libyaml's parser and document. */
#include "base/yaml.h"

#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>

static cr_status fail_mark(const char *path, yaml_mark_t mark, cr_error *error,
                           const char *what) {
    return cr_fail_at(error, CR_ERR_ARGUMENT, mark.line + 1, mark.column + 1,
                      "%.100s:%zu:%zu: %s", path, mark.line + 1,
                      mark.column + 1, what);
}

cr_status cr_yaml_fail(const cr_yaml *yaml, const yaml_node_t *node,
                       cr_error *error, const char *format, ...) {
    char what[400];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    return fail_mark(yaml->path, node->start_mark, error, what);
}

static cr_status load(cr_yaml *yaml, const cr_buf *text, cr_error *error) {
    yaml_parser_t parser;
    cr_status status = CR_OK;
    if (!yaml_parser_initialize(&parser))
        return cr_fail_memory(error, 1, "a YAML parser");
    /* libyaml takes no text of no bytes. */
    yaml_parser_set_input_string(
        &parser, (const unsigned char *)(text->len ? text->data : ""),
        text->len);
    if (!yaml_parser_load(&parser, &yaml->document)) {
        char what[200];
        snprintf(what, sizeof what, "not YAML: %s",
                 parser.problem ? parser.problem : "no reason");
        status = fail_mark(yaml->path, parser.problem_mark, error, what);
    }
    yaml_parser_delete(&parser);
    return status;
}

cr_status cr_yaml_read(const char *path, cr_yaml *yaml, yaml_node_t **root,
                       cr_error *error) {
    cr_buf text;
    yaml->path = path;
    cr_buf_init(&text, CR_YAML_FILE_BYTES);
    cr_status status = cr_buf_read_file(&text, path, error);
    if (status == CR_OK)
        status = load(yaml, &text, error);
    cr_buf_fini(&text);
    if (status == CR_OK)
        *root = yaml_document_get_root_node(&yaml->document);
    return status;
}

void cr_yaml_fini(cr_yaml *yaml) { yaml_document_delete(&yaml->document); }
