/* What this program makes of model folders, for model_parity_test.py.
 *
 *     model_driver PAIRS FOLDER...
 *
 * PAIRS is a JSON list of [query, passage]. Prints one JSON object a folder:
 * status and message, and where it opens the activation, the limit on tokens,
 * the labels, and for every pair ids and type ids at that limit, and the score
 * of each label. */
#include "base/mem.h"
#include "model/model.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

static _Noreturn void die(const char *why) {
    fprintf(stderr, "model_driver: %s\n", why);
    exit(2);
}

static const char *activation_name(cr_activation activation) {
    return activation == CR_ACTIVATION_NONE      ? "Identity"
           : activation == CR_ACTIVATION_SIGMOID ? "Sigmoid"
           : activation == CR_ACTIVATION_TANH    ? "Tanh"
                                                 : "?";
}

static cr_text text_of(const json_t *pair, size_t i) {
    const json_t *text = json_array_get(pair, i);
    return (cr_text){json_string_value(text), json_string_length(text)};
}

/* [[id, type], ...] */
static json_t *encode(const cr_model *model, const json_t *pair) {
    cr_pair texts = {text_of(pair, 0), text_of(pair, 1)};
    cr_encoding *encoding;
    if (cr_tokenizer_explain_pair(cr_model_get_tokenizer(model), &texts,
                                  cr_model_get_config(model)->max_length,
                                  CR_TRUNCATE_LONGEST_FIRST, &encoding,
                                  NULL) != CR_OK)
        die("a pair could not be encoded");
    json_t *list = json_array();
    for (size_t i = 0; i < encoding->n_tokens; i++)
        json_array_append_new(
            list, json_pack("[i,i]", encoding->ids[i], encoding->type_ids[i]));
    cr_encoding_free(encoding);
    return list;
}

static json_t *score(const char *folder, const json_t *pairs) {
    enum { MAX_PAIRS = 64, MAX_LABELS = 32 };
    cr_pair texts[MAX_PAIRS];
    float scores[MAX_PAIRS * MAX_LABELS];
    size_t n = json_array_size(pairs);
    cr_options options;
    cr_ranker *ranker;
    cr_ranker_info info;
    cr_error error;
    cr_options_init(&options);
    options.model = folder;
    options.dtype = "fp32";
    options.threads = 1;
    if (n > MAX_PAIRS)
        die("more than 64 pairs");
    for (size_t i = 0; i < n; i++)
        texts[i] = (cr_pair){text_of(json_array_get(pairs, i), 0),
                             text_of(json_array_get(pairs, i), 1)};
    if (cr_ranker_open(&options, &ranker, &error) != CR_OK)
        die(error.message);
    cr_ranker_get_info(ranker, &info);
    if (info.n_labels > MAX_LABELS)
        die("more than 32 labels");
    if (cr_score_labels(ranker, texts, n, info.n_labels, scores, &error) !=
        CR_OK)
        die(error.message);
    cr_ranker_close(ranker);
    json_t *list = json_array();
    for (size_t i = 0; i < n * info.n_labels; i++)
        json_array_append_new(list, json_real((double)scores[i]));
    return list;
}

static json_t *describe(const char *folder, const json_t *pairs) {
    cr_model *model;
    cr_error error = {.message = ""};
    cr_status status = cr_model_open(folder, &model, &error);
    json_t *result = json_pack("{s:s,s:s}", "status", cr_status_name(status),
                               "message", error.message);
    if (status != CR_OK)
        return result;
    const cr_model_config *config = cr_model_get_config(model);
    json_t *encoded = json_array();
    for (size_t i = 0; i < json_array_size(pairs); i++)
        json_array_append_new(encoded, encode(model, json_array_get(pairs, i)));
    json_t *labels = json_array();
    for (uint32_t i = 0; i < config->n_labels; i++)
        json_array_append_new(labels,
                              json_string(cr_model_get_labels(model)[i]));
    json_object_set_new(result, "labels", labels);
    json_object_set_new(result, "activation",
                        json_string(activation_name(config->activation)));
    json_object_set_new(result, "max_length", json_integer(config->max_length));
    json_object_set_new(result, "pairs", encoded);
    json_object_set_new(result, "scores", score(folder, pairs));
    cr_model_close(model);
    return result;
}

int main(int argc, char **argv) {
    json_t *pairs =
        argc > 2 ? json_load_file(argv[1], JSON_ALLOW_NUL, NULL) : NULL;
    if (!pairs)
        die("usage: model_driver PAIRS FOLDER...");
    for (int i = 2; i < argc; i++) {
        json_t *result = describe(argv[i], pairs);
        if (json_dumpf(result, stdout, JSON_COMPACT) != 0)
            die("cannot write");
        putchar('\n');
        json_decref(result);
    }
    json_decref(pairs);
    return 0;
}
