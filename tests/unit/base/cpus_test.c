/* CPU counts from made-up trees of /proc and /sys: what containers, nested
 * groups and both versions of cgroups look like from inside. */
#include "base/cpus.h"

#include <errno.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { MAX_FILES = 8 };

typedef struct tree {
    const char *what;
    double quota; /* expected, 0: none */
    struct {
        const char *path, *text;
    } files[MAX_FILES];
} tree;

#define CGROUP "/proc/self/cgroup"
#define FS "/sys/fs/cgroup"
#define CPU "/sys/fs/cgroup/cpu,cpuacct"

static const tree TREES[] = {
    {"nothing at all", 0, {{0}}},
    {"v2 without a quota",
     0,
     {{CGROUP, "0::/\n"}, {FS "/cpu.max", "max 100000\n"}}},
    {"a v2 container sees its own root",
     2,
     {{CGROUP, "0::/\n"}, {FS "/cpu.max", "200000 100000\n"}}},
    {"v2, half a CPU",
     0.5,
     {{CGROUP, "0::/\n"}, {FS "/cpu.max", "50000 100000\n"}}},
    {"v2, a period of its own",
     1.5,
     {{CGROUP, "0::/\n"}, {FS "/cpu.max", "15000 10000\n"}}},
    {"v2, no period", 3, {{CGROUP, "0::/\n"}, {FS "/cpu.max", "300000\n"}}},
    {"v2, the group below decides",
     1.25,
     {{CGROUP, "0::/a/b\n"},
      {FS "/a/cpu.max", "400000 100000\n"},
      {FS "/a/b/cpu.max", "125000 100000\n"}}},
    {"v2, the group above decides",
     0.25,
     {{CGROUP, "0::/a/b/c\n"},
      {FS "/a/cpu.max", "25000 100000\n"},
      {FS "/a/b/cpu.max", "max 100000\n"},
      {FS "/a/b/c/cpu.max", "300000 100000\n"}}},
    {"v2, the host's path in a container that mounts its own group",
     2,
     {{CGROUP, "0::/kubepods/pod1/xyz\n"}, {FS "/cpu.max", "200000 100000\n"}}},
    {"v2, a path out of the namespace",
     2,
     {{CGROUP, "0::/../other\n"}, {FS "/cpu.max", "200000 100000\n"}}},
    {"v1",
     2.5,
     {{CGROUP, "5:memory:/m\n4:cpu,cpuacct:/job\n"},
      {CPU "/job/cpu.cfs_quota_us", "250000\n"},
      {CPU "/job/cpu.cfs_period_us", "100000\n"}}},
    {"v1 without a quota",
     0,
     {{CGROUP, "4:cpu,cpuacct:/\n"},
      {CPU "/cpu.cfs_quota_us", "-1\n"},
      {CPU "/cpu.cfs_period_us", "100000\n"}}},
    {"v1, the group above decides",
     0.5,
     {{CGROUP, "4:cpu,cpuacct:/a/b\n"},
      {CPU "/a/cpu.cfs_quota_us", "50000\n"},
      {CPU "/a/cpu.cfs_period_us", "100000\n"},
      {CPU "/a/b/cpu.cfs_quota_us", "-1\n"},
      {CPU "/a/b/cpu.cfs_period_us", "100000\n"}}},
    {"v1, docker: the host's path, the container's mount",
     1,
     {{CGROUP, "7:cpuset:/docker/1\n4:cpu,cpuacct:/docker/1\n"},
      {CPU "/cpu.cfs_quota_us", "100000\n"},
      {CPU "/cpu.cfs_period_us", "100000\n"}}},
    {"v1, listed in the other order than mounted",
     1,
     {{CGROUP, "4:cpuacct,cpu:/\n"},
      {CPU "/cpu.cfs_quota_us", "100000\n"},
      {CPU "/cpu.cfs_period_us", "100000\n"}}},
    {"v1, cpu alone",
     4,
     {{CGROUP, "4:cpu:/\n"},
      {FS "/cpu/cpu.cfs_quota_us", "400000\n"},
      {FS "/cpu/cpu.cfs_period_us", "100000\n"}}},
    {"cpuset and cpuacct are not cpu",
     0,
     {{CGROUP, "4:cpuset:/\n3:cpuacct:/\n"},
      {FS "/cpuset/cpu.cfs_quota_us", "100000\n"},
      {FS "/cpuset/cpu.cfs_period_us", "100000\n"},
      {FS "/cpuacct/cpu.cfs_quota_us", "100000\n"},
      {FS "/cpuacct/cpu.cfs_period_us", "100000\n"}}},
    {"hybrid: v1 for cpu, v2 under unified",
     1.5,
     {{CGROUP, "4:cpu,cpuacct:/s\n1:name=systemd:/s\n0::/s\n"},
      {CPU "/s/cpu.cfs_quota_us", "150000\n"},
      {CPU "/s/cpu.cfs_period_us", "100000\n"},
      {FS "/unified/s/cgroup.procs", "1\n"}}},
    {"hybrid: the quota is in v2",
     0.75,
     {{CGROUP, "1:name=systemd:/s\n0::/s\n"},
      {FS "/unified/s/cpu.max", "75000 100000\n"}}},
    {"both: the lesser",
     1,
     {{CGROUP, "4:cpu,cpuacct:/\n0::/\n"},
      {CPU "/cpu.cfs_quota_us", "300000\n"},
      {CPU "/cpu.cfs_period_us", "100000\n"},
      {FS "/cpu.max", "100000 100000\n"}}},
    {"rubbish in files", 0, {{CGROUP, "0::/\n"}, {FS "/cpu.max", "a lot\n"}}},
    {"a period of zero",
     0,
     {{CGROUP, "0::/\n"}, {FS "/cpu.max", "100000 0\n"}}},
    {"rubbish in the list of groups", 0, {{CGROUP, "\n:\n0\nx:y\n::\n:::\n"}}},
    {"an empty file", 0, {{CGROUP, "0::/\n"}, {FS "/cpu.max", ""}}},
    {"a tiny quota",
     0.01,
     {{CGROUP, "0::/\n"}, {FS "/cpu.max", "1000 100000\n"}}},
};

