/* Child: started by fork and exec, watched through a pipe. */
#include "lab/child.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

enum { MAX_ARGUMENTS = 128, LINE_BYTES = 1024, TAIL_BYTES = 400 };

/* Between fork and exec: nothing that is unsafe there. */
static void become(const char *program, char *const *argv, int out, int log,
                   pid_t parent) {
    sigset_t none;
    setpgid(0, 0);
#ifdef __linux__
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        _exit(1);
#else
    (void)parent;
#endif
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGINT, SIG_DFL);
    signal(SIGPIPE, SIG_DFL);
    dup2(out, STDOUT_FILENO);
    dup2(log, STDERR_FILENO);
    execv(program, argv);
    _exit(127);
}

/* The last line of its messages, without our own name. */
static void read_tail(const char *path, char tail[TAIL_BYTES]) {
    char bytes[TAIL_BYTES];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    snprintf(tail, TAIL_BYTES, "it said nothing");
    if (fd < 0)
        return;
    off_t size = lseek(fd, 0, SEEK_END);
    off_t from = size > TAIL_BYTES - 1 ? size - (TAIL_BYTES - 1) : 0;
    ssize_t n = pread(fd, bytes, TAIL_BYTES - 1, from);
    close(fd);
    if (n <= 0)
        return;
    bytes[n] = 0;
    if (bytes[n - 1] == '\n')
        bytes[n - 1] = 0;
    const char *line = strrchr(bytes, '\n');
    line = line ? line + 1 : bytes;
    if (strncmp(line, "crossrank: ", 11) == 0)
        line += 11;
    snprintf(tail, TAIL_BYTES, "%s", line);
}

static cr_status fail_ended(const cr_child *child, int how, cr_error *error) {
    char tail[TAIL_BYTES];
    read_tail(child->log, tail);
    int code = WIFEXITED(how) ? WEXITSTATUS(how) : -1;
    cr_status status = code == 4   ? CR_ERR_UNAVAILABLE
                       : code == 2 ? CR_ERR_ARGUMENT
                       : code == 3 ? CR_ERR_INPUT
                                   : CR_ERR_IO;
    return cr_fail(error, status, "the server did not start: %s", tail);
}

/* Its one line: {"http":"http://..."}. */
static cr_status read_ready(cr_child *child, int fd, cr_error *error) {
    char line[LINE_BYTES];
    size_t n = 0;
    int64_t end_ns = cr_now_ns() + CR_CHILD_READY_S * 1000000000LL;
    while (n < sizeof line - 1 && !memchr(line, '\n', n)) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int64_t left_ms = (end_ns - cr_now_ns()) / 1000000;
        if (left_ms <= 0)
            return cr_fail(error, CR_ERR_DEADLINE,
                           "the server was not ready after %d s; its messages "
                           "are in %.200s",
                           CR_CHILD_READY_S, child->log);
        if (poll(&p, 1, (int)left_ms) <= 0)
            continue;
        ssize_t got = read(fd, line + n, sizeof line - 1 - n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            int how = 0;
            waitpid(child->pid, &how, 0);
            child->pid = 0;
            return fail_ended(child, how, error);
        }
        n += (size_t)got;
    }
    json_t *ready = json_loadb(line, n, JSON_DISABLE_EOF_CHECK, NULL);
    const char *url = json_string_value(json_object_get(ready, "http"));
    const char *grpc = json_string_value(json_object_get(ready, "grpc"));
    bool good = url && strlen(url) < sizeof child->url;
    if (good)
        snprintf(child->url, sizeof child->url, "%s", url);
    if (good && grpc)
        snprintf(child->grpc_url, sizeof child->grpc_url, "http://%.100s",
                 grpc);
    json_decref(ready);
    return good ? CR_OK
                : cr_fail(error, CR_ERR_INTERNAL,
                          "the server did not say where it listens");
}

cr_status cr_child_start(cr_child *child, const char *program,
                         const char *const *arguments, size_t n,
                         const char *log, cr_error *error) {
    const char *argv[MAX_ARGUMENTS + 6] = {program, "serve", "--port", "0"};
    int out[2];
    memset(child, 0, sizeof *child);
    snprintf(child->log, sizeof child->log, "%s", log);
    if (n > MAX_ARGUMENTS)
        return cr_fail(error, CR_ERR_ARGUMENT,
                       "%zu arguments for the server, the limit is %d", n,
                       MAX_ARGUMENTS);
    for (size_t i = 0; i < n; i++)
        argv[4 + i] = arguments[i];
    int fd = open(log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0)
        return cr_fail(error, CR_ERR_IO, "%s: cannot write: %s", log,
                       strerror(errno));
    if (pipe(out) != 0) {
        close(fd);
        return cr_fail(error, CR_ERR_IO, "no pipe: %s", strerror(errno));
    }
    fcntl(out[0], F_SETFD, FD_CLOEXEC);
    fcntl(out[1], F_SETFD, FD_CLOEXEC);
    pid_t parent = getpid();
    child->pid = fork();
    if (child->pid == 0)
        become(program, (char *const *)(uintptr_t)argv, out[1], fd, parent);
    close(out[1]);
    close(fd);
    cr_status status =
        child->pid < 0
            ? cr_fail(error, CR_ERR_IO, "no new process: %s", strerror(errno))
            : read_ready(child, out[0], error);
    close(out[0]);
    if (child->pid < 0)
        child->pid = 0;
    if (status != CR_OK)
        cr_child_stop(child, NULL);
    return status;
}

static bool wait_for(pid_t pid, int *how, double seconds) {
    int64_t end_ns = cr_now_ns() + (int64_t)(seconds * 1e9);
    struct timespec nap = {.tv_sec = 0, .tv_nsec = 10000000};
    do {
        if (waitpid(pid, how, WNOHANG) == pid)
            return true;
        nanosleep(&nap, NULL);
    } while (cr_now_ns() < end_ns);
    return false;
}

cr_status cr_child_stop(cr_child *child, cr_error *error) {
    int how = 0;
    if (!child->pid)
        return CR_OK;
    kill(child->pid, SIGTERM);
    bool ended = wait_for(child->pid, &how, CR_CHILD_STOP_S);
    if (!ended) {
        kill(child->pid, SIGKILL);
        waitpid(child->pid, &how, 0);
    }
    child->pid = 0;
    if (ended && WIFEXITED(how) && WEXITSTATUS(how) == 0)
        return CR_OK;
    char tail[TAIL_BYTES];
    read_tail(child->log, tail);
    char why[80];
    if (!ended)
        snprintf(why, sizeof why, "not within %d s of SIGTERM",
                 CR_CHILD_STOP_S);
    else if (WIFSIGNALED(how))
        snprintf(why, sizeof why, "killed by signal %d", WTERMSIG(how));
    else
        snprintf(why, sizeof why, "exit code %d", WEXITSTATUS(how));
    return cr_fail(error, CR_ERR_IO, "the server did not end well, %s: %s", why,
                   tail);
}
