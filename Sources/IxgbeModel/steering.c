// Which frames a port takes, and by which queue.
#include "model.h"

#include <string.h>

static bool is_own(const port *it, const uint8_t *mac) {
    enum { PAIRS = 128, PAIRS_LOW = 16 };
    uint32_t low, high;
    memcpy(&low, mac, 4);
    high = mac[4] | (uint32_t)mac[5] << 8;
    for (uint32_t index = 0; index < PAIRS; index++) {
        uint32_t place = (index < PAIRS_LOW ? RAL : RAL_HIGH) + 8 * index;
        uint32_t second = ixgbe_peek(it->device, place + 4);
        if (second & (uint32_t)RAH_AV && (second & 0xFFFF) == high && ixgbe_peek(it->device, place) == low) return true;
    }
    return false;
}

// ixgbe_common.c, ixgbe_mta_vector: twelve bits of the address, from a place that MCSTCTRL chooses.
static bool is_joined(const port *it, const uint8_t *mac, uint32_t control) {
    uint32_t vector = (uint32_t)(mac[4] | mac[5] << 8) >> (4 - (control & 3)) & 0xFFF;
    if ((control & 3) == 3) vector = (uint32_t)(mac[4] | mac[5] << 8) & 0xFFF;
    return ixgbe_peek(it->device, MTA + 4 * (vector >> 5)) >> (vector & 31) & 1;
}

bool accepts(const port *it, const uint8_t *mac) {
    uint32_t control = ixgbe_peek(it->device, FCTRL);
    if (!(mac[0] & 1)) return control & FCTRL_UPE || is_own(it, mac);
    if (control & FCTRL_MPE) return true;
    if (memcmp(mac, "\xff\xff\xff\xff\xff\xff", 6) == 0) return control & FCTRL_BAM;
    uint32_t multicast = ixgbe_peek(it->device, MCSTCTRL);
    return multicast & MCSTCTRL_MFE && is_joined(it, mac, multicast);
}

// Microsoft's hash: for every bit that is set, the 32 bits of the key that begin there.
static uint32_t toeplitz(const port *it, const uint8_t *input, uint32_t octets) {
    uint8_t key[40];
    for (uint32_t index = 0; index < 10; index++) {
        uint32_t word = ixgbe_peek(it->device, RSSRK + 4 * index);
        memcpy(key + 4 * index, &word, 4);
    }
    uint32_t window = (uint32_t)key[0] << 24 | key[1] << 16 | key[2] << 8 | key[3], hash = 0;
    for (uint32_t index = 0; index < octets; index++) {
        for (int bit = 7; bit >= 0; bit--) {
            if (input[index] >> bit & 1) hash ^= window;
            window = window << 1 | (key[index + 4] >> bit & 1);
        }
    }
    return hash;
}

uint32_t receive_queue(const port *it, const uint8_t *frame, const headers *headers, uint32_t *hash, uint32_t *type) {
    enum { TCP = 6, UDP = 17 };
    uint32_t control = ixgbe_peek(it->device, MRQC);
    *hash = *type = 0;
    if (!(control & MRQC_RSSEN) || !(headers->is_ipv4 || headers->is_ipv6)) return 0;

    bool has_ports = headers->is_plain && !headers->is_fragment && headers->end >= headers->transport + 4;
    bool is_tcp = has_ports && headers->protocol == TCP, is_udp = has_ports && headers->protocol == UDP;
    uint32_t octets = headers->is_ipv4 ? 8 : 32;
    uint8_t input[36];
    memcpy(input, frame + headers->network + (headers->is_ipv4 ? 12 : 8), octets);
    // Types as RXDADV_RSSTYPE names them; whether a type is on is a bit of MRQC.
    uint32_t types[2] = {is_tcp ? (headers->is_ipv4 ? 1 : 3) : is_udp ? (headers->is_ipv4 ? 7 : 8) : 0,
                         headers->is_ipv4 ? 2 : 5};
    uint32_t bits[2] = {is_tcp ? (headers->is_ipv4 ? MRQC_TCP4 : MRQC_TCP6)
                               : (headers->is_ipv4 ? MRQC_UDP4 : MRQC_UDP6),
                        headers->is_ipv4 ? MRQC_IPV4 : MRQC_IPV6};
    if (types[0] && control & bits[0]) {
        memcpy(input + octets, frame + headers->transport, 4);
        octets += 4;
        *type = types[0];
    } else if (control & bits[1]) {
        *type = types[1];
    } else {
        return 0;
    }
    *hash = toeplitz(it, input, octets);
    uint32_t entry = *hash & 127;
    return ixgbe_peek(it->device, RETA + (entry & ~3u)) >> (8 * (entry & 3)) & (QUEUES - 1);
}