static void write_file(const char *root, const char *path, const char *text) {
    char full[512];
    snprintf(full, sizeof full, "%s%s", root, path);
    for (char *p = full + 1; (p = strchr(p, '/')); p++) {
        *p = '\0';
        assert_true(mkdir(full, 0755) == 0 || errno == EEXIST);
        *p = '/';
    }
    FILE *file = fopen(full, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static int remove_one(const char *path, const struct stat *st, int type,
                      struct FTW *ftw) {
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void check_tree(const tree *t, uint32_t affinity) {
    char root[] = "/tmp/cr_cpus_test_XXXXXX";
    assert_non_null(mkdtemp(root));
    for (size_t i = 0; i < MAX_FILES && t->files[i].path; i++)
        write_file(root, t->files[i].path, t->files[i].text);
    cr_cpu_count count = cr_cpus_count_at(root);
    nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    uint32_t whole = (uint32_t)t->quota + (t->quota > (uint32_t)t->quota);
    uint32_t cpus = t->quota > 0 && whole < affinity ? whole : affinity;
    if (count.quota_cpus < t->quota - 1e-9 ||
        count.quota_cpus > t->quota + 1e-9 || count.cpus != cpus)
        fail_msg("%s: quota %g, %u CPUs; expected %g, %u", t->what,
                 count.quota_cpus, count.cpus, t->quota, cpus);
    assert_int_equal(count.affinity_cpus, affinity);
}

static void every_tree_gives_its_count(void **state) {
    (void)state;
    uint32_t affinity = cr_cpus_count_at("/nonexistent").affinity_cpus;
    assert_true(affinity >= 1);
    for (size_t i = 0; i < sizeof TREES / sizeof TREES[0]; i++)
        check_tree(&TREES[i], affinity);
}

static void long_paths_are_walked_or_passed_over(void **state) {
    (void)state;
    char text[6000] = "0::";
    size_t len = strlen(text);
    while (len + 12 < sizeof text) {
        memcpy(text + len, "/0123456789", 12);
        len += 11;
    }
    tree t = {"a path of 6,000 bytes",
              2,
              {{CGROUP, text}, {FS "/cpu.max", "200000 100000\n"}}};
    check_tree(&t, cr_cpus_count_at("/nonexistent").affinity_cpus);
}

static void the_real_machine_has_at_least_one(void **state) {
    (void)state;
    cr_cpu_count count = cr_cpus_count();
    assert_true(count.cpus >= 1);
    assert_true(count.cpus <= count.affinity_cpus);
    assert_true(count.affinity_cpus <= 65536);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_tree_gives_its_count),
        cmocka_unit_test(long_paths_are_walked_or_passed_over),
        cmocka_unit_test(the_real_machine_has_at_least_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
