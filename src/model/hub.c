/* Hub: a name becomes a folder of the cache. */
#include "model/hub.h"

#include "base/buf.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_COMMIT_BYTES = 64, MAX_REF_BYTES = 256 };

/* ---- Names ------------------------------------------------------------------
 */

/* What the Hub allows: letters, digits, ".", "_" and "-"; no dot in front. */
static bool is_part(const char *text, size_t len) {
    if (len == 0 || len >= CR_HUB_NAME_BYTES || *text == '.' || *text == '-')
        return false;
    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char)text[i]) && !strchr("._-", text[i]))
            return false;
    return true;
}

bool cr_hub_parse(const char *text, cr_hub_name *name) {
    const char *at = strchr(text, '@');
    size_t len = at ? (size_t)(at - text) : strlen(text);
    const char *slash = memchr(text, '/', len);
    size_t first = slash ? (size_t)(slash - text) : len;
    if (len >= sizeof name->repo || !is_part(text, first) ||
        (slash && !is_part(slash + 1, len - first - 1)))
        return false;
    /* A revision is a branch, a tag or a commit; branches may have slashes. */
    const char *revision = at ? at + 1 : "main";
    size_t n = strlen(revision);
    if (n == 0 || n >= sizeof name->revision || strstr(revision, ".."))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)revision[i]) &&
            !strchr("._-/", revision[i]))
            return false;
    if (*revision == '/' || *revision == '.')
        return false;
    snprintf(name->repo, sizeof name->repo, "%.*s", (int)len, text);
    snprintf(name->revision, sizeof name->revision, "%s", revision);
    return true;
}

/* ---- The cache
 * ---------------------------------------------------------------- */

static const char *set(const char *variable) {
    const char *value = getenv(variable);
    return value && *value ? value : NULL;
}

cr_status cr_hub_cache(char path[CR_HUB_PATH_BYTES], cr_error *error) {
    static const struct {
        const char *variable, *rest;
    } PLACES[] = {{"HF_HUB_CACHE", ""},
                  {"HUGGINGFACE_HUB_CACHE", ""},
                  {"HF_HOME", "/hub"},
                  {"XDG_CACHE_HOME", "/huggingface/hub"},
                  {"HOME", "/.cache/huggingface/hub"}};
    for (size_t i = 0; i < sizeof PLACES / sizeof *PLACES; i++) {
        const char *value = set(PLACES[i].variable);
        if (!value)
            continue;
        int len =
            snprintf(path, CR_HUB_PATH_BYTES, "%s%s", value, PLACES[i].rest);
        if (len < 0 || len >= CR_HUB_PATH_BYTES - 512)
            return cr_fail(error, CR_ERR_ARGUMENT, "%s is longer than %d bytes",
                           PLACES[i].variable, CR_HUB_PATH_BYTES - 512);
        return CR_OK;
    }
    return cr_fail(error, CR_ERR_ARGUMENT,
                   "there is no cache of models: set HF_HOME");
}

cr_status cr_hub_folder(const cr_hub_name *name, char path[CR_HUB_PATH_BYTES],
                        cr_error *error) {
    cr_status status = cr_hub_cache(path, error);
    if (status != CR_OK)
        return status;
    size_t len = strlen(path);
    const char *slash = strchr(name->repo, '/');
    if (slash)
        snprintf(path + len, CR_HUB_PATH_BYTES - len, "/models--%.*s--%s",
                 (int)(slash - name->repo), name->repo, slash + 1);
    else
        snprintf(path + len, CR_HUB_PATH_BYTES - len, "/models--%s",
                 name->repo);
    return CR_OK;
}

static bool is_folder(const char *path) {
    struct stat about;
    return stat(path, &about) == 0 && S_ISDIR(about.st_mode);
}

/* The commit that a revision stands for: what refs says, else itself. */
static void read_ref(const char *folder, const cr_hub_name *name,
                     char commit[CR_HUB_NAME_BYTES]) {
    char path[CR_HUB_PATH_BYTES + 2 * CR_HUB_NAME_BYTES];
    cr_buf text;
    snprintf(commit, CR_HUB_NAME_BYTES, "%s", name->revision);
    snprintf(path, sizeof path, "%s/refs/%s", folder, name->revision);
    cr_buf_init(&text, MAX_REF_BYTES);
    if (cr_buf_read_file(&text, path, NULL) == CR_OK && text.len) {
        size_t len = strspn(text.data, "0123456789abcdef");
        bool ends = !text.data[len] || strchr("\r\n \t", text.data[len]);
        if (len && len <= MAX_COMMIT_BYTES && ends)
            snprintf(commit, CR_HUB_NAME_BYTES, "%.*s", (int)len, text.data);
    }
    cr_buf_fini(&text);
}

cr_status cr_hub_find(const cr_hub_name *name, char path[CR_HUB_PATH_BYTES],
                      cr_error *error) {
    char commit[CR_HUB_NAME_BYTES], folder[CR_HUB_PATH_BYTES];
    cr_status status = cr_hub_folder(name, folder, error);
    if (status != CR_OK)
        return status;
    read_ref(folder, name, commit);
    int len =
        snprintf(path, CR_HUB_PATH_BYTES, "%s/snapshots/%s", folder, commit);
    if (len > 0 && len < CR_HUB_PATH_BYTES && is_folder(path))
        return CR_OK;
    bool other = strcmp(name->revision, "main") != 0;
    return cr_fail(error, CR_ERR_MODEL,
                   "%s: there is no such folder, and the cache has no model of "
                   "that name%s%s; to get it: crossrank pull %s%s%s",
                   name->repo, other ? " at revision " : "",
                   other ? name->revision : "", name->repo,
                   other ? " --revision " : "", other ? name->revision : "");
}
