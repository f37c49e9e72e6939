/* How many CPUs this process may really use.
 *
 * A container sees its own group at the root of the mount while
 * /proc/self/cgroup may still show the host's path, so every prefix of that
 * path is asked and those that do not exist are passed over. */
#include "base/cpus.h"

#include "base/buf.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#ifdef __linux__
#include <sched.h>
#endif
#ifdef __APPLE__
#include <sys/sysctl.h>
#endif

enum {
    MAX_FILE_BYTES = 1 << 20,
    MAX_PATH_BYTES = 8192, /* root, mount and a group's path of 4096 */
    MAX_CPUS = 65536       /* of the affinity mask, many times any machine */
};

/* ---- Affinity ----------------------------------------------------------- */

#if defined(__linux__)
static uint32_t affinity(void) {
    unsigned long mask[MAX_CPUS / (8 * sizeof(unsigned long))] = {0};
    uint32_t n = 0;
    if (sched_getaffinity(0, sizeof mask, (cpu_set_t *)(void *)mask) == 0)
        for (size_t i = 0; i < sizeof mask / sizeof mask[0]; i++)
            n += (uint32_t)__builtin_popcountl(mask[i]);
    return n;
}
#elif defined(__APPLE__)
/* Performance cores only: a lane on an efficiency core holds up its group. */
static uint32_t affinity(void) {
    static const char *const names[] = {"hw.perflevel0.logicalcpu",
                                        "hw.logicalcpu"};
    for (size_t i = 0; i < 2; i++) {
        int n = 0;
        size_t size = sizeof n;
        if (sysctlbyname(names[i], &n, &size, NULL, 0) == 0 && n > 0)
            return (uint32_t)n;
    }
    return 0;
}
#else
static uint32_t affinity(void) { return 0; }
#endif

static uint32_t affinity_or_online(void) {
    uint32_t n = affinity();
    long online = n ? 0 : sysconf(_SC_NPROCESSORS_ONLN);
    return n ? n : online > 0 ? (uint32_t)online : 1;
}

/* ---- Quota -------------------------------------------------------------- */

/* Where a group's files are and what they are called. */
typedef struct hierarchy {
    const char *root; /* of the tests */
    char mount[256];  /* under root/sys/fs/cgroup, "" or "/cpu,cpuacct" */
    bool is_v1;
} hierarchy;

/* The file's text, "" where it cannot be read. */
static const char *read_text(cr_buf *buf, const char *path) {
    cr_buf_fini(buf);
    return cr_buf_read_file(buf, path, NULL) == CR_OK && buf->data ? buf->data
                                                                   : "";
}

static const char *read_group_file(cr_buf *buf, const hierarchy *h,
                                   const char *group, const char *file) {
    char path[MAX_PATH_BYTES];
    int len = snprintf(path, sizeof path, "%s/sys/fs/cgroup%s%s/%s", h->root,
                       h->mount, group, file);
    return len > 0 && (size_t)len < sizeof path ? read_text(buf, path) : "";
}

/* A positive whole number at s; 0 where there is none ("max", "-1"). */
static double number(const char *s) {
    char *end;
    long long n = strtoll(s, &end, 10);
    return end != s && n > 0 ? (double)n : 0;
}

/* CPUs that one group allows, 0: no quota. */
static double group_quota(const hierarchy *h, const char *group, cr_buf *buf) {
    if (h->is_v1) {
        double quota =
            number(read_group_file(buf, h, group, "cpu.cfs_quota_us"));
        double period =
            number(read_group_file(buf, h, group, "cpu.cfs_period_us"));
        return quota > 0 && period > 0 ? quota / period : 0;
    }
    const char *text = read_group_file(buf, h, group, "cpu.max");
    const char *space = strchr(text, ' ');
    double quota = number(text);
    double period = space ? number(space + 1) : 100000; /* the default */
    return quota > 0 && period > 0 ? quota / period : 0;
}

static double least(double a, double b) {
    return a > 0 && (b <= 0 || a < b) ? a : b;
}

/* The least quota of `path` and all groups above it; path is cut. */
static double path_quota(const hierarchy *h, char *path, cr_buf *buf) {
    /* A path that leaves the namespace ("/../x") names nothing in the mount. */
    if (strstr(path, "/.."))
        path[0] = '\0';
    double quota = 0;
    for (size_t len = strlen(path);; path[len] = '\0') {
        while (len && path[len - 1] == '/')
            path[--len] = '\0';
        quota = least(group_quota(h, path, buf), quota);
        if (len == 0)
            return quota;
        while (len && path[len - 1] != '/')
            len--;
    }
}

static bool lists_cpu(const char *controllers) {
    size_t n;
    for (const char *s = controllers; *s; s += n + (s[n] == ',')) {
        n = strcspn(s, ",");
        if (n == 3 && strncmp(s, "cpu", 3) == 0)
            return true;
    }
    return false;
}

/* One line of /proc/self/cgroup, "ID:CONTROLLERS:PATH", which is cut. */
static double line_quota(const char *root, char *line, cr_buf *buf) {
    char *controllers = strchr(line, ':');
    char *path = controllers ? strchr(controllers + 1, ':') : NULL;
    if (!path)
        return 0;
    *controllers++ = '\0';
    *path++ = '\0';
    bool is_v1 = controllers[0] != '\0';
    if (is_v1 && !lists_cpu(controllers))
        return 0;
    /* v1 is mounted under its controllers' names, v2 at the top or, beside
     * v1, under unified. */
    char as_listed[256];
    snprintf(as_listed, sizeof as_listed, "/%s", controllers);
    const char *const v1[] = {as_listed, "/cpu", "/cpu,cpuacct",
                              "/cpuacct,cpu"};
    const char *const v2[] = {"", "/unified"};
    double quota = 0;
    for (size_t i = 0; i < (is_v1 ? 4u : 2u); i++) {
        hierarchy h = {.root = root, .is_v1 = is_v1};
        char copy[MAX_PATH_BYTES];
        snprintf(h.mount, sizeof h.mount, "%s", is_v1 ? v1[i] : v2[i]);
        snprintf(copy, sizeof copy, "%s", path);
        quota = least(path_quota(&h, copy, buf), quota);
    }
    return quota;
}

static double least_quota(const char *root) {
    char path[MAX_PATH_BYTES];
    cr_buf groups, file;
    cr_buf_init(&groups, MAX_FILE_BYTES);
    cr_buf_init(&file, MAX_FILE_BYTES);
    double quota = 0;
    int len = snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    if (len > 0 && (size_t)len < sizeof path) {
        read_text(&groups, path);
        for (char *line = groups.data, *next; line; line = next) {
            next = strchr(line, '\n');
            if (next)
                *next++ = '\0';
            quota = least(line_quota(root, line, &file), quota);
        }
    }
    cr_buf_fini(&groups);
    cr_buf_fini(&file);
    return quota;
}

/* ---- Both --------------------------------------------------------------- */

cr_cpu_count cr_cpus_count_at(const char *root) {
    cr_cpu_count count = {.affinity_cpus = affinity_or_online(),
                          .quota_cpus = least_quota(root)};
    count.cpus = count.affinity_cpus;
    if (count.quota_cpus > 0 && count.quota_cpus < count.cpus) {
        uint32_t whole = (uint32_t)count.quota_cpus;
        count.cpus = whole + (whole < count.quota_cpus);
    }
    return count;
}

cr_cpu_count cr_cpus_count(void) { return cr_cpus_count_at(""); }
