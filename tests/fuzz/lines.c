/* Lines and records: any bytes, in any portions, give the same lines; every
 * line parses or is refused with a message. */
#include "fuzz.h"

#include "lab/beir.h"
#include "lab/lines.h"
#include "lab/records.h"

static void parse(cr_text line) {
    static const cr_record_format FORMATS[] = {CR_FORMAT_COLUMNS,
                                               CR_FORMAT_JSON};
    static const cr_record_kind KINDS[] = {CR_RECORD_PAIR, CR_RECORD_PASSAGE};
    for (int i = 0; i < 4; i++) {
        cr_error error = {.message = ""};
        cr_record record;
        cr_status status = cr_record_parse(line, KINDS[i & 1], FORMATS[i >> 1],
                                           &record, &error);
        assert(status == CR_OK || error.message[0] != '\0');
        if (status == CR_OK)
            cr_record_fini(&record);
    }
    cr_record_detect("name", line);
    cr_beir_record record;
    if (cr_beir_parse(line, &record, NULL) == CR_OK)
        cr_beir_record_fini(&record);
}

/* FNV-1a over the lines and their ends; parses them too if asked. */
static uint64_t read_lines(const uint8_t *data, size_t size, size_t portion,
                           bool parsed) {
    uint64_t hash = 0xcbf29ce484222325u;
    size_t at = 0;
    cr_lines lines;
    cr_text line;
    cr_line_state state;
    cr_lines_init(&lines, "fuzz");
    while ((state = cr_lines_take(&lines, &line)) != CR_LINE_END) {
        if (state == CR_LINE_MORE) {
            size_t n = size - at < portion ? size - at : portion;
            cr_status status =
                cr_lines_feed(&lines, (const char *)data + at, n, NULL);
            assert(status == CR_OK);
            at += n;
            continue;
        }
        assert(state == CR_LINE_READY);
        for (size_t i = 0; i < line.len; i++)
            hash = (hash ^ (uint8_t)line.data[i]) * 0x100000001b3u;
        hash = (hash ^ '\n') * 0x100000001b3u;
        if (parsed)
            parse(line);
    }
    assert(at == size);
    cr_lines_close(&lines);
    return hash;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1)
        return 0;
    size_t portion = (size_t)data[0] + 1;
    uint64_t whole = read_lines(data + 1, size - 1, size, true);
    assert(whole == read_lines(data + 1, size - 1, portion, false));
    return 0;
}
