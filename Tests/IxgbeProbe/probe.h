// A DPDK program that does what lines on its standard input say, over the ports of the ixgbe model and DPDK's own
// driver, rte_security and rte_flow.
#pragma once

#include <rte_config.h>

#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <stdbool.h>
#include <stdint.h>

enum { KEYMAT_OCTETS = 20, SESSIONS = 1200 };

typedef struct session {
    void *handle;
    uint16_t port;
    uint8_t keymat[KEYMAT_OCTETS];  // the driver keeps pointing at it
} session;

extern struct rte_mempool *packets;
extern session sessions[SESSIONS];

// Number of the new session, or -1.
int session_create(uint16_t port, bool egress, uint32_t spi, const uint8_t *keymat, const char *destination);
int session_destroy(int number);
// Marks a packet for the session: `header` octets of IP behind the Ethernet header.
int session_mark(int number, struct rte_mbuf *packet, uint16_t header);

// Sends `count` ESP packets of an egress session from one port and checks what arrives, decrypted, at another.
void load(uint16_t from, uint16_t to, int number, uint32_t spi, uint64_t count);
