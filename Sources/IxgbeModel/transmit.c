#include "model.h"

#include <string.h>

// Words and bits of transmit descriptors (ixgbe_type.h, IXGBE_ADVTXD_* and IXGBE_TXD_*).
enum {
    EXTENDED = 0x20000000, REPORT = 0x08000000, END_OF_PACKET = 0x01000000, INSERT_VLAN = 0x40000000,
    KIND_CONTEXT = 2, KIND_DATA = 3, IP_CHECKSUM = 0x1, L4_CHECKSUM = 0x2, SECURITY = 0x4,
    IPV4_BIT = 0x400, L4_MASK = 0x1800, L4_UDP = 0, L4_TCP = 0x800, DESCRIPTORS_A_TURN = 64,
};
static const uint32_t SEGMENT = 0x80000000;

static void sum_into(uint8_t *place, uint16_t sum, bool is_udp) {
    sum = (uint16_t)~sum;
    if (is_udp && sum == 0) sum = 0xFFFF;
    place[0] = (uint8_t)(sum >> 8);
    place[1] = (uint8_t)sum;
}

static void fill_checksums(port *it, transmit_queue *from, const uint32_t context[4]) {
    uint32_t network = context[0] >> 9 & 0x7F, header = context[0] & 0x1FF, transport = network + header;
    if (from->options & IP_CHECKSUM) {
        if (!(context[2] & IPV4_BIT)) it->findings.checksum_without_ipv4++;
        if (header < 20 || transport > from->count) {
            it->findings.header_lengths++;
            return;
        }
        memset(from->frame + network + 10, 0, 2);
        sum_into(from->frame + network + 10, ones_sum(from->frame + network, header, 0), false);
    }
    if (from->options & L4_CHECKSUM) {
        // Software left the pseudo header's sum in the field.
        bool is_udp = (context[2] & L4_MASK) == L4_UDP, is_tcp = (context[2] & L4_MASK) == L4_TCP;
        uint32_t field = transport + (is_udp ? 6 : 16);
        headers at = headers_of(from->frame, from->count);
        if (!(is_udp || is_tcp) || at.transport != transport || field + 2 > at.end) {
            it->findings.header_lengths++;
            return;
        }
        sum_into(from->frame + field, ones_sum(from->frame + transport, at.end - transport, 0), is_udp);
    }
}

static void insert_tag(transmit_queue *from, uint32_t tag) {
    memmove(from->frame + 16, from->frame + 12, from->count - 12);
    const uint8_t header[4] = {0x81, 0x00, (uint8_t)(tag >> 8), (uint8_t)tag};
    memcpy(from->frame + 12, header, sizeof header);
    from->count += 4;
}

static void count_frame(port *it, uint32_t queue, const uint8_t *frame, uint32_t octets) {
    ixgbe_port *device = it->device;
    uint32_t with_crc = octets + CRC_OCTETS, step = 0;
    static const uint32_t steps[] = {64, 127, 255, 511, 1023};
    while (step < 5 && with_crc > steps[step]) step++;
    ixgbe_count(device, QPTC + QUEUE_STRIDE * queue, 1);
    ixgbe_count_pair(device, QBTCL + 8 * queue, octets);
    ixgbe_count(device, GPTC, 1);
    ixgbe_count_pair(device, GOTCL, with_crc);
    ixgbe_count(device, TPT, 1);
    ixgbe_count(device, PTC64 + 4 * step, 1);
    if (frame[0] & 1) ixgbe_count(device, memcmp(frame, "\xff\xff\xff\xff\xff\xff", 6) == 0 ? BPTC : MPTC, 1);
    it->counters.tx_frames++;
    it->counters.tx_octets += octets;
}

static bool is_looped(const port *it) { return ixgbe_peek(it->device, HLREG0) & HLREG0_LPBK; }

// Sends what waits; false: it still does.
static bool send_unsent(port *it) {
    if (it->unsent.count == 0) return true;
    bool sent = is_looped(it) ? receive(it, it->unsent.octets, it->unsent.count)
                              : it->wire.send(it, it->unsent.octets, it->unsent.count);
    if (sent) it->unsent.count = 0;
    return sent;
}

