/* Judgements and runs: a table is read and sorted, or refused with a place. */
#include "fuzz.h"

#include "lab/trec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1)
        return 0;
    cr_trec_kind kind = data[0] & 1 ? CR_TREC_RUN : CR_TREC_QRELS;
    cr_error error = {.message = ""};
    cr_names queries, docs;
    cr_trec_table table;
    fuzz_file file;
    fuzz_file_open(&file, data + 1, size - 1);
    cr_names_init(&queries);
    cr_names_init(&docs);
    cr_status status =
        cr_trec_read(file.path, kind, &queries, &docs, &table, &error);
    if (status == CR_OK)
        status = cr_trec_sort(file.path, kind, &docs, &table, &error);
    assert(status == CR_OK || error.message[0] != '\0');
    for (size_t i = 0; status == CR_OK && i < table.n; i++) {
        assert(table.rows[i].query < queries.n);
        assert(table.rows[i].doc < docs.n);
    }
    cr_trec_fini(&table);
    cr_names_fini(&queries);
    cr_names_fini(&docs);
    fuzz_file_close(&file);
    return 0;
}
