/* config.json and its companions: every refusal names field and value, every
 * default is BertConfig's, the activation is sentence-transformers'. */
#include "model/config.h"

#include "base/mem.h"
#include "tiny.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int set_up(void **state) {
    (void)state;
    tiny_watch_jansson();
    return 0;
}

/* ---- One field changed -------------------------------------------------- */

/* TINY_CONFIG with `key` set to a JSON text, or taken away where NULL. */
static char *changed_config(const char *key, const char *value) {
    json_t *root = json_loads(TINY_CONFIG, 0, NULL);
    assert_non_null(root);
    if (value) {
        json_t *field = json_loads(value, JSON_DECODE_ANY, NULL);
        assert_non_null(field);
        assert_int_equal(json_object_set_new(root, key, field), 0);
    } else {
        assert_int_equal(json_object_del(root, key), 0);
    }
    char *text = json_dumps(root, 0);
    assert_non_null(text);
    json_decref(root);
    return text;
}

typedef struct parsed {
    cr_status status;
    cr_model_config config;
    bool lowercases;
    char last_label[64];
    cr_error error;
} parsed;

/* NULL: that file does not exist. */
typedef struct texts {
    const char *config, *modules, *st_config, *sbert_config;
} texts;

static parsed parse(texts t) {
    parsed p = {.error.message = ""};
    cr_config_files files = {.modules.path = NULL};
    const struct {
        cr_json *json;
        const char *name, *text;
        unsigned flags;
    } list[] = {
        {&files.config, "DIR/config.json", t.config, 0},
        {&files.modules, "DIR/modules.json", t.modules, CR_JSON_LIST},
        {&files.st_config, "DIR/config_sentence_transformers.json", t.st_config,
         0},
        {&files.sbert_config, "DIR/sentence_bert_config.json", t.sbert_config,
         0},
    };
    for (size_t i = 0; i < 4 && p.status == CR_OK; i++) {
        const char *text = list[i].text ? list[i].text : "{}";
        if (!list[i].text && list[i].flags)
            text = "[]";
        p.status = cr_json_parse(list[i].json, list[i].name,
                                 (cr_text){text, strlen(text)}, list[i].flags,
                                 &p.error);
        if (p.status == CR_OK && !list[i].text) {
            json_decref(list[i].json->root);
            list[i].json->root = NULL;
        }
    }
    if (p.status == CR_OK)
        p.status = cr_config_read(&files, &p.config, &p.lowercases, &p.error);
    char room[CR_LABEL_BYTES];
    if (p.status == CR_OK)
        snprintf(p.last_label, sizeof p.last_label, "%s",
                 cr_config_label(&files, p.config.n_labels - 1, room));
    cr_config_files_fini(&files);
    return p;
}

static parsed parse_changed(const char *key, const char *value) {
    char *text = changed_config(key, value);
    parsed p = parse((texts){.config = text});
    cr_free(text);
    return p;
}

/* ---- Refusals ----------------------------------------------------------- */

