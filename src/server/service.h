/* The service: what the server's own files share. Nobody else includes it. */
#ifndef CR_SERVER_SERVICE_H
#define CR_SERVER_SERVICE_H

#include "server/ask.h"
#include "server/gpu.h"
#include "server/history.h"
#include "server/http.h"
#include "server/keys.h"
#include "server/server.h"

#include <stdatomic.h>

struct cr_server {
    cr_server_options options;
    const cr_settings *settings;
    cr_metrics metrics;
    cr_pipeline *pipeline;
    cr_http *http;
    struct cr_h2 *grpc; /* NULL: it is not spoken */
    cr_keys *keys;
    cr_gpu *gpu; /* NULL: none computes, or none can be watched */
    uint32_t lanes;
    int64_t started_ns;
    _Atomic int64_t counted_since_ns; /* when statistics were reset last */
    _Atomic bool ready;
    _Atomic bool giving_up; /* nobody is waited for any more */
    pthread_mutex_t lock;   /* of the next two */
    cr_generation *generation;
    cr_history history;
    pthread_mutex_t reload_lock; /* one reload at a time */
    pthread_t ticker;
    pthread_cond_t tick; /* with lock */
    bool ticker_started, stop;
};

enum { CR_REQUEST_ID_BYTES = 65, CR_TRACE_ID_BYTES = 33 };

/* One exchange's state. */
typedef struct cr_call {
    cr_server *server;
    cr_exchange *exchange; /* NULL where it did not come by HTTP/1.1 */
    const struct cr_route *route;
    cr_ask ask;
    cr_generation *generation; /* a reference, NULL for routes without one */
    uint64_t client;
    char request_id[CR_REQUEST_ID_BYTES];
    char trace_id[CR_TRACE_ID_BYTES];
} cr_call;

typedef struct cr_route {
    const char *method;
    const char *path;
    /* A dialect, by the body: `texts` or not. Or else: */
    const cr_dialect *plain, *texts;
    /* Who refuses a body that says neither; NULL: plain. */
    const cr_dialect *first;
    /* Instead of them for a model with several labels, or NULL. */
    const cr_dialect *labels;
    /* An answer without lanes; refuses through call->ask.refusal. */
    bool (*answer)(cr_call *call);
    bool open; /* without a key */
    bool slow; /* an errand (http.h): runs on a thread of its own */
} cr_route;

/* The route, or NULL; then *allowed is what the path takes, as the header Allow
 * says it, or NULL where there is no such path. */
const cr_route *cr_route_find(const char *method, const char *path,
                              const char **allowed);

/* admit.c: what every front end does with a call. Those that return a bool
 * refuse through call->ask.refusal. */
uint64_t cr_next_id(void);
/* The id of the request, as given where that is plain. */
void cr_call_choose_id(cr_call *call, const char *given);
/* A reference to the model as it is now. */
void cr_call_take_generation(cr_call *call);
cr_facts cr_call_facts(const cr_call *call);
/* Before anything is parsed: false where the queue is full as it is. */
bool cr_admit_check_queue(cr_call *call);
/* Pairs become the job's tokens. The job's deadline_ns, is_gone and done are
 * the front end's; start_ns is when it began to read the request. */
bool cr_admit_encode(cr_call *call, int64_t start_ns);
/* After true, `done` of the job is called once. */
bool cr_admit_submit(cr_call *call);
/* After that: results in their order. */
bool cr_admit_finish(cr_call *call);
void cr_count_refusal(cr_metrics *metrics, cr_refusal_kind kind);
/* Seconds until the queue as it is will be empty, 1 to 120. */
unsigned cr_retry_after(cr_server *server);
/* What came of a call. status as HTTP has it; 0: nobody was answered. */
typedef struct cr_answered {
    const char *method, *path;
    int status;
    size_t bytes;
    int64_t begun_ns, received_ns;
} cr_answered;
void cr_count_answer(cr_server *server, int status);
/* Counts, logs and frees all that the call holds, not the call itself. */
void cr_call_end(cr_call *call, const cr_answered *answered);
void cr_server_log(cr_server *server, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Sets the gauges that are looked at, not moved. */
void cr_server_look(cr_server *server);
extern const cr_http_app cr_service_app;

/* ops.c: answers without lanes. */
bool cr_ops_live(cr_call *call);
bool cr_ops_ready(cr_call *call);
bool cr_ops_health(cr_call *call);
bool cr_ops_info(cr_call *call);
bool cr_ops_models(cr_call *call);
bool cr_ops_metrics(cr_call *call);
bool cr_ops_openapi(cr_call *call);
bool cr_ops_stats(cr_call *call);
bool cr_ops_stream(cr_call *call);
/* One event of /stats/stream. */
void cr_ops_event(cr_server *server, const cr_facts *facts, cr_json_out *out);
bool cr_ops_reset(cr_call *call);
bool cr_ops_reload(cr_call *call);

/* dashboard.c: the page and what it loads. */
bool cr_dashboard_page(cr_call *call);
bool cr_dashboard_file(cr_call *call);

#endif
