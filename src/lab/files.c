/* Files: a name never stands for half of one. */
#include "lab/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_BYTES = 4096 };

static cr_status write_bytes(int fd, const char *bytes, size_t len,
                             const char *path, cr_error *error) {
    while (len) {
        ssize_t n = write(fd, bytes, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return cr_fail(error, CR_ERR_IO, "%s: cannot write: %s", path,
                           strerror(errno));
        bytes += n;
        len -= (size_t)n;
    }
    return CR_OK;
}

/* DIR/NAME, and the name under which it comes. */
typedef struct file_names {
    char path[PATH_BYTES], fresh[PATH_BYTES + 8];
} file_names;

static void name_files(file_names *f, const char *dir, const char *name) {
    snprintf(f->path, sizeof f->path, "%s/%s", dir, name);
    snprintf(f->fresh, sizeof f->fresh, "%s.new", f->path);
}

static cr_status write_fresh(const char *fresh, cr_text bytes,
                             cr_error *error) {
    int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0)
        return cr_fail(error, CR_ERR_IO, "%s: cannot write: %s", fresh,
                       strerror(errno));
    cr_status status = write_bytes(fd, bytes.data, bytes.len, fresh, error);
    if (close(fd) != 0 && status == CR_OK)
        status = cr_fail(error, CR_ERR_IO, "%s: cannot write: %s", fresh,
                         strerror(errno));
    return status;
}

cr_status cr_files_replace(const char *dir, size_t n, const cr_file *files,
                           cr_error *error) {
    file_names f;
    cr_status status = CR_OK;
    for (size_t i = 0; i < n && status == CR_OK; i++) {
        name_files(&f, dir, files[i].name);
        status = write_fresh(f.fresh, files[i].bytes, error);
    }
    for (size_t i = 0; i < n; i++) {
        name_files(&f, dir, files[i].name);
        if (status == CR_OK && rename(f.fresh, f.path) != 0)
            status = cr_fail(error, CR_ERR_IO, "%s: cannot write: %s", f.path,
                             strerror(errno));
        if (status != CR_OK)
            unlink(f.fresh);
    }
    return status;
}

cr_status cr_file_replace(const char *dir, const char *name, cr_text bytes,
                          cr_error *error) {
    const cr_file file = {name, bytes};
    return cr_files_replace(dir, 1, &file, error);
}

cr_status cr_folder_make(const char *path, cr_error *error) {
    char part[PATH_BYTES];
    size_t n = strlen(path);
    if (n == 0 || n >= sizeof part)
        return cr_fail(error, CR_ERR_IO, "a folder's name has 1 to %d bytes",
                       PATH_BYTES - 1);
    for (size_t i = 1; i <= n; i++) {
        if (path[i] != '/' && path[i])
            continue;
        memcpy(part, path, i);
        part[i] = 0;
        if (mkdir(part, 0777) != 0 && errno != EEXIST)
            return cr_fail(error, CR_ERR_IO, "%.200s: cannot make it: %s", part,
                           strerror(errno));
    }
    return CR_OK;
}