static const struct {
    const char *key, *value;
    const char *picture; /* of the value in the message, NULL: as it is */
    const char *supported;
} REFUSED[] = {
    {"architectures", NULL, "missing", "BertForSequenceClassification"},
    {"architectures", "[]", "a list of 0", "BertForSequenceClassification"},
    {"architectures", "[\"BertModel\"]", "[\"BertModel\"]",
     "BertForSequenceClassification"},
    {"architectures", "[\"RobertaForMaskedLM\"]", NULL,
     "BertForSequenceClassification"},
    {"architectures", "[\"BertForSequenceClassification\", \"BertModel\"]",
     "a list of 2", "BertForSequenceClassification"},
    {"architectures", "\"BertForSequenceClassification\"", NULL,
     "[\"BertForSequenceClassification\"]"},
    {"model_type", "\"roberta\"", NULL, "\"bert\""},
    {"model_type", "7", NULL, "\"bert\""},
    {"num_hidden_layers", "0", NULL, "1..128"},
    {"num_hidden_layers", "129", NULL, "1..128"},
    {"num_hidden_layers", "-1", NULL, "1..128"},
    {"num_hidden_layers", "2.0", "2", "whole number"},
    {"num_hidden_layers", "\"2\"", NULL, "1..128"},
    {"num_hidden_layers", "9223372036854775807", NULL, "1..128"},
    {"num_hidden_layers", "4294967297", NULL, "1..128"},
    {"num_hidden_layers", "[1]", NULL, "1..128"},
    {"num_hidden_layers", "{}", "an object of 0", "1..128"},
    {"num_hidden_layers", "true", NULL, "1..128"},
    {"num_attention_heads", "0", NULL, "1..256"},
    {"num_attention_heads", "257", NULL, "1..256"},
    {"num_attention_heads", "3", "4", "3"},
    {"hidden_size", "0", NULL, "1..8192"},
    {"hidden_size", "8193", NULL, "1..8192"},
    {"hidden_size", "7", NULL, "divide"},
    {"intermediate_size", "0", NULL, "1..32768"},
    {"intermediate_size", "32769", NULL, "1..32768"},
    {"vocab_size", "0", NULL, "1..2000000"},
    {"vocab_size", "2000001", NULL, "1..2000000"},
    {"max_position_embeddings", "2", NULL, "3..65536"},
    {"max_position_embeddings", "65537", NULL, "3..65536"},
    {"type_vocab_size", "0", NULL, "1..2"},
    {"type_vocab_size", "3", NULL, "1..2"},
    {"hidden_act", "\"silu\"", NULL, "\"gelu_new\""},
    {"hidden_act", "\"GELU\"", NULL, "\"gelu_new\""},
    {"hidden_act", "\"gelu_fast\"", NULL, "\"gelu_new\""},
    {"hidden_act", "1", NULL, "\"relu\""},
    {"layer_norm_eps", "0", NULL, "1e-30..1"},
    {"layer_norm_eps", "-1e-12", NULL, "1e-30..1"},
    {"layer_norm_eps", "1.5", NULL, "1e-30..1"},
    {"layer_norm_eps", "1e-40", "1e-40", "1e-30..1"},
    {"layer_norm_eps", "\"1e-12\"", NULL, "1e-30..1"},
    {"id2label", "{}", "an object of 0", "1..1024 labels"},
    {"id2label", "[\"a\"]", NULL, "1..1024 labels"},
    {"id2label", "{\"1\": \"a\", \"2\": \"b\"}", "no \"0\" and instead \"2\"",
     "a gap"},
    {"id2label", "{\"0\": \"a\", \"2\": \"b\"}", "no \"1\" and instead \"2\"",
     "\"0\" to \"1\""},
    {"id2label", "{\"00\": \"a\", \"1\": \"b\"}", "no \"0\" and instead \"00\"",
     "a gap"},
    {"id2label", "{\"1\": \"a\", \"x\": \"b\"}", "no \"0\" and instead \"x\"",
     "a gap"},
    {"id2label", "{\"0\": \"a\", \"1\": 1}", "for \"1\" 1", "a name"},
    {"id2label", "{\"0\": \"a\", \"1\": null}", "for \"1\" null", "a name"},
    {"id2label", "{\"0\": \"a\", \"1\": \"a\"}",
     "\"0\" and \"1\" one name, \"a\"", "alike"},
    {"num_labels", "2", NULL, "agree"},
    {"num_labels", "0", NULL, "1..1024"},
    {"num_labels", "1025", NULL, "1..1024"},
    {"num_labels", "1.0", "1", "1..1024"},
    {"problem_type", "\"single_label_classification\"", NULL, "regression"},
    {"problem_type", "\"other\"", NULL, "regression"},
    {"problem_type", "3", NULL, "regression"},
    {"is_decoder", "true", NULL, "false"},
    {"is_decoder", "\"false\"", NULL, "true or false"},
    {"add_cross_attention", "true", NULL, "false"},
    {"is_encoder_decoder", "true", NULL, "false"},
    {"position_embedding_type", "\"relative_key\"", NULL, "\"absolute\""},
    {"position_embedding_type", "\"relative_key_query\"", NULL, "\"absolute\""},
    {"position_embedding_type", "0", NULL, "\"absolute\""},
    {"pruned_heads", "{\"0\": [1]}", "an object of 1", "all heads"},
    {"pruned_heads", "[0]", NULL, "all heads"},
    {"quantization_config", "{\"bits\": 4}", "an object of 1", "F16"},
    {"sentence_transformers", "1", NULL, "an object"},
    {"sbert_ce_default_activation_function", "1", NULL, "torch.nn.Sigmoid"},
    {"sbert_ce_default_activation_function", "\"torch.nn.ReLU\"", NULL,
     "torch.nn.Sigmoid"},
};

