/* Infer: protobuf-c's messages around texts that stay where they are. */
#include "lab/infer.h"

#include "base/mem.h"

#include "inference.pb-c.h"

#include <math.h>
#include <string.h>

typedef struct sink {
    ProtobufCBuffer base; /* first: protobuf-c hands it back */
    cr_buf *to;
    cr_status status;
    cr_error *error;
} sink;

static void put(ProtobufCBuffer *buffer, size_t len, const uint8_t *bytes) {
    sink *s = (sink *)(void *)buffer;
    if (s->status == CR_OK)
        s->status = cr_buf_append(s->to, bytes, len, s->error);
}

static ProtobufCBinaryData bytes_of(cr_text text) {
    return (ProtobufCBinaryData){.len = text.len,
                                 .data = (uint8_t *)(uintptr_t)text.data};
}

cr_status cr_infer_write(const cr_pair *pairs, size_t n, cr_buf *message,
                         cr_error *error) {
    Inference__InferRequest request = INFERENCE__INFER_REQUEST__INIT;
    Inference__QueryDocPair *items = cr_calloc(n, sizeof *items);
    Inference__QueryDocPair **list = cr_calloc(n, sizeof *list);
    sink s = {.base = {.append = put}, .to = message, .error = error};
    if (items && list) {
        for (size_t i = 0; i < n; i++) {
            inference__query_doc_pair__init(&items[i]);
            items[i].query = bytes_of(pairs[i].query);
            items[i].document = bytes_of(pairs[i].passage);
            list[i] = &items[i];
        }
        request.pairs = list;
        request.n_pairs = n;
        inference__infer_request__pack_to_buffer(&request, &s.base);
    } else {
        s.status = cr_fail_memory(error, n * sizeof *items, "a request");
    }
    cr_free(items);
    cr_free(list);
    return s.status;
}

static void *take(void *context, size_t bytes) {
    (void)context;
    return cr_alloc(bytes);
}

static void give_back(void *context, void *block) {
    (void)context;
    cr_free(block);
}

cr_status cr_infer_read(cr_text message, float *scores, size_t n,
                        cr_error *error) {
    ProtobufCAllocator allocator = {.alloc = take, .free = give_back};
    Inference__InferResponse *response = inference__infer_response__unpack(
        &allocator, message.len, (const uint8_t *)message.data);
    if (!response)
        return cr_fail(error, CR_ERR_INPUT,
                       "the answer is no inference.InferResponse");
    bool good = response->n_scores == n;
    for (size_t i = 0; good && i < n; i++) {
        scores[i] = response->scores[i];
        good = isfinite(scores[i]);
    }
    inference__infer_response__free_unpacked(response, &allocator);
    return good ? CR_OK
                : cr_fail(error, CR_ERR_INPUT,
                          "the answer lacks a score of a pair");
}
