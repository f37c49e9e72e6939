/* Streams: answers that go on, an event at a time, without a thread.
 *
 * Whoever has events publishes them; every open stream gets a copy of the
 * newest. One that reads too slowly misses events, never holds them up. While
 * there is nothing to send its connection is suspended.
 *
 * Threads: publishing and ending from any, the rest on HTTP threads.
 * Ownership: a stream is the response's from cr_stream_respond on. */
#ifndef CR_SERVER_STREAM_H
#define CR_SERVER_STREAM_H

#include "base/error.h"

typedef struct cr_streams cr_streams;
typedef struct cr_stream cr_stream;
struct MHD_Connection;
struct MHD_Response;

cr_status cr_streams_new(uint32_t max, cr_streams **streams, cr_error *error);
/* Every stream must be gone. */
void cr_streams_free(cr_streams *streams);
bool cr_streams_any(cr_streams *streams);
void cr_streams_publish(cr_streams *streams, const char *event, size_t len);
/* Ends those that are open and all that come. */
void cr_streams_end(cr_streams *streams);

/* NULL: there are `max` already, or no memory. */
cr_stream *cr_stream_new(cr_streams *streams);
/* For one that never became a response. NULL is fine. */
void cr_stream_drop(cr_stream *stream);
/* NULL: no memory, and the stream is gone. */
struct MHD_Response *cr_stream_respond(cr_stream *stream,
                                       struct MHD_Connection *connection);

#endif