static void every_refusal_names_field_and_value(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof REFUSED / sizeof REFUSED[0]; i++) {
        parsed p = parse_changed(REFUSED[i].key, REFUSED[i].value);
        if (p.status != CR_ERR_UNSUPPORTED && p.status != CR_ERR_MODEL)
            fail_msg("%s %s: %s", REFUSED[i].key, REFUSED[i].value,
                     cr_status_name(p.status));
        const char *picture =
            REFUSED[i].picture ? REFUSED[i].picture : REFUSED[i].value;
        tiny_expect_message(p.error.message,
                            (const char *[]){"DIR/config.json", REFUSED[i].key,
                                             picture, REFUSED[i].supported,
                                             NULL});
    }
}

static void long_values_do_not_hide_the_rest(void **state) {
    (void)state;
    char value[5000] = "\"";
    memset(value + 1, 'x', sizeof value - 3);
    value[sizeof value - 2] = '"';
    parsed p = parse_changed("hidden_act", value);
    assert_int_equal(p.status, CR_ERR_UNSUPPORTED);
    tiny_expect_message(
        p.error.message,
        (const char *[]){"hidden_act", "\"xxxx", "supported", "relu", NULL});
}

/* ---- What is accepted --------------------------------------------------- */

static void sizes_are_read(void **state) {
    (void)state;
    parsed p = parse((texts){.config = TINY_CONFIG});
    assert_int_equal(p.status, CR_OK);
    assert_int_equal(p.config.n_layers, 1);
    assert_int_equal(p.config.n_heads, 2);
    assert_int_equal(p.config.hidden_size, 4);
    assert_int_equal(p.config.intermediate_size, 8);
    assert_int_equal(p.config.vocab_size, 12);
    assert_int_equal(p.config.max_positions, 16);
    assert_int_equal(p.config.n_types, 2);
    assert_int_equal(p.config.n_labels, 1);
    assert_int_equal(p.config.max_length, 16);
    assert_int_equal(p.config.activation, CR_ACTIVATION_SIGMOID);
    assert_false(p.lowercases);
}

static void defaults_are_those_of_bert_config(void **state) {
    (void)state;
    parsed p = parse((texts){
        .config = "{\"architectures\": [\"BertForSequenceClassification\"], "
                  "\"num_labels\": 1}"});
    assert_int_equal(p.status, CR_OK);
    assert_int_equal(p.config.n_layers, 12);
    assert_int_equal(p.config.n_heads, 12);
    assert_int_equal(p.config.hidden_size, 768);
    assert_int_equal(p.config.intermediate_size, 3072);
    assert_int_equal(p.config.vocab_size, 30522);
    assert_int_equal(p.config.max_positions, 512);
    assert_int_equal(p.config.n_types, 2);
    assert_int_equal(p.config.hidden_act, CR_ACT_GELU);
    assert_true(p.config.layer_norm_eps == 1e-12F);
    assert_int_equal(p.config.activation, CR_ACTIVATION_SIGMOID);
}

#define ROBERTA                                                                \
    "{\"architectures\": [\"XLMRobertaForSequenceClassification\"], "          \
    "\"num_labels\": 1, \"max_position_embeddings\": 514"

