/* Settings: the table, and the three ways to say the same. */
#include "server/settings.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const DTYPES[] = {"auto", "fp32", "fp16",
                                     "bf16", "int8", NULL};
static const char *const TRUNCATIONS[] = {"longest_first", "only_second", NULL};
static const char *const ACTIVATIONS[] = {"model", "none", "sigmoid", NULL};
static const char *const SCALES[] = {"sigmoid", "model", "raw", NULL};
static const char *const STYLES[] = {"object", "string", "never", NULL};

enum { GRPC_PORT = 50051 };

#define AT(field) offsetof(cr_settings, field)
#define TEXT(name, field, help)                                                \
    { name, CR_SETTING_TEXT, AT(field), 0, 0, NULL, help }
#define NUMBER(name, field, min, max, help)                                    \
    { name, CR_SETTING_NUMBER, AT(field), min, max, NULL, help }
#define OPTIONAL(name, field, min, max, help)                                  \
    { name, CR_SETTING_OPTIONAL, AT(field), min, max, NULL, help }
#define SWITCH(name, field, help)                                              \
    { name, CR_SETTING_BOOL, AT(field), 0, 0, NULL, help }
#define CHOICE(name, field, choices, help)                                     \
    { name, CR_SETTING_CHOICE, AT(field), 0, 0, choices, help }

const cr_setting CR_SETTINGS[] = {
    TEXT("model", model,
         "model folder in Hugging Face layout (default: the one shipped)"),
    TEXT("revision", revision,
         "branch, tag or commit of a model of the Hub (default main)"),
    TEXT("backend", backend, "what computes (default cpu)"),
    TEXT("device", device, "device of the backend (default cpu)"),
    CHOICE("dtype", dtype, DTYPES,
           "number format of the weights "
           "(default auto)"),
    TEXT("isa", isa, "instruction set (default: the fastest there is)"),
    NUMBER("threads", threads, 0, 1024,
           "lanes that score, 0 for as many as CPU quota and affinity give "
           "(default 0)"),
    NUMBER("max_length", max_length, 0, 65536,
           "tokens of a pair, 0 for the model's own limit (default 0)"),
    CHOICE("truncation", truncation, TRUNCATIONS,
           "what is cut from longer pairs (default longest_first)"),
    CHOICE("activation", activation, ACTIVATIONS,
           "what a model's score is where a format asks for that "
           "(default model)"),
    TEXT("host", host, "address to listen on (default 127.0.0.1)"),
    NUMBER("port", port, 0, 65535, "port, 0 for any free one (default 8080)"),
    TEXT("unix_socket", unix_socket, "listen on this socket file instead"),
    SWITCH("grpc.enabled", grpc_enabled,
           "speak gRPC too, on a port of its own (default true)"),
    OPTIONAL("grpc.port", grpc_port, 0, 65535,
             "port of gRPC, 0 for any free one (default 50051; any free one "
             "where port is 0, none where there is a unix_socket)"),
    TEXT("served_model_name", served_model_name,
         "what answers call the model (default: its folder's name)"),
    SWITCH("batching.enabled", batching_enabled,
           "put pairs of several requests into one batch (default true)"),
    NUMBER("batching.max_batch", batching_max_batch, 0, 1000000,
           "pairs of a batch, 0 for no limit (default 0)"),
    NUMBER("batching.max_tokens", batching_max_tokens, 0, 100000000,
           "tokens of a batch, 0 for no limit (default 0)"),
    NUMBER("batching.timeout_ms", batching_timeout_ms, 0, 60000,
           "how long the first pair of a batch waits for others (default 0: "
           "a lane that is free starts at once)"),
    NUMBER("max_documents", max_documents, 1, 1000000,
           "documents of one request (default 10000)"),
    NUMBER("max_body_bytes", max_body_bytes, 1024, 1 << 30,
           "bytes of one request (default 33554432)"),
    NUMBER("max_pending_bytes", max_pending_bytes, 1024, 4294967295,
           "bytes of all requests that are held (default 268435456)"),
    NUMBER("max_queue_tokens", max_queue_tokens, 1, 4294967295,
           "tokens that may wait; more is refused with 429 (default 4194304)"),
    NUMBER("max_connections", max_connections, 1, 65536,
           "open connections (default 1024)"),
    NUMBER("http_threads", http_threads, 1, 64,
           "threads that read and write (default 2)"),
    NUMBER("receive_timeout_ms", receive_timeout_ms, 100, 3600000,
           "how long one request may take to arrive (default 30000)"),
    NUMBER("idle_timeout_s", idle_timeout_s, 1, 86400,
           "how long a connection may be idle (default 75)"),
    NUMBER("request_timeout_ms", request_timeout_ms, 0, 3600000,
           "time limit of a request without X-Request-Timeout-Ms, 0 for none "
           "(default 0)"),
    NUMBER("drain_timeout_ms", drain_timeout_ms, 0, 3600000,
           "how long SIGTERM waits for accepted requests (default 30000)"),
    CHOICE("rerank_scores", rerank_scores, SCALES,
           "scale of /v1/rerank (default sigmoid)"),
    CHOICE("rerank_documents", rerank_documents, STYLES,
           "documents in answers of /v1/rerank (default object)"),
    SWITCH("auto_truncate", auto_truncate,
           "cut pairs that are too long where a request does not say "
           "(default true)"),
    TEXT("api_keys_file", api_keys_file,
         "file with a line NAME SHA256 for each key; read again on SIGHUP"),
    TEXT("cors_origin", cors_origin,
         "origin that browsers may come from, * for any (default: none)"),
    SWITCH("access_log", access_log,
           "a line for every request on standard error (default false)"),
};
const size_t CR_N_SETTINGS = sizeof CR_SETTINGS / sizeof *CR_SETTINGS;

