// One port of the NIC: what its registers do. The state lies in the file that DPDK maps as the device's BAR, behind the
// BAR; the model maps all of it, and so does the trap inside of the DPDK program, which runs this code at the very
// instruction that touches a register. There is no message between the two and no polling of commands.
#pragma once

#include "ixgbe_registers.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { EEPROM_WORDS = 1024, TABLE_SAS = 1024, TABLE_ADDRESSES = 128 };

// An SA as the tables hold it. The version is odd while it is being written.
typedef struct ixgbe_sa {
    _Atomic uint32_t version;
    uint32_t mode;           // inbound: IPSRXMOD_*
    uint8_t spi[4];          // inbound
    uint32_t address_index;  // inbound
    uint8_t key[16], salt[4];
} ixgbe_sa;

typedef struct ixgbe_port {
    uint8_t bar[BAR_OCTETS];

    char magic[16];  // IXGBE_MAGIC, for the trap
    uint32_t number;
    uint8_t mac[6];
    uint16_t eeprom[EEPROM_WORDS];

    _Atomic uint32_t lock;                         // held for one register access
    _Atomic int32_t program;                       // the process that mapped the BAR
    _Atomic uint64_t fences_asked, fences_passed;  // the engine answers between two descriptors
    _Atomic bool link_is_up, interrupt_sent;
    _Atomic uint64_t traps, resets, table_writes, table_writes_lost;
    _Atomic uint32_t lose_table_writes;  // fault: so many more are lost

    _Atomic bool outbound_enabled, inbound_enabled;  // IPS_TX_EN, IPS_RX_EN
    _Atomic uint32_t inbound_version;                // any inbound table
    uint8_t inbound_addresses[TABLE_ADDRESSES][16];
    ixgbe_sa outbound[TABLE_SAS], inbound[TABLE_SAS];
} ixgbe_port;

#define IXGBE_MAGIC "ixgbe-model BAR"

// Powers the port up: EEPROM, reset values, empty tables. The serial number is in the MAC address.
void ixgbe_port_power_up(ixgbe_port *port, uint32_t number, uint8_t serial);
// What CTRL.RST does: every register as after power up; SA tables stay, and are switched off.
void ixgbe_port_reset(ixgbe_port *port);

// A program's read or write of a register; `offset` below BAR_OCTETS, a multiple of four.
uint32_t ixgbe_port_read(ixgbe_port *port, uint32_t offset);
void ixgbe_port_write(ixgbe_port *port, uint32_t offset, uint32_t value);

// Raises interrupt causes; the model delivers them when they are not masked.
void ixgbe_port_raise(ixgbe_port *port, uint32_t causes);
void ixgbe_port_set_link(ixgbe_port *port, bool up);

// The register's memory, without side effects.
static inline _Atomic uint32_t *ixgbe_register(ixgbe_port *port, uint32_t offset) {
    return (_Atomic uint32_t *)(void *)(port->bar + offset);
}
static inline uint32_t ixgbe_peek(ixgbe_port *port, uint32_t offset) {
    return atomic_load_explicit(ixgbe_register(port, offset), memory_order_acquire);
}
static inline void ixgbe_poke(ixgbe_port *port, uint32_t offset, uint32_t value) {
    atomic_store_explicit(ixgbe_register(port, offset), value, memory_order_release);
}

// Counts into a statistics register; it wraps as silicon's do, and a pair of registers carries into its second.
static inline void ixgbe_count(ixgbe_port *port, uint32_t offset, uint32_t amount) {
    atomic_fetch_add_explicit(ixgbe_register(port, offset), amount, memory_order_relaxed);
}
static inline void ixgbe_count_pair(ixgbe_port *port, uint32_t offset, uint32_t amount) {
    uint32_t before = atomic_fetch_add_explicit(ixgbe_register(port, offset), amount, memory_order_relaxed);
    if (before + amount < before) ixgbe_count(port, offset + 4, 1);
}
