#define _GNU_SOURCE
#define ALLOW_EXPERIMENTAL_API  // the version of the library that runs, not of the headers; rte_power_pause
#include "cdpdk.h"

#include <malloc.h>
#include <pthread.h>
#include <rte_cpuflags.h>
#include <rte_log.h>
#include <rte_power_intrinsics.h>
#include <rte_version.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/timex.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

int cdpdk_eal_init(int count, char **arguments, bool keep_affinity) {
    cpu_set_t before;
    int known = pthread_getaffinity_np(pthread_self(), sizeof before, &before);
    // Its default is standard output, which belongs to what commands print.
    rte_openlog_stream(stderr);
    int result = rte_eal_init(count, arguments);
    if (keep_affinity && known == 0) pthread_setaffinity_np(pthread_self(), sizeof before, &before);
    return result < 0 ? -rte_errno : result;
}

bool cdpdk_version_matches(void) {
    return rte_version_year() == RTE_VER_YEAR && rte_version_month() == RTE_VER_MONTH;
}

void cdpdk_expect_large_heap(void) {
    // Few heaps. Those of further threads grow page by page, by a system call each, but for what they begin with:
    // nearly all of the 64 MiB that such a heap may have, which takes no memory before it is touched.
    mallopt(M_ARENA_MAX, 4);
    mallopt(M_TOP_PAD, 60 << 20);
    mallopt(M_TRIM_THRESHOLD, 128 << 20);
    // Small pieces join their neighbours as they are freed, not all at once again and again.
    mallopt(M_MXFAST, 0);
    // The most that glibc takes.
    mallopt(M_MMAP_THRESHOLD, 32 << 20);
}

bool cdpdk_hide_memory(void) { return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0; }

int cdpdk_clock_synchronized(void) {
    struct timex time = {0};
    int state = adjtimex(&time);
    return state < 0 ? -1 : state != TIME_ERROR;
}

int cdpdk_processors(int *numbers, int capacity) {
    cpu_set_t set;
    int count = 0;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return 0;
    for (int number = 0; number < CPU_SETSIZE && count < capacity; number++)
        if (CPU_ISSET(number, &set)) numbers[count++] = number;
    return count;
}

void cdpdk_rest(uint64_t ticks) {
    static struct rte_cpu_intrinsics offered;
    static bool known;
    if (!known) {
        rte_cpu_get_intrinsics_support(&offered);
        known = true;
    }
    const uint64_t end = rte_rdtsc() + ticks;
    if (offered.power_pause && rte_power_pause(end) == 0) return;
    while (rte_rdtsc() < end) rte_pause();
}

void cdpdk_sleep(uint32_t microseconds) {
    const struct timespec time = {.tv_nsec = (long)microseconds * 1000};
    clock_nanosleep(CLOCK_MONOTONIC, 0, &time, NULL);
}
