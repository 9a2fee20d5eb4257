// DMA. The program's packet memory is shared memory (hugepages, as files or memfds), so the model maps the same pages:
// /proc/PID/map_files leads to what each of the program's mappings holds, whatever it is called and whether it has a
// name at all. An address in a descriptor is physical: DPDK's PCI bus allows nothing else for a device under
// uio_pci_generic (drivers/bus/pci/linux/pci.c, pci_device_iova_mode).
#define _GNU_SOURCE
#include "model.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { CHUNKS = 16384, HUGE_PAGE = 2 << 20, RETRY_NANOSECONDS = 1000000 };

typedef struct chunk {
    uint64_t address;
    uint8_t *here;
} chunk;

static chunk chunks[CHUNKS];
static uint32_t count, latest;

void program_memory_forget(void) {
    for (uint32_t index = 0; index < count; index++) munmap(chunks[index].here, HUGE_PAGE);
    count = latest = 0;
}

static chunk *find(uint64_t address, uint32_t octets) {
    for (uint32_t index = 0; index < count; index++) {
        chunk *it = &chunks[(latest + index) % count];
        if (address < it->address || address + octets > it->address + HUGE_PAGE) continue;
        latest = (latest + index) % count;
        return it;
    }
    return NULL;
}

static uint64_t physical_address(const void *place) {
    static int map = -1;
    if (map < 0) map = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    uint64_t entry = 0;
    off_t offset = (off_t)((uintptr_t)place / 4096 * 8);
    if (pread(map, &entry, sizeof entry, offset) != sizeof entry || !(entry >> 63)) return 0;
    return (entry & ((1ull << 55) - 1)) * 4096;
}

static void add(int file, off_t offset) {
    if (count == CHUNKS) return;
    void *here = mmap(NULL, HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, file, offset);
    if (here == MAP_FAILED) return;
    uint64_t address = physical_address(here);
    if (address % HUGE_PAGE || address == 0 || find(address, 1) != NULL) {
        munmap(here, HUGE_PAGE);
        return;
    }
    chunks[count++] = (chunk){address, here};
}

// Shared, writable, and as aligned as hugepages are: code, libraries and ordinary heaps are none of that.
static void look(const port *it) {
    int program = atomic_load(&it->device->program);
    char path[64], line[512];
    snprintf(path, sizeof path, "/proc/%d/maps", program);
    FILE *maps = program > 0 ? fopen(path, "re") : NULL;
    while (maps != NULL && fgets(line, sizeof line, maps) != NULL) {
        uint64_t start, end, offset;
        char flags[5], name[128];
        if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64, &start, &end, flags, &offset) != 4) continue;
        if (flags[3] != 's' || flags[1] != 'w' || (start | end | offset) % HUGE_PAGE) continue;
        snprintf(name, sizeof name, "/proc/%d/map_files/%" PRIx64 "-%" PRIx64, program, start, end);
        int file = open(name, O_RDWR | O_CLOEXEC);
        if (file < 0) continue;
        for (uint64_t there = start; there < end; there += HUGE_PAGE) add(file, (off_t)(offset + there - start));
        close(file);
    }
    if (maps != NULL) fclose(maps);
}

void *program_memory(port *it, uint64_t address, uint32_t octets) {
    static struct timespec looked;
    chunk *found = find(address, octets);
    if (found == NULL) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        int64_t since = (now.tv_sec - looked.tv_sec) * 1000000000ll + now.tv_nsec - looked.tv_nsec;
        if (since > RETRY_NANOSECONDS || looked.tv_sec == 0) {
            look(it);
            looked = now;
            found = find(address, octets);
        }
    }
    if (found != NULL) return found->here + (address - found->address);
    it->counters.dma_faults++;
    return NULL;
}
