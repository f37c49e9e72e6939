/* The tokenizer of a model folder that `tokenizers` makes.
 *
 * transformers 5 rebuilds a RobertaTokenizer from tokenizer_config.json and
 * the vocabulary, transformers 4 took tokenizer.json whole: the files must
 * agree where that would differ. */
#include "model/hf_files.h"

#include "base/buf.h"
#include "model/folder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_text(const json_t *value, const char *text) {
    return json_is_string(value) && strcmp(json_string_value(value), text) == 0;
}

/* "BPE", "Unigram" or NULL: neither. Files of 2019 and 2020 do not name the
 * type; these fields do. */
static const char *type_of_model(const cr_tokenizer_files *files) {
    const json_t *model = cr_json_get(&files->tokenizer, "model");
    const json_t *type = json_object_get(model, "type");
    if (is_text(type, "BPE") || (!type && json_object_get(model, "merges")))
        return "BPE";
    if (is_text(type, "Unigram") ||
        (!type && json_is_array(json_object_get(model, "vocab"))))
        return "Unigram";
    return NULL;
}

bool cr_hf_files_need(const cr_tokenizer_files *files,
                      const cr_model_config *config) {
    return config->is_roberta && type_of_model(files) != NULL;
}

/* What is being opened. */
typedef struct opener {
    const cr_tokenizer_files *files;
    const cr_json *config_json;
    const cr_model_config *config;
    const cr_tokenizer *tokenizer;
    cr_error *error;
} opener;

/* ---- Before the library is asked ---------------------------------------- */

static cr_status check_class(const opener *o) {
    static const char *const known[] = {
        "RobertaTokenizer",        "RobertaTokenizerFast",
        "XLMRobertaTokenizer",     "XLMRobertaTokenizerFast",
        "PreTrainedTokenizerFast", "TokenizersBackend"};
    const cr_json *json = &o->files->config;
    const json_t *name = cr_json_get(json, "tokenizer_class");
    if (!name) {
        json = o->config_json;
        name = cr_json_get(json, "tokenizer_class");
    }
    bool good = !name;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        good |= is_text(name, known[i]);
    if (good)
        return CR_OK;
    return cr_json_refuse(json, "tokenizer_class", name,
                          "\"RobertaTokenizer\", \"XLMRobertaTokenizer\", "
                          "\"PreTrainedTokenizerFast\" or "
                          "\"TokenizersBackend\"",
                          o->error);
}

/* What would make ids depend on chance, or fail in the middle of a text. */
static cr_status check_model(const opener *o) {
    const cr_json *json = &o->files->tokenizer;
    const json_t *model = cr_json_get(json, "model");
    const json_t *dropout = json_object_get(model, "dropout");
    if (json_is_number(dropout) ? json_number_value(dropout) != 0
                                : dropout && !json_is_null(dropout))
        return cr_json_refuse(json, "model.dropout", dropout,
                              "null: ids would be random", o->error);
    const json_t *unk = json_object_get(model, "unk_id");
    if (strcmp(type_of_model(o->files), "Unigram") == 0 &&
        !json_is_integer(unk))
        return cr_json_refuse(json, "model.unk_id", unk,
                              "an id: some texts would have none", o->error);
    return CR_OK;
}

static cr_status check_prefix_space(const opener *o) {
    const cr_json *json = &o->files->config;
    const json_t *pre = cr_json_get(&o->files->tokenizer, "pre_tokenizer");
    const json_t *is = json_object_get(pre, "add_prefix_space");
    bool stated;
    cr_status status = cr_json_get_bool(json, "add_prefix_space",
                                        json_is_true(is), &stated, o->error);
    if (status != CR_OK || !is_text(json_object_get(pre, "type"), "ByteLevel"))
        return status;
    if (stated != json_is_true(is))
        return cr_fail(o->error, CR_ERR_MODEL,
                       "%s: \"add_prefix_space\" is %s, but tokenizer.json "
                       "has it %s: the files contradict each other",
                       json->path, stated ? "true" : "false",
                       stated ? "false" : "true");
    return CR_OK;
}

/* All types are 0, as transformers leaves them to the model. */
static cr_status check_input_names(const opener *o) {
    const cr_json *json = &o->files->config;
    const json_t *names = cr_json_get(json, "model_input_names");
    for (size_t i = 0; i < json_array_size(names); i++)
        if (o->config->n_types > 1 &&
            is_text(json_array_get(names, i), "token_type_ids"))
            return cr_json_refuse(json, "model_input_names", names,
                                  "a list without \"token_type_ids\"",
                                  o->error);
    return CR_OK;
}

/* ---- After it ----------------------------------------------------------- */

/* The text of a token given as a string or as an object; NULL: neither. */
static const char *token_text(const json_t *token) {
    return json_string_value(
        json_is_object(token) ? json_object_get(token, "content") : token);
}

/* One token that a file beside tokenizer.json names: transformers would add
 * it, so tokenizer.json must have it already, with that id if `id` is no -1.
 */
