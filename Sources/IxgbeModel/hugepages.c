#define _GNU_SOURCE
#include "hugepages.h"
#include "say.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define FOLDER "/sys/kernel/mm/hugepages/hugepages-2048kB/"

static int64_t read_number(int file) {
    char text[32] = "";
    return file >= 0 && pread(file, text, sizeof text - 1, 0) > 0 ? strtoll(text, NULL, 10) : -1;
}

static bool write_number(int file, int64_t value) {
    char text[32];
    int octets = snprintf(text, sizeof text, "%lld", (long long)value);
    return pwrite(file, text, (size_t)octets, 0) == octets;
}

// Several runs may change the number at once: the file itself is the lock.
static int open_total(void) {
    int file = open(FOLDER "nr_hugepages", O_RDWR | O_CLOEXEC);
    if (file >= 0) flock(file, LOCK_EX);
    return file;
}

int hugepages_take(uint32_t mebibytes, uint32_t *added) {
    *added = 0;
    int total = open_total(), available = open(FOLDER "free_hugepages", O_RDONLY | O_CLOEXEC);
    int64_t before = read_number(total), wanted = (mebibytes + 1) / 2;
    if (before < 0) {
        const char *reason = strerror(errno);
        close(available);
        close(total);
        return failure(69, "no 2 MiB hugepages here: cannot open " FOLDER "nr_hugepages: %s", reason);
    }
    // Its own, whatever is free: that may be what another run has seen to and its program has not taken yet.
    write_number(total, before + wanted);
    int64_t after = read_number(total), have = read_number(available);
    *added = (uint32_t)(after > before ? after - before : 0);
    close(available);
    close(total);
    if (have >= wanted) return 0;
    hugepages_give_back(*added);
    *added = 0;
    return failure(69, "%lld of %lld hugepages are free and the kernel finds no more memory in one piece: free some, "
                       "or ask for less with --hugepages-mib", (long long)have, (long long)wanted);
}

void hugepages_give_back(uint32_t added) {
    if (added == 0) return;
    int total = open_total();
    int64_t now = read_number(total);
    if (now >= 0) write_number(total, now > added ? now - added : 0);
    close(total);
}
