/* Report: both files are made in memory, then written. */
#include "lab/report.h"

#include "lab/files.h"
#include "lab/report_text.h"

enum { REPORT_BYTES = 512 << 20 };

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
        status = cr_file_replace(dir, "report.md",
                                 (cr_text){text.data, text.len}, error);
    if (status == CR_OK)
        status = cr_file_replace(dir, "report.html",
                                 (cr_text){page.data, page.len}, error);
    cr_buf_fini(&text);
    cr_buf_fini(&page);
    cr_report_fini(&report);
    return status;
}