void cr_settings_init(cr_settings *s) {
    *s = (cr_settings){.host = "127.0.0.1",
                       .port = 8080,
                       .grpc_enabled = true,
                       .grpc_port = CR_UNSET,
                       .batching_enabled = true,
                       .max_documents = 10000,
                       .max_body_bytes = 32 << 20,
                       .max_pending_bytes = 256 << 20,
                       .max_queue_tokens = 4 << 20,
                       .max_connections = 1024,
                       .http_threads = 2,
                       .receive_timeout_ms = 30000,
                       .idle_timeout_s = 75,
                       .drain_timeout_ms = 30000,
                       .auto_truncate = true};
}

/* ---- One setting -------------------------------------------------------- */

static void *at(const cr_settings *settings, const cr_setting *setting) {
    return (char *)(uintptr_t)settings + setting->offset;
}

static cr_status set_number(uint32_t *target, const cr_setting *setting,
                            const char *value, const char *source,
                            cr_error *error) {
    char *end;
    errno = 0;
    unsigned long long number = strtoull(value, &end, 10);
    if (!isdigit((unsigned char)*value) || *end || errno ||
        number < setting->min || number > setting->max)
        return cr_fail(error, CR_ERR_ARGUMENT,
                       "%s: %s is \"%.60s\", it must be a whole number from "
                       "%u to %u",
                       source, setting->name, value, setting->min,
                       setting->max);
    *target = (uint32_t)number;
    return CR_OK;
}

static cr_status set_bool(bool *target, const cr_setting *setting,
                          const char *value, const char *source,
                          cr_error *error) {
    bool yes = !strcmp(value, "true") || !strcmp(value, "1");
    if (!yes && strcmp(value, "false") && strcmp(value, "0"))
        return cr_fail(error, CR_ERR_ARGUMENT,
                       "%s: %s is \"%.60s\", it must be true or false", source,
                       setting->name, value);
    *target = yes;
    return CR_OK;
}

static cr_status set_choice(uint32_t *target, const cr_setting *setting,
                            const char *value, const char *source,
                            cr_error *error) {
    char list[128] = "";
    size_t used = 0;
    for (uint32_t i = 0; setting->choices[i]; i++) {
        if (strcmp(setting->choices[i], value) == 0) {
            *target = i;
            return CR_OK;
        }
        int len = snprintf(list + used, sizeof list - used, "%s%s",
                           i ? ", " : "", setting->choices[i]);
        if (len > 0 && used + (size_t)len < sizeof list)
            used += (size_t)len;
    }
    return cr_fail(error, CR_ERR_ARGUMENT,
                   "%s: %s is \"%.60s\", it must be one of %s", source,
                   setting->name, value, list);
}

