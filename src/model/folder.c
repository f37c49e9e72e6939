/* Files in a model folder, found and read without surprises. */
#include "model/folder.h"

#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* How to turn weights in other formats into the one that is read here. */
#define CONVERT                                                                \
    "convert them with transformers: AutoModelForSequenceClassification."      \
    "from_pretrained(DIR).save_pretrained(NEW, max_shard_size=\"100GB\"), "    \
    "then "                                                                    \
    "copy the other .json and .txt files of DIR to NEW"

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
    {".xml", "OpenVINO weights"},
    {".h5", "TensorFlow weights"},
    {".msgpack", "Flax weights"},
    {".safetensors", "safetensors weights under another name"},
};
enum { N_OTHERS = sizeof OTHERS / sizeof OTHERS[0] };

static bool ends_with(const char *s, const char *ending) {
    size_t len = strlen(s), n = strlen(ending);
    return len >= n && strcmp(s + len - n, ending) == 0;
}

/* Whether there is a regular file of that name in the folder. */
static bool has_file(int folder, const char *name) {
    struct stat st;
    return fstatat(folder, name, &st, 0) == 0 && S_ISREG(st.st_mode);
}

/* The least index in OTHERS of a file in the folder `sub`, or `best`. */
static size_t find_other(int folder, const char *sub, size_t best) {
    int fd = openat(folder, sub, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (!dir) {
        if (fd >= 0)
            close(fd);
        return best;
    }
    for (const struct dirent *entry; (entry = readdir(dir));)
        for (size_t i = 0; i < best; i++)
            if (ends_with(entry->d_name, OTHERS[i].ending))
                best = i;
    closedir(dir);
    return best;
}

static cr_status missing_file(const char *path, const char *name,
                              cr_error *error) {
    return cr_fail(error, CR_ERR_MODEL,
                   "%s: %s is missing: a model folder needs config.json, "
                   "model.safetensors, tokenizer.json (or vocab.txt) and "
                   "tokenizer_config.json",
                   path, name);
}

static cr_status missing_weights(int folder, const char *path,
                                 cr_error *error) {
    size_t other = find_other(folder, ".", N_OTHERS);
    if (other == N_OTHERS)
        other = find_other(folder, "onnx", N_OTHERS);
    if (other == N_OTHERS)
        return missing_file(path, "model.safetensors", error);
    if (strcmp(OTHERS[other].ending, ".safetensors") == 0)
        return cr_fail(error, CR_ERR_MODEL,
                       "%s: model.safetensors is missing, but there are %s: "
                       "rename the one that holds the whole model",
                       path, OTHERS[other].what);
    return cr_fail(error, CR_ERR_UNSUPPORTED,
                   "%s: model.safetensors is missing, but there are %s: %s",
                   path, OTHERS[other].what, CONVERT);
}

static cr_status check_files(int folder, const char *path, cr_error *error) {
    if (has_file(folder, "adapter_config.json"))
        return cr_fail(error, CR_ERR_UNSUPPORTED,
                       "%s: adapter_config.json: a PEFT adapter is not a whole "
                       "model: merge it (model.merge_and_unload()) and save "
                       "the result",
                       path);
    if (!has_file(folder, "config.json"))
        return missing_file(path, "config.json", error);
    if (!has_file(folder, "model.safetensors"))
        return missing_weights(folder, path, error);
    return CR_OK;
}

cr_status cr_folder_check(const char *path, cr_error *error) {
    int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0 && errno == ENOTDIR)
        return cr_fail(error, CR_ERR_MODEL,
                       "%s: is not a folder: give the one that holds "
                       "config.json and model.safetensors",
                       path);
    if (folder < 0)
        return cr_fail(error, CR_ERR_MODEL,
                       "%s: cannot open the model folder: %s", path,
                       strerror(errno));
    cr_status status = check_files(folder, path, error);
    close(folder);
    return status;
}
