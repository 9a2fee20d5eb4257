#include "ixgbe_device.h"

#include <string.h>

// Words of the EEPROM that the driver's checksum covers (ixgbe_common.c, ixgbe_calc_eeprom_checksum_generic). Pointers
// to further sections, words 3 to 14, stay 0: it follows none.
static void fill_eeprom(ixgbe_port *port) {
    enum { MAP_VERSION = 0x18, FIRMWARE = 0x0F, CHECKSUM = 0x3F, SUM = 0xBABA };
    uint16_t *words = port->eeprom;
    memset(words, 0, sizeof port->eeprom);
    words[0] = 0x4000;
    words[MAP_VERSION] = 1;
    // SFI parts want a firmware above version 5 (ixgbe_82599.c, ixgbe_verify_fw_version_82599).
    words[FIRMWARE] = 0x100;
    words[0x100 + 6] = 0x120;
    words[0x120 + 7] = 6;
    uint16_t sum = 0;
    for (int index = 0; index < CHECKSUM; index++) sum += words[index];
    words[CHECKSUM] = (uint16_t)(SUM - sum);
}

static void show_link(ixgbe_port *port) {
    ixgbe_poke(port, LINKS, LINKS_SPEED_10G | (atomic_load(&port->link_is_up) ? LINKS_UP : 0));
}

static void set_registers(ixgbe_port *port) {
    const uint8_t *mac = port->mac;
    for (uint32_t offset = 0; offset < BAR_OCTETS; offset += 4) ixgbe_poke(port, offset, 0);
    ixgbe_poke(port, RAL, mac[0] | mac[1] << 8 | mac[2] << 16 | (uint32_t)mac[3] << 24);
    ixgbe_poke(port, RAL + 4, mac[4] | mac[5] << 8 | (uint32_t)RAH_AV);
    ixgbe_poke(port, STATUS, (port->number & 1) << 2);    // the function's number; bus mastering has ended
    ixgbe_poke(port, EEC, 0x100 | 0x200 | 4 << 11);       // an EEPROM is there, was read, has 1024 words
    ixgbe_poke(port, EEMNGCTL, 0xC0000);                  // configuration of both functions is done
    ixgbe_poke(port, MSRWD, 0xFFFFFFFF);                  // no PHY answers
    ixgbe_poke(port, AUTOC, 1 << 13 | 1 << 7);            // 10 Gb/s without negotiation, KX4
    ixgbe_poke(port, ANLP1, 0x00010000);                  // the negotiation's state machine is not in state 0
    ixgbe_poke(port, RDRXCTL, 0x8808);                    // DMA initialised
    ixgbe_poke(port, HLREG0, 0x00010C03);                 // CRC in and out, padding
    ixgbe_poke(port, MAXFRS, 1518u << 16);
    ixgbe_poke(port, RXPBSIZE, 0x80000);
    ixgbe_poke(port, ESDP, 0x4);
    ixgbe_poke(port, SECTXCTRL, SECURITY_DISABLED);
    ixgbe_poke(port, SECRXCTRL, SECURITY_DISABLED);
    ixgbe_poke(port, SECTXSTAT, 1);  // ready
    ixgbe_poke(port, SECRXSTAT, 1);
    ixgbe_poke(port, SECTXBUFFAF, 0x250);
    ixgbe_poke(port, SECTXMINIFG, 1);
    show_link(port);
    // Linux's driver says of silicon that the tables outlive a reset; the enables do not.
    atomic_store(&port->outbound_enabled, false);
    atomic_store(&port->inbound_enabled, false);
    atomic_store(&port->interrupt_sent, false);
}

void ixgbe_port_power_up(ixgbe_port *port, uint32_t number, uint8_t serial) {
    memset(port, 0, sizeof *port);
    port->number = number;
    const uint8_t mac[6] = {0x00, 0x1b, 0x21, 0x82, serial, (uint8_t)number};
    memcpy(port->mac, mac, sizeof mac);
    atomic_store(&port->link_is_up, true);
    fill_eeprom(port);
    set_registers(port);
    memcpy(port->magic, IXGBE_MAGIC, sizeof port->magic);
}

void ixgbe_port_reset(ixgbe_port *port) {
    set_registers(port);
    atomic_fetch_add(&port->resets, 1);
}

void ixgbe_port_raise(ixgbe_port *port, uint32_t causes) {
    atomic_fetch_or(ixgbe_register(port, EICR), causes);
}

void ixgbe_port_set_link(ixgbe_port *port, bool up) {
    if (atomic_exchange(&port->link_is_up, up) == up) return;
    show_link(port);
    ixgbe_port_raise(port, EICR_LSC);
}
