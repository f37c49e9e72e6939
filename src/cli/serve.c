/* crossrank serve: settings from everywhere, one line when ready, signals. */
#include "cli/command.h"
#include "cli/common.h"
#include "cli/interrupt.h"
#include "cli/logger.h"
#include "server/server.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { MAX_SETTINGS = 64 };

/* The table of settings as options: each takes its text here, and is set once
 * file and environment have been read. */
typedef struct serve_flags {
    const char *config;
    bool print_config;
    const char *values[MAX_SETTINGS];
    char names[MAX_SETTINGS][CR_SETTING_NAME_BYTES];
    char helps[MAX_SETTINGS][256];
    cr_option options[MAX_SETTINGS + 2];
    size_t n;
} serve_flags;

static const char *value_name(const cr_setting *setting) {
    switch (setting->kind) {
    case CR_SETTING_NUMBER:
    case CR_SETTING_OPTIONAL:
        return "N";
    case CR_SETTING_BOOL:
        return "BOOL";
    case CR_SETTING_CHOICE:
        return "NAME";
    case CR_SETTING_TEXT:
        break;
    }
    return "TEXT";
}

static void describe(const cr_setting *setting, char *help, size_t bytes) {
    size_t used = (size_t)snprintf(help, bytes, "%s", setting->help);
    for (size_t i = 0; setting->choices && setting->choices[i]; i++)
        if (used < bytes)
            used += (size_t)snprintf(help + used, bytes - used, "%s %s",
                                     i ? "," : ":", setting->choices[i]);
}

static void fill_options(serve_flags *f) {
    f->options[f->n++] = (cr_option)CR_TEXT_OPTION(
        "config", "FILE", &f->config,
        "YAML file of settings, by their names with _ for -");
    f->options[f->n++] =
        (cr_option)CR_FLAG("print-config", &f->print_config,
                           "print all settings as such a file, and end");
    for (size_t i = 0; i < CR_N_SETTINGS; i++) {
        cr_setting_flag_name(&CR_SETTINGS[i], f->names[i]);
        describe(&CR_SETTINGS[i], f->helps[i], sizeof f->helps[i]);
        f->options[f->n] = (cr_option)CR_ANY_TEXT_OPTION(
            f->names[i], value_name(&CR_SETTINGS[i]), &f->values[i],
            f->helps[i]);
        /* Any other text may be unset that way. */
        f->options[f->n++].may_be_empty = strcmp(f->names[i], "model") != 0;
    }
}

/* Flags win over the environment, that over the file. */
static cr_status gather(const serve_flags *f, cr_settings *settings,
                        cr_setting_texts *texts, cr_error *error) {
    cr_status status = CR_OK;
    cr_settings_init(settings);
    if (f->config)
        status = cr_settings_from_file(settings, f->config, texts, error);
    if (status == CR_OK)
        status = cr_settings_from_environment(settings, error);
    for (size_t i = 0; status == CR_OK && i < CR_N_SETTINGS; i++) {
        char flag[CR_SETTING_NAME_BYTES + 2];
        snprintf(flag, sizeof flag, "--%s", f->names[i]);
        if (f->values[i])
            status = cr_setting_set(settings, &CR_SETTINGS[i], f->values[i],
                                    flag, error);
    }
    return status;
}

/* An exit code; a text that is not whole is none. */
static int print(cr_json_out *out) {
    cr_error error;
    int code = CR_EXIT_DONE;
    if (out->failed) {
        cr_fail_memory(&error, out->text.len, "a text");
        code = cr_command_fail(&error);
    } else {
        fwrite(out->text.data, 1, out->text.len, stdout);
        code = cr_command_flush();
    }
    cr_json_out_fini(out);
    return code;
}

static int print_config(const cr_settings *settings) {
    char group[CR_SETTING_NAME_BYTES] = "";
    cr_json_out out;
    cr_json_out_init(&out);
    for (size_t i = 0; i < CR_N_SETTINGS; i++) {
        const char *name = CR_SETTINGS[i].name, *dot = strchr(name, '.');
        size_t len = dot ? (size_t)(dot - name) : 0;
        if (dot && (strlen(group) != len || strncmp(group, name, len) != 0)) {
            snprintf(group, sizeof group, "%.*s", (int)len, name);
            cr_json_put(&out, "%s:\n", group);
        }
        cr_json_put(&out, "%s%s: ", dot ? "  " : "", dot ? dot + 1 : name);
        cr_setting_show(settings, &CR_SETTINGS[i], &out);
        cr_json_put(&out, "\n");
    }
    return print(&out);
}

/* An exit code: whoever waits for the line must not wait for ever. */
static int announce(const cr_server *server) {
    const char *grpc = cr_server_grpc_address(server);
    cr_json_out out;
    cr_json_out_init(&out);
    cr_json_put(&out, "{\"http\":");
    cr_json_put_string(&out, cr_server_address(server));
    if (grpc) {
        cr_json_put(&out, ",\"grpc\":");
        cr_json_put_string(&out, grpc);
    }
    cr_json_put(&out, "}\n");
    return print(&out);
}