cr_status cr_setting_set(cr_settings *settings, const cr_setting *setting,
                         const char *value, const char *source,
                         cr_error *error) {
    void *target = at(settings, setting);
    switch (setting->kind) {
    case CR_SETTING_OPTIONAL:
        if (!*value) {
            *(uint32_t *)target = CR_UNSET;
            return CR_OK;
        }
        return set_number(target, setting, value, source, error);
    case CR_SETTING_NUMBER:
        return set_number(target, setting, value, source, error);
    case CR_SETTING_BOOL:
        return set_bool(target, setting, value, source, error);
    case CR_SETTING_CHOICE:
        return set_choice(target, setting, value, source, error);
    case CR_SETTING_TEXT:
        break;
    }
    *(const char **)target = *value ? value : NULL;
    return CR_OK;
}

const cr_setting *cr_setting_find(const char *name) {
    for (size_t i = 0; i < CR_N_SETTINGS; i++)
        if (strcmp(CR_SETTINGS[i].name, name) == 0)
            return &CR_SETTINGS[i];
    return NULL;
}

void cr_setting_flag_name(const cr_setting *setting,
                          char name[CR_SETTING_NAME_BYTES]) {
    snprintf(name, CR_SETTING_NAME_BYTES, "%s", setting->name);
    for (char *p = name; *p; p++)
        if (*p == '_' || *p == '.')
            *p = '-';
}

void cr_setting_variable_name(const cr_setting *setting,
                              char name[CR_SETTING_NAME_BYTES]) {
    snprintf(name, CR_SETTING_NAME_BYTES, "CROSSRANK_%s", setting->name);
    for (char *p = name; *p; p++)
        *p = *p == '.' ? '_' : (char)toupper((unsigned char)*p);
}

void cr_setting_show(const cr_settings *settings, const cr_setting *setting,
                     cr_json_out *out) {
    const void *value = at(settings, setting);
    const char *string;
    switch (setting->kind) {
    case CR_SETTING_OPTIONAL:
        if (*(const uint32_t *)value == CR_UNSET)
            cr_json_put(out, "null");
        else
            cr_json_put(out, "%u", *(const uint32_t *)value);
        return;
    case CR_SETTING_NUMBER:
        cr_json_put(out, "%u", *(const uint32_t *)value);
        return;
    case CR_SETTING_BOOL:
        cr_json_put(out, "%s", *(const bool *)value ? "true" : "false");
        return;
    case CR_SETTING_CHOICE:
        cr_json_put(out, "%s", setting->choices[*(const uint32_t *)value]);
        return;
    case CR_SETTING_TEXT:
        break;
    }
    string = *(const char *const *)value;
    if (string) /* JSON's strings are YAML's, too */
        cr_json_put_string(out, string);
    else
        cr_json_put(out, "null");
}

/* ---- All of them -------------------------------------------------------- */

cr_status cr_settings_from_environment(cr_settings *settings, cr_error *error) {
    cr_status status = CR_OK;
    for (size_t i = 0; status == CR_OK && i < CR_N_SETTINGS; i++) {
        char name[CR_SETTING_NAME_BYTES];
        cr_setting_variable_name(&CR_SETTINGS[i], name);
        const char *value = getenv(name);
        /* Kubernetes sets this one for a service that is called crossrank. */
        if (value && strncmp(value, "tcp://", 6) == 0)
            continue;
        if (value)
            status =
                cr_setting_set(settings, &CR_SETTINGS[i], value, name, error);
    }
    return status;
}

bool cr_settings_grpc_port(const cr_settings *s, uint32_t *port) {
    bool asked = s->grpc_port != CR_UNSET;
    *port = asked ? s->grpc_port : s->port == 0 ? 0 : GRPC_PORT;
    return s->grpc_enabled && (asked || !s->unix_socket);
}

cr_status cr_settings_check(const cr_settings *s, uint32_t max_length,
                            cr_error *error) {
    if (s->batching_max_tokens && s->batching_max_tokens < max_length)
        return cr_fail(error, CR_ERR_ARGUMENT,
                       "batching.max_tokens is %u, but one pair may have %u "
                       "tokens: raise it or set max_length lower",
                       s->batching_max_tokens, max_length);
    if (s->max_pending_bytes < s->max_body_bytes)
        return cr_fail(error, CR_ERR_ARGUMENT,
                       "max_pending_bytes is %u, less than max_body_bytes "
                       "(%u): a request of that size could never be taken",
                       s->max_pending_bytes, s->max_body_bytes);
    if ((uint64_t)s->max_documents * max_length > UINT32_MAX)
        return cr_fail(error, CR_ERR_ARGUMENT,
                       "max_documents is %u; with %u tokens a pair at most %u "
                       "are possible",
                       s->max_documents, max_length, UINT32_MAX / max_length);
    return CR_OK;
}
