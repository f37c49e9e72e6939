/* The configuration of a model: config.json and sentence-transformers' files.
 *
 * The one idea: a field that could change a score is either understood or
 * refused. Fields that cannot (dropout, initializer, caches) are ignored. */
#include "model/config.h"

#include <stdio.h>
#include <string.h>

enum { MAX_CONFIG_BYTES = 1 << 20 };

/* ---- Files -------------------------------------------------------------- */

cr_status cr_config_files_load(cr_config_files *files, const char *folder,
                               cr_error *error) {
    *files = (cr_config_files){0};
    struct {
        cr_json *json;
        const char *name;
        unsigned flags;
    } list[] = {
        {&files->config, "config.json", 0},
        {&files->modules, "modules.json", CR_JSON_LIST},
        {&files->st_config, "config_sentence_transformers.json", 0},
        {&files->sbert_config, "sentence_bert_config.json", 0},
    };
    cr_status status = CR_OK;
    for (size_t i = 0; i < sizeof list / sizeof list[0] && status == CR_OK; i++)
        status = cr_json_load(list[i].json, folder, list[i].name,
                              MAX_CONFIG_BYTES, list[i].flags, error);
    return status;
}

void cr_config_files_fini(cr_config_files *files) {
    cr_json_fini(&files->config);
    cr_json_fini(&files->modules);
    cr_json_fini(&files->st_config);
    cr_json_fini(&files->sbert_config);
}

/* ---- config.json -------------------------------------------------------- */

/* What is computed, by the name of transformers' class. */
static const struct {
    const char *name, *type;
    uint32_t vocab_size; /* where it is not stated */
    bool is_roberta;
} ARCHITECTURES[] = {
    {"BertForSequenceClassification", "bert", 30522, false},
    {"RobertaForSequenceClassification", "roberta", 50265, true},
    {"XLMRobertaForSequenceClassification", "xlm-roberta", 30522, true},
};
enum { N_ARCHITECTURES = sizeof ARCHITECTURES / sizeof ARCHITECTURES[0] };

/* jina-reranker-v2 and others name XLM-RoBERTa, but bring a model of their
 * own as Python code, with other weights. */
static cr_status check_code(const cr_json *json, cr_error *error) {
    const json_t *code = cr_json_get(json, "auto_map");
    const json_t *own =
        json_object_get(code, "AutoModelForSequenceClassification");
    if (own)
        return cr_json_refuse(
            json, "auto_map.AutoModelForSequenceClassification", own,
            "none: a model that is computed by the plain class, and not by "
            "Python code of its own",
            error);
    return CR_OK;
}

static cr_status read_architecture(const cr_json *json, cr_model_config *config,
                                   cr_error *error) {
    const json_t *list = cr_json_get(json, "architectures");
    const char *name = json_string_value(json_array_get(list, 0));
    size_t i = 0;
    while (i < N_ARCHITECTURES && name &&
           strcmp(name, ARCHITECTURES[i].name) != 0)
        i++;
    if (json_array_size(list) != 1 || !name || i == N_ARCHITECTURES)
        return cr_json_refuse(json, "architectures", list,
                              "[\"BertForSequenceClassification\"], or "
                              "Roberta... or XLMRoberta... instead",
                              error);
    const json_t *type = cr_json_get(json, "model_type");
    char expected[32];
    snprintf(expected, sizeof expected, "\"%s\"", ARCHITECTURES[i].type);
    if (type && !(json_is_string(type) &&
                  strcmp(json_string_value(type), ARCHITECTURES[i].type) == 0))
        return cr_json_refuse(json, "model_type", type, expected, error);
    config->is_roberta = ARCHITECTURES[i].is_roberta;
    config->vocab_size = ARCHITECTURES[i].vocab_size;
    return config->is_roberta ? check_code(json, error) : CR_OK;
}

/* RoBERTa counts positions from behind the padding token's id, so the table
 * has rows that no token uses. */
static cr_status read_padding(const cr_json *json, cr_model_config *config,
                              cr_error *error) {
    uint32_t pad_id;
    if (!config->is_roberta)
        return CR_OK;
    cr_status status = cr_json_get_u32(
        json, "pad_token_id", 0, config->vocab_size - 1, 1, &pad_id, error);
    if (status != CR_OK)
        return status;
    if (config->max_positions < pad_id + 1 + CR_MAX_PAIR_SPECIALS)
        return cr_fail(error, CR_ERR_MODEL,
                       "%s: \"max_position_embeddings\" is %u with the "
                       "\"pad_token_id\" %u: at least %u are needed",
                       json->path, config->max_positions, pad_id,
                       pad_id + 1 + CR_MAX_PAIR_SPECIALS);
    config->pad_id = (int32_t)pad_id;
    config->max_positions -= pad_id + 1;
    return CR_OK;
}

