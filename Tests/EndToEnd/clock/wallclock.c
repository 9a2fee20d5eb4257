// A wall clock that lies to one program: the time of WALLCLOCK_SECONDS (since 1970), which stands still, or the true one and
// WALLCLOCK_OFFSET_SECONDS more. For LD_PRELOAD; clocks that don't tell the time of day are left as they are.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static int (*real)(clockid_t, struct timespec *);
static const char *seconds;
static long long offset;

__attribute__((constructor)) static void begin(void) {
    real = dlsym(RTLD_NEXT, "clock_gettime");
    seconds = getenv("WALLCLOCK_SECONDS");
    const char *text = getenv("WALLCLOCK_OFFSET_SECONDS");
    offset = text ? strtoll(text, NULL, 10) : 0;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    if (!real) begin();
    int result = real(clock, time);
    if (result != 0 || (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE)) return result;
    if (seconds) *time = (struct timespec){.tv_sec = strtoll(seconds, NULL, 10)};
    time->tv_sec += offset;
    return 0;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone) {
    (void)zone;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    *time = (struct timeval){.tv_sec = now.tv_sec, .tv_usec = now.tv_nsec / 1000};
    return 0;
}

time_t time(time_t *place) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (place) *place = now.tv_sec;
    return now.tv_sec;
}
