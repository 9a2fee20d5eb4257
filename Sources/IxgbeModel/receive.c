#include "model.h"

#include <string.h>

// Bits of the receive descriptor (ixgbe_type.h, IXGBE_RXDADV_* and IXGBE_RXD_STAT_*).
enum {
    DONE = 0x1, LAST = 0x2, TAGGED = 0x8, L4_CHECKED = 0x20, IP_CHECKED = 0x40,
    L4_WRONG = 0x40000000, TYPE_IPV4 = 0x10, TYPE_OPTIONS = 0x20, TYPE_IPV6 = 0x40, TYPE_EXTENSION = 0x80,
    TYPE_TCP = 0x100, TYPE_UDP = 0x200, TYPE_ESP = 0x1000, TYPE_AH = 0x2000,
    TCP = 6, UDP = 17, ESP = 50, AH = 51,
};
static const uint32_t IP_WRONG = 0x80000000;

static bool is_receiving(const port *it, uint32_t queue) {
    return ixgbe_peek(it->device, RXCTRL) & RXCTRL_RXEN && atomic_load(&it->device->link_is_up) &&
           ixgbe_peek(it->device, RX_QUEUES + QUEUE_STRIDE * queue + DCTL) & DCTL_ENABLE;
}

static uint32_t packet_type(const headers *at) {
    uint32_t type = 0;
    if (at->is_ipv4) type = TYPE_IPV4 | (at->is_plain ? 0 : TYPE_OPTIONS);
    if (at->is_ipv6) type = TYPE_IPV6 | (at->is_plain ? 0 : TYPE_EXTENSION);
    if (at->is_fragment) return type;
    if (at->protocol == TCP) type |= TYPE_TCP;
    if (at->protocol == UDP) type |= TYPE_UDP;
    if (at->protocol == ESP) type |= TYPE_ESP;
    if (at->protocol == AH) type |= TYPE_AH;
    return type;
}

static uint32_t checksum_bits(const uint8_t *frame, const headers *at) {
    uint32_t bits = 0;
    if (at->is_ipv4) {
        bits |= IP_CHECKED;
        if (ones_sum(frame + at->network, at->transport - at->network, 0) != 0xFFFF) bits |= IP_WRONG;
    }
    bool has_sum = (at->protocol == TCP && at->end >= at->transport + 20) ||
                   (at->protocol == UDP && at->end >= at->transport + 8 &&
                    (frame[at->transport + 6] || frame[at->transport + 7]));
    if (!(at->is_ipv4 || at->is_ipv6) || !at->is_plain || at->is_fragment || !has_sum) return bits;
    return bits | L4_CHECKED | (transport_sum(frame, at) == 0xFFFF ? 0u : (uint32_t)L4_WRONG);
}

static void count_frame(port *it, uint32_t queue, const uint8_t *frame, uint32_t octets) {
    ixgbe_port *device = it->device;
    uint32_t with_crc = octets + CRC_OCTETS;
    uint32_t counted = ixgbe_peek(device, HLREG0) & HLREG0_RXCRCSTRP ? octets : with_crc;
    ixgbe_count(device, QPRC + QUEUE_STRIDE * queue, 1);
    ixgbe_count_pair(device, QBRCL + QUEUE_STRIDE * queue, counted);
    ixgbe_count(device, GPRC, 1);
    ixgbe_count_pair(device, GORCL, counted);
    ixgbe_count(device, TPR, 1);
    ixgbe_count_pair(device, TORL, with_crc);
    static const uint32_t steps[] = {64, 127, 255, 511, 1023};
    uint32_t step = 0;
    while (step < 5 && with_crc > steps[step]) step++;
    ixgbe_count(device, PRC64 + 4 * step, 1);
    if (frame[0] & 1) ixgbe_count(device, memcmp(frame, "\xff\xff\xff\xff\xff\xff", 6) == 0 ? BPRC : MPRC, 1);
    it->counters.rx_frames++;
    it->counters.rx_octets += octets;
}

typedef struct received {
    const uint8_t *octets;
    uint32_t count, type, hash, status, tag;
} received;