/* Sizes, with the defaults of BertConfig. */
static cr_status read_sizes(const cr_json *json, cr_model_config *config,
                            cr_error *error) {
    const struct {
        const char *key;
        uint32_t min, max, fallback;
        uint32_t *value;
    } sizes[] = {
        {"num_hidden_layers", 1, CR_MAX_LAYERS, 12, &config->n_layers},
        {"num_attention_heads", 1, CR_MAX_HEADS, 12, &config->n_heads},
        {"hidden_size", 1, CR_MAX_HIDDEN, 768, &config->hidden_size},
        {"intermediate_size", 1, CR_MAX_INTERMEDIATE, 3072,
         &config->intermediate_size},
        {"vocab_size", 1, CR_MAX_VOCAB, config->vocab_size,
         &config->vocab_size},
        {"max_position_embeddings", CR_MIN_PAIR_TOKENS, CR_MAX_POSITIONS, 512,
         &config->max_positions},
        {"type_vocab_size", 1, 2, 2, &config->n_types},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        cr_status status =
            cr_json_get_u32(json, sizes[i].key, sizes[i].min, sizes[i].max,
                            sizes[i].fallback, sizes[i].value, error);
        if (status != CR_OK)
            return status;
    }
    if (config->hidden_size % config->n_heads)
        return cr_fail(error, CR_ERR_MODEL,
                       "%s: \"hidden_size\" is %u, which \"num_attention_heads"
                       "\" %u does not divide",
                       json->path, config->hidden_size, config->n_heads);
    return CR_OK;
}

static cr_status read_hidden_act(const cr_json *json, cr_model_config *config,
                                 cr_error *error) {
    static const struct {
        const char *name;
        cr_hidden_act act;
    } acts[] = {{"gelu", CR_ACT_GELU},
                {"gelu_new", CR_ACT_GELU_NEW},
                {"relu", CR_ACT_RELU}};
    const json_t *value = cr_json_get(json, "hidden_act");
    config->hidden_act = CR_ACT_GELU;
    if (!value)
        return CR_OK;
    for (size_t i = 0; i < sizeof acts / sizeof acts[0]; i++) {
        if (json_is_string(value) &&
            strcmp(json_string_value(value), acts[i].name) == 0) {
            config->hidden_act = acts[i].act;
            return CR_OK;
        }
    }
    return cr_json_refuse(json, "hidden_act", value,
                          "\"gelu\", \"gelu_new\" or \"relu\"", error);
}

static cr_status read_layer_norm_eps(const cr_json *json,
                                     cr_model_config *config, cr_error *error) {
    const json_t *value = cr_json_get(json, "layer_norm_eps");
    config->layer_norm_eps = 1e-12F;
    if (!value)
        return CR_OK;
    double eps = json_is_number(value) ? json_number_value(value) : 0;
    /* Below 1e-30 float32 would make it denormal or zero. */
    if (!(eps >= 1e-30 && eps <= 1))
        return cr_json_refuse(json, "layer_norm_eps", value,
                              "a number in 1e-30..1", error);
    config->layer_norm_eps = (float)eps;
    return CR_OK;
}

/* A key that is none of "0".."n-1", which there is where one of them lacks. */
static const char *other_key(const json_t *names) {
    json_t *object = (json_t *)(uintptr_t)names; /* iterating takes no const */
    size_t n = json_object_size(names);
    for (void *at = json_object_iter(object); at;
         at = json_object_iter_next(object, at)) {
        const char *key = json_object_iter_key(at);
        char own[CR_LABEL_BYTES];
        unsigned long long number = strtoull(key, NULL, 10);
        snprintf(own, sizeof own, "%llu", number);
        if (number >= n || strcmp(own, key) != 0)
            return key;
    }
    return "";
}

/* Label 0..n-1 has a name, and none before it has the same. transformers goes
 * by the number of names and looks none of them up before it prints one, so a
 * gap is found late there or never; here every score has its name beside it,
 * and one made up would be taken for the model's. */
