#include "decode.h"

#include <string.h>

// Octets behind the opcode that say where the memory is: ModRM, SIB, displacement. -1: the operand is no memory.
static int address_octets(const uint8_t *modrm) {
    int mode = modrm[0] >> 6, base = modrm[0] & 7, octets = 1;
    if (mode == 3) return -1;
    if (base == 4) {
        base = modrm[1] & 7;
        octets++;
        if (mode == 0 && base == 5) return octets + 4;
    } else if (mode == 0 && base == 5) {
        return octets + 4;  // relative to the instruction
    }
    return octets + (mode == 1 ? 1 : mode == 2 ? 4 : 0);
}

bool ixgbe_decode(const uint8_t *instruction, ixgbe_access *access) {
    const uint8_t *place = instruction;
    uint8_t rex = 0;
    while (*place == 0x2E || *place == 0x3E) place++;  // segments that mean nothing in 64-bit mode
    if ((*place & 0xF0) == 0x40) rex = *place++;
    if (rex & 8) return false;  // 64 bits
    uint8_t opcode = *place++;
    int general = (place[0] >> 3 & 7) | (rex & 4 ? 8 : 0), octets = address_octets(place);
    if (octets < 0) return false;
    memset(access, 0, sizeof *access);
    access->general = general;
    switch (opcode) {
    case 0x8B: break;
    case 0x89: access->is_write = true; break;
    case 0xC7:
        if (place[0] >> 3 & 7) return false;
        access->is_write = access->is_constant = true;
        memcpy(&access->constant, place + octets, 4);
        octets += 4;
        break;
    default: return false;
    }
    access->octets = (int)(place - instruction) + octets;
    return true;
}