/* Positions are counted from behind the padding token's id, 1 by default. */
static void roberta_counts_positions_behind_padding(void **state) {
    (void)state;
    parsed p = parse((texts){.config = ROBERTA "}"});
    assert_int_equal(p.status, CR_OK);
    assert_true(p.config.is_roberta);
    assert_int_equal(p.config.pad_id, 1);
    assert_int_equal(p.config.max_positions, 512);
    assert_int_equal(p.config.max_length, 512);
    assert_int_equal(cr_model_position_rows(&p.config), 514);
    p = parse((texts){.config = ROBERTA ", \"pad_token_id\": 9}"});
    assert_int_equal(p.config.max_positions, 504);
    assert_int_equal(cr_model_position_rows(&p.config), 514);
}

static void roberta_that_is_none_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *more;
        const char *parts[4];
    } rows[] = {
        {", \"model_type\": \"roberta\"}",
         {"\"model_type\" is \"roberta\"", "\"xlm-roberta\""}},
        {", \"pad_token_id\": 510}",
         {"\"max_position_embeddings\" is 514", "510", "515 are needed"}},
        {", \"pad_token_id\": -1}", {"\"pad_token_id\" is -1"}},
        {", \"pad_token_id\": 30522}", {"\"pad_token_id\" is 30522"}},
        /* As jina-reranker-v2 has it. */
        {", \"auto_map\": {\"AutoConfig\": \"c.C\", "
         "\"AutoModelForSequenceClassification\": \"m.M\"}}",
         {"auto_map.AutoModelForSequenceClassification", "m.M", "Python code"}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char config[400];
        snprintf(config, sizeof config, "%s%s", ROBERTA, rows[i].more);
        parsed p = parse((texts){.config = config});
        assert_int_not_equal(p.status, CR_OK);
        tiny_expect_message(p.error.message, rows[i].parts);
    }
}

/* Number, activation where none is stated, and the name of the last label, as
 * tests/parity/model_parity_test.py holds them to the original. */
