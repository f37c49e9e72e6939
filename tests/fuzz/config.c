/* A model's configuration: config.json, modules.json,
 * config_sentence_transformers.json and sentence_bert_config.json, parted by
 * NUL. What is accepted lies within the limits; the rest is refused with a
 * message. */
#include "fuzz.h"

#include "model/config.h"

static void check(const cr_model_config *c) {
    assert(c->n_layers >= 1 && c->n_layers <= CR_MAX_LAYERS);
    assert(c->n_heads >= 1 && c->n_heads <= CR_MAX_HEADS);
    assert(c->hidden_size >= 1 && c->hidden_size <= CR_MAX_HIDDEN);
    assert(c->hidden_size % c->n_heads == 0);
    assert(c->intermediate_size >= 1);
    assert(c->intermediate_size <= CR_MAX_INTERMEDIATE);
    assert(c->vocab_size >= 1 && c->vocab_size <= CR_MAX_VOCAB);
    assert(c->max_positions >= CR_MIN_PAIR_TOKENS);
    assert(c->max_positions <= CR_MAX_POSITIONS);
    assert(c->max_length >= CR_MIN_PAIR_TOKENS);
    assert(c->max_length <= c->max_positions);
    assert(c->n_types == 1 || c->n_types == 2);
    assert(c->n_labels >= 1 && c->n_labels <= CR_MAX_LABELS);
    assert(c->layer_norm_eps > 0 && c->layer_norm_eps <= 1);
    assert(c->activation != CR_ACTIVATION_MODEL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    cr_config_files files = {.config.root = NULL};
    cr_json *const list[] = {&files.config, &files.modules, &files.st_config,
                             &files.sbert_config};
    cr_error error = {.message = ""};
    cr_status status = CR_OK;
    for (int i = 0; i < 4 && status == CR_OK; i++) {
        cr_text text = fuzz_next_text(&data, &size);
        bool missing = !text.data;
        if (missing)
            text = (cr_text){i == 1 ? "[]" : "{}", 2};
        status = cr_json_parse(list[i], "file", text, i == 1 ? CR_JSON_LIST : 0,
                               &error);
        if (missing && status == CR_OK) {
            json_decref(list[i]->root);
            list[i]->root = NULL;
        }
    }
    cr_model_config config;
    bool lowercases;
    if (status == CR_OK)
        status = cr_config_read(&files, &config, &lowercases, &error);
    assert(status == CR_OK || error.message[0] != '\0');
    if (status == CR_OK)
        check(&config);
    char room[CR_LABEL_BYTES];
    for (uint32_t i = 0; status == CR_OK && i < config.n_labels; i++)
        assert(cr_config_label(&files, i, room));
    cr_config_files_fini(&files);
    return 0;
}
