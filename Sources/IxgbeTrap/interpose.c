// Calls of the C library that the trap must see: mappings, to find the BAR; handlers and masks of SIGSEGV, which is the
// trap's from the first BAR on.
#define _GNU_SOURCE
#include "trap.h"

#include <dlfcn.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define EXPORTED __attribute__((visibility("default")))

// ---- mappings -------------------------------------------------------------------------------------------------------

EXPORTED void *mmap(void *start, size_t octets, int protection, int flags, int file, off_t offset) {
    void *result = (void *)syscall(SYS_mmap, start, octets, protection, flags, file, offset);
    if (result != MAP_FAILED && file >= 0 && flags & MAP_SHARED && protection & PROT_WRITE && offset == 0)
        ixgbe_trap_mapped(result, octets, file);
    return result;
}

EXPORTED void *mmap64(void *start, size_t octets, int protection, int flags, int file, off_t offset) {
    return mmap(start, octets, protection, flags, file, offset);
}

EXPORTED int munmap(void *start, size_t octets) {
    ixgbe_trap_unmapped(start);
    return (int)syscall(SYS_munmap, start, octets);
}

// ---- signals --------------------------------------------------------------------------------------------------------

static _Atomic int is_trapping;

static void *next(const char *name) { return dlsym(RTLD_NEXT, name); }

int ixgbe_real_sigaction(int number, const struct sigaction *action, struct sigaction *before) {
    is_trapping = 1;
    int (*real)(int, const struct sigaction *, struct sigaction *) = next("sigaction");
    return real(number, action, before);
}

EXPORTED int sigaction(int number, const struct sigaction *action, struct sigaction *before) {
    if (number == SIGSEGV && is_trapping) {
        struct sigaction previous = ixgbe_trap_program_handler(action);
        if (before != NULL) *before = previous;
        return 0;
    }
    int (*real)(int, const struct sigaction *, struct sigaction *) = next("sigaction");
    return real(number, action, before);
}

EXPORTED sighandler_t signal(int number, sighandler_t handler) {
    struct sigaction action, before;
    memset(&action, 0, sizeof action);
    action.sa_handler = handler;
    action.sa_flags = SA_RESTART;
    return sigaction(number, &action, &before) < 0 ? SIG_ERR : before.sa_handler;
}

// A fault whose signal is blocked ends the process.
static const sigset_t *without_faults(int how, const sigset_t *set, sigset_t *room) {
    if (set == NULL || how == SIG_UNBLOCK) return set;
    *room = *set;
    sigdelset(room, SIGSEGV);
    return room;
}

EXPORTED int pthread_sigmask(int how, const sigset_t *set, sigset_t *before) {
    int (*real)(int, const sigset_t *, sigset_t *) = next("pthread_sigmask");
    sigset_t room;
    return real(how, without_faults(how, set, &room), before);
}

EXPORTED int sigprocmask(int how, const sigset_t *set, sigset_t *before) {
    int (*real)(int, const sigset_t *, sigset_t *) = next("sigprocmask");
    sigset_t room;
    return real(how, without_faults(how, set, &room), before);
}
