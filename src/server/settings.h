/* Settings: everything an operator can say to the server, in one table.
 *
 * A flag, an environment variable and a line of the configuration file say the
 * same thing: --max-queue-tokens, CROSSRANK_MAX_QUEUE_TOKENS and
 * max_queue_tokens; --batching-max-batch and `batching: {max_batch: }`. A wrong
 * value names itself, its limits and where it came from.
 *
 * Threads: pure. Ownership: a text setting points into memory of its giver,
 * which must outlive the settings. */
#ifndef CR_SERVER_SETTINGS_H
#define CR_SERVER_SETTINGS_H

#include "base/error.h"
#include "server/json_out.h"

typedef enum cr_score_scale {
    CR_SCALE_SIGMOID, /* 0..1 */
    CR_SCALE_MODEL,   /* as the model's configuration asks */
    CR_SCALE_RAW      /* the logit */
} cr_score_scale;

typedef enum cr_document_style {
    CR_DOCUMENTS_OBJECT, /* {"text": "..."} */
    CR_DOCUMENTS_STRING,
    CR_DOCUMENTS_NEVER
} cr_document_style;

typedef struct cr_settings {
    const char *model;                  /* NULL: the one that is shipped */
    const char *revision;               /* of a model of the Hub */
    const char *backend, *device, *isa; /* NULL: the default */
    uint32_t dtype; /* an index of auto, fp32, fp16, bf16, int8 */
    uint32_t threads;
    uint32_t max_length;
    uint32_t truncation; /* cr_truncation */
    uint32_t activation; /* cr_activation */
    const char *host;
    uint32_t port; /* 0: any free one */
    const char *unix_socket;
    bool grpc_enabled;
    uint32_t grpc_port;            /* CR_UNSET: cr_settings_grpc_port decides */
    const char *served_model_name; /* NULL: the folder's name */
    bool batching_enabled;
    uint32_t batching_max_batch;
    uint32_t batching_max_tokens;
    uint32_t batching_timeout_ms;
    uint32_t max_documents;
    uint32_t max_body_bytes;
    uint32_t max_pending_bytes;
    uint32_t max_queue_tokens;
    uint32_t max_connections;
    uint32_t http_threads;
    uint32_t receive_timeout_ms;
    uint32_t idle_timeout_s;
    uint32_t request_timeout_ms; /* 0: none unless the request has one */
    uint32_t drain_timeout_ms;
    uint32_t rerank_scores;    /* cr_score_scale of /v1/rerank */
    uint32_t rerank_documents; /* cr_document_style of /v1/rerank */
    bool auto_truncate;
    const char *api_keys_file;
    const char *cors_origin;
    bool access_log;
} cr_settings;

/* An optional number that nobody has set. */
#define CR_UNSET UINT32_MAX

typedef enum cr_setting_kind {
    CR_SETTING_TEXT,     /* const char * */
    CR_SETTING_NUMBER,   /* uint32_t */
    CR_SETTING_OPTIONAL, /* the same, or CR_UNSET, which is empty or null */
    CR_SETTING_BOOL,     /* bool */
    CR_SETTING_CHOICE    /* uint32_t, an index of choices */
} cr_setting_kind;

typedef struct cr_setting {
    const char *name; /* as in the file: a_b, or group.a_b */
    cr_setting_kind kind;
    size_t offset; /* in cr_settings */
    uint32_t min, max;
    const char *const *choices; /* ending with NULL */
    const char *help;
} cr_setting;

extern const cr_setting CR_SETTINGS[];
extern const size_t CR_N_SETTINGS;

enum { CR_SETTING_NAME_BYTES = 64 };

void cr_settings_init(cr_settings *settings);
/* Sets one from text; `source` is for the message: "--port" and the like.
 * CR_ERR_ARGUMENT. */
cr_status cr_setting_set(cr_settings *settings, const cr_setting *setting,
                         const char *value, const char *source,
                         cr_error *error);
const cr_setting *cr_setting_find(const char *name);
/* Its name as a flag (without dashes) or an environment variable. */
void cr_setting_flag_name(const cr_setting *setting,
                          char name[CR_SETTING_NAME_BYTES]);
void cr_setting_variable_name(const cr_setting *setting,
                              char name[CR_SETTING_NAME_BYTES]);
/* Appends what it is set to, as the file would say it. */
void cr_setting_show(const cr_settings *settings, const cr_setting *setting,
                     cr_json_out *out);

/* Texts that a file gave, kept for as long as the settings. */
typedef struct cr_setting_texts {
    char *list[64];
    size_t n;
} cr_setting_texts;

/* All that a YAML file says; complaints begin with FILE:LINE:COLUMN. The texts
 * must be freed after the settings, whatever the status. */
cr_status cr_settings_from_file(cr_settings *settings, const char *path,
                                cr_setting_texts *texts, cr_error *error);
void cr_setting_texts_fini(cr_setting_texts *texts);
/* All that are in the environment. */
cr_status cr_settings_from_environment(cr_settings *settings, cr_error *error);
/* Whether gRPC is to be spoken, and on which port: 50051 where nobody said
 * another, any free one where that is asked of HTTP too. On a unix socket
 * alone there is no port unless one is asked for. */
bool cr_settings_grpc_port(const cr_settings *settings, uint32_t *port);
/* What no single setting can know: limits that contradict each other. */
cr_status cr_settings_check(const cr_settings *settings, uint32_t max_length,
                            cr_error *error);

#endif
