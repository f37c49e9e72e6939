/* Download: HEAD says what a file shall be, GET brings it. */
#include "cli/download.h"

#include "base/mem.h"
#include "cli/clock.h"
#include "lab/files.h"

#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    URL_BYTES = 2048,
    TAG_BYTES = 65, /* 64 digits of SHA-256, or 40 of a git blob */
    MAX_REDIRECTS = 8,
    STALL_S = 60 /* with less than a byte a second */
};

struct cr_download {
    CURL *curl;
    struct curl_slist *headers;
    const char *endpoint;
    const cr_hub_name *name;
    cr_download_progress progress;
    void *context;
    bool (*stop)(void);
    bool has_token;
    bool redirect_is_good; /* HEAD: what sends elsewhere names the hash */
    const char *file;      /* that is under way */
    uint64_t base;         /* bytes of it that were there before */
    /* Of the answer that came last. */
    char tag[TAG_BYTES], linked_tag[TAG_BYTES];
    uint64_t linked_size;
    int fd; /* of the file */
    cr_error *error;
};

/* ---- Headers ----------------------------------------------------------------
 */

static bool is_header(const char *line, const char *name, const char **value) {
    size_t n = strlen(name);
    if (strncasecmp(line, name, n) != 0 || line[n] != ':')
        return false;
    for (*value = line + n + 1; **value == ' ';)
        (*value)++;
    return true;
}

/* An ETag without W/ and quotes; empty where it is no hash. */
static void copy_tag(const char *value, char tag[TAG_BYTES]) {
    if (strncmp(value, "W/", 2) == 0)
        value += 2;
    if (*value == '"')
        value++;
    size_t n = strspn(value, "0123456789abcdef");
    *tag = 0;
    if (n == 40 || n == 64)
        snprintf(tag, TAG_BYTES, "%.*s", (int)n, value);
}

/* Headers of every answer come here, also of redirections: those are the ones
 * that name the hash. */
static size_t on_header(char *bytes, size_t size, size_t n, void *context) {
    cr_download *d = context;
    char line[1024];
    const char *value;
    size_t len = size * n < sizeof line - 1 ? size * n : sizeof line - 1;
    memcpy(line, bytes, len);
    line[len] = 0;
    if (is_header(line, "ETag", &value) && !*d->tag)
        copy_tag(value, d->tag);
    else if (is_header(line, "X-Linked-ETag", &value))
        copy_tag(value, d->linked_tag);
    else if (is_header(line, "X-Linked-Size", &value))
        d->linked_size = strtoull(value, NULL, 10);
    return size * n;
}

/* ---- One transfer
 * ------------------------------------------------------------- */

static int on_progress(void *context, curl_off_t total, curl_off_t now,
                       curl_off_t up_total, curl_off_t up_now) {
    cr_download *d = context;
    (void)up_total;
    (void)up_now;
    if (d->progress && d->file)
        d->progress(d->context, d->file, d->base + (uint64_t)now,
                    total > 0 ? d->base + (uint64_t)total : d->linked_size);
    return d->stop && d->stop();
}

static size_t to_buf(char *bytes, size_t size, size_t n, void *context) {
    cr_download *d = ((void **)context)[0];
    cr_buf *buf = ((void **)context)[1];
    return cr_buf_append(buf, bytes, size * n, d->error) == CR_OK ? size * n
                                                                  : 0;
}

/* A server that ignores the range sends the file from its beginning. */
static size_t to_file(char *bytes, size_t size, size_t n, void *context) {
    cr_download *d = context;
    long code = 0;
    curl_easy_getinfo(d->curl, CURLINFO_RESPONSE_CODE, &code);
    if (code != 200 && code != 206)
        return size * n; /* what an error says is not the file */
    if (code == 200 && d->base) {
        d->base = 0;
        if (ftruncate(d->fd, 0) != 0 || lseek(d->fd, 0, SEEK_SET) != 0)
            return 0;
    }
    for (size_t at = 0; at < size * n;) {
        ssize_t written = write(d->fd, bytes + at, size * n - at);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0) {
            cr_fail(d->error, CR_ERR_IO, "%s: cannot write: %s", d->file,
                    strerror(errno));
            return 0;
        }
        at += (size_t)written;
    }
    return size * n;
}

