// Writes down what a process does to the files below one directory, for vpngw/powerloss.py, which makes of it what a
// power cut may leave. Loaded by LD_PRELOAD; POWERLOSS_DIRECTORY names the directory, POWERLOSS_LOG the file to append
// to, which must be outside of it.
//
// An operation is logged after it succeeded, and no other is done in between: a process that is killed there has done
// one thing that the log does not know, and that nothing was built upon. Each record is one write(2) to an O_APPEND
// file. What goes through mmap is not seen (SQLite's -shm).

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
    CREATE = 'C', WRITE = 'W', TRUNCATE = 'T', SYNC = 'S', RENAME = 'R', UNLINK = 'U', MAKE_DIRECTORY = 'M',
    UNKNOWN = '?'
};

// Followed by the two paths and the data.
struct record {
    uint32_t octets;  // of the whole record
    uint32_t operation;
    uint64_t inode;
    uint64_t offset;  // WRITE: where; TRUNCATE: the new size; CREATE, MAKE_DIRECTORY: the mode
    uint32_t path_octets, other_octets;
    uint64_t data_octets;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static char directory[PATH_MAX];
static size_t directory_length;
static dev_t device;
static int log_descriptor = -1;

#define NEXT(name) \
    static __typeof__(&name) next; \
    if (!next) next = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static void fail(const char *what) {
    fprintf(stderr, "powerloss: %s: %s\n", what, strerror(errno));
    abort();
}

static ssize_t log_write(const struct iovec *parts, int count) {
    NEXT(writev);
    return next(log_descriptor, parts, count);
}

__attribute__((constructor)) static void start(void) {
    const char *watched = getenv("POWERLOSS_DIRECTORY"), *path = getenv("POWERLOSS_LOG");
    struct stat status;
    if (!watched || !path) return;
    if (!realpath(watched, directory) || stat(directory, &status)) fail(watched);
    directory_length = strlen(directory);
    device = status.st_dev;
    static int (*next)(const char *, int, ...);
    next = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open64");
    int descriptor = next(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    // Out of the way of a program that counts on the lowest numbers.
    log_descriptor = descriptor < 0 ? -1 : fcntl(descriptor, F_DUPFD_CLOEXEC, 700);
    if (log_descriptor < 0) fail(path);
    close(descriptor);
}

static int is_watched(const char *path) {
    return log_descriptor >= 0 && !strncmp(path, directory, directory_length)
        && (path[directory_length] == '/' || path[directory_length] == 0);
}

// The path of an open file, if it is watched.
static int watched_descriptor(int descriptor, struct stat *status) {
    char link[64], path[PATH_MAX];
    if (log_descriptor < 0 || fstat(descriptor, status) || status->st_dev != device) return 0;
    if (!S_ISREG(status->st_mode) && !S_ISDIR(status->st_mode)) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return is_watched(path);
}

// An absolute path without links, of a file that need not exist: of its directory's path and its own name.
static int resolve(int at, const char *path, char *resolved) {
    char parent[2 * PATH_MAX], real[PATH_MAX], link[64];
    if (path[0] == '/') {
        snprintf(parent, sizeof parent, "%s", path);
    } else if (at == AT_FDCWD) {
        snprintf(parent, sizeof parent, "./%s", path);
    } else {
        snprintf(link, sizeof link, "/proc/self/fd/%d", at);
        snprintf(parent, sizeof parent, "%s/%s", link, path);
    }
    char *slash = strrchr(parent, '/');
    const char *name = slash + 1;
    *slash = 0;
    if (!realpath(slash == parent ? "/" : parent, real)) return 0;
    return snprintf(resolved, PATH_MAX, "%s/%s", strcmp(real, "/") ? real : "", name) < PATH_MAX;
}

static void record(int operation, uint64_t inode, uint64_t offset, const char *path, const char *other,
                   const struct iovec *data, int parts, size_t octets) {
    int saved = errno;
    struct record header = {
        .operation = operation, .inode = inode, .offset = offset, .path_octets = strlen(path),
        .other_octets = strlen(other), .data_octets = octets};
    struct iovec all[3 + parts];
    int count = 3;
    all[0] = (struct iovec){&header, sizeof header};
    all[1] = (struct iovec){(void *)path, header.path_octets};
    all[2] = (struct iovec){(void *)other, header.other_octets};
    size_t rest = octets;
    for (int part = 0; part < parts && rest; part++) {
        size_t length = data[part].iov_len < rest ? data[part].iov_len : rest;
        all[count++] = (struct iovec){data[part].iov_base, length};
        rest -= length;
    }
    header.octets = sizeof header + header.path_octets + header.other_octets + octets;
    if (log_write(all, count) != (ssize_t)header.octets) fail("its log");
    errno = saved;
}

// What is below the directory, named from there; the directory itself is "".
static const char *relative(const char *path) {
    return path + directory_length + (path[directory_length] == '/');
}

// open and its kin. `exists` tells what was there before.

static int opened(int descriptor, int exists, int flags, const char *resolved) {
    struct stat status;
    if (descriptor >= 0 && !fstat(descriptor, &status)) {
        if (!exists) record(CREATE, status.st_ino, status.st_mode & 07777, relative(resolved), "", 0, 0, 0);
        else if (flags & O_TRUNC) record(TRUNCATE, status.st_ino, 0, "", "", 0, 0, 0);
    }
    return descriptor;
}

#define OPEN(name, parameters, arguments, at) \
    int name parameters { \
        static int (*next) parameters; \
        if (!next) next = (int (*) parameters)dlsym(RTLD_NEXT, #name); \
        mode_t mode = 0; \
        if (flags & (O_CREAT | __O_TMPFILE)) { \
            va_list list; \
            va_start(list, flags); \
            mode = va_arg(list, mode_t); \
            va_end(list); \
        } \
        char resolved[PATH_MAX]; \
        struct stat status; \
        if (!(flags & (O_CREAT | O_TRUNC)) || !resolve(at, path, resolved) || !is_watched(resolved)) \
            return next arguments; \
        pthread_mutex_lock(&mutex); \
        int exists = !lstat(resolved, &status); \
        int descriptor = opened(next arguments, exists, flags, resolved); \
        pthread_mutex_unlock(&mutex); \
        return descriptor; \
    }

OPEN(open, (const char *path, int flags, ...), (path, flags, mode), AT_FDCWD)
OPEN(open64, (const char *path, int flags, ...), (path, flags, mode), AT_FDCWD)
OPEN(openat, (int at, const char *path, int flags, ...), (at, path, flags, mode), at)
OPEN(openat64, (int at, const char *path, int flags, ...), (at, path, flags, mode), at)

int creat(const char *path, mode_t mode) { return open(path, O_WRONLY | O_CREAT | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) { return open64(path, O_WRONLY | O_CREAT | O_TRUNC, mode); }

// Writes. Where a write without an offset went is told by where it ended.

static ssize_t wrote(ssize_t count, int descriptor, const struct stat *status, off64_t offset,
                     const struct iovec *parts, int number) {
    if (count <= 0) return count;
    if (offset < 0) offset = lseek64(descriptor, 0, SEEK_CUR) - count;
    record(WRITE, status->st_ino, offset, "", "", parts, number, count);
    return count;
}

#define WRITES(name, parameters, arguments, offset, parts, number) \
    ssize_t name parameters { \
        NEXT(name); \
        struct stat status; \
        if (!watched_descriptor(descriptor, &status)) return next arguments; \
        pthread_mutex_lock(&mutex); \
        ssize_t count = wrote(next arguments, descriptor, &status, offset, parts, number); \
        pthread_mutex_unlock(&mutex); \
        return count; \
    }
#define ONE (&(struct iovec){(void *)data, octets})

WRITES(write, (int descriptor, const void *data, size_t octets), (descriptor, data, octets), -1, ONE, 1)
WRITES(pwrite, (int descriptor, const void *data, size_t octets, off_t place), (descriptor, data, octets, place),
       place, ONE, 1)
WRITES(pwrite64, (int descriptor, const void *data, size_t octets, off64_t place), (descriptor, data, octets, place),
       place, ONE, 1)
WRITES(writev, (int descriptor, const struct iovec *parts, int number), (descriptor, parts, number), -1, parts, number)
WRITES(pwritev, (int descriptor, const struct iovec *parts, int number, off_t place),
       (descriptor, parts, number, place), place, parts, number)
WRITES(pwritev64, (int descriptor, const struct iovec *parts, int number, off64_t place),
       (descriptor, parts, number, place), place, parts, number)
WRITES(pwritev2, (int descriptor, const struct iovec *parts, int number, off_t place, int flags),
       (descriptor, parts, number, place, flags), place, parts, number)
WRITES(pwritev64v2, (int descriptor, const struct iovec *parts, int number, off64_t place, int flags),
       (descriptor, parts, number, place, flags), place, parts, number)

// What works on an open file. sync_file_range is not among what makes anything durable: it knows no metadata and no
// disk cache.

#define ON_DESCRIPTOR(name, parameters, arguments, operation, value) \
    int name parameters { \
        NEXT(name); \
        struct stat status; \
        if (!watched_descriptor(descriptor, &status)) return next arguments; \
        pthread_mutex_lock(&mutex); \
        int result = next arguments; \
        if (!result) record(operation, status.st_ino, value, "", "", 0, 0, 0); \
        pthread_mutex_unlock(&mutex); \
        return result; \
    }

ON_DESCRIPTOR(fsync, (int descriptor), (descriptor), SYNC, 0)
ON_DESCRIPTOR(fdatasync, (int descriptor), (descriptor), SYNC, 0)
ON_DESCRIPTOR(ftruncate, (int descriptor, off_t size), (descriptor, size), TRUNCATE, size)
ON_DESCRIPTOR(ftruncate64, (int descriptor, off64_t size), (descriptor, size), TRUNCATE, size)
// Nothing here is made by these; if something is one day, the test must learn them first.
ON_DESCRIPTOR(fallocate, (int descriptor, int mode, off_t place, off_t octets), (descriptor, mode, place, octets),
              UNKNOWN, 0)
ON_DESCRIPTOR(fallocate64, (int descriptor, int mode, off64_t place, off64_t octets),
              (descriptor, mode, place, octets), UNKNOWN, 0)
ON_DESCRIPTOR(posix_fallocate, (int descriptor, off_t place, off_t octets), (descriptor, place, octets), UNKNOWN, 0)
ON_DESCRIPTOR(posix_fallocate64, (int descriptor, off64_t place, off64_t octets), (descriptor, place, octets),
              UNKNOWN, 0)

// Names.

#define ON_NAME(name, parameters, arguments, at, operation) \
    int name parameters { \
        NEXT(name); \
        char resolved[PATH_MAX]; \
        if (!resolve(at, path, resolved) || !is_watched(resolved)) return next arguments; \
        pthread_mutex_lock(&mutex); \
        int result = next arguments; \
        struct stat status = {0}; \
        if (!result) { \
            if (operation == MAKE_DIRECTORY || operation == UNKNOWN) lstat(resolved, &status); \
            record(operation, status.st_ino, status.st_mode & 07777, relative(resolved), "", 0, 0, 0); \
        } \
        pthread_mutex_unlock(&mutex); \
        return result; \
    }

ON_NAME(unlink, (const char *path), (path), AT_FDCWD, UNLINK)
ON_NAME(unlinkat, (int at, const char *path, int flags), (at, path, flags), at, UNLINK)
ON_NAME(rmdir, (const char *path), (path), AT_FDCWD, UNLINK)
ON_NAME(mkdir, (const char *path, mode_t mode), (path, mode), AT_FDCWD, MAKE_DIRECTORY)
ON_NAME(mkdirat, (int at, const char *path, mode_t mode), (at, path, mode), at, MAKE_DIRECTORY)
ON_NAME(truncate, (const char *path, off_t size), (path, size), AT_FDCWD, UNKNOWN)
ON_NAME(truncate64, (const char *path, off64_t size), (path, size), AT_FDCWD, UNKNOWN)
ON_NAME(link, (const char *from, const char *path), (from, path), AT_FDCWD, UNKNOWN)
ON_NAME(linkat, (int from_at, const char *from, int at, const char *path, int flags), (from_at, from, at, path, flags),
        at, UNKNOWN)
ON_NAME(symlink, (const char *target, const char *path), (target, path), AT_FDCWD, UNKNOWN)
ON_NAME(symlinkat, (const char *target, int at, const char *path), (target, at, path), at, UNKNOWN)

#define RENAMES(name, parameters, arguments, from_at, to_at, flags) \
    int name parameters { \
        NEXT(name); \
        char source[PATH_MAX], target[PATH_MAX]; \
        if (!resolve(from_at, from, source) || !resolve(to_at, to, target) \
            || (!is_watched(source) && !is_watched(target))) \
            return next arguments; \
        pthread_mutex_lock(&mutex); \
        int result = next arguments; \
        /* To or from elsewhere, or an exchange: not followed. */ \
        int known = is_watched(source) && is_watched(target) && !((flags) & RENAME_EXCHANGE); \
        if (!result && known) record(RENAME, 0, 0, relative(source), relative(target), 0, 0, 0); \
        if (!result && !known) record(UNKNOWN, 0, 0, source, target, 0, 0, 0); \
        pthread_mutex_unlock(&mutex); \
        return result; \
    }

RENAMES(rename, (const char *from, const char *to), (from, to), AT_FDCWD, AT_FDCWD, 0)
RENAMES(renameat, (int from_at, const char *from, int to_at, const char *to), (from_at, from, to_at, to), from_at,
        to_at, 0)
RENAMES(renameat2, (int from_at, const char *from, int to_at, const char *to, unsigned flags),
        (from_at, from, to_at, to, flags), from_at, to_at, flags)
