#include "model.h"

enum { ESP = 50, AH = 51, UDP = 17, ICMPV6 = 58, NAT_TRAVERSAL = 4500 };

static bool may_leave(const uint8_t *frame, const headers *at) {
    if (at->ether_type != 0x0800 && at->ether_type != 0x86DD) return true;  // ARP and what is no IP
    const uint8_t *transport = frame + at->transport;
    if (!at->is_ipv4 && !at->is_ipv6) return false;  // IP that cannot be read
    if (at->protocol == ESP || at->protocol == AH) return true;
    if (at->is_fragment) return false;
    if (at->protocol == UDP && at->end >= at->transport + 4)
        return (transport[0] << 8 | transport[1]) == NAT_TRAVERSAL ||
               (transport[2] << 8 | transport[3]) == NAT_TRAVERSAL;
    // Neighbour discovery, router and neighbour messages.
    return at->is_ipv6 && at->protocol == ICMPV6 && at->end > at->transport && transport[0] >= 133 &&
           transport[0] <= 137;
}

void judge(port *it, const uint8_t *frame, uint32_t octets, outcome outcome) {
    if (!it->is_protected) return;
    headers at = headers_of(frame, octets);
    if (!may_leave(frame, &at)) it->violations.clear_text++;
    else if (outcome == LEFT_UNENCRYPTED) it->violations.left_unencrypted++;
    else if (outcome == EMPTY_KEY) it->violations.empty_key++;
}

uint64_t violations_sum(const port *it) {
#define ADD(name) +it->violations.name
    return 0 VIOLATIONS(ADD);
}