static cr_status check_label(const cr_json *json, const json_t *names,
                             size_t label, json_t *seen, cr_error *error) {
    char key[CR_LABEL_BYTES], picture[CR_JSON_PICTURE_BYTES];
    size_t n = json_object_size(names);
    snprintf(key, sizeof key, "%zu", label);
    const json_t *value = json_object_get(names, key);
    const char *name = json_string_value(value);
    if (!value) {
        json_t *other = json_string(other_key(names));
        cr_status status =
            cr_fail(error, CR_ERR_UNSUPPORTED,
                    "%s: \"id2label\" has %zu labels, but no \"%s\" and "
                    "instead %s, a gap: name each of \"0\" to \"%zu\", in the "
                    "order of the classifier's rows",
                    json->path, n, key, cr_json_picture(other, picture), n - 1);
        json_decref(other);
        return status;
    }
    if (!name)
        return cr_fail(error, CR_ERR_UNSUPPORTED,
                       "%s: \"id2label\" has for \"%s\" %s: make it a name, "
                       "a string",
                       json->path, key, cr_json_picture(value, picture));
    const json_t *first = json_object_get(seen, name);
    if (first)
        return cr_fail(error, CR_ERR_UNSUPPORTED,
                       "%s: \"id2label\" has for \"%s\" and \"%s\" one name, "
                       "%s: no two may be alike, scores are told apart by it",
                       json->path, json_string_value(first), key,
                       cr_json_picture(value, picture));
    if (json_object_set_new(seen, name, json_string(key)) != 0)
        return cr_fail_memory(error, n, "label names");
    return CR_OK;
}

static cr_status check_every_label(const cr_json *json, const json_t *names,
                                   cr_error *error) {
    size_t n = json_object_size(names);
    json_t *seen = json_object(); /* name: its key */
    cr_status status = seen ? CR_OK : cr_fail_memory(error, n, "label names");
    for (size_t i = 0; status == CR_OK && i < n; i++)
        status = check_label(json, names, i, seen, error);
    json_decref(seen);
    return status;
}

/* Labels as transformers counts them: id2label, else num_labels, else 2.
 * (Where both are there and differ it goes by num_labels, with a warning.) */
static cr_status read_labels(const cr_json *json, cr_model_config *config,
                             cr_error *error) {
    const json_t *names = cr_json_get(json, "id2label");
    const json_t *problem = cr_json_get(json, "problem_type");
    size_t n = json_object_size(names);
    if (names && (n < 1 || n > CR_MAX_LABELS))
        return cr_json_refuse(json, "id2label", names,
                              "an object of 1..1024 labels", error);
    cr_status status = CR_OK;
    if (n > 1)
        status = check_every_label(json, names, error);
    if (status == CR_OK)
        status =
            cr_json_get_u32(json, "num_labels", 1, CR_MAX_LABELS,
                            names ? (uint32_t)n : 2, &config->n_labels, error);
    if (status == CR_OK && names && config->n_labels != n)
        return cr_fail(error, CR_ERR_MODEL,
                       "%s: \"num_labels\" is %u, but \"id2label\" has %zu: "
                       "make them agree",
                       json->path, config->n_labels, n);
    if (status != CR_OK || !problem)
        return status;
    const char *name = json_string_value(problem);
    bool one = config->n_labels == 1;
    if (name && (strcmp(name, "regression") == 0 ||
                 strcmp(name, "multi_label_classification") == 0 ||
                 (strcmp(name, "single_label_classification") == 0 && !one)))
        return CR_OK;
    return cr_json_refuse(json, "problem_type", problem,
                          one ? "null or \"regression\" for one label"
                              : "null or a kind of classification",
                          error);
}

const char *cr_config_label(const cr_config_files *files, uint32_t label,
                            char room[CR_LABEL_BYTES]) {
    char key[CR_LABEL_BYTES];
    snprintf(key, sizeof key, "%u", label);
    const json_t *names = cr_json_get(&files->config, "id2label");
    const char *name = json_string_value(json_object_get(names, key));
    if (name)
        return name;
    snprintf(room, CR_LABEL_BYTES, "LABEL_%u", label);
    return room;
}

