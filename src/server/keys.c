/* API keys: reading the file, comparing hashes. */
#include "server/keys.h"

#include "base/buf.h"
#include "base/mem.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <pthread.h>
#include <string.h>
#include <strings.h>

enum { MAX_FILE_BYTES = 1 << 20, MAX_KEYS = 10000, MAX_KEY_BYTES = 4096 };
/* Clients that are keys, apart from those that are connections. */
static const uint64_t KEY_CLIENTS = UINT64_C(1) << 63;

typedef struct hash {
    uint8_t bytes[SHA256_DIGEST_LENGTH];
} hash;

struct cr_keys {
    char *path; /* NULL: none are needed */
    pthread_mutex_t lock;
    hash *hashes;
    size_t n;
};

static int digit(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

static bool read_hash(const char *hex, size_t len, hash *h) {
    if (len != 2 * sizeof h->bytes)
        return false;
    for (size_t i = 0; i < len; i++) {
        int d = digit(hex[i]);
        if (d < 0)
            return false;
        h->bytes[i / 2] = (uint8_t)(i % 2 ? h->bytes[i / 2] | d : d << 4);
    }
    return true;
}

/* One line: NAME SHA256. */
static cr_status read_line(const char *path, const char *line, size_t len,
                           uint64_t number, hash *h, bool *found,
                           cr_error *error) {
    const char *blanks = " \t\r";
    *found = false;
    while (len && strchr(blanks, line[len - 1]))
        len--;
    if (len == 0 || *line == '#')
        return CR_OK;
    size_t name = 0;
    while (name < len && !strchr(blanks, line[name]))
        name++;
    size_t at = name;
    while (at < len && strchr(blanks, line[at]))
        at++;
    *found = name && read_hash(line + at, len - at, h);
    if (*found)
        return CR_OK;
    return cr_fail_at(error, CR_ERR_INPUT, number, 1,
                      "%s:%llu: a line is NAME SHA256, with 64 hexadecimal "
                      "digits (printf %%s KEY | sha256sum)",
                      path, (unsigned long long)number);
}

static cr_status read_file(const char *path, hash **hashes, size_t *n,
                           cr_error *error) {
    cr_buf text;
    cr_buf_init(&text, MAX_FILE_BYTES);
    *hashes = cr_calloc(MAX_KEYS, sizeof **hashes);
    *n = 0;
    cr_status status = *hashes ? cr_buf_read_file(&text, path, error)
                               : cr_fail_memory(error, MAX_KEYS, "keys");
    const char *line = text.data;
    for (uint64_t number = 1; status == CR_OK && line && *line; number++) {
        size_t len = strcspn(line, "\n");
        bool found = false;
        if (*n == MAX_KEYS)
            status = cr_fail(error, CR_ERR_INPUT, "%s: more than %d keys", path,
                             MAX_KEYS);
        else
            status = read_line(path, line, len, number, &(*hashes)[*n], &found,
                               error);
        *n += status == CR_OK && found;
        line += len + (line[len] == '\n');
    }
    cr_buf_fini(&text);
    if (status == CR_OK && *n == 0)
        status = cr_fail(error, CR_ERR_INPUT,
                         "%s: there is no key in it, nobody could ask", path);
    if (status != CR_OK) {
        cr_free(*hashes);
        *hashes = NULL;
    }
    return status;
}

cr_status cr_keys_reload(cr_keys *keys, cr_error *error) {
    hash *hashes;
    size_t n;
    if (!keys->path)
        return CR_OK;
    cr_status status = read_file(keys->path, &hashes, &n, error);
    if (status != CR_OK)
        return status;
    pthread_mutex_lock(&keys->lock);
    cr_free(keys->hashes);
    keys->hashes = hashes;
    keys->n = n;
    pthread_mutex_unlock(&keys->lock);
    return CR_OK;
}

cr_status cr_keys_new(const char *path, cr_keys **out, cr_error *error) {
    *out = NULL;
    cr_keys *keys = cr_calloc(1, sizeof *keys);
    if (!keys)
        return cr_fail_memory(error, sizeof *keys, "keys");
    pthread_mutex_init(&keys->lock, NULL);
    cr_status status = CR_OK;
    if (path && !(keys->path = cr_strndup(path, strlen(path))))
        status = cr_fail_memory(error, strlen(path), "a path");
    if (status == CR_OK)
        status = cr_keys_reload(keys, error);
    if (status != CR_OK)
        cr_keys_free(keys);
    else
        *out = keys;
    return status;
}

void cr_keys_free(cr_keys *keys) {
    if (!keys)
        return;
    pthread_mutex_destroy(&keys->lock);
    cr_free(keys->hashes);
    cr_free(keys->path);
    cr_free(keys);
}

bool cr_keys_check(cr_keys *keys, const char *authorization,
                   const char *x_api_key, uint64_t *client) {
    const char *key = x_api_key;
    uint8_t digest[SHA256_DIGEST_LENGTH];
    bool right = false;
    if (!keys->path)
        return true;
    if (authorization && strncasecmp(authorization, "Bearer ", 7) == 0)
        key = authorization + 7;
    if (!key || strlen(key) > MAX_KEY_BYTES)
        return false;
    SHA256((const uint8_t *)key, strlen(key), digest);
    pthread_mutex_lock(&keys->lock);
    for (size_t i = 0; i < keys->n; i++) /* to the end, whatever is found */
        if (CRYPTO_memcmp(digest, keys->hashes[i].bytes, sizeof digest) == 0) {
            right = true;
            *client = KEY_CLIENTS + i;
        }
    pthread_mutex_unlock(&keys->lock);
    return right;
}
