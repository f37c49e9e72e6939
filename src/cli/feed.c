/* Feed: two windows under one mutex; the reader fills one while the consumer
 * has the other. */
#include "cli/feed.h"

#include "base/mem.h"
#include "cli/interrupt.h"
#include "lab/lines.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

/* A full window and one record more. */
enum { MAX_WINDOW_TEXT = CR_WINDOW_BYTES + 2 * CR_MAX_LINE_BYTES };

struct cr_feed {
    cr_lines lines;
    cr_record_kind kind;
    cr_record_format format; /* CR_FORMAT_AUTO until the first line */
    bool guessed_json; /* by the first line alone, and none was read yet */
    int wake[2];       /* written by close, to end a poll */
    pthread_t thread;
    bool started;

    pthread_mutex_t mutex; /* over what follows */
    pthread_cond_t ready;  /* there may be a window to take */
    pthread_cond_t room;   /* there may be room to fill */
    cr_window windows[2];
    cr_window *filling;
    bool starved; /* the reader waits for input, or for a long line's end */
    bool ended;   /* the reader is done: status and error are final */
    bool stop;    /* the consumer is done */
    cr_status status;
    cr_error error;
};

static bool is_full(const cr_window *window) {
    return window->n == CR_WINDOW_ITEMS || window->text.len >= CR_WINDOW_BYTES;
}

/* ---- The reader's side -------------------------------------------------- */

static cr_status put_text(cr_window *window, cr_text text, size_t *at,
                          cr_error *error) {
    *at = window->text.len;
    return cr_buf_append(&window->text, text.data, text.len, error);
}

static bool same_query(const cr_window *window, cr_text query) {
    if (window->n == 0 || window->items[window->n - 1].bad)
        return false;
    const cr_feed_item *last = &window->items[window->n - 1];
    return last->query_len == query.len &&
           (query.len == 0 || memcmp(window->text.data + last->query,
                                     query.data, query.len) == 0);
}

static cr_status put_item(cr_window *window, const cr_pair *pair,
                          const cr_lines *lines, bool bad, cr_error *error) {
    cr_feed_item item = {.query_len = pair->query.len,
                         .passage_len = pair->passage.len,
                         .line = lines->line,
                         .end = lines->offset,
                         .bad = bad};
    cr_status status = CR_OK;
    if (same_query(window, pair->query))
        item.query = window->items[window->n - 1].query;
    else
        status = put_text(window, pair->query, &item.query, error);
    if (status == CR_OK)
        status = put_text(window, pair->passage, &item.passage, error);
    if (status == CR_OK)
        window->items[window->n++] = item;
    return status;
}

/* Waits for room and adds an item; false where the consumer is done. */
static cr_status hand_over(cr_feed *feed, const cr_pair *pair, bool bad,
                           bool *go_on, cr_error *error) {
    cr_status status = CR_OK;
    pthread_mutex_lock(&feed->mutex);
    feed->starved = false;
    while (is_full(feed->filling) && !feed->stop)
        pthread_cond_wait(&feed->room, &feed->mutex);
    *go_on = !feed->stop;
    if (*go_on)
        status = put_item(feed->filling, pair, &feed->lines, bad, error);
    feed->filling->format = feed->format;
    if (is_full(feed->filling))
        pthread_cond_signal(&feed->ready);
    pthread_mutex_unlock(&feed->mutex);
    return status;
}

static bool is_blank(cr_text line) {
    size_t at = 0;
    while (at < line.len && (line.data[at] == ' ' || line.data[at] == '\t'))
        at++;
    return at == line.len;
}

static void guess_format(cr_feed *feed, cr_text line) {
    feed->format = cr_record_detect(feed->lines.name, line);
    feed->guessed_json =
        feed->format == CR_FORMAT_JSON && !cr_record_is_named(feed->lines.name);
}

static cr_status read_line(cr_feed *feed, cr_text line, bool *go_on,
                           cr_error *error) {
    cr_record record;
    cr_error why;
    if (feed->format == CR_FORMAT_AUTO &&
        (!is_blank(line) || cr_record_is_named(feed->lines.name)))
        guess_format(feed, line);
    if (cr_record_parse(line, feed->kind, feed->format, &record, &why) ==
        CR_OK) {
        cr_pair pair = {record.query, record.passage};
        feed->guessed_json = false;
        cr_status status = hand_over(feed, &pair, false, go_on, error);
        cr_record_fini(&record);
        return status;
    }
    cr_lines_fail(&feed->lines, error, "%s%s", why.message,
                  !feed->guessed_json ? ""
                  : feed->kind == CR_RECORD_PAIR
                      ? " (taken for JSON as the first line begins with {; "
                        "--format tsv reads columns)"
                      : " (taken for JSON as the first line begins with {; "
                        "--format text reads lines as they are)");
    cr_pair message = {{"", 0}, {error->message, strlen(error->message)}};
    return hand_over(feed, &message, true, go_on, error);
}

static void set_starved(cr_feed *feed, bool starved) {
    pthread_mutex_lock(&feed->mutex);
    feed->starved = starved;
    if (starved)
        pthread_cond_signal(&feed->ready);
    pthread_mutex_unlock(&feed->mutex);
}

/* The rest of the line may never end, so the consumer gets what there is. */
static cr_status pass_long_line(cr_feed *feed, bool *go_on, cr_error *error) {
    cr_lines_fail_long(&feed->lines, error);
    cr_pair message = {{"", 0}, {error->message, strlen(error->message)}};
    cr_status status = hand_over(feed, &message, true, go_on, error);
    set_starved(feed, true);
    return status;
}

