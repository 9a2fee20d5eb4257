#include "tables.h"

#include <string.h>

// The registers hold a key's last word first, each word in network order (ixgbe_ipsec.c, ixgbe_crypto_add_sa).
static void take_word(uint8_t *octets, uint32_t word) {
    for (int index = 0; index < 4; index++) octets[index] = (uint8_t)(word >> (24 - 8 * index));
}

static void take_key(ixgbe_port *port, ixgbe_sa *sa, uint32_t key, uint32_t salt) {
    for (int index = 0; index < 4; index++)
        take_word(sa->key + 12 - 4 * index, ixgbe_peek(port, key + 4 * (uint32_t)index));
    take_word(sa->salt, ixgbe_peek(port, salt));
}

// A fault may swallow the write; the command bits clear all the same, so that the driver notices nothing.
static bool is_lost(ixgbe_port *port) {
    uint32_t left = atomic_load(&port->lose_table_writes);
    if (left == 0) return false;
    atomic_store(&port->lose_table_writes, left - 1);
    atomic_fetch_add(&port->table_writes_lost, 1);
    return true;
}

static void begin(ixgbe_sa *sa) { atomic_fetch_add(&sa->version, 1); }
static void end(ixgbe_sa *sa) { atomic_fetch_add(&sa->version, 1); }

void ixgbe_write_outbound_index(ixgbe_port *port, uint32_t value) {
    ixgbe_poke(port, IPSTXIDX, value & ~(uint32_t)(IPSIDX_WRITE | IPSIDX_READ));
    if (value & (uint32_t)IPSIDX_WRITE) {
        if (is_lost(port)) return;
        ixgbe_sa *sa = &port->outbound[value >> 3 & (TABLE_SAS - 1)];
        begin(sa);
        take_key(port, sa, IPSTXKEY, IPSTXSALT);
        end(sa);
        atomic_fetch_add(&port->table_writes, 1);
    }
    // Any write of the index register sets the enable: removing an SA switches the direction off (P1).
    atomic_store(&port->outbound_enabled, (value & IPSIDX_EN) != 0);
}

void ixgbe_write_inbound_index(ixgbe_port *port, uint32_t value) {
    ixgbe_poke(port, IPSRXIDX, value & ~(uint32_t)(IPSIDX_WRITE | IPSIDX_READ));
    if (value & (uint32_t)IPSIDX_WRITE) {
        if (is_lost(port)) return;
        uint32_t index = value >> 3 & (TABLE_SAS - 1);
        ixgbe_sa *sa = &port->inbound[index];
        atomic_fetch_add(&port->inbound_version, 1);
        begin(sa);
        switch (value >> 1 & 3) {
        case IPSRXIDX_IP:
            for (uint32_t word = 0; word < 4; word++) {
                uint32_t raw = ixgbe_peek(port, IPSRXIPADDR + 4 * word);  // the octets as on the wire
                memcpy(port->inbound_addresses[index % TABLE_ADDRESSES] + 4 * word, &raw, 4);
            }
            break;
        case IPSRXIDX_SPI: {
            uint32_t raw = ixgbe_peek(port, IPSRXSPI);
            memcpy(sa->spi, &raw, 4);
            sa->address_index = ixgbe_peek(port, IPSRXIPIDX) % TABLE_ADDRESSES;
            break;
        }
        case IPSRXIDX_KEY:
            take_key(port, sa, IPSRXKEY, IPSRXSALT);
            sa->mode = ixgbe_peek(port, IPSRXMOD);
            break;
        default: break;
        }
        end(sa);
        atomic_fetch_add(&port->inbound_version, 1);
        atomic_fetch_add(&port->table_writes, 1);
    }
    atomic_store(&port->inbound_enabled, (value & IPSIDX_EN) != 0);
}
