#include "model.h"

#include <string.h>

enum { IPV4 = 0x0800, IPV6 = 0x86DD, VLAN = 0x8100, TCP = 6, UDP = 17 };

static uint16_t two(const uint8_t *octets) { return (uint16_t)(octets[0] << 8 | octets[1]); }

// Hop-by-hop, routing, fragment, AH, destination options.
static bool is_extension(uint8_t protocol) {
    return protocol == 0 || protocol == 43 || protocol == 44 || protocol == 51 || protocol == 60;
}

headers headers_of(const uint8_t *frame, uint32_t octets) {
    headers it;
    memset(&it, 0, sizeof it);
    it.network = 14;
    it.end = octets;
    if (octets < 14) return it;
    it.ether_type = two(frame + 12);
    if (it.ether_type == VLAN && octets >= 18) {
        it.is_vlan = true;
        it.vlan_tag = two(frame + 14);
        it.ether_type = two(frame + 16);
        it.network = 18;
    }
    const uint8_t *packet = frame + it.network;
    uint32_t room = octets - it.network;
    if (it.ether_type == IPV4 && room >= 20 && packet[0] >> 4 == 4) {
        uint32_t header = (packet[0] & 15) * 4u, length = two(packet + 2);
        if (header < 20 || header > room || length < header || length > room) return it;
        it.is_ipv4 = true;
        it.is_plain = header == 20;
        it.is_fragment = two(packet + 6) & 0x3FFF;
        it.protocol = packet[9];
        it.transport = it.network + header;
        it.end = it.network + length;
    } else if (it.ether_type == IPV6 && room >= 40 && packet[0] >> 4 == 6) {
        uint32_t length = 40u + two(packet + 4);
        if (length > room) return it;
        it.is_ipv6 = true;
        it.protocol = packet[6];
        it.is_plain = !is_extension(it.protocol);
        it.is_fragment = it.protocol == 44;
        it.transport = it.network + 40;
        it.end = it.network + length;
    }
    return it;
}

uint16_t ones_sum(const uint8_t *octets, uint32_t count, uint32_t start) {
    uint64_t sum = start;
    for (uint32_t index = 0; index + 1 < count; index += 2) sum += two(octets + index);
    if (count & 1) sum += (uint32_t)octets[count - 1] << 8;
    while (sum >> 16) sum = (sum & 0xFFFF) + (sum >> 16);
    return (uint16_t)sum;
}

uint16_t transport_sum(const uint8_t *frame, const headers *it) {
    const uint8_t *packet = frame + it->network;
    uint32_t length = it->end - it->transport;
    uint32_t pseudo = it->protocol + (length >> 16) + (length & 0xFFFF);
    pseudo += it->is_ipv4 ? ones_sum(packet + 12, 8, 0) : ones_sum(packet + 8, 32, 0);
    return ones_sum(frame + it->transport, length, pseudo);
}
