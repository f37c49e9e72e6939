/* Files in a model folder, found and read without surprises. */
#include "model/folder.h"

#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* How to turn weights in other formats into the one that is read here. */
#define CONVERT                                                                \
    "convert them with transformers: AutoModelForSequenceClassification."      \
    "from_pretrained(DIR).save_pretrained(NEW, max_shard_size=\"100GB\")"

cr_status cr_folder_path(const char *folder, const char *name, char **path,
                         cr_error *error) {
    size_t len = strlen(folder);
    while (len > 1 && folder[len - 1] == '/')
        len--;
    const char *slash = len && folder[len - 1] == '/' ? "" : "/";
    size_t bytes = len + strlen(slash) + strlen(name) + 1;
    *path = cr_alloc(bytes);
    if (!*path)
        return cr_fail_memory(error, bytes, "a path");
    snprintf(*path, bytes, "%.*s%s%s", (int)len, folder, slash, name);
    return CR_OK;
}

bool cr_folder_has(const char *folder, const char *name) {
    char *path;
    if (cr_folder_path(folder, name, &path, NULL) != CR_OK)
        return false;
    struct stat st;
    bool has = stat(path, &st) == 0 && S_ISREG(st.st_mode);
    cr_free(path);
    return has;
}

cr_status cr_folder_read(const char *path, cr_buf *buf, bool *found,
                         cr_error *error) {
    struct stat st;
    *found = stat(path, &st) == 0;
    if (!*found && (errno == ENOENT || errno == ENOTDIR))
        return CR_OK;
    if (!*found)
        return cr_fail(error, CR_ERR_IO, "%s: cannot open: %s", path,
                       strerror(errno));
    if (!S_ISREG(st.st_mode))
        return cr_fail(error, CR_ERR_MODEL, "%s: is not a regular file", path);
    cr_status status = cr_buf_read_file(buf, path, error);
    /* Too large is the model's fault here, not a caller's input. */
    if (status == CR_ERR_INPUT) {
        status = CR_ERR_MODEL;
        if (error)
            error->status = status;
    }
    return status;
}

/* Formats that people have instead, in the order of which message helps. */
static const struct {
    const char *ending; /* of a file's name */
    const char *what;
} OTHERS[] = {
    {"model.safetensors.index.json", "sharded safetensors weights"},
    {".index.json", "sharded PyTorch weights"},
    {".bin", "PyTorch weights (pytorch_model.bin)"},
    {".onnx", "ONNX weights"},
    {".gguf", "GGUF weights"},
    {".safetensors", "safetensors weights under another name"},
    {".xml", "OpenVINO weights"},
    {".h5", "TensorFlow weights"},
    {".msgpack", "Flax weights"},
};
enum { N_OTHERS = sizeof OTHERS / sizeof OTHERS[0] };

static bool ends_with(const char *s, const char *ending) {
    size_t len = strlen(s), n = strlen(ending);
    return len >= n && strcmp(s + len - n, ending) == 0;
}

/* The least index in OTHERS of a file in folder/sub, or `best`. */
static size_t find_other(const char *folder, const char *sub, size_t best) {
    char *path;
    if (cr_folder_path(folder, sub, &path, NULL) != CR_OK)
        return best;
    DIR *dir = opendir(path);
    cr_free(path);
    if (!dir)
        return best;
    for (const struct dirent *entry; (entry = readdir(dir));)
        for (size_t i = 0; i < best; i++)
            if (ends_with(entry->d_name, OTHERS[i].ending))
                best = i;
    closedir(dir);
    return best;
}

static cr_status missing_weights(const char *folder, cr_error *error) {
    size_t other = find_other(folder, ".", N_OTHERS);
    if (other == N_OTHERS)
        other = find_other(folder, "onnx", N_OTHERS);
    if (other == N_OTHERS)
        return cr_fail(error, CR_ERR_MODEL,
                       "%s: model.safetensors is missing: a model folder needs "
                       "config.json, model.safetensors, tokenizer.json (or "
                       "vocab.txt) and tokenizer_config.json",
                       folder);
    if (strcmp(OTHERS[other].ending, ".safetensors") == 0)
        return cr_fail(error, CR_ERR_MODEL,
                       "%s: model.safetensors is missing, but there are %s: "
                       "rename the one that holds the whole model",
                       folder, OTHERS[other].what);
    return cr_fail(error, CR_ERR_UNSUPPORTED,
                   "%s: model.safetensors is missing, but there are %s: %s",
                   folder, OTHERS[other].what, CONVERT);
}

cr_status cr_folder_check(const char *path, cr_error *error) {
    struct stat st;
    if (stat(path, &st) != 0)
        return cr_fail(error, CR_ERR_MODEL,
                       "%s: cannot open the model folder: %s", path,
                       strerror(errno));
    if (!S_ISDIR(st.st_mode))
        return cr_fail(error, CR_ERR_MODEL,
                       "%s: is a file: give the folder that holds config.json "
                       "and model.safetensors",
                       path);
    if (cr_folder_has(path, "adapter_config.json"))
        return cr_fail(error, CR_ERR_UNSUPPORTED,
                       "%s: adapter_config.json: a PEFT adapter is not a whole "
                       "model: merge it (model.merge_and_unload()) and save "
                       "the result",
                       path);
    if (!cr_folder_has(path, "config.json"))
        return cr_fail(error, CR_ERR_MODEL,
                       "%s: config.json is missing: a model folder needs "
                       "config.json, model.safetensors, tokenizer.json (or "
                       "vocab.txt) and tokenizer_config.json",
                       path);
    if (!cr_folder_has(path, "model.safetensors"))
        return missing_weights(path, error);
    return CR_OK;
}