static void labels_are_counted_as_transformers_does(void **state) {
    (void)state;
    static const struct {
        const char *fields;
        uint32_t n;
        const char *last;
    } rows[] = {
        {"\"id2label\": {\"0\": \"relevance\"}", 1, "relevance"},
        {"\"id2label\": {\"7\": \"x\"}", 1, "LABEL_0"},
        {"\"id2label\": {\"1\": \"b\", \"2\": \"c\", \"0\": \"a\"}", 3, "c"},
        {"\"id2label\": {\"0\": \"a\", \"1\": \"b\"}, \"num_labels\": 2", 2,
         "b"},
        {"\"num_labels\": 11", 11, "LABEL_10"},
        {"\"id2label\": null", 2, "LABEL_1"},
        {"\"num_labels\": 3, \"problem_type\": \"single_label_classification\"",
         3, "LABEL_2"},
        {"\"num_labels\": 3, \"problem_type\": \"multi_label_classification\"",
         3, "LABEL_2"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char config[300];
        snprintf(config, sizeof config,
                 "{\"architectures\": [\"BertForSequenceClassification\"], %s}",
                 rows[i].fields);
        parsed p = parse((texts){.config = config});
        if (p.status != CR_OK)
            fail_msg("%s", p.error.message);
        assert_int_equal(p.config.n_labels, rows[i].n);
        assert_int_equal(p.config.activation, rows[i].n == 1
                                                  ? CR_ACTIVATION_SIGMOID
                                                  : CR_ACTIVATION_NONE);
        assert_string_equal(p.last_label, rows[i].last);
    }
}

static void fields_without_influence_are_ignored(void **state) {
    (void)state;
    static const char *const rows[][2] = {
        {"hidden_dropout_prob", "0.5"},
        {"classifier_dropout", "\"x\""},
        {"use_cache", "7"},
        {"dtype", "\"float16\""},
        {"pruned_heads", "{}"},
        {"pruned_heads", "null"},
        {"is_decoder", "null"},
        {"is_decoder", "false"},
        {"model_type", "null"},
        {"quantization_config", "null"},
        {"position_embedding_type", "null"},
        {"position_embedding_type", "\"absolute\""},
        {"problem_type", "\"regression\""},
        {"problem_type", "\"multi_label_classification\""},
        {"num_labels", "1"},
        {"something_new", "[1, {\"a\": null}]"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        parsed p = parse_changed(rows[i][0], rows[i][1]);
        if (p.status != CR_OK)
            fail_msg("%s", p.error.message);
    }
}

static void activations_of_layers_are_read(void **state) {
    (void)state;
    assert_int_equal(parse_changed("hidden_act", "\"relu\"").config.hidden_act,
                     CR_ACT_RELU);
    assert_int_equal(
        parse_changed("hidden_act", "\"gelu_new\"").config.hidden_act,
        CR_ACT_GELU_NEW);
    assert_int_equal(parse_changed("hidden_act", "null").config.hidden_act,
                     CR_ACT_GELU);
    assert_true(parse_changed("layer_norm_eps", "1").config.layer_norm_eps ==
                1.0F);
    assert_true(parse_changed("layer_norm_eps", "1e-5").config.layer_norm_eps ==
                1e-5F);
}

/* ---- The activation of the score ---------------------------------------- */

#define MODULES                                                                \
    "[{\"idx\": 0, \"name\": \"0\", \"path\": \"\", \"type\": "                \
    "\"sentence_transformers.base.modules.transformer.Transformer\"}]"
#define CROSS "\"model_type\": \"CrossEncoder\""
#define SBERT "{\"transformer_task\": \"sequence-classification\"}"
#define SIGMOID "\"torch.nn.modules.activation.Sigmoid\""
#define IDENTITY "\"torch.nn.modules.linear.Identity\""
#define TANH "\"torch.nn.modules.activation.Tanh\""
#define NEW_KEY "sentence_transformers"
#define OLD_KEY "sbert_ce_default_activation_function"

/* tests/parity/activation_test.py holds the same cases to the original. */
static const struct {
    const char *key, *value; /* in config.json */
    const char *modules, *st_config;
    cr_activation expected;
} ACTIVATIONS[] = {
    {NEW_KEY, "{\"activation_fn\": " IDENTITY "}", NULL, NULL,
     CR_ACTIVATION_NONE},
    {NEW_KEY, "{\"activation_fn\": " TANH "}", NULL, NULL, CR_ACTIVATION_TANH},
    {NEW_KEY, "{\"activation_fn\": " SIGMOID "}", NULL, NULL,
     CR_ACTIVATION_SIGMOID},
    {NEW_KEY, "{\"activation_fn\": \"torch.nn.Identity\"}", NULL, NULL,
     CR_ACTIVATION_NONE},
    {NEW_KEY, "{\"activation_fn\": \"torch.nn.modules.Tanh\"}", NULL, NULL,
     CR_ACTIVATION_TANH},
    {NEW_KEY, "{\"activation_fn\": null}", NULL, NULL, CR_ACTIVATION_SIGMOID},
    {NEW_KEY, "{\"activation_fn\": \"my.package.Act\"}", NULL, NULL,
     CR_ACTIVATION_SIGMOID},
    {NEW_KEY, "{}", NULL, NULL, CR_ACTIVATION_SIGMOID},
    {OLD_KEY, IDENTITY, NULL, NULL, CR_ACTIVATION_NONE},
    {OLD_KEY, "null", NULL, NULL, CR_ACTIVATION_SIGMOID},
    {OLD_KEY, "\"my.package.Act\"", NULL, NULL, CR_ACTIVATION_SIGMOID},
    /* Without modules.json, or as another kind of model, it is not asked. */
    {NEW_KEY, "{\"activation_fn\": " TANH "}", NULL,
     "{" CROSS ", \"activation_fn\": " IDENTITY "}", CR_ACTIVATION_TANH},
    {NEW_KEY, "{\"activation_fn\": " TANH "}", MODULES,
     "{\"activation_fn\": " IDENTITY "}", CR_ACTIVATION_TANH},
    {NEW_KEY, "{\"activation_fn\": " TANH "}", MODULES,
     "{\"model_type\": \"SentenceTransformer\", \"activation_fn\": " IDENTITY
     "}",
     CR_ACTIVATION_TANH},
    {NEW_KEY, "{\"activation_fn\": " TANH "}", MODULES,
     "{" CROSS ", \"activation_fn\": " IDENTITY "}", CR_ACTIVATION_NONE},
    {NEW_KEY, "{\"activation_fn\": " TANH "}", MODULES,
     "{" CROSS ", \"activation_fn\": null}", CR_ACTIVATION_TANH},
    {NEW_KEY, "{\"activation_fn\": " TANH "}", MODULES, "{" CROSS "}",
     CR_ACTIVATION_TANH},
    {NEW_KEY, "{\"activation_fn\": " TANH "}", MODULES,
     "{" CROSS ", \"activation_fn\": \"my.Act\"}", CR_ACTIVATION_TANH},
};

static void activations_are_found_in_order(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof ACTIVATIONS / sizeof ACTIVATIONS[0]; i++) {
        char *config = changed_config(ACTIVATIONS[i].key, ACTIVATIONS[i].value);
        parsed p = parse((texts){config, ACTIVATIONS[i].modules,
                                 ACTIVATIONS[i].st_config, SBERT});
        cr_free(config);
        if (p.status != CR_OK || p.config.activation != ACTIVATIONS[i].expected)
            fail_msg("case %zu: %s %d", i, p.error.message,
                     p.config.activation);
    }
}

static void the_older_key_is_not_asked_beside_the_newer(void **state) {
    (void)state;
    json_t *root = json_loads(TINY_CONFIG, 0, NULL);
    json_object_set_new(root, OLD_KEY, json_string("torch.nn.Tanh"));
    json_object_set_new(root, NEW_KEY, json_pack("{s:n}", "activation_fn"));
    char *text = json_dumps(root, 0);
    assert_int_equal(parse((texts){.config = text}).config.activation,
                     CR_ACTIVATION_SIGMOID);
    cr_free(text);
    json_object_set_new(root, NEW_KEY, json_pack("{s:s}", "version", "4"));
    text = json_dumps(root, 0);
    assert_int_equal(parse((texts){.config = text}).config.activation,
                     CR_ACTIVATION_TANH);
    cr_free(text);
    json_decref(root);
}

static void unknown_classes_of_torch_are_refused(void **state) {
    (void)state;
    static const char *const classes[] = {"torch.nn.modules.activation.ReLU",
                                          "torch.nn.Softmax",
                                          "torch.nn.functional.sigmoid",
                                          "torch.sigmoid",
                                          "torch.",
                                          "torch.nn.modules.linear.Sigmoid"};
    for (size_t i = 0; i < sizeof classes / sizeof classes[0]; i++) {
        char value[200];
        snprintf(value, sizeof value, "{\"activation_fn\": \"%s\"}",
                 classes[i]);
        parsed p = parse_changed(NEW_KEY, value);
        assert_int_equal(p.status, CR_ERR_UNSUPPORTED);
        tiny_expect_message(p.error.message,
                            (const char *[]){"activation_fn", classes[i],
                                             "torch.nn.Identity", NULL});
    }
}

/* ---- Saved by sentence-transformers ------------------------------------- */

static const struct {
    const char *modules, *st_config, *sbert_config;
    const char *parts[5]; /* up to NULL */
} SAVED[] = {
    {"[]", "{" CROSS "}", SBERT, {"modules.json", "a list of 0"}},
    {"[{\"type\": \"a.Transformer\"}, {\"type\": \"a.Dense\"}]",
     "{" CROSS "}",
     SBERT,
     {"modules.json", "a list of 2"}},
    {"[{\"type\": \"a.LogitScore\", \"path\": \"\"}]",
     "{" CROSS "}",
     SBERT,
     {"modules.json", "a.LogitScore"}},
    {"[{\"type\": \"a.Transformer\", \"path\": \"0_T\"}]",
     "{" CROSS "}",
     SBERT,
     {"modules.json", "path", "0_T"}},
    {"[{\"type\": 3}]", "{" CROSS "}", SBERT, {"modules.json", "type", "3"}},
    {"[7]", "{" CROSS "}", SBERT, {"modules.json", "type", "missing"}},
    {MODULES,
     "{" CROSS ", \"default_prompt_name\": \"q\", \"prompts\": {\"q\": "
     "\"query: \"}}",
     SBERT,
     {"default_prompt_name", "\"q\""}},
    {MODULES,
     "{" CROSS ", \"default_prompt_name\": \"q\"}",
     SBERT,
     {"default_prompt_name", "\"q\""}},
    {MODULES, "{" CROSS "}", NULL, {"transformer_task", "missing"}},
    {MODULES,
     "{" CROSS "}",
     "{\"transformer_task\": \"feature-extraction\"}",
     {"transformer_task", "feature-extraction"}},
    {MODULES,
     "{" CROSS "}",
     "{\"transformer_task\": \"sequence-classification\", "
     "\"max_seq_length\": 2}",
     {"max_seq_length", "2", "3.."}},
    {MODULES,
     "{" CROSS "}",
     "{\"transformer_task\": \"sequence-classification\", "
     "\"processing_kwargs\": {\"text\": {\"max_length\": 5}}}",
     {"processing_kwargs", "an object of 1"}},
    {MODULES,
     "{" CROSS "}",
     "{\"transformer_task\": \"sequence-classification\", "
     "\"query_length\": 32}",
     {"query_length", "32"}},
};

static void settings_that_change_scores_are_refused(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof SAVED / sizeof SAVED[0]; i++) {
        parsed p = parse((texts){TINY_CONFIG, SAVED[i].modules,
                                 SAVED[i].st_config, SAVED[i].sbert_config});
        if (p.status != CR_ERR_UNSUPPORTED)
            fail_msg("case %zu: %s", i, cr_status_name(p.status));
        tiny_expect_message(p.error.message, SAVED[i].parts);
    }
}

