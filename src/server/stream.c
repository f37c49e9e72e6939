/* Streams on libmicrohttpd: suspended until there is an event. */
#include "server/stream.h"

#include "base/buf.h"
#include "base/mem.h"

#include <microhttpd.h>
#include <pthread.h>
#include <string.h>

enum { MAX_EVENT_BYTES = 1 << 20, BLOCK_BYTES = 16384 };

struct cr_stream {
    cr_streams *streams;
    cr_stream *before, *behind;
    struct MHD_Connection *connection; /* NULL: not yet answered */
    cr_buf event;                      /* what is being sent */
    size_t sent;
    uint64_t n_seen;
    bool suspended;
};

struct cr_streams {
    uint32_t max;
    pthread_mutex_t lock; /* of everything below and of every stream */
    uint32_t n;
    cr_stream *first;
    cr_buf newest;
    uint64_t n_events;
    bool ended;
};

cr_status cr_streams_new(uint32_t max, cr_streams **streams, cr_error *error) {
    cr_streams *s = cr_calloc(1, sizeof *s);
    *streams = s;
    if (!s)
        return cr_fail_memory(error, sizeof *s, "streams");
    s->max = max;
    cr_buf_init(&s->newest, MAX_EVENT_BYTES);
    pthread_mutex_init(&s->lock, NULL);
    return CR_OK;
}

void cr_streams_free(cr_streams *s) {
    if (!s)
        return;
    cr_buf_fini(&s->newest);
    pthread_mutex_destroy(&s->lock);
    cr_free(s);
}

bool cr_streams_any(cr_streams *s) {
    pthread_mutex_lock(&s->lock);
    bool any = s->first != NULL;
    pthread_mutex_unlock(&s->lock);
    return any;
}

static void resume_all(cr_streams *s) {
    for (cr_stream *stream = s->first; stream; stream = stream->behind) {
        if (!stream->suspended)
            continue;
        stream->suspended = false;
        MHD_resume_connection(stream->connection);
    }
}

void cr_streams_publish(cr_streams *s, const char *event, size_t len) {
    pthread_mutex_lock(&s->lock);
    s->newest.len = 0;
    if (cr_buf_append(&s->newest, event, len, NULL) == CR_OK) {
        s->n_events++;
        resume_all(s);
    }
    pthread_mutex_unlock(&s->lock);
}

void cr_streams_end(cr_streams *s) {
    pthread_mutex_lock(&s->lock);
    s->ended = true;
    resume_all(s);
    pthread_mutex_unlock(&s->lock);
}

/* ---- One stream --------------------------------------------------------- */

cr_stream *cr_stream_new(cr_streams *s) {
    cr_stream *stream = cr_calloc(1, sizeof *stream);
    if (!stream)
        return NULL;
    pthread_mutex_lock(&s->lock);
    bool room = s->n < s->max;
    if (room) {
        stream->streams = s;
        stream->n_seen = s->n_events;
        stream->behind = s->first;
        if (s->first)
            s->first->before = stream;
        s->first = stream;
        s->n++;
    }
    pthread_mutex_unlock(&s->lock);
    cr_buf_init(&stream->event, MAX_EVENT_BYTES);
    if (room)
        return stream;
    cr_free(stream);
    return NULL;
}

void cr_stream_drop(cr_stream *stream) {
    if (!stream)
        return;
    cr_streams *s = stream->streams;
    pthread_mutex_lock(&s->lock);
    if (stream->before)
        stream->before->behind = stream->behind;
    else
        s->first = stream->behind;
    if (stream->behind)
        stream->behind->before = stream->before;
    s->n--;
    pthread_mutex_unlock(&s->lock);
    cr_buf_fini(&stream->event);
    cr_free(stream);
}

static void drop(void *stream) { cr_stream_drop(stream); }

/* Whether there is something to send. */
static bool take_newest(cr_stream *stream) {
    const cr_streams *s = stream->streams;
    if (stream->sent < stream->event.len)
        return true;
    if (stream->n_seen == s->n_events)
        return false;
    stream->n_seen = s->n_events;
    stream->sent = stream->event.len = 0;
    return cr_buf_append(&stream->event, s->newest.data, s->newest.len, NULL) ==
           CR_OK;
}

static ssize_t send_some(void *context, uint64_t position, char *room,
                         size_t max) {
    cr_stream *stream = context;
    (void)position;
    ssize_t n = 0;
    pthread_mutex_lock(&stream->streams->lock);
    if (stream->streams->ended) {
        n = MHD_CONTENT_READER_END_OF_STREAM;
    } else if (take_newest(stream)) {
        size_t left = stream->event.len - stream->sent;
        n = (ssize_t)(left < max ? left : max);
        memcpy(room, stream->event.data + stream->sent, (size_t)n);
        stream->sent += (size_t)n;
    } else {
        stream->suspended = true;
        MHD_suspend_connection(stream->connection);
    }
    pthread_mutex_unlock(&stream->streams->lock);
    return n;
}

struct MHD_Response *cr_stream_respond(cr_stream *stream,
                                       struct MHD_Connection *connection) {
    stream->connection = connection;
    struct MHD_Response *r = MHD_create_response_from_callback(
        MHD_SIZE_UNKNOWN, (size_t)BLOCK_BYTES, send_some, stream, drop);
    if (!r)
        cr_stream_drop(stream);
    return r;
}
