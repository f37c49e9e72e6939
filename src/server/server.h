/* The server: a model, a pipeline, HTTP and gRPC behind one handle.
 *
 * Opens everything, checks the model, answers until it is told to stop, loads
 * a new model beside the old. It prints nothing: what is worth a line goes to
 * `log`.
 *
 * Threads: cr_server_reload and cr_server_stop from one thread at a time.
 * Ownership: settings and options are the caller's and must outlive it. */
#ifndef CR_SERVER_SERVER_H
#define CR_SERVER_SERVER_H

#include "server/settings.h"

typedef struct cr_server cr_server;

typedef struct cr_server_options {
    const cr_settings *settings;
    const cr_options *model; /* threads 0: CPU quota and affinity decide */
    /* A line without its end, from any thread; false where it is lost. It must
     * not wait for a reader, since requests would. NULL: nobody listens. */
    bool (*log)(void *context, const char *line, size_t len);
    void *log_context;
} cr_server_options;

/* Returns when the server is ready. */
cr_status cr_server_open(const cr_server_options *options, cr_server **server,
                         cr_error *error);
/* "http://127.0.0.1:8080" */
const char *cr_server_address(const cr_server *server);
/* "127.0.0.1:50051"; NULL where gRPC is not spoken. */
const char *cr_server_grpc_address(const cr_server *server);
/* Loads a model (NULL: the same folder again) and swaps it in once it has
 * passed the self-check; on failure the old one goes on. *generation is the new
 * one's number; may be NULL. */
cr_status cr_server_reload(cr_server *server, const char *model,
                           uint32_t *generation, cr_error *error);
cr_status cr_server_reload_keys(cr_server *server, cr_error *error);
/* Takes nothing new, waits for what was accepted and frees everything. False
 * where drain_timeout_ms passed and requests were given up. */
bool cr_server_stop(cr_server *server);

#endif
