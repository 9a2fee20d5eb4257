#pragma once
#include <stdbool.h>
#include <stdint.h>

// One access to a register as compilers write it: a `mov` of 32 bits between memory and a general register, or of a
// constant to memory.
typedef struct ixgbe_access {
    bool is_write, is_constant;
    int general;        // number of the general register, as instructions count them
    uint32_t constant;
    int octets;         // length of the instruction
} ixgbe_access;

// False: another instruction, about which nothing is known.
bool ixgbe_decode(const uint8_t *instruction, ixgbe_access *access);
