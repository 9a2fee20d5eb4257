// Every access to the BAR faults; the fault's handler does what the register does and steps over the instruction. So a
// store has happened when the program goes on, as the driver expects of a device that answers in less than a
// microsecond, however busy the machine is.
//
// Tail pointers are written for every burst, and nothing follows from the write itself. The two pages with the queues'
// registers are therefore ordinary memory while the port receives: "open". They close again while the program reads
// statistics, because the queues' counters lie in them and clear when they are read.
#define _GNU_SOURCE
#include "trap.h"

#include "decode.h"
#include "ixgbe_device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

enum { MAPPINGS = 8, PAGE = 4096 };

typedef struct mapping {
    uint8_t *_Atomic start;  // what the program has; NULL: unused
    ixgbe_port *port;        // all of it, at an address of our own
    _Atomic bool is_open, reads_statistics;
} mapping;

static mapping mappings[MAPPINGS];
static struct sigaction program_handler;

static void say(const char *text) {
    ssize_t written = write(STDERR_FILENO, text, strlen(text));
    (void)written;
}

static void set_open(mapping *it, bool open) {
    if (atomic_exchange(&it->is_open, open) == open) return;
    const uint32_t pages[] = {RX_QUEUES, TX_QUEUES};
    for (int index = 0; index < 2; index++)
        mprotect(it->start + pages[index], PAGE, open ? PROT_READ | PROT_WRITE : PROT_NONE);
}

// ixgbe_ethdev.c, ixgbe_read_stats_registers: MPC(0) comes before the queues' counters, MLFC after.
static void note(mapping *it, uint32_t offset, bool is_write) {
    if (!is_write && offset == MPC) it->reads_statistics = true;
    if (!is_write && offset == MLFC) it->reads_statistics = false;
    set_open(it, ixgbe_peek(it->port, RXCTRL) & RXCTRL_RXEN && !it->reads_statistics);
}

static void access_register(mapping *it, uint32_t offset, ucontext_t *context, const ixgbe_access *access) {
    static const int general[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                    REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
    greg_t *registers = context->uc_mcontext.gregs;
    if (access->is_write) {
        uint32_t value = access->is_constant ? access->constant : (uint32_t)registers[general[access->general]];
        ixgbe_port_write(it->port, offset, value);
    } else {
        registers[general[access->general]] = ixgbe_port_read(it->port, offset);
    }
    registers[REG_RIP] += access->octets;
    atomic_fetch_add_explicit(&it->port->traps, 1, memory_order_relaxed);
    note(it, offset, access->is_write);
}

static void pass_on(int number, siginfo_t *information, void *context) {
    if (program_handler.sa_flags & SA_SIGINFO) {
        program_handler.sa_sigaction(number, information, context);
    } else if (program_handler.sa_handler == SIG_DFL || program_handler.sa_handler == SIG_IGN) {
        // Back to the instruction, which faults again and ends the process as it would have.
        ixgbe_real_sigaction(number, &program_handler, NULL);
    } else {
        program_handler.sa_handler(number);
    }
}

static void on_fault(int number, siginfo_t *information, void *context) {
    uint8_t *place = information->si_addr;
    for (mapping *it = mappings; it < mappings + MAPPINGS; it++) {
        uint8_t *start = it->start;
        if (start == NULL || place < start || place >= start + BAR_OCTETS) continue;
        ixgbe_access access;
        const uint8_t *instruction = (const uint8_t *)((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
        uint32_t offset = (uint32_t)(place - start);
        if (offset % 4 != 0 || !ixgbe_decode(instruction, &access)) {
            char text[128];
            snprintf(text, sizeof text, "ixgbe-trap: register 0x%05x: unknown instruction %02x %02x %02x %02x %02x\n",
                     offset, instruction[0], instruction[1], instruction[2], instruction[3], instruction[4]);
            say(text);
            abort();
        }
        access_register(it, offset, context, &access);
        return;
    }
    pass_on(number, information, context);
}

// Without a BAR the library does nothing at all, so the handler comes with the first.
static void install(void) {
    static _Atomic bool installed;
    if (atomic_exchange(&installed, true)) return;
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigfillset(&action.sa_mask);
    ixgbe_real_sigaction(SIGSEGV, &action, &program_handler);
}

void ixgbe_trap_mapped(void *start, size_t octets, int file) {
    char magic[sizeof IXGBE_MAGIC] = "";
    if (octets != BAR_OCTETS ||
        pread(file, magic, sizeof magic, offsetof(ixgbe_port, magic)) != sizeof magic ||
        memcmp(magic, IXGBE_MAGIC, sizeof magic) != 0)
        return;
    const int access = PROT_READ | PROT_WRITE;
    void *whole = (void *)syscall(SYS_mmap, NULL, sizeof(ixgbe_port), access, MAP_SHARED, file, (off_t)0);
    for (mapping *it = mappings; whole != MAP_FAILED && it < mappings + MAPPINGS; it++) {
        if (it->start != NULL) continue;
        it->port = whole;
        it->is_open = it->reads_statistics = false;
        atomic_store(&it->port->program, getpid());
        install();
        it->start = start;
        mprotect(start, octets, PROT_NONE);
        return;
    }
    say("ixgbe-trap: cannot trap one more BAR\n");
    abort();
}

void ixgbe_trap_unmapped(void *start) {
    for (mapping *it = mappings; it < mappings + MAPPINGS; it++) {
        if (it->start == NULL || it->start != start) continue;
        it->start = NULL;
        syscall(SYS_munmap, it->port, sizeof(ixgbe_port));
    }
}

struct sigaction ixgbe_trap_program_handler(const struct sigaction *action) {
    struct sigaction before = program_handler;
    if (action != NULL) program_handler = *action;
    return before;
}
