/* Finding modules: one list of places, the first file that is there counts. */
#include "base/module.h"

#include "base/build_id.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH_BYTES = 4096 };

/* Something of ours with an address, to find the file that it is in. */
static const char HERE[] = "here";

/* The folder of the library or program that this code is part of. */
static bool own_folder(char folder[PATH_BYTES]) {
    Dl_info self;
    if (!dladdr(HERE, &self) || !self.dli_fname)
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
static bool place_of(const char *name, int i, char path[PATH_BYTES]) {
    const char *named = getenv("CROSSRANK_BACKEND_PATH");
    static const char *const BESIDE[] = {"", "/crossrank", CR_BACKEND_FROM_BIN};
    char folder[PATH_BYTES];
    int n = 0;
    path[0] = '\0';
    if (named && *named) /* and nowhere else, so that it is sure what runs */
        n = i ? -1
              : snprintf(path, PATH_BYTES, "%s/libcrossrank-%s.so", named,
                         name);
    else if (i < 3 && own_folder(folder))
        n = snprintf(path, PATH_BYTES, "%s%s/libcrossrank-%s.so", folder,
                     BESIDE[i], name);
    else if (i == 3)
        n = snprintf(path, PATH_BYTES, "%s/libcrossrank-%s.so",
                     CR_BACKEND_FOLDER, name);
    else if (i > 3)
        n = -1;
    if (n >= PATH_BYTES)
        path[0] = '\0';
    return n >= 0;
}

static cr_status load_file(const cr_module_request *request, const char *path,
                           const cr_module_head **found, cr_error *error) {
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!handle)
        return cr_fail(error, CR_ERR_UNAVAILABLE, "%s does not load: %s",
                       request->what, dlerror());
    const cr_module_head *head = dlsym(handle, request->symbol);
    if (!head || strcmp(head->build_id, CR_BUILD_ID) != 0) {
        cr_fail(error, CR_ERR_UNAVAILABLE,
                "%s is of another build (%.80s) than this program (%s): "
                "install both together",
                path, head ? head->build_id : "not a module", CR_BUILD_ID);
        dlclose(handle);
        return CR_ERR_UNAVAILABLE;
    }
    *found = head;
    return CR_OK;
}

cr_status cr_module_load(const cr_module_request *request,
                         const cr_module_head **found, cr_error *error) {
    char path[PATH_BYTES];
    *found = NULL;
    for (int i = 0; place_of(request->name, i, path); i++)
        if (path[0] && access(path, F_OK) == 0)
            return load_file(request, path, found, error);
    const char *named = getenv("CROSSRANK_BACKEND_PATH");
    return cr_fail(error, CR_ERR_UNAVAILABLE,
                   "%s is not there: no libcrossrank-%s.so in %s; "
                   "to get it: %s",
                   request->what, request->name,
                   named && *named ? named
                                   : "the folder of this program or library",
                   request->advice);
}
