/* gRPC messages: any bytes for any method are read or refused, and what was
 * read is answered with a message that can be read. */
#include "fuzz.h"

#include "base/mem.h"
#include "server/grpc/call.h"

static const char *const PATHS[] = {
    "/inference.InferenceService/Infer", "/tei.v1.Rerank/Rerank",
    "/tei.v1.Predict/Predict",           "/tei.v1.Predict/PredictPair",
    "/grpc.health.v1.Health/Check",
};
enum { N_PATHS = sizeof PATHS / sizeof *PATHS };

/* As if every pair had been scored, with few different logits. */
static void score(cr_ask *ask) {
    cr_job *job = &ask->job;
    uint32_t n = ask->n_pairs;
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
}

static void check_answer(const cr_h2_stream *s) {
    assert(s->out && s->out_bytes >= CR_GRPC_PREFIX_BYTES);
    cr_grpc_prefix prefix = cr_grpc_read_prefix(s->out);
    assert(!prefix.compressed);
    assert(prefix.len == s->out_bytes - CR_GRPC_PREFIX_BYTES);
}

static void check_refusal(const cr_refusal *refusal) {
    char message[CR_GRPC_MESSAGE_BYTES];
    assert(refusal->kind != CR_REFUSAL_NONE);
    assert(cr_grpc_code_of(refusal->kind) != CR_GRPC_OK);
    cr_grpc_encode_message(refusal->error.message, message);
    for (const char *p = message; *p; p++)
        assert(*p >= ' ' && *p <= '~');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1)
        return 0;
    cr_settings settings;
    cr_settings_init(&settings);
    settings.max_documents = 20;
    static const char *const labels[] = {"one", "two", "three"};
    const cr_generation generation = {.activation = CR_ACTIVATION_NONE,
                                      .min_length = 3,
                                      .max_length = 512,
                                      .n_labels =
                                          data[0] / N_PATHS % 2 ? 3 : 1};
    const cr_facts facts = {.settings = &settings,
                            .model_name = "model",
                            .generation = &generation,
                            .labels = labels};
    cr_server server = {.settings = &settings};
    cr_h2_stream stream = {.received_ns = 1};
    cr_grpc_call call = {.call = {.server = &server}, .stream = &stream};
    cr_ask *ask = &call.call.ask;
    call.method = cr_grpc_method_find(PATHS[data[0] % N_PATHS]);
    call.request =
        cr_grpc_unpack(call.method->request, data + 1, size - 1, &ask->refusal);
    bool good =
        call.request &&
        (!call.method->needs_one_label || cr_ask_check_labels(ask, &facts)) &&
        (!call.method->read || call.method->read(&call, &facts));
    if (good && call.method->read)
        score(ask);
    if (good && call.method->write(&call, &facts))
        check_answer(&stream);
    else
        check_refusal(&ask->refusal);
    cr_free(stream.out);
    cr_ask_fini(ask);
    cr_grpc_free(call.request);
    return 0;
}
