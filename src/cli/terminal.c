/* Terminal: text is cut by columns, never inside a character. */
#include "cli/terminal.h"

#include "cli/utf8.h"

#include <stdlib.h>
#include <sys/ioctl.h>

enum { DEFAULT_WIDTH = 80, MIN_WIDTH = 20, MAX_WIDTH = 1000 };

size_t cr_terminal_width(int fd) {
    struct winsize size;
    if (ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col >= MIN_WIDTH)
        return size.ws_col;
    const char *columns = getenv("COLUMNS");
    unsigned long width = columns ? strtoul(columns, NULL, 10) : 0;
    return width >= MIN_WIDTH && width <= MAX_WIDTH ? width : DEFAULT_WIDTH;
}

/* Whole characters, so that bytes that are not UTF-8 do no harm either. */
static void put_plain(cr_out *out, const char *s, size_t len) {
    size_t used;
    for (size_t at = 0; at < len; at += used) {
        uint32_t code = cr_utf8_next(s + at, len - at, &used);
        if (code < 0x20 || (code >= 0x7f && code < 0xa0))
            cr_out_text(out, " ");
        else if (code == CR_REPLACEMENT)
            cr_out_text(out, "\xef\xbf\xbd");
        else
            cr_out_write(out, s + at, used);
    }
}

void cr_terminal_text(cr_out *out, cr_text text, size_t columns, bool pad) {
    size_t width;
    size_t fits = cr_utf8_fit(text.data, text.len, columns, &width);
    bool cut = fits < text.len;
    if (cut)
        fits = cr_utf8_fit(text.data, text.len, columns - 1, &width);
    put_plain(out, text.data, fits);
    if (cut)
        cr_out_text(out, "\xe2\x80\xa6");
    for (width += cut; pad && width < columns; width++)
        cr_out_text(out, " ");
}
