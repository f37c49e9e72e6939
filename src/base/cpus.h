/* How many CPUs this process may really use.
 *
 * The least of the affinity mask and the cgroup quota (v1 and v2, this group
 * and all above it), rounded up, at least 1. Containers that are given two
 * CPUs of a large host get two lanes. */
#ifndef CR_BASE_CPUS_H
#define CR_BASE_CPUS_H

#include <stddef.h>
#include <stdint.h>

/* How the count came about, for `info` and logs. */
typedef struct cr_cpu_count {
    uint32_t cpus;          /* the answer, >= 1 */
    uint32_t affinity_cpus; /* of the affinity mask */
    double quota_cpus;      /* of the cgroup, 0: no quota */
} cr_cpu_count;

cr_cpu_count cr_cpus_count(void);
/* The same with the files under `root` ("" for the real ones), for tests:
 * root/proc/self/cgroup and root/sys/fs/cgroup. */
cr_cpu_count cr_cpus_count_at(const char *root);

#endif
