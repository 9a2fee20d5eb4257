// The machine as the program sees it. DPDK's PCI bus reads the folder that SYSFS_PCI_DEVICES names, finds devices that
// are bound to uio_pci_generic, maps their resource0, reads interrupts from /dev/uioN and masks them in a file that
// stands for the configuration space. /dev/uioN is a FIFO: what waits for it with epoll sees a four-octet interrupt
// when the model writes one. uio_pci_generic and not igb_uio, because with the latter DPDK writes to /dev/uioN, and
// would read its own write.
#define _GNU_SOURCE
#include "stage.h"
#include "say.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

// ---- folders that stand for others ----------------------------------------------------------------------------------

// Puts into `name` what was there before it was mounted over: devices again, links again, folders bound.
static void repeat_entry(const char *folder, int before, const char *name) {
    char from[320], to[320], target[256];
    struct stat about;
    snprintf(from, sizeof from, "/proc/self/fd/%d/%s", before, name);
    snprintf(to, sizeof to, "%s/%s", folder, name);
    if (fstatat(before, name, &about, AT_SYMLINK_NOFOLLOW) < 0) return;
    if (S_ISLNK(about.st_mode)) {
        ssize_t octets = readlinkat(before, name, target, sizeof target - 1);
        if (octets < 0) return;
        target[octets] = 0;
        if (symlink(target, to) < 0) failure(71, "%s: %s", to, strerror(errno));
    } else if (S_ISDIR(about.st_mode)) {
        mkdir(to, 0755);
        mount(from, to, NULL, MS_BIND | MS_REC, NULL);
    } else if (S_ISCHR(about.st_mode) || S_ISBLK(about.st_mode)) {
        mknod(to, about.st_mode, about.st_rdev);
        if (chown(to, about.st_uid, about.st_gid) < 0 || chmod(to, about.st_mode & 07777) < 0)
            failure(71, "%s: %s", to, strerror(errno));
    }
}

static int cover(const char *folder, const char *leave_out) {
    int before = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (before < 0 || mount("ixgbe-model", folder, "tmpfs", MS_NOSUID, "size=64m,mode=755") < 0)
        return failure(71, "cannot cover %s: %s", folder, strerror(errno));
    DIR *entries = fdopendir(before);
    for (struct dirent *entry = readdir(entries); entry != NULL; entry = readdir(entries)) {
        const char *name = entry->d_name;
        if (strcmp(name, ".") && strcmp(name, "..") && strcmp(name, leave_out))
            repeat_entry(folder, before, name);
    }
    closedir(entries);
    return 0;
}

// ---- a device -------------------------------------------------------------------------------------------------------

static bool put(const char *folder, const char *name, const void *octets, size_t count) {
    char path[320];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool written = file >= 0 && write(file, octets, count) == (ssize_t)count;
    close(file);
    return written;
}

static bool put_text(const char *folder, const char *name, const char *text) {
    return put(folder, name, text, strlen(text));
}

static bool build_device(uint32_t number, uint16_t device) {
    enum { BUS_MASTER_AND_MEMORY = 6, HAS_CAPABILITIES = 0x10, CLASS_NETWORK = 2 };
    char folder[128], uio[128], text[512], none[] = "0x0000000000000000 0x0000000000000000 0x0000000000000000\n";
    snprintf(folder, sizeof folder, STAGE_PCI "/0000:81:00.%u", number);
    snprintf(uio, sizeof uio, STAGE "/class/uio%u", number);
    mkdir(folder, 0755);
    mkdir(uio, 0755);
    snprintf(text, sizeof text, "%s/device", uio);
    mkdir(text, 0755);
    snprintf(text, sizeof text, "%s/uio", folder);
    mkdir(text, 0755);
    snprintf(text, sizeof text, "%s/uio/uio%u", folder, number);
    mkdir(text, 0755);
    snprintf(text, sizeof text, "%s/driver", folder);
    bool done = symlink(STAGE "/drivers/uio_pci_generic", text) == 0;

    uint8_t space[256] = {0x86, 0x80, (uint8_t)device, (uint8_t)(device >> 8), BUS_MASTER_AND_MEMORY, 0,
                          HAS_CAPABILITIES, 0, 1, 0, 0, CLASS_NETWORK};
    snprintf(text, sizeof text, "%s/device", uio);
    done = done && put(text, "config", space, sizeof space);
    done = done && put_text(folder, "vendor", "0x8086\n") && put_text(folder, "subsystem_vendor", "0x8086\n");
    done = done && put_text(folder, "subsystem_device", "0x000c\n") && put_text(folder, "class", "0x020000\n");
    done = done && put_text(folder, "max_vfs", "0\n") && put_text(folder, "numa_node", "0\n");
    snprintf(text, sizeof text, "0x%04x\n", device);
    done = done && put_text(folder, "device", text);
    uint64_t base = 0xFE000000 + number * 0x100000ull;
    snprintf(text, sizeof text, "0x%016llx 0x%016llx 0x0000000000040200\n%s%s%s%s%s%s", (unsigned long long)base,
             (unsigned long long)base + BAR_OCTETS - 1, none, none, none, none, none, none);
    done = done && put_text(folder, "resource", text) && put_text(folder, "resource0", "");
    snprintf(text, sizeof text, "/dev/uio%u", number);
    done = done && mkfifo(text, 0600) == 0;
    snprintf(text, sizeof text, "/sys/class/uio/uio%u", number);
    return done && symlink(uio, text) == 0;
}

int stage_build(uint32_t count, uint16_t device) {
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return failure(77, "no mount namespace of its own: %s", strerror(errno));
    int code = cover("/dev", "hugepages");
    if (code == 0) code = cover("/sys/class", "uio");
    if (code != 0) return code;
    // Hugepage files of a program that is not told --in-memory go with the namespace, too.
    mkdir("/dev/hugepages", 0755);
    if (mount("ixgbe-model", "/dev/hugepages", "hugetlbfs", 0, NULL) < 0)
        return failure(69, "cannot mount hugetlbfs: %s", strerror(errno));
    const char *folders[] = {STAGE, STAGE_PCI, STAGE "/class", STAGE "/drivers", STAGE "/drivers/uio_pci_generic",
                             "/sys/class/uio"};
    for (size_t index = 0; index < sizeof folders / sizeof *folders; index++) mkdir(folders[index], 0755);
    for (uint32_t number = 0; number < count; number++)
        if (!build_device(number, device)) return failure(71, "cannot make device %u: %s", number, strerror(errno));
    return 0;
}

int stage_open(model *model, uint8_t serial) {
    for (uint32_t number = 0; number < model->count; number++) {
        port *it = model->ports[number];
        char path[128];
        snprintf(path, sizeof path, STAGE_PCI "/%s/resource0", it->address);
        int file = open(path, O_RDWR | O_CLOEXEC);
        if (file < 0 || ftruncate(file, sizeof *it->device) < 0) return failure(71, "%s: %s", path, strerror(errno));
        it->device = mmap(NULL, sizeof *it->device, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        close(file);
        if (it->device == MAP_FAILED) return failure(71, "%s: %s", path, strerror(errno));
        ixgbe_port_power_up(it->device, number, serial);
        snprintf(path, sizeof path, "/dev/uio%u", number);
        it->interrupt = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
        if (it->interrupt < 0) return failure(71, "%s: %s", path, strerror(errno));
    }
    return 0;
}