/* Until SIGTERM or SIGINT. SIGHUP reads keys, SIGUSR1 the model anew. */
static void serve_until_told(cr_server *server, cr_logger *log,
                             const sigset_t *signals) {
    for (int number = 0; number != SIGTERM && number != SIGINT;) {
        cr_error error;
        if (sigwait(signals, &number) != 0)
            continue;
        if (number == SIGHUP &&
            cr_server_reload_keys(server, &error) != CR_OK) {
            char line[CR_ERROR_MESSAGE_BYTES + 32];
            int n = snprintf(line, sizeof line, "the old keys stay: %s",
                             error.message);
            cr_logger_put(log, line, n > 0 ? (size_t)n : 0);
        }
        if (number == SIGUSR1)
            cr_server_reload(server, NULL, NULL, &error);
    }
}

static cr_status open_server(const cr_settings *settings, cr_options *model,
                             char path[CR_COMMON_PATH_BYTES], cr_logger *log,
                             cr_server **server, cr_error *error) {
    const cr_common common = {.model = settings->model,
                              .revision = settings->revision,
                              .backend = settings->backend,
                              .device = settings->device,
                              .isa = settings->isa,
                              .dtype = settings->dtype,
                              .threads = settings->threads,
                              .max_length = settings->max_length,
                              .truncation = settings->truncation,
                              .activation = settings->activation};
    const cr_server_options options = {.settings = settings,
                                       .model = model,
                                       .log = cr_logger_put,
                                       .log_context = log};
    cr_status status = cr_common_options(&common, path, model, error);
    return status == CR_OK ? cr_server_open(&options, server, error) : status;
}

static int serve_with(const cr_settings *settings, cr_logger *log,
                      const sigset_t *signals) {
    char path[CR_COMMON_PATH_BYTES];
    cr_options model;
    cr_server *server;
    cr_error error;
    if (open_server(settings, &model, path, log, &server, &error) != CR_OK)
        return cr_command_fail(&error);
    int code = announce(server);
    if (code == CR_EXIT_DONE)
        serve_until_told(server, log, signals);
    bool drained = cr_server_stop(server);
    return code != CR_EXIT_DONE ? code
           : drained            ? CR_EXIT_DONE
                                : CR_EXIT_SOME_FAILED;
}

static int serve(const cr_settings *settings) {
    enum { LAST_LINES_MS = 1000 };
    cr_logger *log;
    cr_error error;
    sigset_t signals;
    /* Every thread that comes inherits this: only sigwait sees them. */
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    sigaddset(&signals, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    if (cr_interrupt_asked()) /* just before: as if it came now */
        return CR_EXIT_DONE;
    if (cr_logger_open(STDERR_FILENO, &log, &error) != CR_OK)
        return cr_command_fail(&error);
    int code = serve_with(settings, log, &signals);
    cr_logger_close(log, LAST_LINES_MS);
    return code;
}

static int run(int argc, char **argv) {
    static serve_flags flags; /* large; there is one */
    cr_settings settings;
    cr_setting_texts texts = {.n = 0};
    cr_operands operands = {NULL, 0, 0};
    cr_error error;
    fill_options(&flags);
    int code = cr_command_parse(&cr_command_serve, flags.options, flags.n, argc,
                                argv, &operands, 0);
    if (code != CR_GO_ON)
        return code;
    if (gather(&flags, &settings, &texts, &error) != CR_OK)
        code = cr_command_fail(&error);
    else
        code = flags.print_config ? print_config(&settings) : serve(&settings);
    cr_setting_texts_fini(&texts);
    return code;
}

const cr_command cr_command_serve = {
    .name = "serve",
    .operands = "",
    .summary = "answer rerank requests over HTTP and gRPC",
    .about =
        "Answers the requests of Text Embeddings Inference, Jina, Cohere, "
        "llama.cpp,\n"
        "infinity and vLLM clients, see docs/SERVER.md. When it is ready it "
        "prints one\n"
        "line: "
        "{\"http\":\"http://127.0.0.1:8080\",\"grpc\":\"127.0.0.1:50051\"}.\n"
        "Pairs of all requests wait in one fair queue and are scored together "
        "by\n"
        "whatever lane is free.\n"
        "\n"
        "Every setting is also an environment variable "
        "(--max-queue-tokens:\n"
        "CROSSRANK_MAX_QUEUE_TOKENS) and a line of the --config file "
        "(max_queue_tokens).\n"
        "SIGTERM drains: exit 0, or 1 if drain-timeout-ms passed. SIGHUP reads "
        "the keys,\n"
        "SIGUSR1 the model anew.\n",
    .examples = "  crossrank serve\n"
                "  crossrank serve --port 0 --batching-timeout-ms 5\n"
                "  curl localhost:8080/rerank -H 'Content-Type: "
                "application/json' \\\n"
                "    -d '{\"query\":\"capital\",\"texts\":[\"Rome\",\"tea\"]}'"
                "\n",
    .run = run,
};
