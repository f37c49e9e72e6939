/* Finding backends: the one that is built in, and modules beside us. */
#include "engine/backend.h"

#include "base/module.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

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

/* Under the lock. */
static cr_status load(module *m, cr_error *error) {
    char what[64];
    snprintf(what, sizeof what, "backend '%s'", m->name);
    const cr_module_request request = {.name = m->name,
                                       .symbol = CR_BACKEND_SYMBOL,
                                       .what = what,
                                       .advice = m->advice};
    const cr_module_head *head;
    cr_status status = cr_module_load(&request, &head, error);
    if (status == CR_OK)
        m->ops = ((const cr_backend_module *)(const void *)head)->ops;
    return status;
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