static cr_status check_token(const opener *o, const cr_json *json,
                             const json_t *token, int64_t id) {
    const json_t *added = cr_json_get(&o->files->tokenizer, "added_tokens");
    const char *text = token_text(token);
    if (!text)
        return CR_OK;
    int32_t known =
        cr_tokenizer_find(o->tokenizer, (cr_text){text, strlen(text)});
    bool good = id < 0 || id == known;
    size_t i = 0;
    while (i < json_array_size(added) &&
           !is_text(json_object_get(json_array_get(added, i), "content"), text))
        i++;
    if (good && i < json_array_size(added))
        return CR_OK;
    return cr_fail(o->error, CR_ERR_MODEL,
                   "%s: token \"%.60s\" is not among \"added_tokens\" of "
                   "tokenizer.json%s: the files contradict each other",
                   json->path, text, good ? "" : " with that id");
}

static cr_status check_tokens(const opener *o, const cr_json *json) {
    static const char *const lists[] = {"extra_special_tokens",
                                        "additional_special_tokens"};
    static const char ending[] = "_token";
    const char *key;
    json_t *value;
    cr_status status = CR_OK;
    json_object_foreach(json->root, key, value) {
        size_t len = strlen(key), n = sizeof ending - 1;
        if (status == CR_OK && len > n && strcmp(key + len - n, ending) == 0)
            status = check_token(o, json, value, -1);
    }
    for (size_t k = 0; k < 2; k++) {
        const json_t *list = cr_json_get(json, lists[k]);
        json_t *object = (json_t *)(uintptr_t)list;
        json_object_foreach(object, key, value) if (status == CR_OK) status =
            check_token(o, json, value, -1);
        for (size_t i = 0; status == CR_OK && i < json_array_size(list); i++)
            status = check_token(o, json, json_array_get(list, i), -1);
    }
    json_t *decoder = json_object_get(json->root, "added_tokens_decoder");
    json_object_foreach(decoder, key, value) if (status == CR_OK) status =
        check_token(o, json, value, strtoll(key, NULL, 10));
    return status;
}

/* The tokens around a pair are those that tokenizer_config.json names. */
static cr_status check_frame(const opener *o) {
    const cr_json *json = &o->files->config;
    const struct {
        const char *role;
        int32_t id;
    } roles[] = {{"cls_token", cr_tokenizer_cls_id(o->tokenizer)},
                 {"sep_token", cr_tokenizer_sep_id(o->tokenizer)}};
    for (size_t i = 0; i < 2; i++) {
        const char *text = token_text(cr_json_get(json, roles[i].role));
        if (text &&
            cr_tokenizer_find(o->tokenizer, (cr_text){text, strlen(text)}) !=
                roles[i].id)
            return cr_fail(
                o->error, CR_ERR_MODEL,
                "%s: \"%s\" is \"%.60s\", but tokenizer.json puts "
                "\"%.60s\" there: the files contradict each other",
                json->path, roles[i].role, text,
                cr_tokenizer_token_text(o->tokenizer, roles[i].id).data);
    }
    return CR_OK;
}

static cr_status check_ids(const opener *o) {
    size_t n = cr_tokenizer_vocab_size(o->tokenizer);
    if (n > o->config->vocab_size)
        return cr_fail(o->error, CR_ERR_MODEL,
                       "%s: ids go up to %zu, but \"vocab_size\" in "
                       "config.json is %u",
                       o->files->tokenizer.path, n - 1, o->config->vocab_size);
    return CR_OK;
}

/* ---- The whole ---------------------------------------------------------- */

static cr_status open_file(const char *path, cr_tokenizer **tokenizer,
                           cr_error *error) {
    cr_buf text;
    bool found;
    cr_error why;
    cr_buf_init(&text, CR_MAX_TOKENIZER_BYTES);
    cr_status status = cr_folder_read(path, &text, &found, error);
    if (status == CR_OK && !found)
        status = cr_fail(error, CR_ERR_IO, "%s: is gone", path);
    if (status == CR_OK) {
        status = cr_tokenizer_new_hf((cr_text){text.data, text.len}, tokenizer,
                                     &why);
        if (status != CR_OK)
            cr_fail(error, status, "%s: %s", path, why.message);
    }
    cr_buf_fini(&text);
    return status;
}

cr_status cr_hf_files_open(const cr_tokenizer_files *files,
                           const cr_json *config_json,
                           const cr_model_config *config, bool lowercases,
                           cr_tokenizer **tokenizer, uint32_t *max_length,
                           cr_error *error) {
    opener o = {.files = files,
                .config_json = config_json,
                .config = config,
                .error = error};
    cr_status status = check_class(&o);
    if (status == CR_OK)
        status = cr_tokenizer_settings_read(files, CR_MAX_PAIR_SPECIALS,
                                            max_length, error);
    if (status == CR_OK)
        status = check_model(&o);
    if (status == CR_OK)
        status = check_prefix_space(&o);
    if (status == CR_OK)
        status = check_input_names(&o);
    if (status == CR_OK && lowercases)
        status = cr_fail(error, CR_ERR_UNSUPPORTED,
                         "sentence_bert_config.json: \"do_lower_case\" is "
                         "true; supported: false");
    if (status == CR_OK)
        status = open_file(files->tokenizer.path, tokenizer, error);
    if (status != CR_OK)
        return status;
    o.tokenizer = *tokenizer;
    status = check_ids(&o);
    if (status == CR_OK)
        status = check_tokens(&o, &files->config);
    if (status == CR_OK && !cr_json_get(&files->config, "added_tokens_decoder"))
        status = check_tokens(&o, &files->special_map);
    if (status == CR_OK)
        status = check_frame(&o);
    return status;
}
