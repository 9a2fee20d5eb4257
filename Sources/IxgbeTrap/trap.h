#pragma once
#include <signal.h>
#include <stddef.h>
#include <sys/types.h>

// A mapping that the program made, or is about to lose. One that holds a model's BAR is trapped from here on.
void ixgbe_trap_mapped(void *start, size_t octets, int file);
void ixgbe_trap_unmapped(void *start);

// The program's own handler of SIGSEGV, which gets the faults that are no register's. Returns the one before.
struct sigaction ixgbe_trap_program_handler(const struct sigaction *action);
// The C library's sigaction.
int ixgbe_real_sigaction(int number, const struct sigaction *action, struct sigaction *before);
