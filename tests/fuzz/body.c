/* Bodies: any bytes in any wire format are read or refused, and what is
 * answered to either is JSON where it says so. */
#include "fuzz.h"

#include "base/mem.h"
#include "server/ask.h"
#include "server/json_in.h"

static const cr_dialect *const DIALECTS[] = {
    &cr_dialect_tei_rerank,   &cr_dialect_tei_predict, &cr_dialect_v1,
    &cr_dialect_cohere,       &cr_dialect_vllm,        &cr_dialect_tei_decode,
    &cr_dialect_tei_tokenize,
};
enum { N_DIALECTS = sizeof DIALECTS / sizeof *DIALECTS };

static void check_json(const cr_json_out *out) {
    assert(!out->failed);
    json_t *root = json_loadb(out->text.data, out->text.len,
                              JSON_ALLOW_NUL | JSON_DECODE_ANY, NULL);
    assert(root);
    json_decref(root);
}

static void check_refusal(const cr_ask *ask) {
    const char *type = "application/json";
    cr_json_out out;
    cr_json_out_init(&out);
    assert(ask->refusal.kind != CR_REFUSAL_NONE);
    int status = ask->dialect->write_refusal(&ask->refusal, &type, &out);
    assert(status >= 400 && status < 600);
    if (strcmp(type, "application/json") == 0)
        check_json(&out);
    cr_json_out_fini(&out);
}

/* As if every pair had been scored, with few different logits. */
static void check_answer(cr_ask *ask, const cr_facts *facts) {
    cr_job *job = &ask->job;
    uint32_t n = ask->n_pairs;
    cr_json_out out;
    job->starts = cr_calloc((size_t)n + 1, sizeof *job->starts);
    job->truncated = cr_calloc(n, sizeof *job->truncated);
    job->logits = cr_calloc(n, ask->n_labels * sizeof *job->logits);
    assert(job->starts && job->truncated && job->logits);
    job->n_pairs = n;
    for (uint32_t i = 0; i < n; i++)
        job->starts[i + 1] = job->starts[i] + 7;
    for (uint32_t i = 0; i < n * ask->n_labels; i++)
        job->logits[i] = (float)(i * 7 % 5) - 2.5f;
    assert(cr_ask_rank(ask));
    assert(ask->n_results >= 1 && ask->n_results <= n);
    cr_json_out_init(&out);
    ask->dialect->write(ask, facts, &out);
    check_json(&out);
    cr_json_out_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static bool installed;
    if (!installed)
        cr_json_in_install();
    installed = true;
    if (size < 1)
        return 0;
    cr_settings settings;
    cr_settings_init(&settings);
    settings.max_documents = 20;
    settings.rerank_documents = data[0] / N_DIALECTS % 3;
    settings.rerank_scores = data[0] / N_DIALECTS / 3 % 3;
    static const char *const labels[] = {"one", "two \"2\"", "three"};
    const cr_generation generation = {.activation = CR_ACTIVATION_NONE,
                                      .min_length = 3,
                                      .max_length = 512,
                                      .n_labels =
                                          data[0] / N_DIALECTS / 9 % 2 ? 3 : 1};
    const cr_facts facts = {.settings = &settings,
                            .model_name = "model",
                            .generation = &generation,
                            .labels = labels};
    cr_ask ask = {.dialect = DIALECTS[data[0] % N_DIALECTS],
                  .request_id = "id"};
    ask.body = cr_json_in_parse((const char *)data + 1, size - 1, &ask.refusal);
    if (!ask.body ||
        (ask.dialect->needs_one_label && !cr_ask_check_labels(&ask, &facts)) ||
        !ask.dialect->read(&ask, ask.body, &facts))
        check_refusal(&ask);
    else if (ask.n_pairs)
        check_answer(&ask, &facts);
    cr_ask_fini(&ask);
    return 0;
}
