/* The dashboard: one page for people at "/", its files beside it.
 *
 * The files are in the program (web/). They are the same for everybody and
 * hold no data: what the page shows it asks for with the reader's key. */
#include "server/service.h"

#include "web_files.h"

#include <string.h>

/* The page loads nothing from anywhere else and runs no inline script; styles
 * may be set by script (Chart.js sizes its canvases so). */
static const char *const POLICY =
    "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'";

static bool send_file(cr_call *call, const char *name) {
    cr_exchange *x = call->exchange;
    const cr_web_file *f = cr_web_find(name);
    if (!f)
        return cr_refuse(&call->ask.refusal, CR_REFUSAL_NOT_FOUND,
                         "this program was built without %s", name);
    const char *known = cr_exchange_header(x, "If-None-Match");
    x->type = f->type;
    cr_exchange_add_header(x, "ETag", "%s", f->etag);
    cr_exchange_add_header(x, "Cache-Control", "no-cache");
    cr_exchange_add_header(x, "Content-Security-Policy", "%s", POLICY);
    cr_exchange_add_header(x, "X-Content-Type-Options", "nosniff");
    cr_exchange_add_header(x, "Referrer-Policy", "no-referrer");
    if (known && strcmp(known, f->etag) == 0) {
        x->status = 304;
        return true;
    }
    x->constant = (const char *)f->data;
    x->constant_bytes = f->len;
    return true;
}

/* A browser asks for HTML; clients that look at "/" for health do not. */
bool cr_dashboard_page(cr_call *call) {
    const char *accept = cr_exchange_header(call->exchange, "Accept");
    cr_exchange_add_header(call->exchange, "Vary", "Accept");
    if (accept && strstr(accept, "text/html"))
        return send_file(call, "dashboard.html");
    return cr_ops_health(call);
}

bool cr_dashboard_file(cr_call *call) {
    return send_file(call, call->exchange->path + 1);
}