/* Switches and blocks that would make another model of it. */
static cr_status check_variants(const cr_json *json, cr_error *error) {
    static const char *const off[] = {"is_decoder", "add_cross_attention",
                                      "is_encoder_decoder"};
    for (size_t i = 0; i < sizeof off / sizeof off[0]; i++) {
        bool on;
        cr_status status = cr_json_get_bool(json, off[i], false, &on, error);
        if (status != CR_OK)
            return status;
        if (on)
            return cr_json_refuse(json, off[i], cr_json_get(json, off[i]),
                                  "false: BERT as an encoder", error);
    }
    const json_t *kind = cr_json_get(json, "position_embedding_type");
    if (kind && !(json_is_string(kind) &&
                  strcmp(json_string_value(kind), "absolute") == 0))
        return cr_json_refuse(json, "position_embedding_type", kind,
                              "\"absolute\"", error);
    const json_t *pruned = cr_json_get(json, "pruned_heads");
    if (pruned && !(json_is_object(pruned) && json_object_size(pruned) == 0))
        return cr_json_refuse(json, "pruned_heads", pruned,
                              "none: save the model with all heads", error);
    const json_t *quantized = cr_json_get(json, "quantization_config");
    if (quantized)
        return cr_json_refuse(json, "quantization_config", quantized,
                              "none: weights in F32, F16 or BF16", error);
    return CR_OK;
}

/* ---- The activation of the score ---------------------------------------- */

/* Every way to name the classes inside torch, as Python would import them. */
static cr_status activation_of_class(const char *class_path,
                                     cr_activation *activation) {
    static const struct {
        const char *class_path;
        cr_activation activation;
    } known[] = {
        {"torch.nn.modules.linear.Identity", CR_ACTIVATION_NONE},
        {"torch.nn.modules.activation.Sigmoid", CR_ACTIVATION_SIGMOID},
        {"torch.nn.modules.activation.Tanh", CR_ACTIVATION_TANH},
        {"torch.nn.modules.Identity", CR_ACTIVATION_NONE},
        {"torch.nn.modules.Sigmoid", CR_ACTIVATION_SIGMOID},
        {"torch.nn.modules.Tanh", CR_ACTIVATION_TANH},
        {"torch.nn.Identity", CR_ACTIVATION_NONE},
        {"torch.nn.Sigmoid", CR_ACTIVATION_SIGMOID},
        {"torch.nn.Tanh", CR_ACTIVATION_TANH},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(known[i].class_path, class_path) == 0) {
            *activation = known[i].activation;
            return CR_OK;
        }
    }
    return CR_ERR_UNSUPPORTED;
}

/* One place where the activation may stand. *found: it decides. Classes
 * outside torch are passed over, as sentence-transformers does when it is not
 * told to trust them. */
static cr_status activation_at(const cr_json *json, const char *key,
                               const json_t *value, bool *found,
                               cr_activation *activation, cr_error *error) {
    static const char supported[] =
        "torch.nn.Identity, torch.nn.Sigmoid or torch.nn.Tanh";
    *found = false;
    if (!value || json_is_null(value))
        return CR_OK;
    if (!json_is_string(value))
        return cr_json_refuse(json, key, value, supported, error);
    if (strncmp(json_string_value(value), "torch.", 6) != 0)
        return CR_OK;
    *found = true;
    if (activation_of_class(json_string_value(value), activation) != CR_OK)
        return cr_json_refuse(json, key, value, supported, error);
    return CR_OK;
}

/* Saved by sentence-transformers as a cross-encoder with modules: only then
 * does it read the settings beside config.json. */
static bool saved_as_cross_encoder(const cr_config_files *files) {
    const json_t *type = cr_json_get(&files->st_config, "model_type");
    return files->modules.root && json_is_string(type) &&
           strcmp(json_string_value(type), "CrossEncoder") == 0;
}

static cr_status read_activation(const cr_config_files *files,
                                 cr_model_config *config, cr_error *error) {
    cr_status status = CR_OK;
    bool found = false;
    if (saved_as_cross_encoder(files)) {
        status = activation_at(&files->st_config, "activation_fn",
                               cr_json_get(&files->st_config, "activation_fn"),
                               &found, &config->activation, error);
        if (status != CR_OK || found)
            return status;
    }
    const cr_json *json = &files->config;
    const json_t *block = cr_json_get(json, "sentence_transformers");
    if (block && !json_is_object(block))
        return cr_json_refuse(json, "sentence_transformers", block, "an object",
                              error);
    /* Its presence decides, even as null: the older key is not asked then. */
    const json_t *inner = json_object_get(block, "activation_fn");
    const char *old = "sbert_ce_default_activation_function";
    if (inner)
        status = activation_at(json, "sentence_transformers.activation_fn",
                               inner, &found, &config->activation, error);
    else
        status = activation_at(json, old, cr_json_get(json, old), &found,
                               &config->activation, error);
    if (status == CR_OK && !found)
        config->activation =
            config->n_labels == 1 ? CR_ACTIVATION_SIGMOID : CR_ACTIVATION_NONE;
    return status;
}