// Writes the frame into as many buffers as it takes and shows each descriptor's last word last.
static void place(port *it, uint32_t queue, uint32_t head, uint32_t buffer, const received *frame) {
    uint32_t base = RX_QUEUES + QUEUE_STRIDE * queue, slots = ixgbe_peek(it->device, base + DLEN) / 16;
    uint64_t ring = ixgbe_peek(it->device, base + DBAL) | (uint64_t)ixgbe_peek(it->device, base + DBAH) << 32;
    for (uint32_t done = 0; done < frame->count;) {
        _Atomic uint32_t *words = program_memory(it, ring + 16ull * head, 16);
        uint32_t part = frame->count - done < buffer ? frame->count - done : buffer;
        uint64_t address = words == NULL ? 0 : words[0] | (uint64_t)words[1] << 32;
        void *room = words == NULL ? NULL : program_memory(it, address, part);
        if (room == NULL) return;
        memcpy(room, frame->octets + done, part);
        done += part;
        bool last = done == frame->count;
        words[0] = frame->type;
        words[1] = frame->hash;
        words[3] = part | frame->tag << 16;
        atomic_store_explicit(&words[2], DONE | (last ? LAST | frame->status : 0), memory_order_release);
        head = (head + 1) % slots;
    }
    ixgbe_poke(it->device, base + DHEAD, head);
}

bool receive(port *it, const uint8_t *frame, uint32_t octets) {
    static uint8_t padded[FRAME_OCTETS], opened[FRAME_OCTETS];
    if (octets < 14 || octets > FRAME_OCTETS) return true;
    if (octets < MINIMUM_FRAME_OCTETS) {
        memcpy(padded, frame, octets);
        memset(padded + octets, 0, MINIMUM_FRAME_OCTETS - octets);
        frame = padded;
        octets = MINIMUM_FRAME_OCTETS;
    }
    headers at = headers_of(frame, octets);
    received it_is = {.octets = frame, .count = octets};
    uint32_t rss_type, queue = receive_queue(it, frame, &at, &it_is.hash, &rss_type);
    if (!is_receiving(it, queue)) {
        it->counters.rx_not_ready++;
        return true;
    }
    if (!accepts(it, frame)) {
        it->counters.rx_filtered++;
        return true;
    }
    if (octets + CRC_OCTETS > (ixgbe_peek(it->device, MAXFRS) >> 16) + (at.is_vlan ? 4 : 0)) {
        it->counters.rx_too_long++;
        ixgbe_count(it->device, ROC, 1);
        return true;
    }

    uint32_t base = RX_QUEUES + QUEUE_STRIDE * queue, slots = ixgbe_peek(it->device, base + DLEN) / 16;
    uint32_t head = ixgbe_peek(it->device, base + DHEAD), tail = ixgbe_peek(it->device, base + DTAIL);
    uint32_t buffer = (ixgbe_peek(it->device, SRRCTL + 4 * queue) & 0x7F) * 1024;
    if (slots == 0 || head >= slots || tail >= slots || buffer == 0) {
        it->counters.rx_not_ready++;
        return true;
    }
    if ((tail + slots - head) % slots < (octets + buffer - 1) / buffer) {
        if (!it->is_lossy) return false;
        it->counters.rx_no_descriptor++;
        ixgbe_count(it->device, MPC, 1);
        return true;
    }

    it_is.type = packet_type(&at) | rss_type;
    it_is.status = checksum_bits(frame, &at) | unprotect(it, frame, octets, &at, opened);
    if (it_is.status & SECP) it_is.octets = opened;
    count_frame(it, queue, frame, octets);
    if (at.is_vlan && ixgbe_peek(it->device, base + DCTL) & RXDCTL_VME) {
        if (it_is.octets != opened) memcpy(opened, frame, octets);
        memmove(opened + 12, opened + 16, octets - 16);
        it_is.octets = opened;
        it_is.count = octets - 4;
        it_is.tag = at.vlan_tag;
        it_is.status |= TAGGED;
    }
    place(it, queue, head, buffer, &it_is);
    return true;
}