/* Waits until there is something to read; false: to end instead. */
static bool wait_for_input(cr_feed *feed) {
    struct pollfd fds[] = {{.fd = feed->lines.fd, .events = POLLIN},
                           {.fd = feed->wake[0], .events = POLLIN},
                           {.fd = cr_interrupt_fd(), .events = POLLIN}};
    int n = poll(fds, 3, 0);
    if (n == 0) {
        set_starved(feed, true);
        do
            n = poll(fds, 3, -1);
        while (n < 0 && !cr_interrupt_asked());
        set_starved(feed, false);
    }
    return !fds[1].revents && !fds[2].revents && !cr_interrupt_asked();
}

static cr_status read_all(cr_feed *feed, cr_error *error) {
    cr_status status = CR_OK;
    cr_text line;
    bool go_on = true;
    while (status == CR_OK && go_on) {
        switch (cr_lines_take(&feed->lines, &line)) {
        case CR_LINE_READY:
            status = read_line(feed, line, &go_on, error);
            break;
        case CR_LINE_LONG:
            status = pass_long_line(feed, &go_on, error);
            break;
        case CR_LINE_MORE:
            go_on = wait_for_input(feed);
            if (go_on)
                status = cr_lines_fill(&feed->lines, error);
            break;
        case CR_LINE_END:
            return CR_OK;
        }
    }
    return status;
}

static void *run_reader(void *context) {
    cr_feed *feed = context;
    cr_error error = {.status = CR_OK};
    cr_status status = read_all(feed, &error);
    pthread_mutex_lock(&feed->mutex);
    feed->status = status;
    feed->error = error;
    feed->ended = true;
    pthread_cond_signal(&feed->ready);
    pthread_mutex_unlock(&feed->mutex);
    return NULL;
}

/* ---- The consumer's side ------------------------------------------------ */

static cr_status init_windows(cr_feed *feed, cr_error *error) {
    for (size_t i = 0; i < 2; i++) {
        cr_window *window = &feed->windows[i];
        cr_buf_init(&window->text, MAX_WINDOW_TEXT);
        window->items = cr_calloc(CR_WINDOW_ITEMS, sizeof *window->items);
        if (!window->items)
            return cr_fail_memory(
                error, CR_WINDOW_ITEMS * sizeof *window->items, "a window");
    }
    feed->filling = &feed->windows[0];
    return CR_OK;
}

cr_status cr_feed_open(const char *path, cr_record_kind kind,
                       cr_record_format format, cr_feed **feed,
                       cr_error *error) {
    *feed = NULL;
    cr_feed *new = cr_calloc(1, sizeof *new);
    if (!new)
        return cr_fail_memory(error, sizeof *new, "a reader");
    new->kind = kind;
    new->format = format;
    new->wake[0] = new->wake[1] = -1;
    pthread_mutex_init(&new->mutex, NULL);
    pthread_cond_init(&new->ready, NULL);
    pthread_cond_init(&new->room, NULL);
    cr_status status = cr_lines_open(&new->lines, path, error);
    if (status == CR_OK)
        status = init_windows(new, error);
    if (status == CR_OK && pipe(new->wake) != 0)
        status = cr_fail(error, CR_ERR_IO,
                         "cannot make a pipe: close files "
                         "or raise the limit of open files");
    if (status == CR_OK) {
        new->started = pthread_create(&new->thread, NULL, run_reader, new) == 0;
        if (!new->started)
            status = cr_fail(error, CR_ERR_MEMORY,
                             "cannot start a thread to read the input");
    }
    if (status == CR_OK)
        *feed = new;
    else
        cr_feed_close(new);
    return status;
}

cr_status cr_feed_next(cr_feed *feed, const cr_window **window,
                       cr_error *error) {
    cr_status status = CR_OK;
    pthread_mutex_lock(&feed->mutex);
    while (!feed->ended && !is_full(feed->filling) &&
           !(feed->starved && feed->filling->n > 0))
        pthread_cond_wait(&feed->ready, &feed->mutex);
    cr_window *taken = feed->filling;
    feed->filling = &feed->windows[taken == &feed->windows[0]];
    feed->filling->n = 0;
    feed->filling->text.len = 0;
    if (taken->n == 0) {
        status = feed->status;
        if (error)
            *error = feed->error;
    }
    pthread_cond_signal(&feed->room);
    pthread_mutex_unlock(&feed->mutex);
    *window = taken;
    return status;
}

void cr_feed_close(cr_feed *feed) {
    if (!feed)
        return;
    if (feed->started) {
        pthread_mutex_lock(&feed->mutex);
        feed->stop = true;
        pthread_cond_signal(&feed->room);
        pthread_mutex_unlock(&feed->mutex);
        ssize_t ignored = write(feed->wake[1], "", 1);
        (void)ignored;
        pthread_join(feed->thread, NULL);
    }
    for (size_t i = 0; i < 2; i++) {
        if (feed->wake[i] >= 0)
            close(feed->wake[i]);
        cr_buf_fini(&feed->windows[i].text);
        cr_free(feed->windows[i].items);
    }
    cr_lines_close(&feed->lines);
    pthread_mutex_destroy(&feed->mutex);
    pthread_cond_destroy(&feed->ready);
    pthread_cond_destroy(&feed->room);
    cr_free(feed);
}

uint64_t cr_feed_bytes(const cr_feed *feed) { return feed->lines.size; }

cr_pair cr_window_pair(const cr_window *window, size_t i) {
    const cr_feed_item *item = &window->items[i];
    const char *text = window->text.data ? window->text.data : "";
    return (cr_pair){{text + item->query, item->query_len},
                     {text + item->passage, item->passage_len}};
}