static void saved_limits_are_read(void **state) {
    (void)state;
    texts t = {TINY_CONFIG, MODULES,
               "{" CROSS ", \"prompts\": {\"q\": \"\"}, "
               "\"default_prompt_name\": \"q\"}",
               "{\"transformer_task\": \"sequence-classification\", "
               "\"max_seq_length\": 9, \"do_lower_case\": true, "
               "\"processing_kwargs\": {}, \"query_length\": null}"};
    parsed p = parse(t);
    assert_int_equal(p.status, CR_OK);
    assert_int_equal(p.config.max_length, 9);
    assert_true(p.lowercases);
    t.sbert_config = "{\"transformer_task\": \"sequence-classification\", "
                     "\"max_seq_length\": 100000}";
    assert_int_equal(parse(t).config.max_length, 16);
}

static void every_failing_allocation_is_an_error(void **state) {
    (void)state;
    texts t = {TINY_CONFIG, MODULES, "{" CROSS "}", SBERT};
    for (uint64_t n = 0;; n++) {
        cr_mem_fail_after(n);
        parsed p = parse(t);
        cr_mem_fail_never();
        if (p.status == CR_OK) {
            assert_true(n > 20);
            break;
        }
        tiny_expect_no_memory(p.status, &p.error);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_refusal_names_field_and_value),
        cmocka_unit_test(long_values_do_not_hide_the_rest),
        cmocka_unit_test(sizes_are_read),
        cmocka_unit_test(defaults_are_those_of_bert_config),
        cmocka_unit_test(roberta_counts_positions_behind_padding),
        cmocka_unit_test(roberta_that_is_none_is_refused),
        cmocka_unit_test(labels_are_counted_as_transformers_does),
        cmocka_unit_test(fields_without_influence_are_ignored),
        cmocka_unit_test(activations_of_layers_are_read),
        cmocka_unit_test(activations_are_found_in_order),
        cmocka_unit_test(the_older_key_is_not_asked_beside_the_newer),
        cmocka_unit_test(unknown_classes_of_torch_are_refused),
        cmocka_unit_test(settings_that_change_scores_are_refused),
        cmocka_unit_test(saved_limits_are_read),
        cmocka_unit_test(every_failing_allocation_is_an_error),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
