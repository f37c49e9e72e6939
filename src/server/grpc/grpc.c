/* The gRPC front end: from a stream to an ask and back. */
#include "server/grpc/grpc.h"

#include "base/clock.h"
#include "base/mem.h"
#include "server/grpc/call.h"

#include <stdio.h>
#include <string.h>

/* Clients that are connections of gRPC, apart from those of HTTP. */
static const uint64_t GRPC_CLIENTS = UINT64_C(1) << 62;

static void answer_refusal(cr_grpc_call *call) {
    cr_h2_stream *s = call->stream;
    const cr_refusal *refusal = &call->call.ask.refusal;
    s->answered = true;
    if (s->code == CR_GRPC_OK)
        s->code = cr_grpc_code_of(refusal->kind);
    cr_grpc_encode_message(refusal->error.message, s->reason);
    if (refusal->kind == CR_REFUSAL_OVERLOADED)
        s->pushback_ms = 1000 * cr_retry_after(call->call.server);
    cr_count_refusal(&call->call.server->metrics, refusal->kind);
}

/* ---- The headers -------------------------------------------------------- */

static cr_grpc_call *new_call(cr_server *server, cr_h2_stream *s) {
    cr_grpc_call *call = cr_calloc(1, sizeof *call);
    s->state = call;
    if (!call) {
        s->answered = true;
        s->code = CR_GRPC_UNAVAILABLE;
        return NULL;
    }
    call->call.server = server;
    call->call.client = GRPC_CLIENTS + s->connection_id;
    call->stream = s;
    cr_call_choose_id(&call->call, s->headers[CR_H2_X_REQUEST_ID]);
    snprintf(s->request_id, sizeof s->request_id, "%s", call->call.request_id);
    return call;
}

static bool find_method(cr_grpc_call *call) {
    call->method = cr_grpc_method_find(call->stream->path);
    return call->method ||
           cr_refuse(&call->call.ask.refusal, CR_REFUSAL_NOT_FOUND,
                     "there is no %s here", call->stream->path);
}

static bool check_key(cr_grpc_call *call) {
    char **headers = call->stream->headers;
    return call->method->open ||
           cr_keys_check(call->call.server->keys, headers[CR_H2_AUTHORIZATION],
                         headers[CR_H2_X_API_KEY], &call->call.client) ||
           cr_refuse(&call->call.ask.refusal, CR_REFUSAL_AUTH,
                     "the API key is missing or wrong: send authorization: "
                     "Bearer KEY");
}

static bool read_timeout(cr_grpc_call *call) {
    const char *given = call->stream->headers[CR_H2_GRPC_TIMEOUT];
    int64_t ns =
        (int64_t)call->call.server->settings->request_timeout_ms * 1000000;
    if (given && !cr_grpc_read_timeout(given, &ns))
        return cr_refuse(&call->call.ask.refusal, CR_REFUSAL_MALFORMED,
                         "grpc-timeout is \"%.40s\", it must be up to eight "
                         "digits and one of H M S m u n",
                         given);
    if (given || ns)
        call->deadline_ns = call->stream->begun_ns + ns;
    return true;
}

static void on_begin(void *context, cr_h2_stream *s) {
    cr_grpc_call *call = new_call(context, s);
    if (call && !(find_method(call) && check_key(call) && read_timeout(call)))
        answer_refusal(call);
}

/* ---- The message -------------------------------------------------------- */

static bool is_gone(const cr_job *job) {
    const cr_grpc_call *call = job->owner;
    return atomic_load(&call->call.server->giving_up) ||
           atomic_load(&call->stream->gone);
}

static void on_done(cr_job *job) {
    const cr_grpc_call *call = job->owner;
    cr_h2_resume(call->stream);
}

static bool unpack(cr_grpc_call *call) {
    cr_buf *message = &call->stream->message;
    call->request = cr_grpc_unpack(call->method->request, message->data,
                                   message->len, &call->call.ask.refusal);
    cr_buf_fini(message); /* its texts are in call->request now */
    return call->request != NULL;
}

/* To the queue. */
static bool ask_lanes(cr_grpc_call *call, const cr_facts *facts,
                      int64_t start_ns) {
    cr_job *job = &call->call.ask.job;
    cr_metrics_count(&call->call.server->metrics, CR_COUNT_REQUESTS_GRPC, 1);
    if ((call->method->needs_one_label &&
         !cr_ask_check_labels(&call->call.ask, facts)) ||
        !call->method->read(call, facts))
        return false;
    job->deadline_ns = call->deadline_ns;
    job->is_gone = is_gone;
    job->done = on_done;
    return cr_admit_encode(&call->call, start_ns) &&
           cr_admit_submit(&call->call);
}

static bool on_receive(void *context, cr_h2_stream *s) {
    cr_grpc_call *call = s->state;
    int64_t start = cr_now_ns();
    (void)context;
    cr_call_take_generation(&call->call);
    cr_facts facts = cr_call_facts(&call->call);
    bool lanes = call->method->read != NULL;
    if ((!lanes || cr_admit_check_queue(&call->call)) && unpack(call)) {
        if (lanes && ask_lanes(call, &facts, start))
            return true; /* the lanes' now: it may be over already */
        if (!lanes && call->method->write(call, &facts)) {
            s->answered = true;
            return false;
        }
    }
    answer_refusal(call);
    return false;
}

static void on_finish(void *context, cr_h2_stream *s) {
    cr_grpc_call *call = s->state;
    cr_facts facts = cr_call_facts(&call->call);
    (void)context;
    if (cr_admit_finish(&call->call) && call->method->write(call, &facts))
        s->answered = true;
    else
        answer_refusal(call);
}

static void on_refuse(void *context, cr_h2_stream *s, cr_refusal_kind kind,
                      const char *message) {
    cr_grpc_call *call = s->state ? s->state : new_call(context, s);
    if (!call)
        return;
    cr_refuse(&call->call.ask.refusal, kind, "%s", message);
    answer_refusal(call);
}

static void on_end(void *context, cr_h2_stream *s) {
    cr_grpc_call *call = s->state;
    (void)context;
    if (!call)
        return;
    cr_call_end(&call->call,
                &(cr_answered){.method = "POST",
                               .path = s->path,
                               .status = s->responded
                                             ? cr_refusal_http_status(
                                                   call->call.ask.refusal.kind)
                                             : 0,
                               .bytes = s->out_bytes,
                               .begun_ns = s->begun_ns,
                               .received_ns = s->received_ns});
    cr_grpc_free(call->request);
    cr_free(call);
}

static bool on_hold(void *context, size_t bytes) {
    cr_server *server = context;
    return cr_http_hold(server->http, bytes);
}

static void on_let_go(void *context, size_t bytes) {
    cr_server *server = context;
    cr_http_let_go(server->http, bytes);
}

cr_status cr_grpc_open(cr_server *server, uint32_t port, cr_h2 **h2,
                       cr_error *error) {
    const cr_h2_app app = {.context = server,
                           .begin = on_begin,
                           .receive = on_receive,
                           .finish = on_finish,
                           .end = on_end,
                           .refuse = on_refuse,
                           .hold = on_hold,
                           .let_go = on_let_go};
    return cr_h2_open(server->settings, port, &app, &server->metrics, h2,
                      error);
}
