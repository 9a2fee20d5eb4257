#include "probe.h"

#include <inttypes.h>
#include <rte_cycles.h>
#include <stdio.h>
#include <string.h>

enum { BURST = 32, ESP_AT = 34, TEXT_AT = ESP_AT + 16 };

static uint32_t octets_of(uint32_t sequence) { return sequence * 37 % 1300 + 1; }

// Ethernet, IPv4, ESP in clear with room for the ICV; the text follows from the sequence number.
static struct rte_mbuf *make(uint16_t to, uint32_t spi, uint32_t sequence) {
    struct rte_mbuf *packet = rte_pktmbuf_alloc(packets);
    if (packet == NULL) return NULL;
    uint32_t text = octets_of(sequence), padding = -(text + 2) & 3, total = TEXT_AT + text + padding + 2 + 16;
    uint8_t *octets = (uint8_t *)rte_pktmbuf_append(packet, (uint16_t)total);
    memset(octets, 0, total);
    struct rte_ether_addr mac;
    rte_eth_macaddr_get(to, &mac);
    memcpy(octets, mac.addr_bytes, 6);
    const uint8_t header[22] = {0x08, 0, 0x45, 0, (uint8_t)((total - 14) >> 8), (uint8_t)(total - 14), 0, 0, 0, 0,
                                64, 50, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2};
    memcpy(octets + 12, header, sizeof header);
    uint32_t big[2] = {rte_cpu_to_be_32(spi), rte_cpu_to_be_32(sequence)};
    memcpy(octets + ESP_AT, big, 8);
    memcpy(octets + ESP_AT + 12, &big[1], 4);
    for (uint32_t index = 0; index < text; index++) octets[TEXT_AT + index] = (uint8_t)(sequence * 7 + index);
    for (uint32_t index = 0; index < padding; index++) octets[TEXT_AT + text + index] = (uint8_t)(index + 1);
    octets[TEXT_AT + text + padding] = (uint8_t)padding;
    octets[TEXT_AT + text + padding + 1] = 4;
    return packet;
}

static bool is_right(struct rte_mbuf *packet, uint32_t sequence) {
    const uint8_t *octets = rte_pktmbuf_mtod(packet, const uint8_t *);
    for (uint32_t index = 0; index < octets_of(sequence); index++)
        if (octets[TEXT_AT + index] != (uint8_t)(sequence * 7 + index)) return false;
    return true;
}

void load(uint16_t from, uint16_t to, int number, uint32_t spi, uint64_t count) {
    uint64_t sent = 0, received = 0, opened = 0, failed = 0, wrong = 0, gaps = 0, begun = rte_get_timer_cycles();
    uint64_t quiet_since = begun, second = rte_get_timer_hz();
    struct rte_mbuf *burst[BURST];
    uint16_t ready = 0, next = 0;
    uint32_t made = 0, expected = 1;
    while (received < count && rte_get_timer_cycles() - quiet_since < 5 * second) {
        if (next == ready && made < count) {
            for (ready = next = 0; ready < BURST && made < count; ready++) {
                burst[ready] = make(to, spi, made + 1);
                if (burst[ready] == NULL) break;
                session_mark(number, burst[ready], 20);
                made++;
            }
        }
        uint16_t taken = rte_eth_tx_burst(from, 0, burst + next, ready - next);
        next += taken;
        sent += taken;
        struct rte_mbuf *arrived[BURST];
        uint16_t got = rte_eth_rx_burst(to, 0, arrived, BURST);
        for (uint16_t index = 0; index < got; index++) {
            uint32_t sequence;
            memcpy(&sequence, rte_pktmbuf_mtod(arrived[index], uint8_t *) + ESP_AT + 4, 4);
            sequence = rte_be_to_cpu_32(sequence);
            gaps += sequence != expected;
            expected = sequence + 1;
            opened += !!(arrived[index]->ol_flags & RTE_MBUF_F_RX_SEC_OFFLOAD);
            failed += !!(arrived[index]->ol_flags & RTE_MBUF_F_RX_SEC_OFFLOAD_FAILED);
            wrong += !is_right(arrived[index], sequence);
            rte_pktmbuf_free(arrived[index]);
        }
        received += got;
        if (got || taken) quiet_since = rte_get_timer_cycles();
    }
    rte_pktmbuf_free_bulk(burst + next, ready - next);
    printf("load sent=%" PRIu64 " received=%" PRIu64 " opened=%" PRIu64 " failed=%" PRIu64 " wrong=%" PRIu64
           " gaps=%" PRIu64 " milliseconds=%" PRIu64 "\n",
           sent, received, opened, failed, wrong, gaps, (rte_get_timer_cycles() - begun) * 1000 / second);
}