static void prepare(cr_download *d, const char *url) {
    curl_easy_reset(d->curl);
    *d->tag = *d->linked_tag = 0;
    d->linked_size = 0;
    curl_easy_setopt(d->curl, CURLOPT_URL, url);
    curl_easy_setopt(d->curl, CURLOPT_HTTPHEADER, d->headers);
    curl_easy_setopt(d->curl, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(d->curl, CURLOPT_MAXREDIRS, (long)MAX_REDIRECTS);
    curl_easy_setopt(d->curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(d->curl, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(d->curl, CURLOPT_HEADERDATA, d);
    curl_easy_setopt(d->curl, CURLOPT_CONNECTTIMEOUT, 30L);
    curl_easy_setopt(d->curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(d->curl, CURLOPT_LOW_SPEED_TIME, (long)STALL_S);
    curl_easy_setopt(d->curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(d->curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(d->curl, CURLOPT_XFERINFODATA, d);
    curl_easy_setopt(d->curl, CURLOPT_USERAGENT, "crossrank");
    curl_easy_setopt(d->curl, CURLOPT_NOSIGNAL, 1L);
}

/* What a status of HTTP means to the person who asked. */
static cr_status fail_status(const cr_download *d, long code) {
    const char *repo = d->name->repo;
    if (code == 401 || code == 403)
        return cr_fail(d->error, CR_ERR_INPUT, "HTTP %ld for %s at %s: %s",
                       code, repo, d->endpoint,
                       d->has_token ? "the token in HF_TOKEN may not read it"
                                    : "it is private, gated or not there: set "
                                      "HF_TOKEN");
    if (code == 404)
        return cr_fail(d->error, CR_ERR_INPUT,
                       "HTTP 404: %s has no %s%s%s at revision %s", d->endpoint,
                       repo, d->file ? "/" : "", d->file ? d->file : "",
                       d->name->revision);
    return cr_fail(d->error, CR_ERR_IO, "HTTP %ld from %s for %s", code,
                   d->endpoint, repo);
}

/* Waits as long as the server asks, in seconds or until a date, else 1, 2, 4
 * ... seconds; false: told to stop. */
static bool rest(const cr_download *d, int try) {
    curl_off_t seconds = 0;
    curl_easy_getinfo(d->curl, CURLINFO_RETRY_AFTER, &seconds);
    if (seconds <= 0) /* none, or a date that is over */
        seconds = (curl_off_t)1 << try;
    if (seconds > CR_DOWNLOAD_WAIT_S)
        seconds = CR_DOWNLOAD_WAIT_S;
    for (double end = cr_seconds() + (double)seconds; cr_seconds() < end;) {
        struct timespec nap = {.tv_sec = 0, .tv_nsec = 50000000};
        if (d->stop && d->stop())
            return false;
        nanosleep(&nap, NULL);
    }
    return true;
}

/* A failure that another try may mend: the line broke, or the server is busy.
 */
static bool may_pass(CURLcode result, long code) {
    if (result == CURLE_OK)
        return code == 429 || code >= 500;
    return result != CURLE_ABORTED_BY_CALLBACK && result != CURLE_WRITE_ERROR &&
           result != CURLE_UNSUPPORTED_PROTOCOL &&
           result != CURLE_URL_MALFORMAT &&
           result != CURLE_PEER_FAILED_VERIFICATION;
}

/* 416: nothing of the file lies behind what is here. An earlier run may have
 * ended between its last byte and its check, so the check decides. */
static bool is_whole(const cr_download *d, long code) {
    return code == 416 && d->fd >= 0 && d->base;
}

static cr_status judge(cr_download *d, CURLcode result, long code) {
    if (result == CURLE_OK && is_whole(d, code))
        return CR_OK;
    if (result == CURLE_OK)
        return (code >= 200 && code < 300) ||
                       (code < 400 && d->redirect_is_good)
                   ? CR_OK
                   : fail_status(d, code);
    if (result == CURLE_ABORTED_BY_CALLBACK)
        return cr_fail(d->error, CR_ERR_CANCELLED,
                       "interrupted; the same command goes on from here");
    if (result == CURLE_WRITE_ERROR && d->error && d->error->message[0])
        return d->error->status;
    return cr_fail(d->error, CR_ERR_IO,
                   "%s: %s: is there a network, does $HF_ENDPOINT or a proxy "
                   "($https_proxy) have to be set? --model takes a folder, too",
                   d->endpoint, curl_easy_strerror(result));
}

/* Tries until it is done or cannot be. `again` sets a transfer up. */
static cr_status transfer(cr_download *d,
                          cr_status (*again)(cr_download *, void *),
                          void *context) {
    cr_status status = CR_ERR_IO;
    for (int try = 0; try < CR_DOWNLOAD_TRIES; try++) {
        long code = 0;
        status = again(d, context);
        if (status != CR_OK)
            return status;
        if (d->error)
            d->error->message[0] = 0;
        CURLcode result = curl_easy_perform(d->curl);
        curl_easy_getinfo(d->curl, CURLINFO_RESPONSE_CODE, &code);
        status = judge(d, result, code);
        if (status == CR_OK || !may_pass(result, code))
            return status;
        if (try + 1 < CR_DOWNLOAD_TRIES && !rest(d, try))
            return cr_fail(d->error, CR_ERR_CANCELLED,
                           "interrupted; the same command goes on from here");
    }
    return status;
}

/* ---- What is asked
 * ------------------------------------------------------------ */

typedef struct request {
    char url[URL_BYTES];
    cr_buf *buf;
    void *sink[2];
    const char *path; /* of the incomplete file */
} request;

static cr_status ask_describe(cr_download *d, void *context) {
    request *r = context;
    r->buf->len = 0;
    r->sink[0] = d;
    r->sink[1] = r->buf;
    prepare(d, r->url);
    curl_easy_setopt(d->curl, CURLOPT_WRITEFUNCTION, to_buf);
    curl_easy_setopt(d->curl, CURLOPT_WRITEDATA, (void *)r->sink);
    return CR_OK;
}

cr_status cr_download_describe(cr_download *d, cr_buf *json, cr_error *error) {
    request r = {.buf = json};
    d->error = error;
    d->file = NULL;
    snprintf(r.url, sizeof r.url, "%s/api/models/%s/revision/%s", d->endpoint,
             d->name->repo, d->name->revision);
    return transfer(d, ask_describe, &r);
}

static cr_status ask_head(cr_download *d, void *context) {
    request *r = context;
    prepare(d, r->url);
    curl_easy_setopt(d->curl, CURLOPT_NOBODY, 1L);
    curl_easy_setopt(d->curl, CURLOPT_FOLLOWLOCATION,
                     d->redirect_is_good ? 0L : 1L);
    return CR_OK;
}

/* What lies elsewhere is named by the answer that sends there, and elsewhere
 * need not take HEAD; only a repository that moved has to be followed. */
static cr_status learn_tag(cr_download *d, request *r, char tag[TAG_BYTES]) {
    d->redirect_is_good = true;
    cr_status status = transfer(d, ask_head, r);
    d->redirect_is_good = false;
    if (status == CR_OK && !*d->linked_tag && !*d->tag)
        status = transfer(d, ask_head, r);
    snprintf(tag, TAG_BYTES, "%s", *d->linked_tag ? d->linked_tag : d->tag);
    return status == CR_OK && !*tag
               ? cr_fail(d->error, CR_ERR_INPUT,
                         "%s names no hash of %s: what comes could not be "
                         "checked",
                         d->endpoint, d->file)
               : status;
}

static cr_status ask_file(cr_download *d, void *context) {
    request *r = context;
    struct stat about;
    char range[32];
    prepare(d, r->url);
    if (fstat(d->fd, &about) != 0 || lseek(d->fd, 0, SEEK_END) < 0)
        return cr_fail(d->error, CR_ERR_IO, "%s: %s", r->path, strerror(errno));
    d->base = (uint64_t)about.st_size;
    if (d->base) {
        snprintf(range, sizeof range, "%llu-", (unsigned long long)d->base);
        curl_easy_setopt(d->curl, CURLOPT_RANGE, range);
    }
    curl_easy_setopt(d->curl, CURLOPT_WRITEFUNCTION, to_file);
    curl_easy_setopt(d->curl, CURLOPT_WRITEDATA, d);
    return CR_OK;
}

/* ---- Checking
 * ----------------------------------------------------------------- */

/* SHA-256 of the bytes, or git's SHA-1 of "blob SIZE", NUL and the bytes. */
static cr_status digest(int fd, const char *path, bool git, char hex[TAG_BYTES],
                        cr_error *error) {
    struct stat about;
    char chunk[65536];
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned int len = 0;
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    bool good = md && fstat(fd, &about) == 0 && lseek(fd, 0, SEEK_SET) == 0 &&
                EVP_DigestInit_ex(md, git ? EVP_sha1() : EVP_sha256(), NULL);
    if (good && git) {
        int n = snprintf(chunk, sizeof chunk, "blob %lld",
                         (long long)about.st_size);
        good = EVP_DigestUpdate(md, chunk, (size_t)n + 1);
    }
    for (ssize_t n = 1; good && n > 0;) {
        n = read(fd, chunk, sizeof chunk);
        good = n >= 0 && EVP_DigestUpdate(md, chunk, (size_t)n);
    }
    good = good && EVP_DigestFinal_ex(md, sum, &len);
    EVP_MD_CTX_free(md);
    for (unsigned int i = 0; i < len && 2 * i + 2 < TAG_BYTES; i++)
        snprintf(hex + (size_t)2 * i, 3, "%02x", sum[i]);
    return good ? CR_OK
                : cr_fail(error, CR_ERR_IO, "%s: cannot be read: %s", path,
                          strerror(errno));
}

static cr_status check(cr_download *d, int fd, const char *path,
                       const char *tag) {
    char hex[TAG_BYTES] = "";
    cr_status status = digest(fd, path, strlen(tag) == 40, hex, d->error);
    if (status != CR_OK || strcmp(hex, tag) == 0)
        return status;
    unlink(path);
    return cr_fail(d->error, CR_ERR_INPUT,
                   "%s of %s came damaged: its hash is %s, it should be %s; "
                   "it was deleted",
                   d->file, d->name->repo, hex, tag);
}

/* ---- Into the cache
 * ----------------------------------------------------------- */

static cr_status fetch_blob(cr_download *d, request *r, const char *blob,
                            const char *tag, uint64_t *fetched) {
    char part[CR_HUB_PATH_BYTES + 128];
    struct stat about;
    snprintf(part, sizeof part, "%s.incomplete", blob);
    r->path = part;
    d->fd = open(part, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (d->fd < 0)
        return cr_fail(d->error, CR_ERR_IO, "%s: cannot write: %s", part,
                       strerror(errno));
    /* Somebody else who fetches the same file is waited for. */
    cr_status status = flock(d->fd, LOCK_EX) == 0 && access(blob, F_OK) == 0
                           ? CR_OK
                           : transfer(d, ask_file, r);
    if (status == CR_OK && access(blob, F_OK) != 0) {
        if (fstat(d->fd, &about) == 0)
            *fetched += (uint64_t)about.st_size;
        status = check(d, d->fd, part, tag);
        if (status == CR_OK && (fsync(d->fd) != 0 || rename(part, blob) != 0))
            status = cr_fail(d->error, CR_ERR_IO, "%s: cannot write: %s", blob,
                             strerror(errno));
    }
    close(d->fd);
    d->fd = -1;
    return status;
}

/* snapshots/COMMIT/FILE -> ../../blobs/TAG, as many steps up as it is deep. */
static cr_status link_blob(cr_download *d, const char *folder,
                           const char *commit, const char *file,
                           const char *tag) {
    char path[CR_HUB_PATH_BYTES + 512], fresh[CR_HUB_PATH_BYTES + 520];
    char target[512] = "../../";
    snprintf(path, sizeof path, "%s/snapshots/%s/%s", folder, commit, file);
    char *slash = strrchr(path, '/');
    *slash = 0;
    cr_status status = cr_folder_make(path, d->error);
    *slash = '/';
    for (const char *c = file; *c; c++)
        if (*c == '/' && strlen(target) < 300)
            memcpy(target + strlen(target), "../", 4);
    size_t len = strlen(target);
    snprintf(target + len, sizeof target - len, "blobs/%s", tag);
    snprintf(fresh, sizeof fresh, "%s.new", path);
    unlink(fresh);
    if (status == CR_OK &&
        (symlink(target, fresh) != 0 || rename(fresh, path) != 0))
        status = cr_fail(d->error, CR_ERR_IO, "%s: cannot link: %s", path,
                         strerror(errno));
    return status;
}

cr_status cr_download_file(cr_download *d, const char *folder,
                           const char *commit, const char *file,
                           uint64_t *fetched, cr_error *error) {
    request r;
    char blob[CR_HUB_PATH_BYTES + 100], tag[TAG_BYTES];
    d->error = error;
    d->file = file;
    d->base = 0;
    snprintf(r.url, sizeof r.url, "%s/%s/resolve/%s/%s", d->endpoint,
             d->name->repo, commit, file);
    cr_status status = learn_tag(d, &r, tag);
    if (status != CR_OK)
        return status;
    snprintf(blob, sizeof blob, "%s/blobs/%s", folder, tag);
    if (access(blob, R_OK) != 0)
        status = fetch_blob(d, &r, blob, tag, fetched);
    return status == CR_OK ? link_blob(d, folder, commit, file, tag) : status;
}

/* ---- Opening
 * ------------------------------------------------------------------ */

cr_status cr_download_open(const char *endpoint, const char *token,
                           const cr_hub_name *name,
                           cr_download_progress progress, void *context,
                           cr_download **opened, cr_error *error) {
    char header[1024];
    *opened = NULL;
    if (token && strlen(token) > 512)
        return cr_fail(error, CR_ERR_ARGUMENT,
                       "HF_TOKEN has %zu bytes, the limit is 512",
                       strlen(token));
    cr_download *d = cr_calloc(1, sizeof *d);
    if (!d)
        return cr_fail_memory(error, sizeof *d, "a download");
    d->fd = -1;
    d->endpoint = endpoint;
    d->name = name;
    d->progress = progress;
    d->context = context;
    d->has_token = token && *token;
    if (d->has_token) {
        snprintf(header, sizeof header, "Authorization: Bearer %s", token);
        d->headers = curl_slist_append(NULL, header);
    }
    if (curl_global_init(CURL_GLOBAL_DEFAULT) == 0)
        d->curl = curl_easy_init();
    if (!d->curl) {
        cr_download_close(d);
        return cr_fail(error, CR_ERR_UNAVAILABLE, "libcurl cannot start");
    }
    *opened = d;
    return CR_OK;
}

void cr_download_set_stop(cr_download *d, bool (*stop)(void)) {
    d->stop = stop;
}

void cr_download_close(cr_download *d) {
    if (!d)
        return;
    curl_slist_free_all(d->headers);
    if (d->curl)
        curl_easy_cleanup(d->curl);
    curl_global_cleanup();
    cr_free(d);
}
