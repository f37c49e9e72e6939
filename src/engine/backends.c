/* Finding backends: the one that is built in, and modules beside us. */
#include "engine/backend.h"

#include "engine/build_id.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH_BYTES = 4096 };

/* A backend that is a module, and how its user gets it. */
typedef struct module {
    const char *name;
    const char *advice;
    const cr_backend_ops *ops; /* NULL until it is loaded */
} module;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of MODULES */
static module MODULES[] = {
    {.name = "mlx", .advice = "./run deps-mlx, then build with -Dmlx=enabled"},
};
enum { N_MODULES = sizeof MODULES / sizeof *MODULES };

static const char *const ALL_NAMES[] = {"cpu", "mlx", NULL};

/* ---- Where a module may be ---------------------------------------------- */

/* The folder of the library or program that this code is part of. */
static bool own_folder(char folder[PATH_BYTES]) {
    Dl_info self;
    if (!dladdr(ALL_NAMES, &self) || !self.dli_fname)
        return false;
    char path[PATH_BYTES];
    /* A program is known by how it was called, which may be no path. */
    ssize_t n = -1;
    if (!strstr(self.dli_fname, "libcrossrank"))
        n = readlink("/proc/self/exe", path, sizeof path - 1);
    if (n > 0)
        path[n] = '\0';
    else if (!realpath(self.dli_fname, path))
        return false;
    char *slash = strrchr(path, '/');
    if (!slash)
        return false;
    *slash = '\0';
    memcpy(folder, path, strlen(path) + 1);
    return true;
}

/* The i-th place to look for the module; false behind the last. Empty where
 * there is no such place. */
static bool place_of(const module *m, int i, char path[PATH_BYTES]) {
    const char *named = getenv("CROSSRANK_BACKEND_PATH");
    static const char *const BESIDE[] = {"", "/crossrank", CR_BACKEND_FROM_BIN};
    char folder[PATH_BYTES];
    int n = 0;
    path[0] = '\0';
    if (named && *named) /* and nowhere else, so that it is sure what runs */
        n = i ? -1
              : snprintf(path, PATH_BYTES, "%s/libcrossrank-%s.so", named,
                         m->name);
    else if (i < 3 && own_folder(folder))
        n = snprintf(path, PATH_BYTES, "%s%s/libcrossrank-%s.so", folder,
                     BESIDE[i], m->name);
    else if (i == 3)
        n = snprintf(path, PATH_BYTES, "%s/libcrossrank-%s.so",
                     CR_BACKEND_FOLDER, m->name);
    else if (i > 3)
        n = -1;
    if (n >= PATH_BYTES)
        path[0] = '\0';
    return n >= 0;
}

/* ---- Loading, under the lock -------------------------------------------- */

static cr_status load_file(module *m, const char *path, cr_error *error) {
    /* Kept for good: what it is linked with does not survive unloading. */
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!handle)
        return cr_fail(error, CR_ERR_UNAVAILABLE,
                       "backend '%s' does not load: %s", m->name, dlerror());
    const cr_backend_module *found = dlsym(handle, CR_BACKEND_SYMBOL);
    if (!found || strcmp(found->build_id, CR_BUILD_ID) != 0) {
        cr_fail(error, CR_ERR_UNAVAILABLE,
                "%s is of another build (%.80s) than this program (%s): "
                "install both together",
                path, found ? found->build_id : "not a module", CR_BUILD_ID);
        dlclose(handle);
        return CR_ERR_UNAVAILABLE;
    }
    m->ops = found->ops;
    return CR_OK;
}

static cr_status load(module *m, cr_error *error) {
    char path[PATH_BYTES];
    for (int i = 0; place_of(m, i, path); i++)
        if (path[0] && access(path, F_OK) == 0)
            return load_file(m, path, error);
    const char *named = getenv("CROSSRANK_BACKEND_PATH");
    return cr_fail(error, CR_ERR_UNAVAILABLE,
                   "backend '%s' is not there: no libcrossrank-%s.so in %s; "
                   "to get it: %s",
                   m->name, m->name,
                   named && *named ? named
                                   : "the folder of this program or library",
                   m->advice);
}

cr_status cr_backend_find(const char *name, const cr_backend_ops **ops,
                          cr_error *error) {
    *ops = NULL;
    if (!name || !strcmp(name, "auto") || !strcmp(name, "cpu")) {
        *ops = &cr_cpu_backend;
        return CR_OK;
    }
    for (size_t i = 0; i < N_MODULES; i++) {
        if (strcmp(MODULES[i].name, name) != 0)
            continue;
        pthread_mutex_lock(&lock);
        cr_status status = MODULES[i].ops ? CR_OK : load(&MODULES[i], error);
        *ops = MODULES[i].ops;
        pthread_mutex_unlock(&lock);
        return status;
    }
    return cr_fail(error, CR_ERR_UNAVAILABLE,
                   "backend '%s' is not known; use cpu or mlx", name);
}

/* ---- Names -------------------------------------------------------------- */

const char *const *cr_backend_all_names(void) { return ALL_NAMES; }

static const char *there[sizeof ALL_NAMES / sizeof *ALL_NAMES];

static void look_what_is_there(void) {
    const cr_backend_ops *ops;
    size_t n = 0;
    for (size_t i = 0; ALL_NAMES[i]; i++)
        if (cr_backend_find(ALL_NAMES[i], &ops, NULL) == CR_OK)
            there[n++] = ALL_NAMES[i];
}

const char *const *cr_backend_names(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, look_what_is_there);
    return there;
}