// A whole frame has been gathered: checksums, encryption, tag, padding, and out.
static void finish(port *it, uint32_t queue) {
    transmit_queue *from = &it->transmit[queue];
    const uint32_t *context = from->contexts[from->context_index & 1];
    outcome outcome = NOT_ASKED;
    if (from->options & (IP_CHECKSUM | L4_CHECKSUM)) fill_checksums(it, from, context);
    if (from->options & SECURITY) outcome = protect(it, from->frame, from->count, context);
    if (from->command & INSERT_VLAN) insert_tag(from, context[0] >> 16);
    if (from->count < MINIMUM_FRAME_OCTETS && ixgbe_peek(it->device, HLREG0) & HLREG0_TXPADEN) {
        memset(from->frame + from->count, 0, MINIMUM_FRAME_OCTETS - from->count);
        from->count = MINIMUM_FRAME_OCTETS;
    }
    count_frame(it, queue, from->frame, from->count);
    if (!is_looped(it)) {
        judge(it, from->frame, from->count, outcome);
        if (!atomic_load(&it->device->link_is_up)) {
            it->counters.wire_lost++;
            return;
        }
        if (it->faults.frames_to_lose) {
            it->faults.frames_to_lose--;
            it->faults.applied++;
            it->counters.wire_lost++;
            return;
        }
    }
    memcpy(it->unsent.octets, from->frame, from->count);
    it->unsent.count = from->count;
    send_unsent(it);
}

static void gather(port *it, uint32_t queue, const uint32_t words[4]) {
    transmit_queue *from = &it->transmit[queue];
    uint32_t octets = words[2] & 0xFFFF;
    if (from->count == 0) {
        from->options = words[3] >> 8 & 0x3F;
        from->context_index = words[3] >> 4 & 7;
        from->command = words[2];
    }
    if (words[2] & SEGMENT) it->findings.segmentation_asked++;
    void *data = program_memory(it, words[0] | (uint64_t)words[1] << 32, octets);
    if (data == NULL) {
        from->count = 0;
        return;
    }
    if (from->count + octets > FRAME_OCTETS - 4) {
        it->findings.frame_too_long++;
        from->count = 0;
        return;
    }
    memcpy(from->frame + from->count, data, octets);
    from->count += octets;
    if (!(words[2] & END_OF_PACKET)) return;
    if (from->count >= 14) finish(it, queue);
    from->count = 0;
}

static void work_off(port *it, uint32_t queue, const uint32_t words[4]) {
    uint32_t kind = words[2] >> 20 & 15, index = words[3] >> 4 & 7;
    if (!(words[2] & EXTENDED)) {
        it->findings.legacy_descriptor++;
    } else if (kind == KIND_CONTEXT) {
        if (index > 1) it->findings.context_index++;
        memcpy(it->transmit[queue].contexts[index & 1], words, 16);
        it->counters.context_descriptors++;
    } else if (kind == KIND_DATA) {
        gather(it, queue, words);
    } else {
        it->findings.unknown_descriptor++;
    }
}

static bool transmit_queue_turn(port *it, uint32_t queue) {
    uint32_t base = TX_QUEUES + QUEUE_STRIDE * queue;
    if (!(ixgbe_peek(it->device, base + DCTL) & DCTL_ENABLE)) {
        it->transmit[queue].count = 0;
        return false;
    }
    uint32_t slots = ixgbe_peek(it->device, base + DLEN) / 16;
    uint32_t head = ixgbe_peek(it->device, base + DHEAD), tail = ixgbe_peek(it->device, base + DTAIL);
    if (slots == 0 || head >= slots || tail >= slots || head == tail) return false;
    uint64_t ring = ixgbe_peek(it->device, base + DBAL) | (uint64_t)ixgbe_peek(it->device, base + DBAH) << 32;
    int left = DESCRIPTORS_A_TURN;
    for (; head != tail && left > 0 && it->unsent.count == 0; left--) {
        _Atomic uint32_t *descriptor = program_memory(it, ring + 16ull * head, 16);
        if (descriptor == NULL) break;
        uint32_t words[4];
        for (int index = 0; index < 4; index++) words[index] = descriptor[index];
        work_off(it, queue, words);
        if (words[2] & REPORT) atomic_store_explicit(&descriptor[3], 1, memory_order_release);
        head = (head + 1) % slots;
        ixgbe_poke(it->device, base + DHEAD, head);
    }
    return left < DESCRIPTORS_A_TURN;
}

bool transmit(port *it) {
    bool busy = false;
    // The worst of moments: what waits goes on its way the instant that the engine is off.
    if (it->faults.stalls_armed && atomic_load(&it->device->outbound_enabled)) return false;
    if (it->faults.is_stalled || !(ixgbe_peek(it->device, DMATXCTL) & DMATXCTL_TE)) return false;
    if (!send_unsent(it)) return false;
    for (uint32_t queue = 0; queue < QUEUES && it->unsent.count == 0; queue++)
        busy |= transmit_queue_turn(it, queue);
    return busy;
}