/* ---- sentence-transformers' files --------------------------------------- */

static bool is_empty(const json_t *value) {
    return !value || (json_is_object(value) && json_object_size(value) == 0);
}

/* modules.json: the transformer alone, in the folder itself. */
static cr_status check_modules(const cr_json *modules, cr_error *error) {
    static const char supported[] = "one Transformer module with an empty path";
    static const char ending[] = ".Transformer";
    const json_t *module = json_array_get(modules->root, 0);
    const json_t *type = json_object_get(module, "type");
    const json_t *path = json_object_get(module, "path");
    size_t len = json_string_length(type), n = sizeof ending - 1;
    if (json_array_size(modules->root) != 1)
        return cr_json_refuse(modules, "modules", modules->root, supported,
                              error);
    if (len < n || strcmp(json_string_value(type) + len - n, ending) != 0)
        return cr_json_refuse(modules, "type", type, supported, error);
    if (path && json_string_length(path) != 0)
        return cr_json_refuse(modules, "path", path, supported, error);
    return CR_OK;
}

/* A default prompt would be put before the query of every pair. */
static cr_status check_prompts(const cr_json *json, cr_error *error) {
    const json_t *name = cr_json_get(json, "default_prompt_name");
    const json_t *prompts = cr_json_get(json, "prompts");
    const json_t *prompt =
        name && json_is_string(name)
            ? json_object_get(prompts, json_string_value(name))
            : NULL;
    if (name && !(json_is_string(prompt) && json_string_length(prompt) == 0))
        return cr_json_refuse(json, "default_prompt_name", name,
                              "null: no prompt before the text", error);
    return CR_OK;
}

static cr_status read_sbert_config(const cr_json *json, cr_model_config *config,
                                   bool *lowercases, cr_error *error) {
    static const char *const empty[] = {"processing_kwargs", "query_expansion",
                                        "query_length",      "document_length",
                                        "model_args",        "model_kwargs",
                                        "tokenizer_args",    "processor_kwargs",
                                        "config_args",       "config_kwargs"};
    const json_t *task = cr_json_get(json, "transformer_task");
    if (!json_is_string(task) ||
        strcmp(json_string_value(task), "sequence-classification") != 0)
        return cr_json_refuse(json, "transformer_task", task,
                              "\"sequence-classification\"", error);
    for (size_t i = 0; i < sizeof empty / sizeof empty[0]; i++)
        if (!is_empty(cr_json_get(json, empty[i])))
            return cr_json_refuse(json, empty[i], cr_json_get(json, empty[i]),
                                  "null or empty", error);
    uint32_t length;
    cr_status status =
        cr_json_get_u32(json, "max_seq_length", CR_MIN_PAIR_TOKENS, INT32_MAX,
                        config->max_positions, &length, error);
    if (status != CR_OK)
        return status;
    if (length < config->max_length)
        config->max_length = length;
    return cr_json_get_bool(json, "do_lower_case", false, lowercases, error);
}

cr_status cr_config_read(const cr_config_files *files, cr_model_config *config,
                         bool *lowercases, cr_error *error) {
    *config = (cr_model_config){0};
    *lowercases = false;
    cr_status status = read_architecture(&files->config, config, error);
    if (status == CR_OK)
        status = read_sizes(&files->config, config, error);
    if (status == CR_OK)
        status = read_padding(&files->config, config, error);
    if (status == CR_OK)
        status = read_hidden_act(&files->config, config, error);
    if (status == CR_OK)
        status = read_layer_norm_eps(&files->config, config, error);
    if (status == CR_OK)
        status = read_labels(&files->config, config, error);
    if (status == CR_OK)
        status = check_variants(&files->config, error);
    if (status == CR_OK)
        status = read_activation(files, config, error);
    config->max_length = config->max_positions;
    if (status != CR_OK || !saved_as_cross_encoder(files))
        return status;
    status = check_modules(&files->modules, error);
    if (status == CR_OK)
        status = check_prompts(&files->st_config, error);
    if (status == CR_OK)
        status =
            read_sbert_config(&files->sbert_config, config, lowercases, error);
    return status;
}
