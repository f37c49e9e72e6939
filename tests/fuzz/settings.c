/* Settings and keys: any bytes in a file are read or refused with a message,
 * and what was read can be shown. */
#include "fuzz.h"

#include "server/keys.h"
#include "server/settings.h"

static void read_settings(const char *path) {
    cr_settings settings;
    cr_setting_texts texts = {.n = 0};
    cr_error error = {.message = ""};
    cr_settings_init(&settings);
    cr_status status = cr_settings_from_file(&settings, path, &texts, &error);
    assert(status == CR_OK || error.message[0] != '\0');
    for (size_t i = 0; i < CR_N_SETTINGS; i++) {
        cr_json_out text;
        cr_json_out_init(&text);
        cr_setting_show(&settings, &CR_SETTINGS[i], &text);
        assert(text.text.len);
        cr_json_out_fini(&text);
    }
    cr_setting_texts_fini(&texts);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_file file;
    cr_keys *keys;
    cr_error error = {.message = ""};
    uint64_t client = 0;
    fuzz_file_open(&file, data, size);
    read_settings(file.path);
    if (cr_keys_new(file.path, &keys, &error) == CR_OK)
        assert(!cr_keys_check(keys, NULL, "no hash of it is likely", &client));
    else
        assert(error.message[0] != '\0');
    cr_keys_free(keys);
    fuzz_file_close(&file);
    return 0;
}
