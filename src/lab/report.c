/* Report: both files are made in memory, then written whole beside the old
 * ones and renamed over them. */
#include "lab/report.h"

#include "lab/report_text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { REPORT_BYTES = 512 << 20, PATH_BYTES = 4096 };

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

static cr_status write_file(const char *dir, const char *name,
                            const cr_buf *text, cr_error *error) {
    char path[PATH_BYTES], fresh[PATH_BYTES + 8];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    snprintf(fresh, sizeof fresh, "%s.new", path);
    int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0)
        return cr_fail(error, CR_ERR_IO, "%s: cannot write: %s", fresh,
                       strerror(errno));
    cr_status status = write_bytes(fd, text->data, text->len, fresh, error);
    if (close(fd) != 0 && status == CR_OK)
        status = cr_fail(error, CR_ERR_IO, "%s: cannot write: %s", fresh,
                         strerror(errno));
    if (status == CR_OK && rename(fresh, path) != 0)
        status = cr_fail(error, CR_ERR_IO, "%s: cannot write: %s", path,
                         strerror(errno));
    if (status != CR_OK)
        unlink(fresh);
    return status;
}

cr_status cr_report_write(const char *dir, cr_error *error) {
    cr_report report;
    cr_buf text, page;
    cr_buf_init(&text, REPORT_BYTES);
    cr_buf_init(&page, REPORT_BYTES);
    cr_status status = cr_report_read(&report, dir, error);
    cr_report_out md = {&text, status, error};
    cr_report_put_seed(&md, &report);
    cr_report_put_rest(&md, &report);
    cr_report_out html = {&page, md.status, error};
    cr_report_put_html(&html, &report);
    status = html.status;
    if (status == CR_OK)
        status = write_file(dir, "report.md", &text, error);
    if (status == CR_OK)
        status = write_file(dir, "report.html", &page, error);
    cr_buf_fini(&text);
    cr_buf_fini(&page);
    cr_report_fini(&report);
    return status;
}
